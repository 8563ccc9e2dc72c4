"""The frozen encoder's features: cells of a grid, a pooled vector, and maps."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pairsift.scorers.mlm.lite import Lite2, normalize  # noqa: E402
from pairsift.scorers.mlm.tiny.config import GRID_SIDE, GRID_WIDTH, POOLED_WIDTH  # noqa: E402
from pairsift.scorers.mlm.tiny.features import CPU_STEP, few, image_features, pool  # noqa: E402

SIDE = 96  # a multiple of the grid's side


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randint(
        0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_cells_hold_mean_and_contrast_of_their_pixels(pixels: torch.Tensor) -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        seen = image_features(Lite2().eval(), pixels)
    assert seen.grid.shape == (2, GRID_SIDE**2, GRID_WIDTH)
    cell = SIDE // GRID_SIDE
    row, column = 1, 4
    area = (slice(row * cell, (row + 1) * cell), slice(column * cell, (column + 1) * cell))
    colours = normalize(pixels)[0][:, area[0], area[1]].flatten(1)
    found = seen.grid[0, row * GRID_SIDE + column]
    torch.testing.assert_close(found[:3], colours.mean(1))
    torch.testing.assert_close(found[3:6], colours.std(1, correction=0), rtol=1e-3, atol=1e-3)


def test_one_colour_has_no_contrast() -> None:
    plain = torch.full((1, SIDE, SIDE, 3), 130, dtype=torch.uint8)
    with torch.inference_mode():
        seen = image_features(Lite2().eval(), plain)
    assert seen.grid.isfinite().all()
    assert seen.grid[0, :, 3:6].abs().max() < 1e-2


def test_features_of_an_image_do_not_depend_on_the_others(pixels: torch.Tensor) -> None:
    torch.manual_seed(0)
    encoder = Lite2().eval()
    with torch.inference_mode():
        together, alone = image_features(encoder, pixels), image_features(encoder, pixels[1:])
    torch.testing.assert_close(together.grid[1:], alone.grid)
    torch.testing.assert_close(together.pooled[1:], alone.pooled)
    assert together.pooled.shape == (2, POOLED_WIDTH)
    assert {stride: found.shape[1] for stride, found in together.maps.items()} == {8: 48, 16: 120}


def test_a_map_is_pooled_to_mean_and_maximum() -> None:
    final = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[-1.0, -1.0], [-1.0, 7.0]]]])
    assert pool(final).tolist() == [[3.0, 1.0, 6.0, 7.0]]


def test_only_a_cpu_splits_a_batch() -> None:
    pixels = torch.zeros(CPU_STEP + 1, 4, 4, 3, dtype=torch.uint8)
    assert [len(some) for some in few(pixels)] == [CPU_STEP, 1]
    assert [len(some) for some in few(pixels.to("meta"))] == [CPU_STEP + 1]
