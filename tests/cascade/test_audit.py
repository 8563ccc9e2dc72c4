"""What a selection out of a cascade's scores has in common with that by full scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pairsift import PairsiftError
from pairsift.cascade.calibrate import calibrate
from pairsift.select import read_selection, select
from tests.score_folders import score_folder, score_table

FINGERPRINT = {
    "scorer": "cascade",
    "agreement": "0.95",
    "cut": "the best 30 % by itm",
    "stages": "cheap, full",
    "read_when_open": "itm",
}


class Simulation:
    """A pool whose cheap scores tell something of the full ones, scored by a cascade."""

    def __init__(self, path: Path, seed: int, rows: int = 6000, audit: float = 0.2) -> None:
        rng = np.random.default_rng(seed)
        cheap, full = self._draw(rng, 1500)
        found = calibrate([cheap], full, 0.95, keep=0.3)
        cheap, self.full = self._draw(rng, rows)
        rule = found.thresholds[0]
        settled = rule.given_up(cheap) | rule.taken(cheap)
        unaudited = self.full.astype(np.float32)
        unaudited[settled] = rule.estimate(cheap[settled], found.threshold)
        self.audited = rng.random(rows) < audit
        self.group = rng.choice(["a", "b", "c"], rows)
        self.unaudited, self.settled = unaudited, settled
        table = score_table(
            "0",
            [str(row) for row in range(rows)],
            {
                "itm": np.where(settled & ~self.audited, None, self.full).tolist(),
                "cascade": np.where(self.audited, self.full, unaudited).tolist(),
                "cascade_unaudited": unaudited.tolist(),
                "cascade_stage": np.where(settled, "cheap", "full").tolist(),
                "group": self.group.tolist(),
            },
        )
        table = table.append_column("cascade_audit", pa.array(self.audited))
        self.scores = score_folder(path, {"0": table}, fingerprint=FINGERPRINT)

    @staticmethod
    def _draw(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        cheap = rng.uniform(0, 100, rows)
        full = np.clip(cheap + rng.normal(0, 10, rows), 0, 100) + rng.uniform(0, 1e-3, rows)
        return cheap, full.astype(np.float32).astype(float)

    def truth(self, keep: float) -> float:
        """Agreement of the selection with that by full scoring, over all rows."""
        count = int(keep * len(self.full))
        mixed = np.where(self.audited, self.full, self.unaudited)
        ours = set(np.argsort(-mixed, kind="stable")[:count].tolist())
        return len(ours & set(np.argsort(-self.full)[:count].tolist())) / count


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return Simulation(tmp_path_factory.mktemp("one") / "scores", 0)


def _agreement(scores: str, **options: Any) -> dict[str, Any]:
    found = select(scores, **options).record.agreement
    assert found is not None
    return found


def test_agreement_counts_equal_a_count_with_numpy(one: Simulation) -> None:
    found = _agreement(one.scores, top=0.3, by="cascade")
    threshold = select(one.scores, top=0.3, by="cascade").record.cuts[0].threshold
    ours = np.flatnonzero(one.audited & (one.unaudited >= np.float32(threshold)))
    order = np.flatnonzero(one.audited)[np.argsort(-one.full[one.audited])]
    theirs = order[: len(ours)]
    assert found["audited"] == one.audited.sum()
    assert found["common"] == len(np.intersect1d(ours, theirs))
    assert found["either"] == len(np.union1d(ours, theirs))
    assert found["value"] == pytest.approx(found["common"] / len(ours))
    assert found["low"] < found["value"] < found["high"]


def test_agreement_is_measured_within_groups_and_conditions(one: Simulation) -> None:
    found = _agreement(one.scores, top=0.3, by="cascade", per="group", where="group != 'c'")
    whole = _agreement(one.scores, top=0.3, by="cascade")
    assert found["either"] < 0.8 * whole["either"]
    assert found["value"] > 0.9
    found = _agreement(one.scores, where="cascade >= 70")
    ours = one.audited & (one.unaudited >= 70)
    theirs = one.audited & (one.full >= 70)
    assert found["common"] == (ours & theirs).sum()
    assert found["either"] == (ours | theirs).sum()
    assert found["value"] == pytest.approx(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()))


@pytest.mark.slow
def test_the_interval_covers_the_true_agreement(tmp_path: Path) -> None:
    covered, values, runs = 0, [], 16
    for seed in range(runs):
        pool = Simulation(tmp_path / str(seed), 100 + seed, rows=3000, audit=0.2)
        found = _agreement(pool.scores, top=0.3, by="cascade", threads=1)
        # What is estimated is the agreement without the audited rows' help.
        pool.audited[:] = False
        truth = pool.truth(0.3)
        covered += found["low"] <= truth <= found["high"]
        values.append(found["value"] - truth)
    assert covered >= 14  # of 16 at 95 %: with a chance of 0.96; more, as it is conservative
    assert abs(np.mean(values)) < 0.01


def test_a_cut_that_was_not_planned_is_refused(one: Simulation, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(PairsiftError, match=r"full scoring would select only"):
        select(one.scores, top=0.02, by="cascade", out=out)
    assert not out.exists()
    dry = _agreement(one.scores, top=0.02, by="cascade")
    assert dry["high"] < 0.95
    select(one.scores, top=0.02, by="cascade", agreement=0.0, out=out)
    assert read_selection(out).record.agreement == dry
    select(one.scores, top=0.3, by="cascade", out=tmp_path / "planned")


def test_columns_that_are_null_where_a_cheap_scorer_decided_are_refused(one: Simulation) -> None:
    for options in ({"where": "itm >= 66"}, {"top": 0.3, "by": "0.5*itm"}):
        with pytest.raises(PairsiftError, match="itm is null where a cheap scorer decided"):
            select(one.scores, **options)
    kept = select(one.scores, where="itm >= 0 and cascade_audit").kept
    assert kept == one.audited.sum()
    assert select(one.scores, where="group = 'a'").record.agreement is None
