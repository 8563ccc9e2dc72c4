"""The cascade as a scorer: who reads what, and that it does not depend on the company."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw

from pairsift import PairsiftError, load_scorer
from pairsift.cascade.plan import Stage
from pairsift.cascade.planning import PlanRequest, make_plan
from pairsift.cascade.sampling import draw, is_audited
from pairsift.cascade.scorer import CascadeScorer, check_same, load_cascade
from pairsift.engines import local
from pairsift.images import ImageLimits, decode_image
from pairsift.pair import Pair
from pairsift.scorers import base
from pairsift.scorers.base import Columns, Preparer, Scorer
from pairsift.scorers.caption_index import CaptionIndexer
from pairsift.scorers.hashes import HashMarker
from pairsift.scorers.marking import ScopeMarker
from pairsift.sources import find_shards, open_shard
from tests.cascade.conftest import SHARDS, assert_same, words_plan
from tests.engines.conftest import tables
from tests.samples import CAPTION, encode, jpeg
from tests.scorers.mlm.checkpoints import save_checkpoint


@pytest.fixture(scope="module")
def scorer() -> CascadeScorer:
    return load_cascade(plan=words_plan())


@pytest.fixture(scope="module")
def pairs(pool: Path) -> list[Pair]:
    return [pair for shard in find_shards(str(pool)).shards for pair in open_shard(shard)]


@pytest.fixture(scope="module")
def table(scorer: CascadeScorer, pairs: list[Pair]) -> pa.Table:
    return scorer.score(pairs)


@pytest.mark.slow
def test_the_full_scorer_reads_undecided_and_audited_pairs_only(
    table: pa.Table, pairs: list[Pair]
) -> None:
    full = load_scorer("tiny-glance").score(pairs)["glance"].to_pylist()
    stages = set()
    for row, pair, glance in zip(table.to_pylist(), pairs, full, strict=True):
        if pair.image is None:
            assert (row["status"], row["cascade"], row["cascade_stage"]) == (
                "image_missing", None, None,
            )  # fmt: skip
            continue
        words = len((pair.caption or "").split())
        value = glance + 50 * words
        is_open, audited = 6 <= words < 11, is_audited(draw(1, pair.shard, pair.key), 0.2)
        assert row["cascade_stage"] == ("tiny-glance" if is_open else "heuristics")
        assert row["cascade_audit"] is audited
        assert row["caption_words"] == words
        stages.add((row["cascade_stage"], audited))
        if is_open or audited:
            assert row["glance"] == pytest.approx(glance, abs=0.01)
            assert row["cascade"] == pytest.approx(value, abs=0.01)
        else:
            assert row["glance"] is None
            assert row["cascade"] == row["cascade_unaudited"]
        if is_open:
            assert row["cascade_unaudited"] == row["cascade"]
        else:
            assert row["cascade_unaudited"] == pytest.approx(50 + 50 * words, abs=0.01)
            assert (row["cascade_unaudited"] >= 430) == (words >= 11)
    assert len(stages) == 4


@pytest.mark.slow
def test_a_pairs_scores_do_not_depend_on_its_batch(
    scorer: CascadeScorer, pairs: list[Pair], table: pa.Table
) -> None:
    for batch_size in (1, 7):
        other = scorer.score(pairs[:30][::-1], batch_size)
        for name in ("cascade", "cascade_unaudited", "glance"):
            np.testing.assert_allclose(
                other[name].to_numpy()[::-1].astype(float),
                table[name].to_numpy()[:30].astype(float),
                atol=1e-3,
            )
        for name in ("cascade_stage", "cascade_audit", "status"):
            assert other[name].to_pylist()[::-1] == table[name].to_pylist()[:30]


@pytest.mark.slow
def test_without_thresholds_every_pair_is_scored_in_full(
    scorer: CascadeScorer, pairs: list[Pair]
) -> None:
    table = CascadeScorer(words_plan(None, None), scorer.stages, scorer.full).score(pairs[:20])
    assert set(table["cascade_stage"].to_pylist()) == {"tiny-glance", None}
    assert table["cascade"].null_count == 1  # the pair without an image


@pytest.mark.slow
def test_columns_are_those_of_all_its_scorers(scorer: CascadeScorer) -> None:
    names = [field.name for field in scorer.columns]
    assert names[0] == "caption_words"
    assert names[-5:] == [
        "glance", "cascade", "cascade_unaudited", "cascade_stage", "cascade_audit",
    ]  # fmt: skip
    assert scorer.fingerprint["read_when_open"] == "glance"
    assert scorer.fingerprint["heuristics.scorer_version"]


@pytest.mark.slow
def test_a_cheap_scorer_may_have_the_full_ones_columns(
    pool: Path, pairs: list[Pair], tmp_path: Path
) -> None:
    cheap = Stage("pairsift-tiny", "itm")
    full = Stage(
        "mlm",
        "itm + 0 * pairsift_tiny_itm",
        options={"model": str(save_checkpoint(tmp_path / "model", "llava"))},
    )
    made = make_plan(
        find_shards(str(pool)), [cheap], full, PlanRequest(keep=0.4, audit=0.2), pairs=20
    )
    sample = [pair for pair in pairs[:16] if pair.image is not None]
    own = load_scorer("pairsift-tiny").score(sample)["itm"].to_numpy()
    by_mlm = load_scorer("mlm", **full.options).score(sample)["itm"].to_numpy()
    (reading, rule), = made.stages  # fmt: skip
    low, high = np.quantile(own, [0.3, 0.7]).tolist()
    plan = replace(made, stages=((reading, replace(rule, low=low, high=high)),))

    table = load_cascade(plan=plan).score(sample)
    assert {"pairsift_tiny_itm", "itm", "pairsift_tiny_caption_truncated"} <= {*table.column_names}
    np.testing.assert_allclose(table["pairsift_tiny_itm"].to_numpy(), own, atol=1e-3)
    is_open = (own >= low) & (own < high)
    assert table["cascade_stage"].to_pylist() == [
        "mlm" if left else "pairsift-tiny" for left in is_open
    ]
    read = is_open | table["cascade_audit"].to_numpy()
    assert 0 < is_open.sum() < len(sample)
    assert np.isnan(table["itm"].to_numpy()[~read]).all()
    np.testing.assert_allclose(table["itm"].to_numpy()[read], by_mlm[read], atol=1e-3)
    np.testing.assert_allclose(table["cascade"].to_numpy()[read], by_mlm[read], atol=1e-3)


class Words(Scorer):
    """The words of a caption; `heuristics` has a column that marked rows have too."""

    name: ClassVar[str] = "words"
    columns = (pa.field("caption_words", pa.int32()),)
    preparer = Preparer(lambda image, caption: len(caption.split()))
    fingerprint: ClassVar[dict[str, str]] = {"scorer": "words"}  # type: ignore[assignment]

    def score_batch(self, inputs: Sequence[int]) -> Columns:
        return {"caption_words": np.array(inputs)}


@pytest.mark.slow
def test_images_are_marked_where_a_scorer_that_can_tell_read_them(
    scorer: CascadeScorer, pairs: list[Pair]
) -> None:
    scorer = CascadeScorer(words_plan(), [Words()], scorer.full)
    drawing = Image.new("RGB", (300, 240), "white")
    ImageDraw.Draw(drawing).rectangle((60, 60, 160, 160), fill="red")
    drawn = [
        Pair(f"d{words}", encode(drawing, "PNG"), " ".join(["red"] * words), "d")
        for words in (3, 8, 13)
    ]
    both = [*pairs[:45], *drawn]
    table = ScopeMarker(scorer, ["en"]).score(both, batch_size=16)
    full = ScopeMarker(scorer.full, ["en"]).score(both, batch_size=16)
    read = table["glance"].is_valid().to_numpy()
    assert 10 < read.sum() < 40
    novelty = table["image_novelty"].to_numpy()
    assert np.isnan(novelty[~read]).all()
    np.testing.assert_allclose(novelty[read], full["image_novelty"].to_numpy()[read], atol=1e-4)
    told = dict(zip(table["key"].to_pylist(), table["out_of_scope"].to_pylist(), strict=True))
    assert told["d8"] == "image"


@pytest.mark.slow
@pytest.mark.parametrize("inside", [False, True])
def test_hashes_need_no_second_decoding(
    scorer: CascadeScorer, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    decoded = []

    def decode(data: bytes, limits: ImageLimits) -> Any:
        decoded.append(data)
        return decode_image(data, limits)

    monkeypatch.setattr(base, "decode_image", decode)
    some = pairs[:12]
    table = HashMarker(CaptionIndexer(scorer) if inside else scorer).score(some)
    assert len(decoded) == len(some)
    expected = load_scorer("hashes").score(some)
    assert table.select(expected.schema.names).equals(expected)
    plain = scorer.score(some)
    assert_same({"a": table.select(plain.schema.names)}, {"a": plain})


@pytest.mark.slow
def test_the_first_stage_shares_the_model_of_the_full_scorer() -> None:
    full = load_scorer("pairsift-tiny", device="cpu")
    glance = load_scorer("tiny-glance", device="cpu", beside=full)
    assert glance.preparer is full.preparer
    row = glance.preparer(Pair("k", jpeg(), CAPTION))
    glance.score_batch([row.inputs])
    kept = len(full.images)  # type: ignore[attr-defined]
    full.score_batch([row.inputs])
    assert len(full.images) == len(full.captions) == kept == 1  # type: ignore[attr-defined]


@pytest.mark.slow
def test_another_model_than_planned_is_refused(scorer: CascadeScorer) -> None:
    planned = replace(words_plan().full, fingerprint={**scorer.full.fingerprint, "checkpoint": "x"})
    words = "planned with another tiny-glance: checkpoint is 'x' there"
    with pytest.raises(PairsiftError, match=words):
        check_same(scorer.full, planned)


def _score(pool: str, plan: str, out: str) -> None:
    local.score_shards(find_shards(pool), load_scorer("cascade", plan=plan), out)


@pytest.mark.slow
def test_a_killed_run_that_is_resumed_gives_the_same_tables(
    scorer: CascadeScorer, pool: Path, tmp_path: Path
) -> None:
    words_plan().write(tmp_path / "plan.json")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    local.score_shards(find_shards(str(pool)), scorer, str(whole))
    process = multiprocessing.get_context("spawn").Process(
        target=_score, args=(str(pool), str(tmp_path / "plan.json"), str(killed))
    )
    process.start()
    end = time.monotonic() + 150
    while not list(killed.glob("*.parquet")) and time.monotonic() < end:
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it was done before it could be killed"
    assert 1 <= len(list(killed.glob("*.parquet"))) < SHARDS
    local.score_shards(find_shards(str(pool)), scorer, str(killed))
    assert_same(tables(killed), tables(whole))
    assert len(tables(whole)) == SHARDS
