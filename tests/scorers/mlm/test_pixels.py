"""Pixels are normalised as an image processor says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from pairsift.scorers.mlm.pixels import Normalise, describe_processor  # noqa: E402


def processor(**settings: Any) -> Any:
    """An image processor with these settings."""
    given = {
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.5], **settings,
    }  # fmt: skip
    return SimpleNamespace(**given, to_dict=lambda: given)


PIXELS = torch.tensor([0, 51, 255], dtype=torch.uint8)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [-5.0, -1.0, 1.4]),
        ({"do_normalize": False}, [0.0, 0.2, 1.0]),
        ({"do_rescale": False, "image_mean": [0, 1, 5], "image_std": [1, 2, 10]}, [0, 25, 25]),
        ({"do_rescale": False, "do_normalize": False}, [0, 51, 255]),
        ({"rescale_factor": 1 / 51, "do_normalize": False}, [0, 1, 5]),
    ],
)
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_each_channel_is_rescaled_and_shifted(
    settings: dict[str, Any], expected: list[float], dim: int
) -> None:
    shape = [1, 1, 1]
    shape[dim] = 3
    normalise = Normalise(processor(**settings), dim)
    found = normalise(PIXELS.view(shape), torch.float32)
    assert found.shape == tuple(shape)
    torch.testing.assert_close(found.flatten(), torch.tensor(expected, dtype=torch.float32))


def test_the_wanted_type_is_made_of_exact_numbers() -> None:
    exact = Normalise(processor(), 0)(PIXELS, torch.float32)
    assert torch.equal(Normalise(processor(), 0)(PIXELS, torch.bfloat16), exact.bfloat16())


def test_the_description_changes_with_the_settings() -> None:
    first = describe_processor(processor())
    assert first.startswith("SimpleNamespace:")
    assert first == describe_processor(processor())
    assert first != describe_processor(processor(rescale_factor=1))
