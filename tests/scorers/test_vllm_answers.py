"""The distribution over 0..100, from what a server tells of single tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from pairsift.metrics import METRICS
from pairsift.scorers.vllm_answers import AnswerWalk, Spellings, Step

END = "<end>"
NUMBERS = Spellings(METRICS["itm"])


def walk_along(steps: Sequence[Step]) -> AnswerWalk:
    return AnswerWalk.along(steps, NUMBERS)


class Model:
    """Answers with a number by a known distribution, digit by digit; a server shows `shown`."""

    def __init__(self, p: np.ndarray, shown: int = 20) -> None:
        self.p, self.shown, self.asked = p, shown, 0

    def step(self, text: str) -> Step:
        self.asked += 1
        written = text.strip()
        mass = {END: 0.0}
        for number, chance in enumerate(self.p):
            if str(number).startswith(written):
                following = str(number)[len(written) : len(written) + 1] or END
                mass[following] = mass.get(following, 0.0) + chance
        total = sum(mass.values())
        best = sorted(((m / total, token) for token, m in mass.items() if m), reverse=True)
        told = [(token, math.log(chance)) for chance, token in best[: self.shown]]
        return Step(told[0][0], told)

    def answer(self) -> list[Step]:
        steps, text = [], ""
        while not steps or steps[-1].token != END:
            steps.append(self.step(text))
            text += steps[-1].token
        return steps


@pytest.mark.parametrize("seed", range(10))
def test_a_full_walk_gives_the_whole_distribution(seed: int) -> None:
    model = Model(np.random.default_rng(seed).dirichlet(np.full(101, 0.3)))
    walk = walk_along(model.answer())
    np.testing.assert_allclose(walk.finish(model.step, 0.0), model.p, atol=1e-12)


def test_a_tolerance_saves_requests_and_bounds_what_is_missing() -> None:
    p = np.random.default_rng(0).dirichlet(np.full(101, 0.3))
    exact, near = Model(p), Model(p)
    walk_along(exact.answer()).finish(exact.step, 0.0)
    found = walk_along(near.answer()).finish(near.step, 0.2)
    assert near.asked < exact.asked
    assert 0.8 <= found.sum() <= 1
    assert (found <= p + 1e-12).all()


def _step(*alternatives: tuple[str, float]) -> Step:
    told: Sequence[tuple[str, float]] = [(text, math.log(p)) for text, p in alternatives]
    return Step(alternatives[0][0], told)


def test_tokens_of_whole_numbers_need_one_step() -> None:
    walk = walk_along([_step(("85", 0.5), (" 90", 0.2), ("7", 0.1), ("101", 0.1), ("good", 0.1))])
    p, open_ = walk.distribution()
    assert walk.whole
    assert open_ == {}
    assert {int(n): round(float(p[n]), 9) for n in p.nonzero()[0]} == {7: 0.1, 85: 0.5, 90: 0.2}


def test_white_space_before_the_number_counts_by_its_probability() -> None:
    walk = walk_along(
        [_step((" ", 0.8), ("8", 0.2)), _step(("8", 0.5), ("9", 0.5)), _step((END, 1.0))]
    )
    assert walk.lead == " "
    p, open_ = walk.distribution()
    assert p[8] == pytest.approx(0.4)
    assert open_ == pytest.approx({"9": 0.4})


@pytest.mark.parametrize("token", ["०", "-5", "8.5", "ten", "²"])
def test_what_is_no_number_of_the_scale_has_no_mass(token: str) -> None:
    p, open_ = walk_along([_step((token, 0.9), ("x", 0.1))]).distribution()
    assert p.sum() == 0
    assert open_ == {}


def test_a_leading_zero_is_no_number() -> None:
    walk = walk_along([_step(("0", 1.0)), _step(("7", 0.6), (END, 0.4))])
    assert walk.distribution()[0][7] == 0
