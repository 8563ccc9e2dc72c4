"""Whatever the bytes of a shard, reading ends in rows, a problem, or one clear error."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairsift.errors import PairsiftError
from pairsift.pair import Pair, Status
from pairsift.sources import Shard, open_shard
from tests.samples import tar_bytes

TAR = tar_bytes(
    (f"{name}.{suffix}", content)
    for name in ("a", "b" * 150, "c/d", "é")  # the second needs a pax header
    for suffix, content in (("jpg", b"x" * 40), ("json", b'{"uid": 1}'), ("txt", b"a dog"))
)


def parquet_bytes() -> bytes:
    file = io.BytesIO()
    images = pa.array([{"bytes": b"x" * 40, "path": "p"}] * 30)
    pq.write_table(
        pa.table({"image": images, "caption": ["a dog"] * 30, "key": [str(i) for i in range(30)]}),
        file,
        row_group_size=10,
    )
    return file.getvalue()


SHARDS = {
    "webdataset": [TAR, gzip.compress(TAR, mtime=0)],
    "parquet": [parquet_bytes()],
    "folder": [b'image,caption,key\na.jpg,a dog,1\nb.jpg,"a, ""cat""",2\n'],
}


@st.composite
def damaged(draw: st.DrawFn, kind: str) -> bytes:
    data = bytearray(draw(st.sampled_from(SHARDS[kind])))
    for _ in range(draw(st.integers(1, 5))):
        position = draw(st.integers(0, max(0, len(data) - 1)))
        data[position : position + draw(st.integers(0, 8))] = draw(st.binary(max_size=12))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


def read(kind: str, data: bytes, folder: Path) -> list[Pair] | PairsiftError:
    name = "captions.csv" if kind == "folder" else "shard"
    (folder / name).write_bytes(data)
    url = str(folder if kind == "folder" else folder / name)
    try:
        return list(open_shard(Shard("s", url, kind)))
    except PairsiftError as error:
        return error


@pytest.mark.parametrize("kind", SHARDS)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_bytes(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    outcome = read(kind, data.draw(damaged(kind) | st.binary(max_size=1500)), tmp_path)
    if isinstance(outcome, PairsiftError):
        assert str(tmp_path) in str(outcome)
        return
    for pair in outcome:
        assert pair.fault is None or isinstance(pair.fault.status, Status)
        pa.array([pair.key, pair.fault.error if pair.fault else None, pair.uid], pa.string())


@pytest.mark.parametrize("kind", SHARDS)
def test_undamaged(kind: str, tmp_path: Path) -> None:
    for data in SHARDS[kind]:
        outcome = read(kind, data, tmp_path)
        assert isinstance(outcome, list)
        assert len(outcome) == {"webdataset": 4, "parquet": 30, "folder": 2}[kind]
