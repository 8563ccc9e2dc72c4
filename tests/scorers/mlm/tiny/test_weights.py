"""Weights in eight and in four bits."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from pairsift.errors import PairsiftError  # noqa: E402
from pairsift.scorers.mlm.tiny.weights import (  # noqa: E402
    FOUR_BIT,
    dequantize_groups,
    quantize_groups,
    quantize_rows,
    read_tensors,
    write_tensors,
)


def test_quantisation_error_is_half_a_step() -> None:
    matrix = torch.randn(8, 64, generator=torch.Generator().manual_seed(3))
    values, scale = quantize_rows(matrix)
    assert ((values * scale.float() - matrix).abs() <= scale.float() * 0.51).all()
    packed, steps = quantize_groups(matrix)
    assert packed.shape == (8, 32)
    assert packed.dtype == torch.uint8
    error = (dequantize_groups(packed, steps) - matrix).abs().view(8, 2, 32)
    # The far end of the range has one step less, so its error may reach a whole step.
    assert (error <= steps.float().abs()[..., None] * 1.02).all()


def test_groups_keep_their_largest_value_and_zeros() -> None:
    matrix = torch.zeros(2, 64)
    matrix[0, 3], matrix[0, 40], matrix[1, 0] = -4.0, 2.5, 1e-9
    found = dequantize_groups(*quantize_groups(matrix))
    assert found[0, 3] == -4
    assert found[0, 40] == pytest.approx(2.5, rel=1e-3)
    assert found.count_nonzero() == 2
    values, scale = quantize_rows(torch.zeros(3, 5))
    assert values.count_nonzero() == 0
    assert scale.isfinite().all()


@pytest.mark.parametrize("quantize", [True, False])
def test_tensors_come_back_in_float32_and_in_their_shapes(tmp_path: Path, quantize: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    state = {
        FOUR_BIT[0]: torch.randn(300, 64, generator=generator),
        "odd." + FOUR_BIT[0]: torch.randn(300, 64, generator=generator),
        "experts.weight": torch.randn(4, 50, 64, generator=generator),
        "convolution.weight": torch.randn(96, 96, 3, 3, generator=generator),
        "small.weight": torch.randn(10, 10, generator=generator),
        "ids": torch.arange(20_000),
    }
    write_tensors(tmp_path / "w.safetensors", state, quantize)
    found = read_tensors(tmp_path / "w.safetensors")
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tensor.shape for name, tensor in state.items()
    }
    assert found["ids"].dtype == torch.int64
    assert torch.equal(found["ids"], state["ids"])
    assert torch.equal(found["small.weight"], state["small.weight"])
    for name in set(state) - {"ids"}:
        assert found[name].dtype == torch.float32
        error = (found[name] - state[name]).norm() / state[name].norm()
        assert error < (0.1 if name == FOUR_BIT[0] else 0.01)


def test_a_quantised_file_is_small_and_a_broken_one_is_told(tmp_path: Path) -> None:
    state = {FOUR_BIT[1]: torch.randn(1000, 64)}
    for quantize, most in ((True, 45_000), (False, 260_000)):
        write_tensors(tmp_path / "w.safetensors", state, quantize)
        assert (tmp_path / "w.safetensors").stat().st_size < most
    (tmp_path / "w.safetensors").write_bytes(b"\x08")
    with pytest.raises(PairsiftError, match=r"w\.safetensors: cannot read the weights"):
        read_tensors(tmp_path / "w.safetensors")
    with pytest.raises(PairsiftError, match="gone: cannot read the weights"):
        read_tensors(tmp_path / "gone")
