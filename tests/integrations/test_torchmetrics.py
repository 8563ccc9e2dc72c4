"""The torchmetrics metric, with the real library: call shapes, states, processes."""

from __future__ import annotations

import inspect
import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pairsift import Pair, load_scorer
from pairsift.errors import PairsiftError
from pairsift.scorers.heuristics import HeuristicsScorer
from tests.samples import picture, png

torchmetrics = pytest.importorskip("torchmetrics", reason="needs the extra torchmetrics")

from pairsift.integrations.torchmetrics import PairsiftScore, pairsift_score  # noqa: E402

TEXT = "a red box stands before a wall of many colours in the bright light of noon"
TEXTS = [" ".join(TEXT.split()[: 3 + 2 * place]) for place in range(6)]


def _image(seed: int, side: int = 96) -> torch.Tensor:
    """(3, side, side) uint8."""
    return torch.from_numpy(np.asarray(picture(side, side, seed)).copy()).permute(2, 0, 1)


def _words(metric: str | tuple[str, ...] = "caption_words", **options: Any) -> PairsiftScore:
    return PairsiftScore("heuristics", metrics=metric, **options)


IMAGES = [_image(seed) for seed in range(6)]


@pytest.mark.slow
def test_swapping_the_import_is_enough() -> None:
    """Every call that CLIPScore's documentation shows."""
    from torchmetrics.functional.multimodal import clip_score
    from torchmetrics.multimodal import CLIPScore

    for theirs, ours in ((clip_score, pairsift_score), (CLIPScore.update, PairsiftScore.update)):
        their_names = list(inspect.signature(theirs).parameters)
        assert list(inspect.signature(ours).parameters)[: len(their_names)] == their_names
    scorer = load_scorer("pairsift-tiny")
    pairs = [Pair(str(i), png(96, 96, i), text) for i, text in enumerate(TEXTS[:2])]
    expected = scorer.score(pairs)["itm"].to_pylist()
    image = torch.randint(255, (3, 96, 96), generator=torch.Generator().manual_seed(42))
    single = pairsift_score(image, "a photo of a cat", "pairsift-tiny")
    assert single.shape == ()
    assert 0 <= single <= 100
    for images in (torch.stack(IMAGES[:2]), IMAGES[:2]):
        found = pairsift_score(images, TEXTS[:2], model_name_or_path="pairsift-tiny")
        assert found.item() == pytest.approx(np.mean(expected), abs=1e-3)
    turned = pairsift_score(TEXTS[:2], torch.stack(IMAGES[:2]), reduction="none")
    assert turned.tolist() == pytest.approx(expected, abs=1e-3)
    metric = PairsiftScore(model_name_or_path="pairsift-tiny")
    assert metric(IMAGES[0], TEXTS[0]).item() == pytest.approx(expected[0], abs=1e-3)
    assert metric(IMAGES[1:2], TEXTS[1:2]).item() == pytest.approx(expected[1], abs=1e-3)
    assert metric.compute().item() == pytest.approx(np.mean(expected), abs=1e-3)
    several = pairsift_score(IMAGES[0], TEXTS[0], metrics=("itm", "su"))
    assert several["itm"].item() == pytest.approx(expected[0], abs=1e-3)
    assert set(several) == {"itm", "su"}


@pytest.mark.slow
def test_pixels_arrive_as_they_are() -> None:
    seen = []

    class Watching(HeuristicsScorer):
        def __init__(self) -> None:
            super().__init__()
            measure = self.preparer.transform
            self.preparer.transform = lambda image, caption: (
                seen.append(np.asarray(image)), measure(image, caption),
            )[1]  # fmt: skip

    noise = torch.randint(0, 256, (3, 40, 50), generator=torch.Generator().manual_seed(0))
    large = torch.randint(0, 256, (3, 3000, 3000), dtype=torch.uint8)  # too large as a BMP
    pairsift_score([noise, noise[:1], large], ["a"] * 3, Watching(), metrics="caption_words")
    assert np.array_equal(seen[0], noise.permute(1, 2, 0).numpy())
    assert np.array_equal(seen[1], noise[:1].repeat(3, 1, 1).permute(1, 2, 0).numpy())
    assert np.array_equal(seen[2], large.permute(1, 2, 0).numpy())


def test_batches_add_up() -> None:
    metric = _words(("caption_words", "smaller_side"))
    metric.update(IMAGES[:4], TEXTS[:4])
    last = metric(IMAGES[4:], TEXTS[4:])
    counts = [len(text.split()) for text in TEXTS]
    assert last["caption_words"].item() == np.mean(counts[4:])
    whole = metric.compute()
    assert whole["caption_words"].item() == pytest.approx(np.mean(counts))
    assert whole["smaller_side"].item() == 96
    copy = pickle.loads(pickle.dumps(metric))
    assert copy.compute()["caption_words"] == whole["caption_words"]
    assert len(pickle.dumps(PairsiftScore())) < 20_000  # no model inside
    metric.reset()
    assert int(metric.n_samples) == 0
    collection = torchmetrics.MetricCollection({"a": _words(), "b": _words("smaller_side")})
    assert {name: value.item() for name, value in collection(IMAGES[:1], TEXTS[:1]).items()} == {
        "a": 3.0, "b": 96.0
    }  # fmt: skip


