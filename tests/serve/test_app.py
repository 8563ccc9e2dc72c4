"""Scores over HTTP are the scorer's own, and a bad sample is a row."""

from __future__ import annotations

import httpx2
import pytest

from pairsift import Pair
from pairsift.captions import MAX_CAPTION_CHARACTERS
from pairsift.metrics import METRICS
from pairsift.scorers.base import Scorer
from tests.samples import CAPTION, jpeg
from tests.serve.conftest import detail, post


def test_scores_are_those_of_the_scorer(client: httpx2.Client, scorer: Scorer) -> None:
    captions = [CAPTION, "a quick ginger cat", "IMG_0001.JPG"]
    answer = post(client, jpeg(), captions)
    assert answer.status_code == 200
    table = scorer.score([Pair(str(n), jpeg(), text) for n, text in enumerate(captions)])
    for row, expected in zip(answer.json()["rows"], table.to_pylist(), strict=True):
        assert (row["status"], row["error"]) == ("ok", None)
        assert (row["width"], row["height"]) == (320, 240)
        assert row["caption_length"] == expected["caption_length"]
        assert set(row["scores"]) == {field.name for field in scorer.columns}
        for name, value in row["scores"].items():
            assert value == pytest.approx(expected[name], abs=0.05)


@pytest.mark.parametrize(
    ("image", "captions", "status"),
    [
        (b"", [CAPTION], "image_corrupt"),
        (b"\xff\xd8\xff\xe0", [CAPTION], "image_corrupt"),
        (jpeg()[:2000], [CAPTION], "image_corrupt"),
        (jpeg(), [""], "caption_empty"),
        (jpeg(), [b"\xff\xfe\xfa"], "caption_invalid"),
        (jpeg(8, 8), ["x" * (MAX_CAPTION_CHARACTERS + 1)], "caption_too_large"),
    ],
)
def test_bad_samples_are_rows(
    client: httpx2.Client, image: bytes, captions: list[str | bytes], status: str
) -> None:
    answer = post(client, image, captions)
    assert answer.status_code == 200
    (row,) = answer.json()["rows"]
    assert row["status"] == status
    assert row["error"]
    assert set(row["scores"].values()) == {None}


def test_a_bad_caption_leaves_the_other_rows_alone(client: httpx2.Client) -> None:
    rows = post(client, jpeg(), [CAPTION, " ", CAPTION]).json()["rows"]
    assert [row["status"] for row in rows] == ["ok", "caption_empty", "ok"]
    assert rows[0]["scores"]["itm"] == pytest.approx(rows[2]["scores"]["itm"], abs=0.05)


def test_only_the_requested_metrics_are_returned(client: httpx2.Client) -> None:
    (row,) = post(client, metrics="itm,su").json()["rows"]
    assert {name for name in METRICS if name in row["scores"]} == {"itm", "su"}
    assert not [name for name in row["scores"] if name.startswith(("odf", "ctq"))]


def test_the_scorer_is_described(client: httpx2.Client, scorer: Scorer) -> None:
    facts = client.get("/scorer").json()
    assert facts["fingerprint"] == dict(scorer.fingerprint)
    assert facts["metrics"] == list(METRICS)


def test_counts_are_told_to_prometheus(client: httpx2.Client) -> None:
    post(client)
    text = client.get("/metrics").text
    assert 'pairsift_serve_requests_total{code="200",path="/score"}' in text
    assert 'pairsift_serve_pairs_total{status="ok"}' in text
    assert "process_resident_memory_bytes" in text
    assert "pairsift_serve_queued_pairs 0.0" in text


@pytest.mark.parametrize(
    ("content", "kind", "code", "words"),
    [
        (b"", "text/plain", 415, "multipart/form-data"),
        (b"x", "", 415, "multipart/form-data"),
        (b"x", "multipart/form-data", 400, "boundary"),
        (b"no form", "multipart/form-data; boundary=abc", 400, "not readable"),
        (b"--abc--\r\n", "multipart/form-data; boundary=abc", 422, "image"),
        (b"{}", "application/json", 403, "--allow-remote"),
    ],
)
def test_bodies_of_another_kind_are_refused(
    client: httpx2.Client, content: bytes, kind: str, code: int, words: str
) -> None:
    answer = client.post("/score", content=content, headers={"Content-Type": kind})
    assert words in detail(answer, code)


def test_unusable_form_fields_are_refused(client: httpx2.Client) -> None:
    assert "0 captions" in detail(post(client, captions=[]), 422)
    assert "at most 64" in detail(post(client, captions=["a"] * 65), 422)
    assert "'captoin'" in detail(post(client, captoin="a"), 422)
    assert "does not score beauty; it scores itm" in detail(post(client, metrics="beauty"), 422)
    twice = [("image", ("a", jpeg())), ("image", ("b", jpeg())), ("caption", (None, "c"))]
    assert "2 fields named image" in detail(client.post("/score", files=twice), 422)
