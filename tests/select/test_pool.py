"""Other tables beside the scores, exclusion lists, repeated uids, percentiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.pair import Status
from pairsift.select import Join, Selection, parse_join, select
from tests.score_folders import random_scores, score_folder, score_table, uid_of


def _kept(selection: Selection) -> list[str]:
    return [
        f"{shard.shard}/{key}"
        for shard in selection.shards()
        for key in shard.table(["key"]).column("key").to_pylist()
    ]


def _scores(path: Path, rows: int = 30, **options: Any) -> str:
    """Two tables, keys that both have, itm rising with the uid's number."""
    half = rows // 2
    tables = {
        name: score_table(
            name,
            [f"{row:03d}" for row in range(half)],
            {"itm": [float(start + row) for row in range(half)]},
            uids=[uid_of(start + row) for row in range(half)],
        )
        for name, start in (("a", 0), ("b", half))
    }
    return score_folder(path, tables, **options)


def test_another_score_folder_joins_by_shard_and_key(tmp_path: Path) -> None:
    ours = _scores(tmp_path / "mlm")
    theirs = {
        name: score_table(
            name,
            [f"{row:03d}" for row in reversed(range(15))],  # in another order
            {"clip_score": [row / 10 for row in reversed(range(15))]},
            statuses=[Status.MODEL_ERROR, *[Status.OK] * 14],
        )
        for name in ("a", "b")
    }
    clip = score_folder(tmp_path / "clip", theirs, fingerprint={"scorer": "clip"})
    selection = select(
        ours, where="clip.clip_score > 1.1 and itm >= 13", joins=[f"clip={clip}"],
        out=tmp_path / "sel",
    )  # fmt: skip
    # Row 014 failed there, so that its score is null.
    assert _kept(selection) == ["a/013", "b/012", "b/013"]
    assert selection.record.query["joins"] == [{"name": "clip", "path": clip, "on": "shard"}]
    ranked = select(
        ours, count=3, by="clip.clip_score - 0.001 * itm", joins=[Join("clip", clip)],
        out=tmp_path / "ranked",
    )  # fmt: skip
    assert _kept(ranked) == ["a/012", "a/013", "b/013"]
    assert ranked.record.cuts[0].scorable == 28


def test_datacomp_metadata_joins_by_uid(tmp_path: Path) -> None:
    scores = _scores(tmp_path / "scores")
    order = np.random.default_rng(0).permutation(30)
    metadata = tmp_path / "metadata"
    metadata.mkdir()
    for part in range(2):
        rows = order[part * 15 : part * 15 + 15]
        columns = {
            "uid": [uid_of(int(row)) for row in rows],
            "clip_l14_similarity_score": pa.array(rows / 30, pa.float64()),
        }
        pq.write_table(pa.table(columns), metadata / f"{part}.parquet")
    selection = select(
        scores, where="dc.clip_l14_similarity_score >= 0.9", joins=[f"dc={metadata}"],
        out=tmp_path / "sel",
    )  # fmt: skip
    assert _kept(selection) == ["b/012", "b/013", "b/014"]
    assert selection.record.query["joins"][0]["on"] == "uid"


