"""Make captions to annotate, from good ones to bad ones, out of real captions.

==============  ==================================================================================
kind            what it is
==============  ==================================================================================
own             a caption of the image
near            a caption of a similar image; each further one comes from a larger set of images
random          a caption of one of the less similar three quarters of the images
swap_*          one word replaced: object, person, attribute, count, action or relation
detail_true     a caption with a detail of another caption of the same image
detail_false    a caption with a detail of another image
named           a caption with an invented name, place, date or occasion that no image shows
brief, vague    the opening noun phrase; a broader term alone
*               a corruption of the text: truncated, shuffled, repeated, keywords, typos, shouted,
                wrapped
alt_text        a real alt text of some web page
boilerplate     "click to enlarge" and its like
file_name       IMG_1234.jpg and its like
order           a caption with an instruction to the model that annotates, or that instruction alone
==============  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.teach import edits
from pairsift.teach.edits import Random
from pairsift.teach.embed import Vectors
from pairsift.teach.items import Item
from pairsift.teach.lexicon import SWAPS, words

DEFAULT_PLAN: Mapping[str, int] = {
    "own": 5,
    "near": 4,
    "random": 2,
    "swap": 4,
    "detail": 2,
    "named": 1,
    "brief": 1,
    "vague": 1,
    "corrupt": 3,
    "alt_text": 1,
    "boilerplate": 1,
    "file_name": 1,
    "order": 1,
}
"""How many candidates of each kind are made per image; `corrupt` draws one of the corruptions."""

GIVEN_PLAN: Mapping[str, int] = {"own": 1}
"""The plan for pairs that are annotated as they are."""

# The n-th `near` candidate comes from this many of the most similar images.
_CIRCLES = (6, 40, 200, 800)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A caption to annotate with an image, and how it was made.

    Attributes:
        image: index of the item whose image the caption is annotated with.
        caption: the text.
        kind: see the table above.
        base: the caption that it was made from, unchanged; None if there is none.
        source: number of `base` among the image's own captions; None if it is not one of them.
        kept: share of the content of `base` that is left in the caption, 0..1.
        added: 1 if true words were added, -1 if false ones were, 0 if none.
    """

    image: int
    caption: str
    kind: str
    base: str | None = None
    source: int | None = None
    kept: float = 1.0
    added: int = 0


