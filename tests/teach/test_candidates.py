"""Captions to annotate, made of real ones."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from pairsift.errors import PairsiftError
from pairsift.teach.candidates import (
    DEFAULT_PLAN,
    GIVEN_PLAN,
    Candidate,
    CandidateMaker,
    parse_plan,
)
from pairsift.teach.embed import HashingVectorizer
from pairsift.teach.items import Item
from pairsift.teach.run import caption_means
from tests.teach.scenes import ITEMS

MEANS = caption_means(ITEMS, HashingVectorizer())


def made(index: int, plan: dict[str, int], seeds: int = 1, **options: Any) -> list[Candidate]:
    """Candidates of one item by several seeds."""
    makers = [CandidateMaker(ITEMS, plan, MEANS, seed=seed, **options) for seed in range(seeds)]
    return [candidate for maker in makers for candidate in maker.of(index)]


def test_candidates_depend_on_seed_and_place_alone() -> None:
    one = CandidateMaker(ITEMS, DEFAULT_PLAN, MEANS, seed=3)
    assert list(one) == list(CandidateMaker(ITEMS, DEFAULT_PLAN, MEANS, seed=3))
    assert list(one) != list(CandidateMaker(ITEMS, DEFAULT_PLAN, MEANS, seed=4))
    assert one.of(2) == [candidate for candidate in one if candidate.image == 2]
    captions = [(candidate.image, candidate.caption) for candidate in one]
    assert len(set(captions)) == len(captions)
    assert Counter(candidate.image for candidate in one).most_common()[-1][1] > 15


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("own=2, near", {"own": 2, "near": 1}),
        (None, dict(GIVEN_PLAN)),
        ("", {}),
        (" own = 3 ,, ", None),
        ("own=3,", {"own": 3}),
        ("own=0", {"own": 0}),
    ],
)
def test_a_plan_as_text(text: str | None, plan: dict[str, int] | None) -> None:
    if plan is None:
        with pytest.raises(PairsiftError, match="write kind=count"):
            parse_plan(text, GIVEN_PLAN)
    else:
        assert parse_plan(text, GIVEN_PLAN) == plan


@pytest.mark.parametrize("text", ["own=x", "own=-1", "own=1.5", "own=\u00b2", "own=1=2"])
def test_counts_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(PairsiftError, match="write kind=count, for example own=1,near=4"):
        parse_plan(text, DEFAULT_PLAN)


def test_plans_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(PairsiftError, match="unknown kind of candidate 'mine'; choose from own"):
        CandidateMaker(ITEMS, {"mine": 1})
    with pytest.raises(PairsiftError, match="`near` candidates need caption embeddings"):
        CandidateMaker(ITEMS, {"near": 1})
    CandidateMaker(ITEMS, {"near": 0})


def test_a_caption_comes_once_for_each_image() -> None:
    for index in range(len(ITEMS)):
        captions = [candidate.caption for candidate in made(index, dict(DEFAULT_PLAN))]
        assert len(set(captions)) == len(captions)
        assert all(caption.strip() for caption in captions)


def test_given_captions_are_not_restyled() -> None:
    for index, item in enumerate(ITEMS):
        assert [c.caption for c in made(index, {"own": 5})] == list(item.captions)


def test_every_candidate_tells_what_it_was_made_of() -> None:
    for index, item in enumerate(ITEMS):
        for candidate in made(index, dict(DEFAULT_PLAN), 10, alt_texts=["Buy cheap flights"]):
            assert candidate.image == index
            assert 0 <= candidate.kept <= 1
            if candidate.source is not None:
                assert item.captions[candidate.source] == candidate.base
            if candidate.kind in ("near", "random"):
                assert candidate.base not in item.captions


def test_details_are_true_if_they_are_of_the_image() -> None:
    found = made(0, {"detail": 2}, 30)
    assert {(candidate.kind, candidate.added) for candidate in found} == {
        ("detail_true", 1), ("detail_false", -1),
    }  # fmt: skip
    assert all(len(c.caption) > len(c.base or "") for c in found)


def test_near_candidates_are_of_more_similar_images_than_random_ones() -> None:
    items = [Item(f"{n}.jpg", (f"caption {n}", f"caption {n} again")) for n in range(41)]
    angles = np.linspace(0, np.pi, len(items))
    means = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    def numbers(plan: dict[str, int]) -> list[int]:
        makers = [CandidateMaker(items, plan, means, seed=seed) for seed in range(40)]
        return [int((c.base or "").split()[1]) for maker in makers for c in maker.of(0)]

    assert set(numbers({"near": 1})) == set(range(1, 7))  # the six most similar ones
    assert set(numbers({"near": 2})) - set(range(1, 7)) <= set(range(7, 41))
    assert min(numbers({"random": 3})) == 11  # none of the first quarter


@pytest.mark.parametrize("count", [1, 2])
def test_with_few_images_what_needs_others_is_left_out_or_taken_of_them(count: int) -> None:
    maker = CandidateMaker(ITEMS[:count], DEFAULT_PLAN, MEANS[:count])
    kinds = {candidate.kind for candidate in maker}
    assert "own" in kinds
    assert ("random" in kinds) is (count > 1)


def test_without_alt_texts_there_are_none() -> None:
    assert made(0, {"alt_text": 3}) == []
    (found,) = made(0, {"alt_text": 1}, alt_texts=["Buy cheap flights"])
    assert (found.caption, found.base, found.source) == ("Buy cheap flights",) * 2 + (None,)
