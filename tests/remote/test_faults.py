"""Storages that refuse, fail and are out of reach, through real servers and the real command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pairsift import PairsiftError, load_scorer
from pairsift.engines import reading
from pairsift.engines.base import RunSummary
from pairsift.engines.local import score_shards
from pairsift.retry import Backoff
from pairsift.sources import files, find_shards
from tests.engines.conftest import tables
from tests.remote.conftest import Bucket, Server
from tests.remote.faulty import Fault, FaultyServer, faulty_server
from tests.samples import good_samples, write_tar

pytestmark = pytest.mark.xdist_group("s3")

SHARDS = 4
SAMPLES = 6
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    folder = tmp_path / "pool"
    folder.mkdir()
    for shard in range(SHARDS):
        write_tar(folder / f"{shard}.tar", good_samples(SAMPLES, f"{shard}-"))
    return folder


@pytest.fixture
def web(pool: Path) -> Iterator[FaultyServer]:
    """The pool behind http://."""
    with faulty_server() as server:
        server.files = {f"/{path.name}": path.read_bytes() for path in pool.iterdir()}
        yield server


@pytest.fixture
def store(s3_server: Server, bucket: Bucket, pool: Path) -> Iterator[tuple[FaultyServer, str]]:
    """The pool in a bucket, and a server in front of it that can fail."""
    for path in pool.iterdir():
        bucket.put(f"pool/{path.name}", path.read_bytes())
    with faulty_server(s3_server.endpoint) as server:
        yield server, bucket.url


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, in an environment without credentials of any kind."""
    names = ("AWS_", "HF_", "FSSPEC_")
    clean = {name: v for name, v in os.environ.items() if not name.startswith(names)}
    quick = {"AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "pairsift", *arguments],
        capture_output=True,
        text=True,
        env=clean | quick | {"HOME": "/nonexistent"} | environment,
    )
    assert "Traceback" not in done.stderr
    return done


def _with_keys(server: FaultyServer) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _score_web(server: FaultyServer, out: Path) -> RunSummary:
    found = find_shards(server.url + f"/{{0..{SHARDS - 1}}}.tar")
    return score_shards(found, load_scorer("heuristics"), str(out))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BACKOFF", Backoff(attempts=4, first=0.01, longest=1.0))
    monkeypatch.setattr(files, "BACKOFF", Backoff(attempts=2, first=0.01))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "access is denied (403)"),
        (401, "access is denied (401)"),
        (404, "does not exist"),
        (410, "does not exist"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_a_shard_that_is_refused_is_left_out_at_once(
    web: FaultyServer, pool: Path, tmp_path: Path, status: int, words: str
) -> None:
    fault = Fault(status)
    web.fault = lambda method, path: fault if path == "/1.tar" else None
    summary = _score_web(web, tmp_path / "out")
    assert list(summary.unreadable) == ["1"]
    assert words in summary.unreadable["1"]
    assert f"{web.url}/1.tar" in summary.unreadable["1"]
    assert fault.times > 1_000_000 - 8  # not tried again
    score_shards(find_shards(str(pool)), load_scorer("heuristics"), str(tmp_path / "calm"))
    calm = tables(tmp_path / "calm")
    del calm["1.parquet"]
    assert tables(tmp_path / "out") == calm


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500, 502, 503])
@pytest.mark.usefixtures("quick")
def test_a_server_that_fails_for_a_while_costs_nothing(
    web: FaultyServer, pool: Path, tmp_path: Path, status: int
) -> None:
    faults = {"/0.tar": Fault(status, 2), "/2.tar": Fault(status, 3, {"Retry-After": "1"})}
    web.fault = lambda method, path: faults.get(path)
    begin = time.monotonic()
    summary = _score_web(web, tmp_path / "out")
    assert summary.unreadable == {}
    assert time.monotonic() - begin > 1.0  # what it asked for
    score_shards(find_shards(str(pool)), load_scorer("heuristics"), str(tmp_path / "calm"))
    assert tables(tmp_path / "out") == tables(tmp_path / "calm")


@pytest.mark.parametrize(
    ("status", "words"), [(503, "overloaded"), (429, "overloaded"), (500, "internal error")]
)
@pytest.mark.usefixtures("quick")
def test_a_server_that_keeps_failing_is_named_with_its_status(
    web: FaultyServer, tmp_path: Path, status: int, words: str
) -> None:
    fault = Fault(status)
    web.fault = lambda method, path: fault if path == "/2.tar" else None
    summary = _score_web(web, tmp_path / "out")
    assert list(summary.unreadable) == ["2"]
    assert "failed 4 times" in summary.unreadable["2"]
    assert words in summary.unreadable["2"]
    assert f"({status})" in summary.unreadable["2"]


@pytest.mark.usefixtures("quick")
def test_an_answer_that_is_cut_short_is_asked_for_again(
    web: FaultyServer, pool: Path, tmp_path: Path
) -> None:
    faults = {"/0.tar": Fault(206, 2, cut=True), "/2.tar": Fault(206, cut=True)}
    web.fault = lambda method, path: faults.get(path)
    summary = _score_web(web, tmp_path / "out")
    assert faults["/0.tar"].times == 0
    assert list(summary.unreadable) == ["2"]
    assert "the connection was closed before all bytes had come" in summary.unreadable["2"]
    assert "Error" not in summary.unreadable["2"]
    score_shards(find_shards(str(pool)), load_scorer("heuristics"), str(tmp_path / "calm"))
    calm = tables(tmp_path / "calm")
    del calm["2.parquet"]
    assert tables(tmp_path / "out") == calm


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "words"),
    [(NOWHERE, "connection is refused"), ("http://no-such-host.invalid", "not known (DNS)")],
)
def test_a_host_out_of_reach_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, words: str
) -> None:
    monkeypatch.setattr(reading, "BACKOFF", Backoff(attempts=3, first=0.5))
    begin = time.monotonic()
    found = find_shards(host + "/{0..3}.tar")
    summary = score_shards(found, load_scorer("heuristics"), str(tmp_path / "out"))
    assert len(summary.unreadable) == 4
    assert all(words in why for why in summary.unreadable.values())
    assert "failed 3 times" in summary.unreadable["0"]
    assert "failed once" in summary.unreadable["3"]
    assert time.monotonic() - begin < 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "AccessDenied", "access is denied (403)"),
        (400, "ExpiredToken", "credentials have expired"),
        (403, "InvalidAccessKeyId", "no credentials that the store accepts"),
        (404, "NoSuchBucket", "does not exist"),
    ],
)
def test_a_bucket_that_cannot_be_listed_is_one_sentence(
    store: tuple[FaultyServer, str], tmp_path: Path, status: int, code: str, words: str
) -> None:
    server, url = store
    fault = Fault.s3(status, code)
    server.fault = lambda method, path: fault
    out = str(tmp_path / "out")
    done = _run(
        "score", f"{url}/pool", "--scorer", "heuristics", "--out", out, **_with_keys(server)
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert words in line
    assert url in line
    assert len(server.seen) < 12


@pytest.mark.slow
@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError")])
def test_a_bucket_that_is_overloaded_for_a_while_costs_nothing(
    store: tuple[FaultyServer, str], tmp_path: Path, status: int, code: str
) -> None:
    server, url = store
    faults = {name: Fault.s3(status, code, 2) for name in ("list-type", "0.tar", "3.tar")}

    def due(method: str, path: str) -> Fault | None:
        return next((fault for part, fault in faults.items() if part in path), None)

    server.fault = due
    out = tmp_path / "out"
    command = ("score", f"{url}/pool", "--scorer", "heuristics", "--out", str(out))
    done = _run(*command, **_with_keys(server))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(tables(out)) == SHARDS


@pytest.mark.slow
def test_an_object_that_is_denied_costs_its_shard(
    store: tuple[FaultyServer, str], tmp_path: Path
) -> None:
    server, url = store
    fault = Fault.s3(403, "AccessDenied")
    server.fault = lambda method, path: fault if "pool/2.tar" in path else None
    out = tmp_path / "out"
    command = ("score", f"{url}/pool", "--scorer", "heuristics", "--out", str(out))
    done = _run(*command, **_with_keys(server))
    assert done.returncode == 3
    assert "2.tar: access is denied (403)" in done.stderr
    assert sorted(tables(out)) == ["0.parquet", "1.parquet", "3.parquet"]


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 403])
def test_credentials_that_expire_in_the_middle_end_the_run_at_once(
    store: tuple[FaultyServer, str], tmp_path: Path, status: int
) -> None:
    server, url = store
    fault = Fault.s3(status, "ExpiredToken")
    server.fault = lambda method, path: fault if "pool/2.tar" in path else None
    out = tmp_path / "out"
    command = ("score", f"{url}/pool", "--scorer", "heuristics", "--out", str(out))
    done = _run(*command, **_with_keys(server))
    assert done.returncode == 2
    assert "the credentials have expired" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(tables(out)) == ["0.parquet", "1.parquet"]
    assert list(out.glob("*.unreadable.json")) == []
    server.fault = lambda method, path: None
    assert _run(*command, **_with_keys(server)).returncode == 0
    assert len(tables(out)) == SHARDS


@pytest.mark.slow
def test_credentials_that_expire_while_scores_are_uploaded_lose_none(
    store: tuple[FaultyServer, str], bucket: Bucket
) -> None:
    server, url = store
    fault = Fault.s3(403, "ExpiredToken")
    written = 0

    def due(method: str, path: str) -> Fault | None:
        nonlocal written
        is_table = method == "PUT" and "/scores/" in path and ".parquet" in path
        written += is_table
        return fault if is_table and written > 2 else None

    server.fault = due
    command = ("score", f"{url}/pool", "--scorer", "heuristics", "--out", f"{url}/scores")
    done = _run(*command, **_with_keys(server))
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "the credentials have expired; set AWS_PROFILE" in line
    before = {key: bucket.get(key) for key in bucket.keys("scores/") if key.endswith(".parquet")}
    assert len(before) == 2
    server.fault = lambda method, path: None
    assert _run(*command, **_with_keys(server)).returncode == 0
    after = [key for key in bucket.keys("scores/") if key.endswith(".parquet")]
    assert len(after) == SHARDS
    assert {key: bucket.get(key) for key in before} == before  # not scored again


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_an_object_that_stays_overloaded_is_told_and_read_by_the_next_run(
    store: tuple[FaultyServer, str], pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    server, url = store
    for name, value in (_with_keys(server) | {"AWS_MAX_ATTEMPTS": "1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", server.url)
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": server.url})
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        fault = Fault.s3(503, "SlowDown")
        server.fault = lambda method, path: fault if "pool/2.tar" in path else None
        out = tmp_path / "out"
        summary = score_shards(find_shards(f"{url}/pool"), load_scorer("heuristics"), str(out))
        assert list(summary.unreadable) == ["2"]
        assert "failed 4 times" in summary.unreadable["2"]
        assert "asks for fewer requests (503)" in summary.unreadable["2"]
        assert sorted(tables(out)) == ["0.parquet", "1.parquet", "3.parquet"]
        server.fault = lambda method, path: None
        summary = score_shards(find_shards(f"{url}/pool"), load_scorer("heuristics"), str(out))
        assert (summary.unreadable, summary.skipped) == ({}, 3)
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
    score_shards(find_shards(str(pool)), load_scorer("heuristics"), str(tmp_path / "calm"))
    assert tables(out) == tables(tmp_path / "calm")


@pytest.mark.slow
def test_endpoint_and_keys_of_a_profile(store: tuple[FaultyServer, str], tmp_path: Path) -> None:
    """As the guide shows it for MinIO: all in ~/.aws, and only AWS_PROFILE in the environment."""
    server, url = store
    config, keys = tmp_path / "config", tmp_path / "credentials"
    config.write_text(f"[profile minio]\nregion = us-east-1\nendpoint_url = {server.url}\n")
    keys.write_text("[minio]\naws_access_key_id = test\naws_secret_access_key = test\n")
    done = _run(
        "score", f"{url}/pool", "--scorer", "heuristics", "--out", str(tmp_path / "out"),
        AWS_CONFIG_FILE=str(config), AWS_SHARED_CREDENTIALS_FILE=str(keys), AWS_PROFILE="minio",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert len(tables(tmp_path / "out")) == SHARDS
    assert server.requests("pool/") > SHARDS


@pytest.mark.slow
def test_requests_of_a_run_and_of_its_repetition(store: tuple[FaultyServer, str]) -> None:
    """What docs/guides/s3.md says of their number."""
    server, url = store
    command = ("score", f"{url}/pool", "--scorer", "heuristics", "--out", f"{url}/scores")

    def counts() -> Counter[str]:
        server.seen.clear()
        assert _run(*command, **_with_keys(server)).returncode == 0
        return Counter("LIST" if "list-type" in path else method for method, path in server.seen)

    first, again = counts(), counts()
    # Of each shard: one GET (of small ones) and five HEAD, one LIST and one PUT for its table.
    assert first["GET"] + first["HEAD"] <= 7 * SHARDS + 12
    assert first["LIST"] <= SHARDS + 12
    assert first["PUT"] <= SHARDS + 3
    # Again: one GET of each table.
    assert again["PUT"] <= 1
    assert again.total() <= SHARDS + 16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(403, "AccessDenied", "access is denied (403)"), (400, "ExpiredToken", "have expired")],
)
def test_scores_that_may_not_be_written_are_one_sentence(
    store: tuple[FaultyServer, str], pool: Path, status: int, code: str, words: str
) -> None:
    server, url = store
    fault = Fault.s3(status, code)
    server.fault = lambda method, path: fault if method == "PUT" else None
    done = _run(
        "score", str(pool), "--scorer", "heuristics", "--out", f"{url}/x", **_with_keys(server)
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "cannot write" in line
    assert words in line


@pytest.mark.slow
def test_writing_outlasts_an_overloaded_store(store: tuple[FaultyServer, str], pool: Path) -> None:
    server, url = store
    fault = Fault.s3(503, "SlowDown", 4)
    server.fault = lambda method, path: fault if method == "PUT" else None
    done = _run(
        "score", str(pool), "--scorer", "heuristics", "--out", f"{url}/x", **_with_keys(server)
    )
    assert (done.returncode, done.stderr) == (0, "")
    done = _run("status", f"{url}/x", **_with_keys(server))
    assert f"{SHARDS} of {SHARDS} shards done" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "s3://bucket/pool", "--scorer", "heuristics", "--out", "OUT"],
        ["score", "s3://bucket/{0..99}.tar", "--scorer", "heuristics", "--out", "OUT"],
        ["score", "POOL", "--scorer", "heuristics", "--out", "s3://bucket/scores"],
        ["status", "s3://bucket/scores"],
        ["select", "s3://bucket/scores", "--top", "0.5", "--by", "itm"],
    ],
)
def test_missing_credentials_are_told_at_once(
    pool: Path, tmp_path: Path, arguments: list[str]
) -> None:
    places = {"POOL": str(pool), "OUT": str(tmp_path / "out")}
    begin = time.monotonic()
    done = _run(*(places.get(argument, argument) for argument in arguments))
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "no credentials that the store accepts; set AWS_PROFILE" in line
    assert time.monotonic() - begin < 25


@pytest.mark.slow
def test_hub_that_is_offline(pool: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    for source in ("hf://datasets/org/name/a.tar", "hf://datasets/org/name"):
        done = _run("score", source, "--scorer", "heuristics", "--out", out, HF_HUB_OFFLINE="1")
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert "HF_HUB_OFFLINE is set" in line
        assert "hf://datasets/org/name" in line


_FIND = """
import sys
from pairsift import PairsiftError
from pairsift.scorers.checkpoints import find_checkpoint
try:
    find_checkpoint("org/name")
