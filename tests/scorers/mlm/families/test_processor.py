"""Arrays with one entry a token, tensors and arrays, and ids among ids."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pairsift.scorers.mlm.chat import UNWRITTEN  # noqa: E402
from pairsift.scorers.mlm.families.processor import (  # noqa: E402
    find_ids,
    spread,
    to_arrays,
    to_tensors,
    trial_text,
)


@pytest.mark.parametrize(
    ("ids", "part", "place"),
    [
        ([1, 2, 3, 2, 3], [2, 3], 3),  # the last one
        ([1, 2, 3], [1, 2, 3], 0),
        ([1, 2, 3], [3, 4], -1),
        ([1, 2], [1, 2, 3], -1),
        ([1, 2], [], 2),
        ([], [1], -1),
    ],
)
def test_where_ids_stand_among_others(ids: list[int], part: list[int], place: int) -> None:
    assert find_ids(ids, part) == place
    assert find_ids(np.array(ids), np.array(part, dtype=np.int64)) == place


@pytest.mark.parametrize(
    ("length", "at", "expected"),
    [
        (6, 2, [7, 7, 1, 2, 9, 9]),
        (4, 2, [7, 7, 1, 2]),
        (4, 0, [1, 2, 9, 9]),
        (2, 0, [1, 2]),
    ],
)
def test_what_is_kept_of_each_token_is_made_for_any_prompt(
    length: int, at: int, expected: list[int]
) -> None:
    kept = np.array([7, 1, 2, 9])  # before, at and behind an image of two tokens
    assert spread(kept, length, at).tolist() == expected


def test_rows_of_several_numbers_are_spread_too() -> None:
    kept = np.arange(8).reshape(4, 2)
    assert spread(kept, 5, 1).tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [6, 7]]


def test_tensors_become_arrays_and_come_back_in_the_models_type() -> None:
    given = [torch.ones(2), [torch.arange(2)], (torch.tensor([True]),), "text", None]
    arrays = to_arrays(given)
    assert isinstance(arrays[0], np.ndarray)
    found = to_tensors(arrays, torch.device("cpu"), torch.bfloat16)
    assert found[0].dtype == torch.bfloat16
    assert found[1][0].dtype == torch.int64
    assert found[2][0].dtype == torch.bool
    assert found[3:] == ["text", None]


def test_an_array_that_cannot_be_written_to_is_copied() -> None:
    given = np.arange(3)
    given.flags.writeable = False
    found = to_tensors(given, torch.device("cpu"), torch.float32)
    found += 1
    assert given.tolist() == [0, 1, 2]


def test_words_stand_before_an_image_only_if_something_is_written_for_it() -> None:
    assert trial_text("<image>") == "a<image>aa"
    assert trial_text("") == "aa"
    assert trial_text(UNWRITTEN) == f"{UNWRITTEN}aa"
