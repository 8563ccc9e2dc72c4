"""A pool for cascades of scorers that cost next to nothing."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pairsift import load_scorer
from pairsift.cascade.plan import Plan, Stage, Thresholds
from tests.samples import CAPTION, jpeg, write_tar

SHARDS = 3
SAMPLES = 40
WORDS = f"{CAPTION} and two happy children"
FULL_BY = "glance + 50 * caption_words"


def caption(place: int) -> str:
    """Of two to fourteen words."""
    return " ".join(WORDS.split()[: 2 + place * 7 % 13])


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of 40 pairs of a few images; the third pair of each has no image."""
    folder = tmp_path_factory.mktemp("pool")
    images = [jpeg(300, 240, seed) for seed in range(4)]
    for shard in range(SHARDS):
        samples: dict[str, dict[str, bytes | str]] = {}
        for place in range(SAMPLES):
            samples[f"{shard}{place:03d}"] = {
                "txt": caption(place + shard),
                "jpg": images[place % 4],
            }
        del samples[f"{shard}002"]["jpg"]
        write_tar(folder / f"{shard:05d}.tar", samples)
    return folder


@cache
def _fingerprint(scorer: str) -> dict[str, str]:
    return dict(load_scorer(scorer).fingerprint)


def words_plan(low: float | None = 6, high: float | None = 11, audit: float = 0.2) -> Plan:
    """Captions of few words are given up, those of many taken, `tiny-glance` reads the others."""
    cheap, full = _fingerprint("heuristics"), _fingerprint("tiny-glance")
    return Plan(
        stages=(
            (
                Stage("heuristics", "caption_words", fingerprint=cheap),
                Thresholds(low, high, (2.0, 14.0), (150.0, 750.0)),
            ),
        ),
        full=Stage("tiny-glance", FULL_BY, fingerprint=full),
        keep=0.4,
        at=None,
        threshold=430.0,
        agreement=0.9,
        audit=audit,
        seed=1,
    )


def assert_same(tables: dict[str, pa.Table], others: dict[str, pa.Table]) -> None:
    """All alike, numbers but for rounding, which differs with batches and threads."""
    assert tables.keys() == others.keys()
    for name, table in tables.items():
        other = others[name]
        assert table.schema == other.schema
        for field in table.schema:
            if pa.types.is_floating(field.type):
                pair = [t[field.name].to_numpy() for t in (table, other)]
                np.testing.assert_allclose(*pair, atol=1e-3, err_msg=field.name)
            else:
                assert table[field.name].equals(other[field.name]), field.name
