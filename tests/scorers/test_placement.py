"""Devices and dtypes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pairsift.errors import PairsiftError
from pairsift.scorers.placement import check_bfloat16, pick_device, pick_dtype

CPU = torch.device("cpu")


def test_devices_by_name() -> None:
    assert pick_device("cpu") == pick_device(CPU) == CPU
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "cpu cpu"])
def test_an_unknown_device_is_named(name: str) -> None:
    with pytest.raises(PairsiftError, match=f"unknown device {name!r}"):
        pick_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told() -> None:
    with pytest.raises(PairsiftError, match="sees no GPU"):
        pick_device("cuda:1")


def test_dtypes_by_name() -> None:
    assert pick_dtype("auto", CPU) is torch.float32
    assert pick_dtype("bfloat16", CPU) is pick_dtype(torch.bfloat16, CPU) is torch.bfloat16
    for name in ("float64", "int8", "bf16", "device"):
        with pytest.raises(PairsiftError, match="choose auto, float32, bfloat16 or float16"):
            pick_dtype(name, CPU)


def test_bfloat16_is_refused_on_a_cpu_without_it(tmp_path: Path) -> None:
    cpu = tmp_path / "cpuinfo"
    cpu.write_text("flags : sse2 avx2 avx512f\n")
    with pytest.raises(PairsiftError, match="no instructions for it .* use --dtype float32"):
        check_bfloat16(CPU, cpu)
    check_bfloat16(torch.device("cuda"), cpu)
    cpu.write_text("flags : sse2 avx512_bf16\n")
    check_bfloat16(CPU, cpu)
    check_bfloat16(CPU, tmp_path / "missing")
