"""Captions become tokens of two vocabularies, without torch."""

from __future__ import annotations

import pickle
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairsift.scorers.mlm.tiny.inputs import CaptionTokenizer, TinyTransform

FOLDER = Path(str(resources.files("pairsift"))) / "assets" / "pairsift-tiny"


@pytest.fixture(scope="module")
def tokenize() -> CaptionTokenizer:
    return CaptionTokenizer(FOLDER, 12)


def test_spaces_around_a_caption_do_not_count(tokenize: CaptionTokenizer) -> None:
    assert tokenize("  a dog\n") == tokenize("a dog")
    assert tokenize("a dog").ids != tokenize("a  dog").ids


def test_a_caption_that_is_too_long_is_cut_and_marked(tokenize: CaptionTokenizer) -> None:
    words = "one two three four five six seven eight nine ten eleven twelve thirteen"
    short = tokenize("one two three")
    long = tokenize(words)
    assert (short.truncated, long.truncated) == (False, True)
    assert len(long.ids) == 12
    assert len(long.sentence_ids) == 12
    assert long.ids[: len(short.ids)] == short.ids


def test_a_caption_of_a_million_characters_is_read_only_as_far_as_it_counts(
    tokenize: CaptionTokenizer,
) -> None:
    huge = tokenize("dog " * 250_000)
    assert huge.truncated
    assert huge.ids == tokenize("dog " * 50).ids


@pytest.mark.parametrize("caption", ["", " ", "\u72ac", "\U0001f415", "\0", "\u202edog"])
def test_any_text_has_tokens_of_the_sentence_encoder(
    tokenize: CaptionTokenizer, caption: str
) -> None:
    found = tokenize(caption)
    assert len(found.sentence_ids) >= 2  # its beginning and end
    assert len(found.ids) <= 12
    assert not found.truncated


def test_each_process_reads_the_files_itself(tokenize: CaptionTokenizer) -> None:
    expected = tokenize("a dog on the beach")
    data = pickle.dumps(tokenize)
    assert len(data) < 1000
    assert pickle.loads(data)("a dog on the beach") == expected


def test_a_pair_becomes_pixels_and_tokens(tokenize: CaptionTokenizer) -> None:
    pixels, caption = TinyTransform(FOLDER, 12, 224)(Image.new("RGB", (30, 90), "teal"), "a dog")
    assert pixels.shape == (224, 224, 3)
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[0, 128, 128]]
    assert caption == tokenize("a dog")