def test_img2dataset_rows_join_by_key_whatever_their_order(tmp_path: Path) -> None:
    keys = [f"{row:09d}" for row in range(6)]
    table = score_table("00000", ["000000001", "000000003", "000000005"], {"itm": [1, 3, 5]})
    scores = score_folder(tmp_path / "scores", {"00000": table})
    folder = tmp_path / "img2dataset"
    folder.mkdir()
    order = [4, 1, 0, 5, 3, 2]  # as downloads ended
    statuses = ["success" if row % 2 else "failed_to_download" for row in order]
    columns = {
        "key": [keys[row] for row in order],
        "status": statuses,
        "original_width": pa.array([row * 100 for row in order], pa.int64()),
    }
    pq.write_table(pa.table(columns), folder / "00000.parquet")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    selection = select(
        scores, where="meta.original_width = itm * 100 and itm > 2",
        joins=[f"meta={folder}"], out=tmp_path / "sel",
    )  # fmt: skip
    assert _kept(selection) == ["00000/000000003", "00000/000000005"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_repeated_name_in_a_joined_table_is_an_error(tmp_path: Path) -> None:
    scores = _scores(tmp_path / "scores")
    pq.write_table(
        pa.table({"key": ["001", "002", "001"], "x": [1.0, 2.0, 3.0]}), tmp_path / "m.parquet"
    )
    with pytest.raises(PairsiftError, match="the key 001 occurs more than once"):
        select(scores, where="m.x > 1", joins=[f"m={tmp_path}/m.parquet"])
    # Not looked at where no expression names it.
    assert select(scores, where="itm > 1", joins=[f"m={tmp_path}/m.parquet"]).kept == 28


@pytest.mark.parametrize(
    ("join", "message"),
    [
        ("clip", "not of the form NAME=PATH"),
        ("m={}/nowhere", "there is no table"),
        ("m={}/m.parquet@uid", "cannot be joined by uid: its columns are key, x"),
        ("itm={}/m.parquet", "has the name itm"),
    ],
)
def test_joins_that_cannot_be(tmp_path: Path, join: str, message: str) -> None:
    scores = _scores(tmp_path / "scores")
    pq.write_table(pa.table({"key": ["1"], "x": [1.0]}), tmp_path / "m.parquet")
    with pytest.raises(PairsiftError, match=message):
        select(scores, where="m.x > 1", joins=[join.format(tmp_path)])


def test_joins_are_read_from_text() -> None:
    assert parse_join("clip=s3://b/a=b.parquet@uid") == Join("clip", "s3://b/a=b.parquet", "uid")
    assert parse_join("m=user@host/x") == Join("m", "user@host/x")


@pytest.mark.parametrize("form", ["npy", "parquet", "txt"])
def test_listed_uids_are_left_out(tmp_path: Path, form: str) -> None:
    scores = _scores(tmp_path / "scores")
    uids = [uid_of(row) for row in (3, 20, 29, 1000)]
    path = tmp_path / f"list.{form}"
    if form == "npy":
        pairs = sorted((int(uid[:16], 16), int(uid[16:], 16)) for uid in uids)
        np.save(path, np.array(pairs, dtype="u8,u8"))
    elif form == "parquet":
        pq.write_table(pa.table({"uid": uids}), path)
    else:
        path.write_text("\n".join([uids[0].upper(), "", *uids[1:]]))
    selection = select(
        scores, where="itm >= 2", top=0.5, by="itm", exclude=[str(path)], out=tmp_path / "sel"
    )
    record = selection.record
    assert [(drop.reason, drop.rows) for drop in record.dropped] == [
        ("on an exclusion list", 3), ("itm >= 2", 2), ("no value to rank by", 0),
        ("below the cut", 13),
    ]  # fmt: skip
    assert _kept(selection) == [f"b/{row:03d}" for row in (1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13)]
    assert record.rows == 30


def test_lists_that_are_none(tmp_path: Path) -> None:
    scores = _scores(tmp_path / "scores")
    np.save(tmp_path / "x.npy", np.arange(3))
    pq.write_table(pa.table({"id": ["1"]}), tmp_path / "x.parquet")
    (tmp_path / "x.txt").write_text("not a uid\n")
    (tmp_path / "y.npy").write_text("hello")
    for name, message in [
        ("x.npy", "has the dtype int64"),
        ("x.parquet", "has no column uid; its columns are id"),
        ("x.txt", "1 entries .* are not uids"),
        ("y.npy", "is not a .npy file"),
        ("gone.parquet", "does not exist"),
        ("gone.txt", "does not exist"),
    ]:
        with pytest.raises(PairsiftError, match=message):
            select(scores, exclude=[str(tmp_path / name)])


def test_one_row_of_each_uid_the_best(tmp_path: Path) -> None:
    uids: list[str | None] = [uid_of(1), uid_of(1).upper(), uid_of(2), uid_of(1), None, None]
    table = score_table(
        "s", list("abcdef"), {"itm": [5, 9, 1, 9, 3, None]}, uids=uids,
    )  # fmt: skip
    scores = score_folder(tmp_path / "s", {"s": table})
    best = select(scores, top=1, by="itm", unique=True, out=tmp_path / "best")
    assert _kept(best) == ["s/b", "s/c", "s/e"]
    assert [(drop.reason, drop.rows) for drop in best.record.dropped] == [
        ("same uid as a better row", 2), ("no value to rank by", 1), ("below the cut", 0),
    ]  # fmt: skip
    assert best.record.cuts[0].scorable == 3
    first = select(scores, where="itm < 9 or itm is null", unique=True, out=tmp_path / "first")
    assert _kept(first) == ["s/a", "s/c", "s/e", "s/f"]


def test_percentiles_are_of_all_scored_rows(tmp_path: Path) -> None:
    scores, table = random_scores(tmp_path / "scores", np.random.default_rng(2), rows=90)
    values = {
        name: np.array([v for v in table[name].to_pylist() if v is not None])
        for name in ("itm", "odf")
    }
    for percent in (0, 1, 37, 50, 70, 99.5, 100):
        found = select(scores, where=f"odf > percentile(odf, {percent})").record.percentiles
        expected = np.percentile(values["odf"], percent, method="inverted_cdf")
        assert list(found.values()) == [expected], percent
    selection = select(
        scores, where="itm >= p70(itm) and odf >= 20", top=0.5, by="odf", out=tmp_path / "sel"
    )
    edge = np.percentile(values["itm"], 70, method="inverted_cdf")
    assert selection.record.percentiles == {"p70(itm)": edge}
    good = [
        row["odf"]
        for row in table.to_pylist()
        if row["itm"] is not None and row["itm"] >= edge and row["odf"] >= 20
    ]
    assert selection.record.cuts[0].scorable == len(good)
    assert selection.record.cuts[0].threshold == sorted(good, reverse=True)[selection.kept - 1]


def test_percentile_of_nothing_is_an_error(tmp_path: Path) -> None:
    scores = _scores(tmp_path / "scores")
    with pytest.raises(PairsiftError, match="no row has a value"):
        select(scores, where="itm > p50(log(-itm - 1))")


def test_everything_at_once_agrees_with_plain_python(tmp_path: Path) -> None:
    """Join, list, repeated uids, groups and ties, against a straightforward reckoning."""
    rng = np.random.default_rng(11)
    scores, table = random_scores(tmp_path / "scores", rng, rows=120)
    rows = [row for row in table.to_pylist() if row["status"] == "ok"]
    metadata = {row["uid"]: float(rng.integers(0, 4)) for row in table.to_pylist()[::2]}
    pq.write_table(
        pa.table({"uid": list(metadata), "domain": list(metadata.values())}),
        tmp_path / "m.parquet",
    )
    banned = [row["uid"] for row in rows[::7]]
    (tmp_path / "banned.txt").write_text("\n".join(banned))
    selection = select(
        scores, where="odf > 20", top=0.4, by="itm", per="m.domain", unique=True,
        joins=[f"m={tmp_path}/m.parquet"], exclude=[str(tmp_path / "banned.txt")],
        out=tmp_path / "sel", seed=5,
    )  # fmt: skip
    import hashlib

    expected = set()
    for group in (*{float(number) for number in range(4)}, None):
        members = [
            (-row["itm"], hashlib.md5(f"5:{row['uid']}".encode()).hexdigest(), row)
            for row in rows
            if row["odf"] > 20 and row["uid"] not in banned and metadata.get(row["uid"]) == group
        ]
        members.sort(key=lambda member: member[:2])
        expected |= {
            f"{row['shard']}/{row['key']}" for _, _, row in members[: len(members) * 4 // 10]
        }
    kept = _kept(selection)
    assert set(kept) == expected
    assert kept == sorted(kept)
