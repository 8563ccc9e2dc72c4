"""The noisy pool: kinds at their rates, labels aside, ordinary shards, the same every time."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.evaluate.downstream.pool import (
    RATES,
    PoolMaker,
    PoolSettings,
    build_pool,
    near_duplicate,
    read_manifest,
)
from pairsift.pair import Pair
from pairsift.sources import find_shards, open_shard
from pairsift.sources.image_store import ImageStore
from pairsift.teach.items import Item, read_alt_text, read_items
from tests.evaluate.downstream.conftest import World


@pytest.fixture
def items() -> list[Item]:
    colours = ("red", "green", "blue", "black", "white")
    ways = ("near", "to", "along", "past", "from")
    forms = [f"A {{}} dog number{{}} runs {way} the lake ." for way in ways]
    return [
        Item(f"{n}.jpg", tuple(form.format(colours[n % 5], n) for form in forms))
        for n in range(500)
    ]


def test_rates_are_met_and_rows_are_what_they_say(items: list[Item]) -> None:
    alt_texts = [f"Alt text {n}" for n in range(300)]
    rows = [row for rows in PoolMaker(items, alt_texts, PoolSettings()).rows() for row in rows]
    assert len(rows) == 2000
    counts = Counter(row.kind for row in rows)
    assert {kind: counts[kind] / 2000 for kind in RATES} == pytest.approx(dict(RATES), abs=0.002)
    for row in rows:
        own = {text.lower().rstrip(" .") for text in items[row.image].captions}
        plain = row.caption.lower().rstrip(" .")
        number = f"number{row.image} "
        if row.kind == "own":
            assert plain in own
        elif row.kind == "another_image":
            assert "number" in plain
            assert number not in plain
        elif row.kind == "edited":
            assert plain not in own
            assert number in plain
        elif row.kind == "near_duplicate":
            assert number in plain
        elif row.kind == "truncated":
            assert len(plain.split()) < 9
        elif row.kind == "alt_text":
            assert row.caption in alt_texts
    used = [row.caption for row in rows if row.kind == "alt_text"]
    assert len(set(used)) == len(used)


def test_near_duplicates_have_an_original(items: list[Item]) -> None:
    settings = PoolSettings(rates={**RATES, "own": 0.22, "near_duplicate": 0.2})
    for rows in PoolMaker(items, ["alt"], settings).rows():
        kinds = [row.kind for row in rows]
        assert "near_duplicate" not in kinds or "own" in kinds


def test_the_seed_decides(items: list[Item]) -> None:
    def rows(seed: int) -> list[object]:
        return list(PoolMaker(items, ["alt"], PoolSettings(seed=seed)).rows())

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


def test_a_near_duplicate_changes_little() -> None:
    rng = np.random.default_rng(0)
    text = near_duplicate("A dog runs on the beach", rng)
    assert text.lower().rstrip(".") != "a dog runs on the beach"
    assert "dog runs on" in text


def test_wrong_rates_are_refused() -> None:
    with pytest.raises(PairsiftError, match="add up to 1"):
        PoolSettings(rates={"own": 0.5})
    with pytest.raises(PairsiftError, match="unknown kind 'spam'"):
        PoolSettings(rates={"own": 0.5, "spam": 0.5})


def _build(world: World, out: Path, seed: int = 0) -> dict[str, object]:
    images = ImageStore([str(world.images)])
    items = read_items(str(world.captions), images)
    return build_pool(
        items, images, read_alt_text(str(world.alt_text)), str(out), PoolSettings(seed=seed)
    )


def _pairs(out: Path) -> list[Pair]:
    return [pair for shard in find_shards([str(out / "pool")]).shards for pair in open_shard(shard)]


def test_shards_are_ordinary_and_labels_lie_aside(world: World, tmp_path: Path) -> None:
    manifest = _build(world, tmp_path)
    pairs = _pairs(tmp_path)
    labels = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    assert manifest["pairs"] == len(pairs) == len(labels) == 144
    assert [pair.key for pair in pairs] == [label["key"] for label in labels]
    assert all(pair.fault is None and pair.image and pair.caption for pair in pairs)
    assert [pair.uid for pair in pairs] == [label["uid"] for label in labels]
    assert len({pair.uid for pair in pairs}) == 144
    # Captions of an image are neighbours, and its bytes are as they were.
    for start in range(0, 144, 4):
        name = labels[start]["image"]
        content = (world.images / name).read_bytes()
        assert all(pair.image == content for pair in pairs[start : start + 4])
    assert sum(label["clean"] for label in labels) == Counter(manifest["kinds"])["own"]
    # Nothing in the shards tells what is noise.
    assert not any({"kind", "clean"} & set(pair.metadata) for pair in pairs)


def test_a_killed_build_goes_on_and_another_pool_is_refused(world: World, tmp_path: Path) -> None:
    _build(world, tmp_path / "whole")
    _build(world, tmp_path / "cut")
    # As a kill before the second step would leave it: settings, no counts, no labels.
    manifest = read_manifest(str(tmp_path / "cut"))
    assert manifest is not None
    begun = {name: manifest[name] for name in ("rates", "rows", "seed", "source")}
    (tmp_path / "cut" / "pool.json").write_text(json.dumps(begun))
    (tmp_path / "cut" / "labels.parquet").unlink()
    (tmp_path / "cut" / "pool" / "00000.tar").unlink()
    with pytest.raises(PairsiftError, match="seed differ"):
        _build(world, tmp_path / "cut", seed=1)
    _build(world, tmp_path / "cut")
    for file in ("labels.parquet", "pool/00000.tar", "pool.json"):
        assert (tmp_path / "cut" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
