"""Which devices there are, and what a process is told of them."""

from __future__ import annotations

import pytest

from pairsift import PairsiftError
from pairsift.engines import devices
from pairsift.engines.devices import find_devices


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores and no GPU, unless a test says otherwise."""
    monkeypatch.setattr(devices, "cores", lambda: 8)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    for variable in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("all", ["cuda:0", "cuda:1", "cuda:2"]),
        ("0,2", ["cuda:0", "cuda:2"]),
        (" cuda:1 , 0", ["cuda:1", "cuda:0"]),
        ("cpu:2", ["cpu (1 of 2)", "cpu (2 of 2)"]),
        ("1,cpu:1", ["cuda:1", "cpu (1 of 1)"]),
    ],
)
def test_devices_are_found(monkeypatch: pytest.MonkeyPatch, asked: str, names: list[str]) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert [device.name for device in find_devices(asked)] == names


def test_a_process_sees_its_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    found = [device.environment for device in find_devices("all")]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == ["5", "7"]
    assert [each["OMP_NUM_THREADS"] for each in found] == ["4", "4"]
    assert find_devices("cpu:1")[0].environment["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(("given", "share"), [("1", "1"), ("64", "4"), ("", "4"), ("4,2", "4")])
def test_cores_are_divided(monkeypatch: pytest.MonkeyPatch, given: str, share: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert {device.environment["OMP_NUM_THREADS"] for device in find_devices("cpu:2")} == {share}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("all", "PyTorch sees no GPU; give cpu:N"),
        ("0", "there is no GPU 0; PyTorch sees no GPU"),
        ("cpu:9", "9 processes on the CPU, but this run may use 8 cores"),
        ("cpu:4,cpu:5", "9 processes on the CPU, but this run may use 8 cores"),
        *[
            (asked, "unknown device")
            for asked in ("gpu", "cpu:0", "cpu", "", "0,", "all,0", "-1", "cuda", "0.5", "tpu:1")
        ],
    ],
)
def test_devices_that_are_not_there(asked: str, words: str) -> None:
    with pytest.raises(PairsiftError, match=f"^--devices .*{words}"):
        find_devices(asked)


def test_numbers_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(PairsiftError, match="no GPU 3; PyTorch sees the GPUs 0 to 1"):
        find_devices("0,3,4")
    with pytest.raises(PairsiftError, match="named twice"):
        find_devices("1,cuda:1")
