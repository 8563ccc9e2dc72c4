"""Shards read from S3, scores written to it, and what happens when that goes wrong."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift import PairsiftError, load_scorer, storage
from pairsift.engines.base import RunSummary
from pairsift.engines.local import score_shards
from pairsift.retry import Backoff
from pairsift.select import read_selection, select
from pairsift.sources import find_shards
from pairsift.status import read_status
from pairsift.storage import Folder
from pairsift.writers import write_datacomp, write_webdataset
from tests.engines.conftest import tables
from tests.remote.conftest import Bucket, Server
from tests.samples import good_samples, write_tar

pytestmark = pytest.mark.xdist_group("s3")


@pytest.fixture
def pool(bucket: Bucket, tmp_path: Path) -> Path:
    """Four shards, in the bucket below pool/ and in a local folder."""
    folder = tmp_path / "pool"
    folder.mkdir()
    for shard in range(4):
        path = write_tar(folder / f"{shard:05d}.tar", good_samples(12, f"{shard}-"))
        bucket.put(f"pool/{path.name}", path.read_bytes())
    return folder


def _score(shards: str, out: str) -> RunSummary:
    return score_shards(find_shards(shards), load_scorer("heuristics"), out)


def _remote_tables(bucket: Bucket, prefix: str) -> dict[str, pa.Table]:
    return {
        key.rpartition("/")[2]: pq.read_table(io.BytesIO(bucket.get(key))).replace_schema_metadata(
            None
        )
        for key in bucket.keys(prefix)
        if key.endswith(".parquet")
    }


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["pool", "pool/*.tar", "pool/{00000..00003}.tar"])
def test_shards_are_found_read_and_scored(bucket: Bucket, pool: Path, pattern: str) -> None:
    out = f"{bucket.url}/scores"
    assert _score(f"{bucket.url}/{pattern}", out).rows == 48
    _score(str(pool), str(pool.parent / "local"))
    remote, local = _remote_tables(bucket, "scores/"), tables(pool.parent / "local")
    assert remote == local
    assert bucket.uploads() == []


@pytest.mark.slow
def test_run_goes_on_where_it_stopped(bucket: Bucket, pool: Path) -> None:
    out = f"{bucket.url}/scores"
    _score(f"{bucket.url}/pool", out)
    whole = _remote_tables(bucket, "scores/")
    for name in ("00001", "00003"):
        bucket.client.delete_object(Bucket=bucket.name, Key=f"scores/{name}.parquet")
    summary = _score(f"{bucket.url}/pool", out)
    assert (summary.skipped, summary.rows) == (2, 24)
    assert _remote_tables(bucket, "scores/") == whole
    status = read_status(out)
    assert (status.shards, status.done, status.left, status.rows) == (4, 4, 0, 48)
    assert status.last_finished is not None


@pytest.mark.slow
def test_select_and_write_from_bucket_to_bucket(bucket: Bucket, pool: Path) -> None:
    _score(f"{bucket.url}/pool", f"{bucket.url}/scores")
    select(
        f"{bucket.url}/scores", top=0.5, by="caption_words + smaller_side", out=f"{bucket.url}/k"
    )
    chosen = read_selection(f"{bucket.url}/k")
    written = write_webdataset(chosen, f"{bucket.url}/w", samples_per_shard=10)
    assert written.samples == 24
    assert [key for key in bucket.keys("w/") if key.endswith(".tar")] == [
        f"w/{index:08d}.tar" for index in range(3)
    ]
    assert write_datacomp(chosen, f"{bucket.url}/subset.npy").uids <= 24
    assert bucket.uploads() == []


@pytest.mark.slow
def test_listing_takes_no_call_per_file(bucket: Bucket, s3_server: Server) -> None:
    for index in range(200):
        bucket.put(f"tars/{index:05d}.tar", b"x")
    before = len(s3_server.requests())
    assert len(Folder(f"{bucket.url}/tars").names()) == 200
    assert len(find_shards(f"{bucket.url}/tars").shards) == 200
    assert len(s3_server.requests()) - before <= 10


@pytest.mark.slow
def test_large_file_goes_in_parts_and_appears_whole(bucket: Bucket) -> None:
    content = os.urandom(2**20) * 60  # s3fs sends parts of 50 MiB
    folder = Folder(f"{bucket.url}/large")
    with folder.atomic("a.bin") as file:
        for start in range(0, len(content), 2**20):
            file.write(content[start : start + 2**20])
        assert bucket.keys("large/") == []
        assert bucket.uploads()
    assert bucket.get("large/a.bin") == content
    assert bucket.uploads() == []
    folder.write("b.bin", content * 2)  # above what goes in a single request
    assert bucket.get("large/b.bin") == content * 2


@pytest.mark.slow
def test_failing_while_writing_leaves_nothing(bucket: Bucket) -> None:
    folder = Folder(f"{bucket.url}/large")
    folder.write("a.bin", b"old")

    def fail_half_way() -> None:
        with folder.atomic("a.bin") as file:
            file.write(bytes(60 * 2**20))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_half_way()
    assert bucket.get("large/a.bin") == b"old"
    assert bucket.uploads() == []


_KILLED_UPLOAD = """
import os, sys
from pairsift.storage import Folder
with Folder(sys.argv[1]).atomic("a.bin") as file:
    file.write(bytes(60 * 2**20))
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_killed_upload_is_no_file(bucket: Bucket) -> None:
    process = subprocess.run([sys.executable, "-c", _KILLED_UPLOAD, f"{bucket.url}/cut"])
    assert process.returncode == -9
    assert Folder(f"{bucket.url}/cut").names() == set()
    assert bucket.keys("cut/") == []


def test_missing_bucket_and_refused_access_are_one_clear_line(
    bucket: Bucket, s3_server: Server
) -> None:
    with pytest.raises(PairsiftError, match="nowhere"):
        find_shards("s3://nowhere-at-all/pool")
    folder = Folder("s3://nowhere-at-all/x")
    with pytest.raises(PairsiftError, match=r"cannot write s3://nowhere-at-all/x/a\.bin"):
        folder.write("a.bin", b"")


def test_server_that_is_away_is_waited_for_and_then_named(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "BACKOFF", Backoff(attempts=2, first=0.01))
    away = Folder(f"{bucket.url}/scores")
    away.fs = type(away.fs)(
        endpoint_url="http://127.0.0.1:9",
        config_kwargs={"retries": {"max_attempts": 0}},
        skip_instance_cache=True,
    )
    away.fs.retries = 1
    with pytest.raises(PairsiftError, match=r"cannot write s3://.*a\.bin.*run the same command"):
        away.write("a.bin", b"x")
