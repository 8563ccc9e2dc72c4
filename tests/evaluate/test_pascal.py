"""PASCAL-50S in its published files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pairsift.errors import PairsiftError
from pairsift.evaluate.judgments import Preferences
from pairsift.evaluate.pascal import PAIRS, VOTES, read_pascal_folder
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


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    from scipy.io import loadmat, savemat

    _vote_files(tmp_path, as_cells=True)
    votes = loadmat(tmp_path / VOTES)["triplets"]
    savemat(tmp_path / VOTES, {"triplets": votes[:, :-1]})
    with pytest.raises(PairsiftError, match="3 pairs, 3 categories and 143 votes do not fit"):
        read_pascal_folder(str(tmp_path))
    savemat(tmp_path / VOTES, {"votes": votes})
    with pytest.raises(PairsiftError, match="consensus_pascal.mat has no variable 'triplets'"):
        read_pascal_folder(str(tmp_path))


@pytest.mark.parametrize("end", [None, 0, 20, 127, 128, 130, 300, 700, -1])
def test_a_file_that_is_missing_or_cut_off_is_named(tmp_path: Path, end: int | None) -> None:
    pytest.importorskip("scipy")
    _vote_files(tmp_path, as_cells=True)
    whole = (tmp_path / PAIRS).read_bytes()
    (tmp_path / PAIRS).unlink()
    if end is not None:
        (tmp_path / PAIRS).write_bytes(whole[:end])
    with pytest.raises(PairsiftError, match="pair_pascal.mat"):
        read_pascal_folder(str(tmp_path))
