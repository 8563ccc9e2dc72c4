"""Read PASCAL-50S in its published form: two MATLAB files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.evaluate.judgments import Preferences

PAIRS, VOTES = "pair_pascal.mat", "consensus_pascal.mat"
CATEGORIES = {1: "HC", 2: "HI", 3: "HM", 4: "MM"}
"""Two right human captions; a human one of another image; human and machine; two machines."""

_VOTES_A_PAIR = 48


def read_pascal_folder(path: str) -> Preferences:
    """Read `pair_pascal.mat` (the pairs) and `consensus_pascal.mat` (48 votes per pair).

    A vote is a triplet: a reference, the two captions, and 1 or -1 for the one nearer to the
    reference.

    Raises:
        PairsiftError: the files are missing, or do not belong together.
    """
    folder = Path(path)
    pairs, votes = _load(folder / PAIRS, "new_input"), _load(folder / VOTES, "triplets")
    categories = _load(folder / PAIRS, "category").ravel()
    entries, triplets = pairs.ravel(), votes.ravel()
    if len(triplets) != _VOTES_A_PAIR * len(entries) or len(categories) != len(entries):
        raise PairsiftError(
            f"{folder}: {len(entries)} pairs, {len(categories)} categories and {len(triplets)} "
            f"votes do not fit together ({_VOTES_A_PAIR} votes a pair)"
        )
    images, first, second, preferred = [], [], [], []
    for index, entry in enumerate(entries):
        image, left, right = map(_text, _parts(entry))
        images.append(image)
        first.append(left)
        second.append(right)
        lead = 0
        for triplet in triplets[index * _VOTES_A_PAIR : (index + 1) * _VOTES_A_PAIR]:
            _, b, c, vote = _parts(triplet)
            winner = _text(b) if int(np.ravel(_unwrap(vote))[0]) == 1 else _text(c)
            lead += (winner == left) - (winner == right)
        preferred.append(0.5 + 0.5 * np.sign(lead))
    return Preferences(
        images,
        first,
        second,
        np.array(preferred, np.float64),
        [CATEGORIES.get(int(category), str(category)) for category in categories],
    )


def _load(path: Path, name: str) -> Any:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise PairsiftError(
            "PASCAL-50S's .mat files need SciPy: pip install 'pairsift[evaluate]'"
        ) from error
    try:
        content = loadmat(os.fspath(path))
    except Exception as error:  # of many types where the file is damaged
        raise PairsiftError(
            f"cannot read {path}: {error}; give the folder that holds {PAIRS} and {VOTES}, or a "
            "CSV with image, caption_a, caption_b, votes_a, votes_b, category"
        ) from error
    if name not in content:
        raise PairsiftError(f"{path} has no variable {name!r}")
    return content[name]


def _parts(entry: Any) -> list[Any]:
    """Return the members of a struct, or of a cell array of any shape."""
    return list(entry.ravel()) if isinstance(entry, np.ndarray) else list(entry)


def _unwrap(value: Any) -> Any:
    """Return the content of nested MATLAB cells."""
    while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.ravel()[0]
    return value


def _text(value: Any) -> str:
    return str(np.ravel(_unwrap(value))[0]).strip()
