"""What is tried after an endpoint refuses a field."""

from __future__ import annotations

import pytest

from pairsift.teach.dialect import Dialect, words_of

FULL = Dialect("max_tokens", "json_schema", temperature=True)
REFUSALS = [
    (
        "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead.",
        "max_completion_tokens in place of max_tokens",
    ),
    ("Unsupported value: 'temperature' does not support 0 with this model.", "no temperature"),
    ("Extra inputs are not permitted: ['messages', 0, 'image_url', 'detail']", "no detail"),
    ("response_format 'json_schema' is not supported", "json_object in place of json_schema"),
]


@pytest.mark.parametrize(("refusal", "told"), REFUSALS)
def test_the_field_that_is_refused_is_changed(refusal: str, told: str) -> None:
    after = FULL.after(refusal)
    assert after is not None
    assert after[1].startswith(told)
    assert after[0] != FULL


@pytest.mark.parametrize(
    "refusal",
    [
        "max_tokens is too large: 100000. This model supports at most 4096",
        "invalid API key",
        "the model `x` does not exist",
        "image_url: the image cannot be fetched",
        "please slow down",
    ],
)
def test_other_refusals_change_nothing(refusal: str) -> None:
    assert FULL.after(refusal) is None


def test_every_field_is_given_up_once() -> None:
    dialect, told = FULL, []
    for _ in range(3):
        for refusal, _ in REFUSALS:
            if after := dialect.after(refusal):
                dialect, words = after
                told.append(words)
    assert len(told) == len(set(told)) == 5
    assert (dialect.structured, dialect.temperature, dialect.detail) == ("none", False, False)


def test_words_leave_out_what_echoes_the_request() -> None:
    body = {"error": {"message": "no", "code": 400, "input": "SECRET" * 9, "param": None},
            "detail": [{"msg": "bad", "url": "https://x", "ctx": {"a": 1}}]}  # fmt: skip
    assert words_of(body) == "no 400 bad"
    assert words_of(None) == ""
    assert len(words_of(["x" * 9000])) == 4000