def test_scores_of_single_pairs() -> None:
    metric = _words(reduction="none", nan_strategy="ignore")
    assert metric.compute().shape == (0,)
    metric.update(IMAGES[:2], [TEXTS[0], " "])
    metric.update(IMAGES[2], TEXTS[2])
    found = metric.compute()
    assert found.isnan().tolist() == [False, True, False]
    assert found[[0, 2]].tolist() == [3.0, 7.0]


def test_pairs_without_scores_are_left_out_aloud() -> None:
    texts = [TEXTS[0], "", TEXTS[1], " \n"]
    with pytest.warns(UserWarning, match="2 of 4 pairs .* number 1: caption_empty: 0 char"):
        mean = pairsift_score(IMAGES[:4], texts, "heuristics", metrics="caption_words")
    assert mean.item() == 4.0
    metric = _words(nan_strategy="ignore")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.update(IMAGES[:4], texts)
        assert (metric.compute().item(), int(metric.n_samples)) == (4.0, 2)
    with pytest.raises(ValueError, match="2 of 4 pairs"):
        _words(nan_strategy="error").update(IMAGES[:4], texts)
    with pytest.warns(UserWarning, match="1 of 1"):
        assert pairsift_score(IMAGES[0], "", "heuristics", metrics="caption_words").isnan()


@pytest.mark.parametrize(
    ("images", "texts", "says"),
    [
        (IMAGES[:2], TEXTS[:3], "got 2 and 3"),
        (IMAGES[:2], IMAGES[:2], "an image and a caption"),
        (TEXTS[:2], TEXTS[:2], "an image and a caption"),
        ([], [], "an image and a caption"),
        (torch.zeros(2, 2, dtype=torch.uint8), ["a", "b"], r"\(C, H, W\)"),
        (IMAGES[0].float() / 255, "a", "255 \\* images"),
        (IMAGES[0].long() + 200, "a", "0 to 255 but got"),
        (torch.zeros(5, 8, 8, dtype=torch.uint8), "a", "3 channels or 1"),
    ],
)
def test_wrong_inputs_are_named(images: Any, texts: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        pairsift_score(images, texts, "heuristics", metrics="caption_words")


def test_wrong_choices_are_named() -> None:
    with pytest.raises(PairsiftError, match="no column of numbers 'itm'"):
        pairsift_score(IMAGES[0], "a", "heuristics")
    with pytest.raises(PairsiftError, match="no scorer"):
        PairsiftScore("openai/clip-vit-base-patch16").update(IMAGES[0], "a")
    with pytest.raises(ValueError, match="reduction"):
        PairsiftScore(reduction="sum")  # type: ignore[arg-type]
    with pytest.raises(PairsiftError, match="no metric"):
        PairsiftScore(metrics=())


def test_it_plots() -> None:
    pytest.importorskip("matplotlib", reason="needs the extra evaluate").use("Agg")
    metric = _words()
    values = [metric(IMAGES[place], TEXTS[place]) for place in range(3)]
    figure, axes = metric.plot(values)
    assert axes.get_ylim()[0] <= 0
    assert axes.get_ylim()[1] >= 100
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    assert Image.open(buffer).size[0] > 100
    assert (metric.higher_is_better, metric.is_differentiable) == (True, False)


def _process(rank: int, rendezvous: str, out: str) -> None:
    """One of two processes; the first has more pairs than the second, and one bad one."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2
    )
    mine = [slice(0, 2), slice(2, 4)] if rank == 0 else [slice(4, 5)]
    warnings.simplefilter("ignore")
    mean = PairsiftScore(metrics=("itm", "ctq"))
    single = _words(reduction="none")
    for batch in mine:
        mean.update(IMAGES[batch], TEXTS[batch])
        single.update(IMAGES[batch], TEXTS[batch])
    if rank == 0:
        mean.update(IMAGES[5], " ")
        single.update(IMAGES[5], " ")
    alone = int(mean.n_samples)
    torch.save([mean.compute(), single.compute(), alone], f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_the_value_of_one(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = PairsiftScore(metrics=("itm", "ctq"))
        alone.update([*IMAGES[:5], IMAGES[5]], [*TEXTS[:5], " "])
    expected = alone.compute()
    torch.multiprocessing.spawn(
        _process, args=(str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=2
    )
    for rank, own in ((0, 4), (1, 1)):
        mean, single, samples = torch.load(tmp_path / f"{rank}.pt")
        assert samples == own
        for name, value in expected.items():
            assert mean[name].item() == pytest.approx(value.item(), abs=1e-4)
        words = [float(len(text.split())) for text in TEXTS[:4]] + [float("nan"), 11.0]
        assert single.tolist() == pytest.approx(words, nan_ok=True)
