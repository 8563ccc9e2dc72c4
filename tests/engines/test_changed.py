"""A shard that was written again after it was scored is noticed when a run goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift import PairsiftError, load_scorer
from pairsift.engines import changed
from pairsift.engines.base import RunSummary
from pairsift.engines.local import score_shards
from pairsift.scores import FACTS_KEY
from pairsift.sources import find_shards
from tests.engines.conftest import tables
from tests.samples import jpeg
from tests.support.shards import KINDS, strip_facts


def score(path: Path | str, out: Path, **options: Any) -> RunSummary:
    found = find_shards(str(path))
    return score_shards(found, load_scorer("heuristics"), str(out), workers=0, **options)


def facts(out: Path) -> dict[str, Any]:
    (table,) = out.glob("*.parquet")
    found: dict[str, Any] = json.loads(pq.read_schema(table).metadata[FACTS_KEY])
    return found


kinds = pytest.mark.parametrize(("name", "make"), KINDS)


@kinds
@pytest.mark.parametrize("captions", ["a cat on the beach", "a dog that is on the beach"])
def test_a_changed_shard_is_an_error_and_scored_again_when_asked(
    tmp_path: Path, name: str, make: Callable[[Path, str], None], captions: str
) -> None:
    path, out = tmp_path / "pool" / name, tmp_path / "out"
    make(path, "a dog on the beach")
    score(path, out)
    before = tables(out)
    make(path, captions)
    with pytest.raises(PairsiftError, match="1 shard has changed.*--rescore changed"):
        score(path, out)
    assert tables(out) == before
    summary = score(path, out, rescore_changed=True)
    assert (summary.skipped, summary.rows) == (0, 4)
    fresh = tmp_path / "fresh"
    score(path, fresh)
    assert tables(out) == tables(fresh)
    assert score(path, out).skipped == 1


@kinds
def test_touching_or_copying_back_is_no_change_and_costs_one_look(
    tmp_path: Path,
    name: str,
    make: Callable[[Path, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, out = tmp_path / "pool" / name, tmp_path / "out"
    make(path, "a dog on the beach")
    score(path, out)
    before, noted = tables(out), facts(out)
    shutil.copytree(tmp_path / "pool", tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(tmp_path / "pool")
    (tmp_path / "copy").rename(tmp_path / "pool")
    assert score(path, out).skipped == 1
    assert tables(out) == before
    assert facts(out)["source_version"] != noted["source_version"]
    looks: list[str] = []
    compare = changed.compare
    monkeypatch.setattr(
        changed,
        "compare",
        lambda scores, shard: looks.append(shard.name) or compare(scores, shard),
    )
    assert score(path, out).skipped == 1
    assert looks == []


def test_other_shards_are_scored_when_one_has_changed(tmp_path: Path) -> None:
    make = KINDS[0][1]
    pool, out = tmp_path / "pool", tmp_path / "out"
    for shard in range(3):
        make(pool / f"{shard}.tar", f"caption {shard}")
    score(f"{pool}/{{0,1}}.tar", out)
    make(pool / "1.tar", "caption 9")
    summary = score(pool, out, rescore_changed=True)
    assert (summary.shards, summary.skipped, summary.rows) == (3, 1, 8)


@pytest.mark.parametrize("content", [b"", b"no tar at all", None])
def test_a_shard_that_cannot_be_read_any_more_keeps_its_table(
    tmp_path: Path, content: bytes | None
) -> None:
    make = KINDS[0][1]
    pool, out = tmp_path / "pool", tmp_path / "out"
    make(pool / "0.tar", "a dog")
    make(pool / "1.tar", "a dog")
    score(pool, out)
    before = tables(out)
    if content is None:
        (pool / "0.tar").write_bytes((pool / "0.tar").read_bytes()[:1000])
    else:
        (pool / "0.tar").write_bytes(content)
    with pytest.raises(PairsiftError, match="1 shard has changed"):
        score(pool, out)
    assert tables(out) == before


def test_tables_of_older_versions_go_by_size(tmp_path: Path) -> None:
    make = KINDS[0][1]
    path, out = tmp_path / "pool" / "0.tar", tmp_path / "out"
    make(path, "a dog on the beach")
    score(path, out)
    strip_facts(out / "0.parquet", "source_version", "source_root")
    os.utime(path)
    assert score(path, out).skipped == 1
    make(path, "a dog on the beach" * 2000)
    with pytest.raises(PairsiftError, match="1 shard has changed"):
        score(path, out)


def test_a_broken_file_of_known_sources_is_made_again(tmp_path: Path) -> None:
    make = KINDS[0][1]
    path, out = tmp_path / "pool" / "0.tar", tmp_path / "out"
    make(path, "a dog")
    score(path, out)
    for content in (b"", b"rubbish"):
        (out / changed.KNOWN).write_bytes(content)
        assert score(path, out).skipped == 1
    assert (out / changed.KNOWN).stat().st_size > 20


def lines(path: Path, domains: list[str]) -> None:
    rows = [
        {"image": f"{n}.jpg", "caption": "a dog", "site": {"domain": domain}}
        for n, domain in enumerate(domains)
    ]
    for n in range(len(rows)):
        (path.parent / f"{n}.jpg").write_bytes(jpeg(seed=n))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def columns(domains: list[str]) -> pa.Table:
    images = [jpeg(seed=n) for n in range(len(domains))]
    sites = [{"domain": domain} for domain in domains]
    return pa.table({"image": images, "caption": ["a dog"] * len(domains), "site": sites})


def arrow(path: Path, domains: list[str]) -> None:
    content = columns(domains)
    with pa.ipc.new_file(path, content.schema) as writer:
        writer.write_table(content)


def parquet(path: Path, domains: list[str]) -> None:
    pq.write_table(columns(domains), path)


@pytest.mark.parametrize(
    ("name", "make"), [("0.jsonl", lines), ("0.arrow", arrow), ("0.parquet", parquet)]
)
@pytest.mark.parametrize("domain", ["x.org", "longer.example"])  # of the same size, of another
def test_a_carried_field_belongs_to_a_sample(
    tmp_path: Path, name: str, make: Callable[[Path, list[str]], None], domain: str
) -> None:
    path, out = tmp_path / name, tmp_path / "out"

    def carried(**options: Any) -> list[str]:
        scorer = load_scorer("heuristics", carry=["domain=site.domain:text"])
        score_shards(find_shards(str(path)), scorer, str(out), workers=0, **options)
        (table,) = out.glob("*.parquet")
        found: list[str] = pq.read_table(table)["domain"].to_pylist()
        return found

    make(path, ["a.org", "b.org", "c.org"])
    assert carried() == ["a.org", "b.org", "c.org"]
    make(path, ["a.org", "b.org", "c.org"])  # written again, the same
    assert carried() == ["a.org", "b.org", "c.org"]
    make(path, ["a.org", domain, "c.org"])
    with pytest.raises(PairsiftError, match=r"1 shard has changed.*--rescore changed"):
        carried()
    assert carried(rescore_changed=True) == ["a.org", domain, "c.org"]
    assert carried() == ["a.org", domain, "c.org"]