except PairsiftError as error:
    sys.exit(str(error))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "status", "headers", "words"),
    [
        ({"HF_HUB_OFFLINE": "1"}, 0, {}, "HF_HUB_OFFLINE is set"),
        ({"HF_ENDPOINT": NOWHERE}, 0, {}, "connection is refused"),
        ({"HF_ENDPOINT": "http://no-such-host.invalid"}, 0, {}, "not known (DNS)"),
        ({}, 404, {"X-Error-Code": "RepoNotFound"}, "it has no org/name, or it is private"),
        ({}, 401, {}, "it has no org/name, or it is private"),
        ({}, 403, {"X-Error-Code": "GatedRepo"}, "it is gated: ask for access"),
        ({}, 503, {}, "overloaded and asks for fewer requests (503)"),
    ],
)
def test_model_that_the_hub_does_not_give(
    tmp_path: Path,
    environment: dict[str, str],
    status: int,
    headers: dict[str, str],
    words: str,
) -> None:
    with faulty_server() as hub:
        fault = Fault(status, headers=headers)
        hub.fault = lambda method, path: fault
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub")} | environment
        clean = {name: v for name, v in os.environ.items() if not name.startswith("HF_")}
        done = subprocess.run(
            [sys.executable, "-c", _FIND], capture_output=True, text=True, env=clean | settings
        )
    [line] = done.stderr.splitlines()
    assert "there is no folder org/name" in line
    assert words in line
    assert "give the checkpoint as a folder" in line


