"""PASCAL-50S in its published files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pairsift.evaluate.judgments import Preferences
from pairsift.evaluate.protocols import Request, read_judgments


def _vote_files(folder: Path, as_cells: bool) -> None:
    """PASCAL-50S's two files: three pairs; votes 48:0 for the second, 30:18, and 24:24."""
    from scipy.io import savemat

    pairs = [("x.jpg", "one", "two"), ("x.jpg", "red", "blue"), ("y.jpg", "up", "down")]
    for_first = [0, 30, 24]
    new_input = np.empty((1, 3), object)
    triplets = np.empty((1, 144), object)
    for index, (image, first, second) in enumerate(pairs):
        new_input[0, index] = np.array([image, first, second + " "], object)
        for vote in range(48):
            wins = 1 if vote < for_first[index] else -1
            triplets[0, index * 48 + vote] = np.array(["a ref", first, second, wins], object)
    if not as_cells:  # as the original: arrays of structs
        new_input, triplets = _structs(new_input), _structs(triplets)
    categories = np.array([[1, 2, 4]])
    savemat(folder / "pair_pascal.mat", {"new_input": new_input, "category": categories})
    savemat(folder / "consensus_pascal.mat", {"triplets": triplets})


def _structs(cells: np.ndarray) -> np.ndarray:
    width = len(cells[0, 0])
    structs = np.empty(cells.shape, [(name, object) for name in "abcd"[:width]])
    for index in np.ndindex(cells.shape):
        structs[index] = tuple(cells[index])
    return structs


@pytest.mark.parametrize("as_cells", [True, False])
def test_pascal_from_the_authors_files(tmp_path: Path, as_cells: bool) -> None:
    pytest.importorskip("scipy")
    _vote_files(tmp_path, as_cells)
    protocol, found = read_judgments("pascal-50s", Request(str(tmp_path)))
    assert isinstance(found, Preferences)
    assert protocol.headline == "accuracy"
    assert found.images == ["x.jpg", "x.jpg", "y.jpg"]
    assert found.second == ["two", "blue", "down"]
    assert found.preferred.tolist() == [0, 1, 0.5]
    assert found.categories == ["HC", "HI", "MM"]
