"""The server, asked as a browser and as an attacker would."""

from __future__ import annotations

import html
import http.client
import json
import time
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from pairsift.errors import PairsiftError
from pairsift.explore import running_server
from pairsift.select import select
from tests.explore.conftest import Served, snapshot
from tests.report.conftest import HOSTILE


def ask(
    url: str, path: str, method: str = "GET", host: str | None = None
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Status, body and headers of one request; `path` is below the secret path unless it starts
    with a slash."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    target = path if path.startswith("/") else parts.path + path
    connection.request(method, target, headers={"Host": host} if host else {})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body, response.headers


def rows(url: str, **asked: str) -> dict[str, Any]:
    query = "&".join(f"{name}={quote(value)}" for name, value in asked.items())
    status, body, _ = ask(url, f"api/rows?{query}")
    found: dict[str, Any] = json.loads(body)
    assert status == 200, found
    return found


def wait_for_captions(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        summary = json.loads(ask(url, "api/summary")[1])
        if summary["captions_read"] == summary["shards"]:
            return
        time.sleep(0.05)
    raise AssertionError("captions were not read in a minute")


def test_pages_hold_every_row_once(served: Served) -> None:
    seen = [
        (row["shard"], row["key"])
        for page in range(4)
        for row in rows(served.url, page=str(page), size="25")["rows"]
    ]
    assert len(seen) == len(set(seen)) == 90
    assert seen == sorted(seen)


def test_filters_count_as_select_does(served: Served) -> None:
    where = "itm >= 40 and odf < 50"
    expected = select(served.scored.scores, where=where).kept
    assert rows(served.url, where=where)["total"] == expected
    assert (
        rows(served.url, fate="kept")["total"]
        == select(served.scored.scores, where="itm >= 40").kept
    )
    assert rows(served.url, fate="image_corrupt")["total"] == 9
    assert rows(served.url, where="width >= 641")["total"] == 0


def test_sorted_pages(served: Served) -> None:
    found = rows(served.url, sort="itm", order="desc", fate="ok", size="10")["rows"]
    values = sorted(served.scored.itm.values(), reverse=True)[:10]
    assert [row["itm"] for row in found] == values


def test_caption_search(served: Served) -> None:
    wait_for_captions(served.url)
    found = rows(served.url, q='"number 20"')
    assert [row["caption"] for row in found["rows"]] == ["A gradient, number 20"]
    hostile = rows(served.url, q="document.title='owned'", where="itm >= 0")["rows"]
    assert HOSTILE[0] in [row["caption"] for row in hostile] or not hostile


def test_one_row_in_full(served: Served) -> None:
    wait_for_captions(served.url)
    (row,) = rows(served.url, q='"number 20"')["rows"]
    _, body, _ = ask(served.url, f"api/row/{row['pos']}")
    full = json.loads(body)
    assert full["caption"] == "A gradient, number 20"
    assert full["row"]["key"] == row["key"]
    assert full["row"]["language"] == "fr"


def test_pictures(served: Served) -> None:
    found = rows(served.url, size="30")["rows"]
    for row in found[::7]:
        status, body, headers = ask(served.url, f"image/{row['pos']}")
        assert (status == 200) == (row["status"] == "ok")
        if status == 200:
            assert headers["Content-Type"] == "image/jpeg"
            assert body.startswith(b"\xff\xd8\xff")
    assert ask(served.url, f"image/{99 << 32}")[0] == 404


def test_the_report_is_served_too(served: Served) -> None:
    status, body, _ = ask(served.url, "report")
    assert status == 200
    assert b"Pairsift report" in body
    assert "default-src 'none'" in html.unescape(body.decode())


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"where": "nosuch > 1"}, "no column"),
        ({"where": "itm"}, "not a condition"),
        ({"where": "itm > 1; drop table rows"}, "not an expression"),
        ({"sort": "key; --"}, "cannot sort"),
        ({"fate": "x' OR 'a"}, "not a status"),
        ({"page": "-1"}, "not a number"),
    ],
)
def test_mistakes_are_told(served: Served, asked: dict[str, str], words: str) -> None:
    query = "&".join(f"{name}={quote(value)}" for name, value in asked.items())
    status, body, _ = ask(served.url, f"api/rows?{query}")
    assert status == 400
    assert words in json.loads(body)["error"]
    assert rows(served.url)["total"] == 90


def test_only_whoever_has_the_address_gets_in(served: Served) -> None:
    assert ask(served.url, "/")[0] == 404
    assert ask(served.url, "/api/rows")[0] == 404
    assert ask(served.url, "", host="evil.example:80")[0] == 403
    assert urlsplit(served.url).hostname == "127.0.0.1"


def test_read_only_and_closed(served: Served) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert ask(served.url, "api/rows", method)[0] == 501
    for path in ("../../etc/passwd", "..%2f..%2fetc/passwd", "server.py", "api/row/x", "image/-1"):
        assert ask(served.url, path)[0] in (400, 404)
    status, body, headers = ask(served.url, "", "HEAD")
    assert (status, body) == (200, b"")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert snapshot(served.folder) == served.before


def test_port_taken(served: Served) -> None:
    port = urlsplit(served.url).port or 0
    with (
        pytest.raises(PairsiftError, match="another --port"),
        running_server(served.scored.scores, port=port, cache=str(served.folder / "unused")),
    ):
        pass
