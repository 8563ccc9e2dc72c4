"""Weights in eight and in four bits."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from pairsift.scorers.mlm.tiny.weights import (  # noqa: E402
    dequantize_groups,
    quantize_groups,
    quantize_rows,
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