@dataclass(slots=True)
class CandidateMaker:
    """Makes the candidate captions of every item.

    Args:
        items: images with their captions; at least two for `near`, `random` and `detail_false`.
        plan: how many candidates of which kind.
        means: unit mean of the caption embeddings of each item, shape (n, d). `near` needs it; with
            it, `random` leaves out the most similar images.
        alt_texts: real alt texts; without them, no `alt_text` candidates are made.
        seed: an item's candidates depend only on the seed and on the item's position.
    """

    items: Sequence[Item]
    plan: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_PLAN))
    means: Vectors | None = None
    alt_texts: Sequence[str] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.plan if kind not in DEFAULT_PLAN]
        if unknown:
            raise PairsiftError(
                f"unknown kind of candidate {unknown[0]!r}; choose from {', '.join(DEFAULT_PLAN)}"
            )
        if self.plan.get("near") and self.means is None:
            raise PairsiftError("`near` candidates need caption embeddings")

    def __iter__(self) -> Iterator[Candidate]:
        for index in range(len(self.items)):
            yield from self.of(index)

    def of(self, index: int) -> list[Candidate]:
        """Return the candidates of one item, without repeated captions."""
        rng = np.random.default_rng([self.seed, index])
        seen: set[str] = set()
        found = []
        for candidate in self._all(index, rng):
            if candidate.caption not in seen and candidate.caption.strip():
                seen.add(candidate.caption)
                found.append(candidate)
        return found

    def _all(self, index: int, rng: Random) -> Iterator[Candidate]:
        plan, own = self.plan, self.items[index].captions
        others = self._by_similarity(index, rng)
        for number in range(min(plan.get("own", 0), len(own))):
            text = edits.restyle(own[number], rng) if len(plan) > 1 else own[number]
            yield Candidate(index, text, "own", own[number], number)
        if len(others):
            for place in range(plan.get("near", 0)):
                circle = _CIRCLES[min(place, len(_CIRCLES) - 1)]
                start = min(
                    _CIRCLES[place - 1] if 0 < place < len(_CIRCLES) else 0, len(others) // 2
                )
                end = max(start + 1, min(circle, len(others)))
                yield self._of_other(index, int(others[rng.integers(start, end)]), "near", rng)
            for _ in range(plan.get("random", 0)):
                stranger = self._stranger(others, rng)
                yield self._of_other(index, stranger, "random", rng)
        yield from self._swaps(index, plan.get("swap", 0), rng)
        yield from self._details(index, plan.get("detail", 0), others, rng)
        yield from self._named(index, plan.get("named", 0), others, rng)
        yield from self._plain(index, rng)
        yield from self._corruptions(index, plan.get("corrupt", 0), others, rng)
        yield from self._worthless(index, others, rng)
        for _ in range(plan.get("order", 0)):
            yield self._order(index, others, rng)

    def _by_similarity(self, index: int, rng: Random) -> np.ndarray:
        """Return the other items, the most similar first; shuffled if there are no embeddings."""
        if self.means is None:
            order = rng.permutation(len(self.items))
        else:
            order = np.argsort(-(self.means @ self.means[index]), kind="stable")
        others: np.ndarray = order[order != index]
        return others

    def _stranger(self, others: np.ndarray, rng: Random) -> int:
        return int(others[rng.integers(len(others) // 4, len(others))])

    def _of_other(self, index: int, other: int, kind: str, rng: Random) -> Candidate:
        text = edits.pick(self.items[other].captions, rng)
        return Candidate(index, edits.restyle(text, rng), kind, text)

    def _pick_own(self, index: int, rng: Random) -> tuple[int, str]:
        own = self.items[index].captions
        number = int(rng.integers(len(own)))
        return number, own[number]

    def _said(self, index: int) -> set[str]:
        return {word for text in self.items[index].captions for word in words(text)}

    def _swaps(self, index: int, wanted: int, rng: Random) -> Iterator[Candidate]:
        if not wanted:
            return
        said = self._said(index)
        # Objects and attributes are listed twice, because most wrong captions get these wrong.
        kinds = [*SWAPS, "object", "attribute"]
        made = 0
        for place in rng.permutation(len(kinds)):
            number, text = self._pick_own(index, rng)
            wrong = edits.swap(text, kinds[place], said, rng)
            if wrong is not None and made < wanted:
                made += 1
                styled = edits.restyle(wrong, rng)
                yield Candidate(index, styled, f"swap_{kinds[place]}", text, number)

    def _details(
        self, index: int, wanted: int, others: np.ndarray, rng: Random
    ) -> Iterator[Candidate]:
        own = self.items[index].captions
        for turn in range(wanted):
            number, text = self._pick_own(index, rng)
            true = turn % 2 == 0
            if true and len(own) > 1:
                giver = own[(number + 1 + int(rng.integers(len(own) - 1))) % len(own)]
            elif not true and len(others):
                giver = edits.pick(self.items[self._stranger(others, rng)].captions, rng)
            else:
                continue
            phrase = edits.detail_phrase(giver)
            if phrase and phrase not in text.lower():
                longer = edits.restyle(edits.append_detail(text, phrase), rng)
                kind = "detail_true" if true else "detail_false"
                yield Candidate(index, longer, kind, text, number, added=1 if true else -1)

    def _named(
        self, index: int, wanted: int, others: np.ndarray, rng: Random
    ) -> Iterator[Candidate]:
        for _ in range(wanted):
            number: int | None
            number, text = self._pick_own(index, rng)
            if len(others) and rng.random() < 0.3:  # knowledge about another image does not count
                other = self._stranger(others, rng)
                number, text = None, edits.pick(self.items[other].captions, rng)
            longer = edits.restyle(edits.add_knowledge(text, rng), rng)
            yield Candidate(index, longer, "named", text, number)

    def _plain(self, index: int, rng: Random) -> Iterator[Candidate]:
        own = self.items[index].captions
        for _ in range(self.plan.get("brief", 0)):
            for number in rng.permutation(len(own)):
                opening = edits.brief(own[number])
                if opening is not None:
                    text = edits.restyle(opening, rng)
                    yield Candidate(index, text, "brief", own[number], int(number), 0.5)
                    break
        for _ in range(self.plan.get("vague", 0)):
            broad = edits.vague(own, rng)
            if broad is not None:
                yield Candidate(index, edits.restyle(broad, rng), "vague")

    def _corruptions(
        self, index: int, wanted: int, others: np.ndarray, rng: Random
    ) -> Iterator[Candidate]:
        kinds = list(edits.CORRUPTIONS)
        for place in rng.permutation(len(kinds))[:wanted]:
            number: int | None
            number, text = self._pick_own(index, rng)
            if (
                len(others) and rng.random() < 0.25
            ):  # text quality does not depend on whether the text is true
                number, text = None, edits.pick(self.items[int(_choice(others, rng))].captions, rng)
            bad, kept = edits.corrupt(text, kinds[place], rng)
            yield Candidate(index, bad, kinds[place], text, number, kept)

    def _worthless(self, index: int, others: np.ndarray, rng: Random) -> Iterator[Candidate]:
        for _ in range(self.plan.get("alt_text", 0) if self.alt_texts else 0):
            text = edits.pick(self.alt_texts, rng)
            yield Candidate(index, text, "alt_text", text)
        for _ in range(self.plan.get("boilerplate", 0)):
            text = edits.pick(edits.BOILERPLATE, rng)
            text = text.capitalize() if rng.random() < 0.5 else text
            yield Candidate(index, text, "boilerplate")
        for _ in range(self.plan.get("file_name", 0)):
            _, text = self._pick_own(index, rng)
            if len(others) and rng.random() < 0.7:
                text = edits.pick(self.items[self._stranger(others, rng)].captions, rng)
            yield Candidate(index, edits.file_name(text, rng), "file_name")

    def _order(self, index: int, others: np.ndarray, rng: Random) -> Candidate:
        if rng.random() < 0.15:
            return Candidate(index, edits.order(rng), "order", kept=0.0)
        number: int | None
        number, text = self._pick_own(index, rng)
        if len(others) and rng.random() < 0.7:
            near = others[: max(1, min(100, len(others)))]
            image = int(_choice(near, rng)) if rng.random() < 0.4 else self._stranger(others, rng)
            number, text = None, edits.pick(self.items[image].captions, rng)
        joined = edits.with_order(edits.restyle(text, rng), rng)
        return Candidate(index, joined, "order", text, number)


def _choice(options: np.ndarray, rng: Random) -> int:
    """Draw one element of an array."""
    return int(options[rng.integers(len(options))])


def parse_plan(text: str | None, default: Mapping[str, int]) -> dict[str, int]:
    """Read a plan such as `own=1,near=4`; None gives the default.

    Raises:
        PairsiftError: the text has another form.
    """
    if text is None:
        return dict(default)
    plan = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        kind, _, count = entry.partition("=")
        if not (count or "1").isdecimal():
            raise PairsiftError(
                f"--candidates {entry!r}: write kind=count, for example own=1,near=4"
            )
        plan[kind.strip()] = int(count or 1)
    return plan
