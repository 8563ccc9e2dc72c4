"""URLs are fetched where that is allowed, and never from this machine's own network."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

from pairsift.errors import PairsiftError
from pairsift.pair import Fault, Status
from pairsift.scorers.heuristics import HeuristicsScorer
from pairsift.serve import ServeSettings, running_server
from pairsift.serve.fetch import Fetcher, is_public
from tests.samples import CAPTION, jpeg
from tests.serve.conftest import detail

LOOPBACK = "127.0.0.0/8"


class Site(ThreadingHTTPServer):
    """A web server on the loopback; remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.asked: list[tuple[str, str]] = []
        self.where = f"127.0.0.1:{self.server_port}"


class _Pages(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append((self.headers["Host"], self.path))
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path == "/loop":
            self.send_response(301)
            self.send_header("Location", "/loop")
            self.end_headers()
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(65536))
            except ConnectionError:
                pass
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(100):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.1)
            except ConnectionError:
                pass
        elif self.path == "/image":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(jpeg())
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def fetch(
    url: str,
    allow: tuple[str, ...] = (LOOPBACK,),
    names: dict[str, list[str]] | None = None,
) -> bytes | Fault:
    async def look_up(host: str, port: int) -> list[str]:
        assert names is not None
        return names.get(host, [host])

    async def run() -> bytes | Fault:
        more = {} if names is None else {"resolve": look_up}
        fetcher = Fetcher(max_bytes=10**6, time_limit=1, at_once=4, allow_networks=allow, **more)
        try:
            return await fetcher.fetch(url)
        finally:
            await fetcher.close()

    return asyncio.run(run())


def refused(found: bytes | Fault, words: str, status: Status = Status.READ_ERROR) -> None:
    assert isinstance(found, Fault)
    assert found.status is status
    assert words in found.error


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254",
        "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::", "2001:db8::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "::ffff:8.8.8.8"]
)
def test_addresses_that_are(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_image_is_fetched_where_allowed(site: Site) -> None:
    assert fetch(f"http://{site.where}/image") == jpeg()
    assert fetch(f"http://{site.where}/to/image") == jpeg() or site.asked  # relative to /to/
    assert fetch(f"http://{site.where}/to//image") == jpeg()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]"])
def test_this_machine_is_refused_however_it_is_spelled(site: Site, host: str) -> None:
    refused(fetch(f"http://{host}:{site.server_port}/image", allow=()), "private, loopback")
    assert not site.asked


def test_names_are_judged_by_what_they_resolve_to(site: Site) -> None:
    url = f"http://images.example:{site.server_port}/image"
    for addresses in (["10.0.0.8"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"], []):
        refused(fetch(url, allow=(), names={"images.example": addresses}), "private, loopback")
    assert not site.asked


def test_connection_is_made_to_the_address_that_was_checked(site: Site) -> None:
    # The system's resolver knows no such name: a second look-up would fail.
    url = f"http://images.example:{site.server_port}/image"
    assert fetch(url, names={"images.example": ["127.0.0.1"]}) == jpeg()
    assert site.asked == [(f"images.example:{site.server_port}", "/image")]


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/image",
        "http://[fd00:ec2::254]/image",
        "//192.168.0.1/image",
    ],
)
def test_redirects_are_judged_too(site: Site, target: str) -> None:
    refused(fetch(f"http://{site.where}/to/{target}"), "private, loopback")


def test_redirect_to_another_scheme_is_refused(site: Site) -> None:
    refused(fetch(f"http://{site.where}/to/file:///etc/passwd"), "only http:// and https://")


@pytest.mark.parametrize(
    ("path", "words", "status"),
    [
        ("loop", "redirected more than 5 times", Status.READ_ERROR),
        ("endless", "more than 1,000,000 bytes", Status.IMAGE_TOO_LARGE),
        ("slow", "took more than 1 s", Status.READ_ERROR),
        ("nothing", "HTTP status 404", Status.READ_ERROR),
    ],
)
def test_sites_that_misbehave(site: Site, path: str, words: str, status: Status) -> None:
    refused(fetch(f"http://{site.where}/{path}"), words, status)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///etc/passwd", "only http"),
        ("gopher://example.com/", "only http"),
        ("image.jpg", "only http"),
        ("http://", "only http"),
        ("http://user:secret@example.com/", "user name"),
        ("http://example.com:99999/", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("http://example.com/\r\nX-Evil: 1", "percent-encoded"),
        ("http://exämple.com/", "percent-encoded"),
        ("http://example.com/" + "a" * 10_000, "characters"),
        ("http://127.0.0.1:1/", "cannot connect to its host"),
    ],
)
def test_urls_that_are_none(url: str, words: str) -> None:
    refused(fetch(url), words)


@pytest.mark.slow
def test_server_answers_with_a_row_for_every_url(site: Site) -> None:
    settings = ServeSettings(port=0, workers=0, allow_remote=True, allow_networks=(LOOPBACK,))
    where = f"http://{site.where}"
    pairs = [
        {"url": f"{where}/image", "caption": CAPTION},
        {"url": f"{where}/none", "caption": CAPTION},
        {"url": "http://169.254.169.254/", "caption": CAPTION},
        {"url": f"{where}/image", "caption": ""},
    ]
    with (
        running_server(HeuristicsScorer(), settings) as url,
        httpx2.Client(base_url=url, timeout=60, trust_env=False) as client,
    ):
        rows = client.post("/score", json={"pairs": pairs}).json()["rows"]
        assert [row["status"] for row in rows] == [
            "ok",
            "read_error",
            "read_error",
            "caption_empty",
        ]
        for body in (b"{", b'{"pairs": NaN}', b"[" * 100_000, b"\xff"):
            answer = client.post(
                "/score", content=body, headers={"Content-Type": "application/json"}
            )
            assert "not readable as JSON" in detail(answer, 400)
        for content in ([], {}, {"pairs": [{"url": 3, "caption": "a"}]}, {"pairs": [], "x": 1}):
            detail(client.post("/score", json=content), 422)


def test_networks_need_permission_to_fetch() -> None:
    with pytest.raises(PairsiftError, match="--allow-remote"):
        ServeSettings(allow_networks=(LOOPBACK,))
    with pytest.raises(PairsiftError, match="10.1.0.0/16"):
        ServeSettings(allow_remote=True, allow_networks=("everywhere",))
