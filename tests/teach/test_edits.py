"""Edited captions are wrong, or bad, in the way they are meant to be."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from pairsift.teach import edits
from pairsift.teach.lexicon import SWAPS, stem, words

OWN = "A young man in a red shirt is riding a bicycle down the street behind two dogs ."


@pytest.mark.parametrize("kind", list(SWAPS))
def test_a_swap_changes_one_word_into_another_of_its_group(kind: str) -> None:
    seen = set()
    for seed in range(40):
        wrong = edits.swap(OWN, kind, set(), np.random.default_rng(seed))
        assert wrong is not None
        assert wrong != OWN
        gone = set(words(OWN)) - set(words(wrong)) - {"a", "an"}
        new = set(words(wrong)) - set(words(OWN)) - {"a", "an"}
        group = next(g for g in SWAPS[kind] if new <= {w for entry in g for w in entry.split()})
        assert gone <= {word for entry in group for word in entry.split()}
        seen |= new
    assert len(seen) > 1 or kind == "relation"


def test_a_swap_never_puts_in_what_may_be_true() -> None:
    banned = {"cat", "horse", "cow"}
    for seed in range(60):
        wrong = edits.swap("a dog", "object", banned, np.random.default_rng(seed))
        assert wrong is not None
        assert not banned & set(words(wrong))
    assert edits.swap("a nice day", "object", set(), np.random.default_rng(0)) is None


def test_articles_and_capitals_do_not_give_a_swap_away() -> None:
    found = {edits.swap("A dog sits", "object", set(), np.random.default_rng(s)) for s in range(99)}
    assert "An elephant sits" in found
    assert "A cat sits" in found
    assert not any(text and text.startswith("A elephant") for text in found)
    upper = {
        edits.swap("Dog on a lawn", "object", set(), np.random.default_rng(s)) for s in range(9)
    }
    assert all(text and text[0].isupper() for text in upper)


@pytest.mark.parametrize("kind", list(edits.CORRUPTIONS))
def test_a_corruption_spoils_the_text(kind: str) -> None:
    for seed in range(30):
        bad, kept = edits.corrupt(OWN, kind, np.random.default_rng(seed))
        assert bad != edits.strip_end(OWN)
        assert bad.strip()
        assert 0 < kept <= 1
        if kind == "shuffled":
            assert sorted(bad.split()) == sorted(edits.strip_end(OWN).split())
        if kind == "truncated":
            assert len(words(bad)) < len(words(OWN))
        if kind == "wrapped":
            assert edits.strip_end(OWN) in bad


@pytest.mark.parametrize("text", ["a", "dog", "...", "Ein Hund läuft.", "犬が走る", "x " * 300])
def test_odd_captions_survive_everything(text: str) -> None:
    rng = np.random.default_rng(1)
    for kind in edits.CORRUPTIONS:
        assert edits.corrupt(text, kind, rng)[0]
    for kind in SWAPS:
        edits.swap(text, kind, set(), rng)
    assert edits.restyle(text, rng)
    assert edits.file_name(text, rng)
    edits.brief(text)
    edits.detail_phrase(text)


def test_pieces_of_captions() -> None:
    assert edits.brief(OWN) == "A young man"
    assert edits.detail_phrase(OWN) == "behind two dogs"
    assert edits.detail_phrase("A man stands, wearing a red shirt.") == "wearing a red shirt"
    assert edits.detail_phrase("A man stands") is None
    assert edits.append_detail("A dog runs .", "on the beach") == "A dog runs on the beach"
    found = {edits.vague([OWN], np.random.default_rng(seed)) for seed in range(40)}
    assert "a photo of an animal" in found
    assert edits.vague(["nothing to see"], np.random.default_rng(0)) is None
    assert stem("running") == stem("runs") == stem("run")


def test_the_same_seed_gives_the_same_edit() -> None:
    for kind in edits.CORRUPTIONS:
        one, two = (edits.corrupt(OWN, kind, np.random.default_rng(7)) for _ in range(2))
        assert one == two


def test_orders_vary_and_stand_before_or_after_the_caption() -> None:
    rng = np.random.default_rng(3)
    texts = [edits.with_order("A dog runs", rng) for _ in range(400)]
    assert len(set(texts)) > 250
    assert all(text.startswith("A dog runs ") or text.endswith(" A dog runs") for text in texts)
    assert 0.6 < np.mean([text.startswith("A dog runs ") for text in texts]) < 0.8


def test_no_order_is_one_that_obedience_is_measured_by() -> None:
    path = Path(__file__).parents[2] / "training" / "orders.py"
    measured = {text.replace("{}", "").strip() for text in runpy.run_path(str(path))["ORDERS"]}
    assert len(measured) == 20
    rng = np.random.default_rng(4)
    assert measured.isdisjoint(edits.order(rng) for _ in range(20_000))
