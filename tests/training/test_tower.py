"""The tower that `training/tower.py` tunes, with drawn weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

import pairsift
from pairsift.scorers.mlm.lite import Lite2
from pairsift.scorers.mlm.tiny.config import UNSURE, TinyConfig
from pairsift.scorers.mlm.tiny.features import pool
from pairsift.scorers.mlm.tiny.model import TinyModel

sys.path.insert(0, str(Path(__file__).parents[2] / "training"))

from tower import FROZEN, Table, Tower, word_targets


def test_it_sees_what_the_encoder_sees_and_learns_behind_the_frozen_blocks() -> None:
    torch.manual_seed(0)
    encoder = Lite2()
    tower = Tower(encoder, 384, 10)
    pixels = torch.randn(2, 3, 96, 96)
    pooled = tower.pooled(pixels)
    with torch.no_grad():
        torch.testing.assert_close(pooled, pool(encoder(pixels)[2]), rtol=1e-3, atol=1e-4)
    tower(pooled)[0].sum().backward()
    for number, block in enumerate(encoder.blocks):
        assert (block.project.weight.grad is not None) == (number >= FROZEN), number


def test_the_model_finds_the_words_that_the_tower_was_taught() -> None:
    texts = ["A red dog is running on the beach.", "Two dogs, one red; a dog", "Snow", "the red of"]
    count = 100
    file = Path(pairsift.__file__).parent / "assets/pairsift-tiny/sentence_tokenizer.json"
    table = Table(
        domain=np.full(count, "web"),
        dev=np.zeros(count, bool),
        own=[np.array([1, 3] if n < 24 else [0]) for n in range(count)],
        beyond=[],
        wrong=np.full(count, -1),
        wrong_kind=np.full(count, ""),
        texts=texts,
        center=np.zeros(384),
        raw=torch.zeros(4, 384),
        vectors=torch.zeros(4, 384),
        pixels=np.zeros((count, 1, 1, 3), np.uint8),
        pairs={},
    )
    words = word_targets(table, file)
    tokenizer = Tokenizer.from_file(str(file))

    def named(keys: list[list[int]]) -> set[str]:
        return {" ".join(tokenizer.id_to_token(i) for i in key) for key in keys}

    assert named(words.pieces[:, None].tolist()) == {"two", "dogs", ",", "one", ";", "of"}
    beach = {"dog running", "running on", "on beach"}
    assert named(words.pairs.tolist()) == {"two dogs", "dogs one", "one red", "red dog", *beach}
    assert words.share.shape == (count, len(words.pieces) + len(words.pairs))

    config = TinyConfig(
        layers=1, words=9, said=len(words.pieces), said_pairs=len(words.pairs), sentence_layers=1
    )
    model = TinyModel(config)
    model.said_pieces, model.said_pairs = words.pieces, words.pairs
    model.said_skipped = words.skipped
    model.compute_constants()
    tokenizer.no_padding()
    for text, (pieces, pairs) in zip(texts, words.of, strict=True):
        ids = tokenizer.encode(text).ids
        padded = torch.tensor([[*ids, 0, 0]])
        found = model.caption_words(padded, torch.arange(len(ids) + 2)[None] < len(ids))[0]
        expected = torch.zeros(len(found))
        expected[pieces] = 1 / (len(pieces) + UNSURE)
        expected[len(words.pieces) + torch.tensor(pairs, dtype=torch.long)] = 1 / (
            len(pairs) + UNSURE
        )
        torch.testing.assert_close(found, expected)
