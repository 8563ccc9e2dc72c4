"""A server around the shipped filter, for all tests that need no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx2
import pytest

from pairsift import load_scorer
from pairsift.scorers.base import Scorer
from pairsift.serve import ServeSettings, running_server
from tests.samples import CAPTION, jpeg


@pytest.fixture(scope="session")
def scorer() -> Scorer:
    return load_scorer("pairsift-tiny")


@pytest.fixture(scope="session")
def url(scorer: Scorer) -> Iterator[str]:
    with running_server(scorer, ServeSettings(port=0, workers=0, max_body=2**20)) as url:
        yield url


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, timeout=120, trust_env=False) as client:
        yield client


def post(
    client: httpx2.Client,
    image: bytes | None = None,
    captions: Sequence[str | bytes] = (CAPTION,),
    **fields: Any,
) -> httpx2.Response:
    """POST /score with one image and these captions."""
    files: list[tuple[str, Any]] = [("image", ("image", jpeg() if image is None else image))]
    files += [("caption", (None, caption)) for caption in captions]
    files += [(name, (None, value)) for name, value in fields.items()]
    return client.post("/score", files=files)


def detail(response: httpx2.Response, code: int) -> str:
    """What a refusal says."""
    assert response.status_code == code, response.text
    words: Mapping[str, str] = response.json()
    return words["detail"]
