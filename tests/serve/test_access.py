"""Who may ask: this machine by default, whoever has the key otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from pairsift.scorers.heuristics import HeuristicsScorer
from pairsift.serve import ServeSettings, running_server
from tests.serve.conftest import detail, post

KEY = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def locked() -> Iterator[httpx2.Client]:
    settings = ServeSettings(port=0, workers=0, api_key=KEY)
    with (
        running_server(HeuristicsScorer(), settings) as url,
        httpx2.Client(base_url=url, timeout=60, trust_env=False) as client,
    ):
        yield client


@pytest.mark.parametrize("sent", [None, "", "Bearer", "Bearer wrong", f"Basic {KEY}", f"x{KEY}"])
@pytest.mark.parametrize("path", ["/scorer", "/metrics"])
def test_key_is_needed(locked: httpx2.Client, path: str, sent: str | None) -> None:
    headers = {} if sent is None else {"Authorization": sent}
    answer = locked.get(path, headers=headers)
    assert "Bearer KEY" in detail(answer, 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_key_opens_all_and_health_needs_none(locked: httpx2.Client) -> None:
    assert locked.get("/healthz").status_code == 200
    detail(post(locked), 401)
    locked.headers["Authorization"] = f"Bearer {KEY}"
    assert post(locked).status_code == 200
    del locked.headers["Authorization"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},
        {"Host": "127.0.0.1.attacker.example:8000"},
        {"Host": "[::1"},
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
    ],
)
def test_pages_of_other_sites_are_refused(client: httpx2.Client, headers: dict[str, str]) -> None:
    assert "localhost only" in detail(client.get("/scorer", headers=headers), 403)


def test_pages_of_the_server_itself_may_ask(client: httpx2.Client) -> None:
    origin = {"Origin": str(client.base_url).rstrip("/")}
    assert client.get("/scorer", headers=origin).status_code == 200


def test_no_document_of_the_server_needs_the_internet(client: httpx2.Client) -> None:
    assert client.get("/docs").status_code == 404
    assert client.get("/openapi.json").json()["info"]["title"] == "Pairsift"