@pytest.mark.slow
def test_model_of_an_offline_hub_through_the_command(pool: Path, tmp_path: Path) -> None:
    command = ("score", str(pool), "--scorer", "mlm", "--model", "org/name")
    done = _run(*command, "--out", str(tmp_path / "out"), HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "HF_HUB_OFFLINE is set" in line


@pytest.mark.slow
def test_all_shards_refused_is_one_sentence(web: FaultyServer, tmp_path: Path) -> None:
    fault = Fault(403)
    web.fault = lambda method, path: fault
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    done = _run(
        "score", web.url + "/{0..3}.tar", "--scorer", "heuristics", "--out", str(tmp_path / "out")
    )
    assert done.returncode == 3
    last = done.stderr.splitlines()[-1]
    assert last.startswith("pairsift: none of the 4 shards could be read")
    assert "access is denied (403)" in last


@pytest.mark.usefixtures("quick")
def test_listing_a_web_server_that_is_denied_or_away(web: FaultyServer) -> None:
    fault = Fault(403)
    web.fault = lambda method, path: fault
    with pytest.raises(PairsiftError, match=r"cannot list .*access is denied \(403\)"):
        find_shards(web.url + "/*.tar")
    with pytest.raises(PairsiftError, match=r"cannot list .*connection is refused"):
        find_shards(NOWHERE + "/*.tar")
