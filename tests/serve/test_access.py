"""Who may ask: this machine by default, whoever has the key otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from pairsift.errors import PairsiftError
from pairsift.scorers.heuristics import HeuristicsScorer
from pairsift.serve import ServeSettings, running_server
from pairsift.serve.settings import KEY_VARIABLE, read_api_key
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


def test_key_opens_and_health_needs_none(locked: httpx2.Client) -> None:
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
def test_web_pages_cannot_use_the_browser_here(
    client: httpx2.Client, headers: dict[str, str]
) -> None:
    assert "localhost only" in detail(client.get("/scorer", headers=headers), 403)


def test_own_origin_may(client: httpx2.Client) -> None:
    origin = {"Origin": str(client.base_url).rstrip("/")}
    assert client.get("/scorer", headers=origin).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "gpu7.example"])
def test_the_network_is_not_let_in_unasked(host: str) -> None:
    with pytest.raises(PairsiftError, match="--api-key-file"):
        ServeSettings(host=host)
    ServeSettings(host=host, api_key=KEY)
    ServeSettings(host=host, open_to_all=True)


def test_key_comes_from_file_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert read_api_key(None) is None
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    assert read_api_key(None) == KEY
    file = tmp_path / "key"
    file.write_text("another-key-of-some-length\n")
    assert read_api_key(str(file)) == "another-key-of-some-length"
    file.write_text("\n")
    with pytest.raises(PairsiftError, match="is empty"):
        read_api_key(str(file))
    with pytest.raises(PairsiftError, match="No such file"):
        read_api_key(str(tmp_path / "none"))


def test_short_keys_are_refused_and_none_is_shown() -> None:
    with pytest.raises(PairsiftError, match="at least 16"):
        ServeSettings(api_key="secret")
    assert KEY not in repr(ServeSettings(api_key=KEY))


def test_no_document_of_the_server_needs_the_internet(client: httpx2.Client) -> None:
    assert client.get("/docs").status_code == 404
    assert client.get("/openapi.json").json()["info"]["title"] == "Pairsift"
