"""The ways to read a prompt: one model, the same numbers, the way in the fingerprint."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.families.generic import CacheBackbone
from pairsift.scorers.mlm.hub import WAYS
from pairsift.scorers.mlm.load import load_mlm_scorer
from tests.models.sweep import save
from tests.scorers.mlm.checkpoints import make_pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("lighton_ocr")
    save("lighton_ocr", made, torchvision=False)
    return made


@pytest.mark.slow
def test_all_ways_give_the_same_numbers(folder):
    pairs = make_pairs(3, seed=5)
    found = {way: load_mlm_scorer(folder, metrics="itm,su", way=way) for way in WAYS}
    expected = found["whole"].distributions(pairs)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    for way, scorer in found.items():
        np.testing.assert_allclose(scorer.distributions(pairs), expected, atol=1e-5, err_msg=way)
        assert scorer.fingerprint.get("way") == (None if way == "tree" else way)
        assert set(scorer.score(pairs)["status"].to_pylist()) == {"ok"}


@pytest.mark.parametrize("way", ["cache", "prompt", "whole"])
def test_answers_are_written_in_any_way(folder, way):
    [pair] = make_pairs(1, seed=6)
    expected = load_mlm_scorer(folder, metrics="itm", way="tree").answers(pair, max_tokens=4)
    assert load_mlm_scorer(folder, metrics="itm", way=way).answers(pair, max_tokens=4) == expected


def test_captions_of_one_image_share_its_reading(folder):
    from dataclasses import replace

    scorer = load_mlm_scorer(folder, metrics="itm", way="cache")
    [one] = make_pairs(1, seed=7, words=(20, 21))
    pairs = [replace(one, key=str(n), caption=f"{n} {one.caption}") for n in range(3)]
    alone = np.concatenate([scorer.distributions([pair]) for pair in pairs])
    np.testing.assert_allclose(scorer.distributions(pairs), alone, atol=1e-5)


@pytest.mark.slow
def test_a_way_that_does_not_hold_is_not_taken(folder, monkeypatch):
    """A cache that forgets: the model is then read prompt by prompt."""
    begin = CacheBackbone.begin

    def forget(self, prompt):
        read = begin(self, prompt)
        for layer in read.cache.layers:
            layer.keys = torch.zeros_like(layer.keys)
        return read

    monkeypatch.setattr(CacheBackbone, "begin", forget)
    monkeypatch.setattr("pairsift.scorers.mlm.hub.MODEL_TYPES", ())  # as if of no known family
    assert load_mlm_scorer(folder).backbone.way == "prompt"
    with pytest.raises(PairsiftError, match="in the way 'cache', this model gives other numbers"):
        load_mlm_scorer(folder, way="cache")


def test_tree_is_refused_for_a_model_it_is_not_for(folder, monkeypatch):
    monkeypatch.setattr("pairsift.scorers.mlm.hub.MODEL_TYPES", ())
    with pytest.raises(PairsiftError, match="not read in the way 'tree'"):
        load_mlm_scorer(folder, way="tree")


def test_a_bad_pair_costs_one_row(folder):
    from pairsift import Pair

    pairs = make_pairs(3)
    pairs[1] = Pair(key="bad", image=b"no image", caption="a dog")
    table = load_mlm_scorer(folder, way="cache").score(pairs)
    assert table["status"].to_pylist() == ["ok", "image_corrupt", "ok"]
