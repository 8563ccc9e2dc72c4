"""The OpenAI-style teacher against a real server: faults, pace, money, and being killed."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from pairsift.cli import app
from pairsift.errors import PairsiftError
from pairsift.sources.image_store import ImageStore
from pairsift.teach.cost import Prices, image_tokens
from pairsift.teach.openai import data_uri
from pairsift.teach.records import Record, read_records
from tests.samples import jpeg, tar_bytes
from tests.teach.endpoint import METRICS, Endpoint, good_answer
from tests.teach.teacher import Ear, check_answers, make_images, make_records, make_teacher

pytest.importorskip("openai")


def test_a_request_is_what_the_protocol_asks_for(tmp_path: Path) -> None:
    with Endpoint() as endpoint:
        records = make_records(6)
        bill = make_teacher(tmp_path, endpoint, max_side=30).annotate(
            records, make_images(tmp_path)
        )
    check_answers(records)
    assert (bill.requests, bill.input_tokens, bill.output_tokens) == (6, 6000, 600)
    body = endpoint.requests[0]
    assert endpoint.headers[0]["authorization"] == "Bearer k3y"
    assert body["model"] == "teacher-1"
    assert body["temperature"] == 0
    schema = body["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert list(schema["schema"]["properties"]) == list(METRICS)
    assert list(schema["schema"]["properties"]["itm"]["properties"]) == ["score", "rationale"]
    assert body["messages"][0]["role"] == "system"
    assert endpoint.image_sizes == {(30, 20)}
    assert endpoint.most_at_once <= 4


def test_answers_are_never_asked_for_again(tmp_path: Path) -> None:
    images = make_images(tmp_path)
    with Endpoint() as endpoint:
        first = make_records(6)
        make_teacher(tmp_path, endpoint).annotate([*first, *make_records(3)], images)
        assert len(endpoint.requests) == 6  # one for pairs that stand there twice
        again = [*make_records(6), Record("0.jpg", "a new one")]
        bill = make_teacher(tmp_path, endpoint).annotate(again, images)
        assert endpoint.captions[6:] == ["a new one"]
        assert bill.requests == 1
        check_answers(again)
        # Another prompt, model or size is another question.
        make_teacher(tmp_path, endpoint, metrics=("itm",)).annotate(make_records(1), images)
        make_teacher(tmp_path, endpoint, max_side=40).annotate(make_records(1), images)
        assert len(endpoint.requests) == 9


@pytest.mark.slow
def test_rate_limits_time_outs_and_server_errors_are_survived(tmp_path: Path) -> None:
    def fault(number: int, caption: str) -> dict[str, Any] | None:
        return {
            0: {"status": 429, "headers": {"retry-after": "1"}},
            2: {"status": 500},
            3: {"sleep": 2.0},
            4: {"status": 503, "headers": {"retry-after": "0"}},
            6: {"body": b"<html>bad gateway</html>"},
            7: {"body": b"{}"},
        }.get(number)

    with Endpoint(fault) as endpoint:
        records = make_records(8)
        make_teacher(tmp_path, endpoint, timeout=0.8, concurrency=2).annotate(
            records, make_images(tmp_path)
        )
    check_answers(records)
    asked = Counter(endpoint.captions)
    assert max(asked.values()) <= 4
    # The limit was spoken to everybody: but for the request that was on its way, nobody went on.
    waited = [moment - endpoint.at[0] for moment in endpoint.at[2:]]
    assert min(waited) >= 0.99


@pytest.mark.parametrize(
    "bad",
    [
        {"content": "I'd rather not say."},
        {"content": '{"itm": {"score": 400, "rationale": ""}}'},
        {"content": good_answer("x")[:-20]},
        {"content": None},
        {"content": '{"itm": {"score": 1', "reason": "length"},
        {"content": json.dumps({"itm": {"score": "high"}})},
    ],
)
def test_a_malformed_answer_is_asked_for_again(tmp_path: Path, bad: dict[str, Any]) -> None:
    with Endpoint(lambda number, caption: bad if number < 2 else None) as endpoint:
        records = make_records(1)
        bill = make_teacher(tmp_path, endpoint).annotate(records, make_images(tmp_path))
    check_answers(records)
    assert bill.requests == 3  # all of them cost money


def test_text_around_the_answer_is_passed_over(tmp_path: Path) -> None:
    def fenced(number: int, caption: str) -> dict[str, Any]:
        return {"content": f"Here you are:\n```json\n{good_answer(caption)}\n```"}

    with Endpoint(fenced) as endpoint:
        records = make_records(2)
        make_teacher(tmp_path, endpoint, structured="none").annotate(records, make_images(tmp_path))
    check_answers(records)
    assert "response_format" not in endpoint.requests[0]


def test_what_cannot_be_answered_is_a_record_with_a_reason(tmp_path: Path) -> None:
    def fault(number: int, caption: str) -> dict[str, Any] | None:
        if caption.endswith("1"):
            return {"refusal": "no"}
        if caption.endswith("2"):
            return {"status": 400, "message": "image not allowed"}
        return {"content": "never"} if caption.endswith("3") else None

    images = tmp_path / "images.tar"
    members = [(f"{i}.jpg", jpeg(60, 40, i)) for i in range(4)] + [("bad.jpg", b"\xff\xd8\xffxx")]
    images.write_bytes(tar_bytes(members))
    store = ImageStore([str(images)])
    with Endpoint(fault) as endpoint:
        records = [*make_records(5), Record("bad.jpg", "caption")]
        make_teacher(tmp_path, endpoint).annotate(records, store)
        errors = [record.error or "" for record in records]
        assert errors[1] == "refused: no"
        assert "image not allowed" in errors[2]
        assert errors[3].startswith("malformed: no JSON object")
        assert errors[5].startswith("image_corrupt")
        check_answers([records[0], records[4]])
        asked = Counter(endpoint.captions)
        assert asked["caption number 1"] == asked["caption number 3"] == 3
        # Refusals and nonsense were paid for: they are not asked for again. Errors were not.
        make_teacher(tmp_path, endpoint).annotate(make_records(5), store)
        again = Counter(endpoint.captions)
        again.subtract(asked)
        assert {caption: count for caption, count in again.items() if count} == {
            "caption number 2": 1
        }


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"status": 401, "message": "bad key"}, "refuses: HTTP 401.*bad key"),
        ({"status": 404, "message": "no such model"}, "refuses: HTTP 404"),
        ({"status": 429, "code": "insufficient_quota"}, "refuses: HTTP 429"),
        ({"status": 400}, "3 requests in a row failed"),
        ({"status": 500, "headers": {"retry-after": "0"}}, "no answer after 2 attempts"),
    ],
)
def test_an_endpoint_out_of_service_stops_the_run(
    tmp_path: Path, fault: dict[str, Any], says: str
) -> None:
    with Endpoint(lambda number, caption: fault) as endpoint:
        teacher = make_teacher(tmp_path, endpoint, retries=1, give_up_after=3)
        with pytest.raises(PairsiftError, match=says):
            teacher.annotate(make_records(40), make_images(tmp_path))
    assert len(endpoint.requests) < 20


def test_nobody_at_home(tmp_path: Path) -> None:
    with Endpoint() as endpoint:
        pass
    teacher = make_teacher(tmp_path, endpoint, retries=0, give_up_after=2)
    with pytest.raises(PairsiftError, match="APIConnectionError"):
        teacher.annotate(make_records(8), make_images(tmp_path))


@pytest.mark.slow
def test_the_pace_is_kept(tmp_path: Path) -> None:
    with Endpoint() as endpoint:
        teacher = make_teacher(tmp_path, endpoint, requests_per_minute=600, concurrency=8)
        begin = time.monotonic()
        teacher.annotate(make_records(8), make_images(tmp_path))
    # A busy machine may delay a request but never send it early, so only "too early" is a fault.
    early = [at - begin - 0.1 * turn for turn, at in enumerate(sorted(endpoint.at))]
    assert len(early) == 8
    assert min(early) > -0.005


def test_cost_is_estimated_counted_and_limited(tmp_path: Path) -> None:
    prices, ear = Prices(input=2.0, output=10.0), Ear()
    images = make_images(tmp_path)
    with Endpoint() as endpoint:
        teacher = make_teacher(tmp_path, endpoint, prices=prices, max_cost=0.0085, concurrency=1)
        estimate = teacher.estimate(teacher.plan(make_records(8), images)[1], images)
        with pytest.raises(PairsiftError, match=r"--max-cost 0\.0085"):
            teacher.annotate(make_records(8), images, ear)
        assert len(endpoint.requests) == 3  # 0.003 each
        assert ear.messages == [estimate.text()]
        assert (estimate.pairs, estimate.cached, estimate.bill.requests) == (8, 0, 8)
        assert estimate.bill.cost == pytest.approx(
            prices.of(estimate.bill.input_tokens, estimate.bill.output_tokens)
        )
        assert estimate.bill.input_tokens > 8 * (85 + 170)
        assert [" 0.0030 in " in ear.details[0], " 0.0060 in " in ear.details[1]] == [True] * 2
        more = make_teacher(tmp_path, endpoint, prices=prices)
        bill = more.annotate(records := make_records(8), images, ear)
        assert ear.messages[1].startswith("8 pairs, 3 answered before; ")
        assert bill.requests == 5
        assert bill.cost == pytest.approx(0.015)
        assert more.cache.totals() == {
            "replies": 8,
            "input_tokens": 8000,
            "output_tokens": 800,
        }
    check_answers(records)


def test_a_limit_without_prices_is_refused(tmp_path: Path) -> None:
    with Endpoint() as endpoint, pytest.raises(PairsiftError, match="--price-input"):
        make_teacher(tmp_path, endpoint, max_cost=1.0)


def test_image_tokens_follow_the_published_rule() -> None:
    assert image_tokens(1024, 1024) == 765  # scaled to 768 x 768: 4 tiles
    assert image_tokens(2048, 4096) == 1105  # to 768 x 1536: 6 tiles
    assert image_tokens(4096, 8192, "low") == 85


def test_what_is_sent_has_no_metadata() -> None:
    picture = Image.new("RGB", (1000, 500), "navy")
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    uri = data_uri(buffer.getvalue(), 100)
    import base64

    sent = base64.b64decode(uri.split(",", 1)[1])
    assert b"secret" in buffer.getvalue()
    assert b"secret" not in sent
    assert Image.open(io.BytesIO(sent)).size == (100, 50)


def _command(tmp_path: Path, endpoint: Endpoint, out: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "tests.teach.command", "teach", "openai"),
        *("--captions", str(tmp_path / "captions.csv"), "--images", str(tmp_path / "images.tar")),
        *("--model", "teacher-1", "--base-url", endpoint.url, "--candidates", "own=5"),
        *("--concurrency", "3", "--out", str(out), "--json"),
    ]


@pytest.mark.slow
def test_killed_and_run_again_it_pays_for_nothing_twice(tmp_path: Path) -> None:
    rows = ["image,caption"]
    rows += [f"{i}.jpg,caption {j} of {i}" for i in range(12) for j in range(5)]
    (tmp_path / "captions.csv").write_text("\n".join(rows) + "\n")
    make_images(tmp_path, 12)
    out, root = tmp_path / "teacher.parquet", Path(__file__).parents[2]
    cache = tmp_path / "teacher.parquet.replies.sqlite"
    with Endpoint(delay=0.05) as endpoint:
        command = _command(tmp_path, endpoint, out)
        process = subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while len(endpoint.requests) < 20:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not out.exists()
        kept = sqlite3.connect(cache).execute("SELECT COUNT(*) FROM replies").fetchone()[0]
        assert kept >= 20 - 2 * 3
        before = Counter(endpoint.captions)
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        again = Counter(endpoint.captions)
        again.subtract(before)
        # All but what was on its way when it was killed, which is at most one a worker.
        assert sum(again.values()) == 60 - kept
        assert sum(before.values()) - kept <= 3
        assert max(endpoint.answered.values()) <= 2
        records = read_records(str(out))
        assert len(records) == 60
        check_answers(records)
        once_more = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        assert json.loads(once_more.stdout)["bill"]["requests"] == 0
        assert len(endpoint.requests) == sum(before.values()) + 60 - kept


OUTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "folder": ("out", lambda path: path.mkdir(), "is a folder"),
    "pipe": ("out", os.mkfifo, "is a FIFO"),
    "no name": ("out/", lambda path: None, "not a file name"),
    "in a file": ("out/x.parquet", lambda path: path.parent.touch(), "is a file, but a folder"),
    "deep in a file": ("out/a/x.parquet", lambda path: path.parents[1].touch(), "is a file"),
}


@pytest.mark.parametrize("kind", OUTS)
@pytest.mark.parametrize("teacher", ["openai", "local", "reference"])
def test_the_output_is_looked_at_before_the_teacher_is_asked(
    tmp_path: Path, kind: str, teacher: str
) -> None:
    name, make, words = OUTS[kind]
    rows = [f"{i}.jpg,caption {j} of {i}" for i in range(3) for j in range(5)]
    (tmp_path / "captions.csv").write_text("\n".join(["image,caption", *rows]) + "\n")
    make_images(tmp_path, 3)
    make(tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    with Endpoint() as endpoint:
        own = {
            "openai": ["--model", "teacher-1", "--base-url", endpoint.url, "--candidates", "own=5"],
            "local": ["--model", "pairsift-tiny"],
            "reference": ["--embedder", "words"],
        }
        given = ["--captions", str(tmp_path / "captions.csv"), "--images",
                 str(tmp_path / "images.tar"), "--out", f"{tmp_path}/{name}"]  # fmt: skip
        result = CliRunner().invoke(app, ["teach", teacher, *given, *own[teacher]])
        assert isinstance(result.exception, PairsiftError), result.output
        assert words in str(result.exception)
        assert not endpoint.requests
    assert sorted(tmp_path.rglob("*")) == before


def test_the_cache_is_not_the_output(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with Endpoint() as endpoint:
        given = ["--captions", "x.csv", "--images", "x.tar", "--out", out, "--cache", out]
        own = ["--model", "teacher-1", "--base-url", endpoint.url]
        result = CliRunner().invoke(app, ["teach", "openai", *given, *own])
    assert "--cache and --out are both" in str(result.exception)
