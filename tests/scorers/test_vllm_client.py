"""Requests to a server with vLLM's protocol: its models, its log probabilities, its refusals."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("openai", reason="needs the extra vllm")

from pairsift.errors import PairsiftError
from pairsift.scorers.vllm_client import VLLMClient, VLLMError
from tests.scorers.test_vllm import PAIRS
from tests.scorers.vllm_server import MODEL, VLLMServer


@pytest.fixture(scope="module")
def server() -> Iterator[VLLMServer]:
    with VLLMServer("whole", models=[MODEL, "other"], key="s3cret") as server:
        yield server


def client(server: VLLMServer, **options: Any) -> VLLMClient:
    given = {"model": MODEL, "api_key": "s3cret", "timeout": 10, "retries": 0} | options
    return VLLMClient(server.url, **given)


def test_a_model_is_found_with_its_origin(server: VLLMServer) -> None:
    found = client(server)
    assert (found.model, found.root) == (MODEL, f"/models/{MODEL}")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": None}, f"serves several models; it has {MODEL}, other: --model http.*#NAME"),
        ({"model": "third"}, "does not serve 'third'; it has"),
        ({"api_key": "wrong"}, "does not return its models: .*Unauthorized.*VLLM_API_KEY"),
    ],
)
def test_what_cannot_be_found_is_told(
    server: VLLMServer, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(PairsiftError, match=words):
        client(server, **options)


def test_the_key_may_stand_in_the_environment(
    server: VLLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "s3cret")
    assert client(server, api_key=None).model == MODEL


def test_an_address_without_a_server_is_told() -> None:
    with pytest.raises(PairsiftError, match="127.0.0.1:9/v1 does not return its models: .*Connect"):
        VLLMClient("http://127.0.0.1:9/v1", retries=0)


def question(server: VLLMServer) -> tuple[str, str]:
    """An image and a text that the server can take apart."""
    data = base64.b64encode(PAIRS[0].image or b"").decode()
    return f"data:image/jpeg;base64,{data}", server.pack.user_turn("itm", "a dog")


@pytest.mark.parametrize(
    ("message", "asked", "expected"),
    [
        ("Requested sample logprobs of 20, which is greater than max allowed: 5", 20, 5),
        ("top_logprobs must be between 1 and 8", 20, 8),
        ("logprobs: too many, the maximum is lower", 20, 10),
        ("top_logprobs is more than this server allows", 5, 2),
    ],
)
def test_as_many_log_probabilities_are_asked_for_as_the_server_allows(
    server: VLLMServer,
    monkeypatch: pytest.MonkeyPatch,
    message: str,
    asked: int,
    expected: int,
) -> None:
    def fault(number: int, caption: str) -> dict[str, Any] | None:
        too_many = server.requests[number]["top_logprobs"] > expected
        return {"status": 400, "message": message} if too_many else None

    monkeypatch.setattr(server, "fault", fault)
    found = client(server, top_logprobs=asked)
    found.check(*question(server))
    assert found.top_logprobs == server.requests[-1]["top_logprobs"] == expected


@pytest.mark.parametrize("message", ["this model reads no images", "logprobs are not supported"])
def test_another_refusal_is_not_asked_again(
    server: VLLMServer, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    monkeypatch.setattr(server, "fault", lambda *_: {"status": 400, "message": message})
    before = len(server.requests)
    with pytest.raises(PairsiftError, match=f"{message}.*pairsift teach openai"):
        client(server).check(*question(server))
    assert len(server.requests) == before + 1


def test_an_answer_is_read_token_by_token_and_continued(server: VLLMServer) -> None:
    found = client(server)
    image, text = question(server)
    (first,) = found.answer(image, text, 1)
    assert len(first.alternatives) == 20
    assert all(log_p <= 0 for _, log_p in first.alternatives)
    assert found.next_step(image, text, "57").token
    assert [written for _, _, written in server.asked[-2:]] == ["", "57"]


@pytest.mark.parametrize(
    "body", [b'{"choices": []}', b"{}", b'{"choices": [{"message": {"content": "7"}}]}', b"[]"]
)
def test_an_answer_of_another_form_costs_one_pair(
    server: VLLMServer, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(server, "fault", lambda *_: {"body": body})
    with pytest.raises(VLLMError, match="has no logprobs"):
        client(server).answer(*question(server), 1)


def test_a_server_error_is_told_in_few_words(
    server: VLLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "fault", lambda *_: {"status": 500, "message": "x" * 5000})
    with pytest.raises(VLLMError, match="InternalServerError") as found:
        client(server).answer(*question(server), 1)
    assert len(str(found.value)) <= 300
