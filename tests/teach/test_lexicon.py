"""Words of captions."""

from __future__ import annotations

import pytest

from pairsift.teach.lexicon import SWAPS, content_words, stem, stems, words


def test_words_without_punctuation_and_stop_words() -> None:
    assert words("The dog's ball, RED!") == ["the", "dog's", "ball", "red"]
    assert content_words("A dog is on the beach at x") == ["dog", "beach"]


@pytest.mark.parametrize(
    "group", [("runs", "running", "run"), ("dogs", "dog"), ("beaches", "beach"), ("sit", "sitting")]
)
def test_forms_of_a_word_share_a_stem(group: tuple[str, ...]) -> None:
    assert len({stem(word) for word in group}) == 1
    assert stems(list(group)) == {stem(group[0])}


def test_short_words_keep_their_ending() -> None:
    assert stem("as") == "as"
    assert stem("bus") == "bus"


def test_what_may_be_swapped_is_never_another_form_of_itself() -> None:
    for kind, groups in SWAPS.items():
        for group in groups:
            assert len(set(group)) == len(group) > 1, kind
            assert all(word == word.strip().lower() for word in group)
