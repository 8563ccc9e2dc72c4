"""What the judge of `training/judge.py` starts from, and how it tilts scores."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pairsift.scorers.mlm.tiny.model import distribution

TRAINING = Path(__file__).parents[2] / "training"


@pytest.fixture(scope="module")
def training():
    sys.path.insert(0, str(TRAINING))
    try:
        yield runpy.run_path(str(TRAINING / "judge.py"))
    finally:
        sys.path.remove(str(TRAINING))


def test_the_judge_starts_from_the_cosine(training) -> None:
    judge = training["Judge"](8)
    meaning = torch.nn.functional.normalize(torch.randn(5, 8), dim=-1)
    torch.testing.assert_close(judge.asked(meaning), meaning)
    assert judge.penalty() == 0


def test_a_caption_that_the_judge_asks_for_scores_higher(training) -> None:
    judge = training["Judge"](8)
    judge.gain.data.fill_(4.0)
    logits, wave = torch.zeros(3, 101), torch.cos(torch.pi * (torch.arange(101) + 0.5) / 101)
    tilted = judge.tilted(logits, torch.tensor([-0.5, 0.0, 0.5]), wave)
    low, middle, high = distribution(tilted)[0].tolist()
    assert low < middle < high
    assert middle == pytest.approx(50.0, abs=1e-3)


def test_the_fit_finds_a_taste(training) -> None:
    torch.manual_seed(0)
    judge = training["Judge"](6)
    captions = torch.nn.functional.normalize(torch.randn(512, 6), dim=-1)
    images = torch.nn.functional.normalize(torch.randn(512, 6), dim=-1)
    liked = captions[:, 2] > 0

    def loss() -> torch.Tensor:
        product = (judge.asked(images) * captions).sum(-1)
        return (judge.gain * product + judge.offset - liked.float()).square().mean()

    training["fit"](judge, loss, 200, 1e-2, list(judge.parameters()))
    assert judge.taste.argmax() == 2
    told = (judge.asked(images) * captions).sum(-1).detach().numpy()
    assert training["agreement"](told, 100.0 * liked.numpy())["tau_b"] > 0.4
    assert np.isfinite(told).all()
