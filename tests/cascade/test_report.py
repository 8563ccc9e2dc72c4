"""The file beside a cascade's scores that tells its agreement with full scoring."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pairsift.cascade.plan import Plan
from pairsift.cascade.report import NAME, write_agreement
from pairsift.scores import SHARD_NAMES
from pairsift.select import select
from tests.cascade.test_audit import Simulation
from tests.cascade.test_plan import PLAN


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> str:
    return Simulation(tmp_path_factory.mktemp("report") / "scores", 1, rows=3000).scores


@pytest.mark.parametrize(("keep", "at"), [(0.3, None), (None, 70.0)])
def test_it_is_that_of_the_planned_cut(scores: str, keep: float | None, at: float | None) -> None:
    plan = replace(PLAN, keep=keep, at=at)
    found = write_agreement(scores, plan)
    if keep is not None:
        expected = select(scores, top=0.3, by="cascade")
    else:
        expected = select(scores, where="cascade >= 70")
    assert found == expected.record.agreement is not None
    content = json.loads((Path(scores) / NAME).read_text())
    assert content["agreement"] == found
    assert (content["cut"], content["rows"], content["kept"]) == (plan.cut, 3000, expected.kept)
    assert Plan.from_json(content["plan"], "x") == plan


def test_half_a_run_has_none(scores: str) -> None:
    names, told = Path(scores) / SHARD_NAMES, Path(scores) / NAME
    told.unlink(missing_ok=True)
    names.write_bytes(gzip.compress(b"0\n1\n"))
    try:
        assert write_agreement(scores, PLAN) is None
        assert not told.exists()
    finally:
        names.unlink()
