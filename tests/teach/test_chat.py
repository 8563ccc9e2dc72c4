"""Endpoints that speak the protocol in their own way: what is learned, told and stopped."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from pairsift.errors import PairsiftError
from pairsift.teach.openai import OpenAITeacher
from pairsift.teach.records import Record
from tests.teach.endpoint import METRICS, Endpoint, Fault, good_answer
from tests.teach.teacher import Ear, check_answers, make_images, make_records, make_teacher

pytest.importorskip("openai")

ALL = 12
Asked = dict[str, Any]


def _ask(tmp_path: Path, endpoint: Endpoint, **options: Any) -> tuple[OpenAITeacher, list[Record]]:
    teacher = make_teacher(tmp_path, endpoint, retries=2, **options)
    records = make_records(ALL)
    teacher.annotate(records, make_images(tmp_path))
    return teacher, records


def _once(tmp_path: Path, refuse: Any, **options: Any) -> tuple[OpenAITeacher, list[Asked]]:
    """Ask a server that refuses some requests; all pairs are answered in the end."""
    endpoint: Endpoint

    def fault(number: int, caption: str) -> Asked | None:
        return refuse(endpoint.requests[number])

    with Endpoint(fault) as endpoint:
        teacher, records = _ask(tmp_path, endpoint, **options)
    check_answers(records)
    return teacher, endpoint.requests


def _detail(body: Asked) -> bool:
    return "detail" in body["messages"][1]["content"][0]["image_url"]


def _form(body: Asked) -> str | None:
    return body.get("response_format", {}).get("type")


def _error(status: int, message: str, **more: Any) -> Asked:
    return {"status": status, "error": {"error": {"message": message, **more}}}


RENAMED = "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
EXTRA = {"detail": [{"type": "extra_forbidden", "loc": ["body", "max_tokens"],
                     "msg": "Extra inputs are not permitted", "input": 1000}]}  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [
        _error(400, RENAMED + "'max_completion_tokens' instead.", param="max_tokens"),
        _error(422, "max_tokens: unknown field"),
        _error(500, "unexpected keyword argument 'max_tokens'"),
        {"status": 422, "error": EXTRA},
        {"body": json.dumps({"error": {"message": RENAMED, "code": 400}}).encode()},
    ],
)
def test_the_token_limit_takes_its_other_name_if_asked(tmp_path: Path, error: Asked) -> None:
    teacher, requests = _once(tmp_path, lambda body: error if "max_tokens" in body else None)
    assert [body.get("max_completion_tokens") for body in requests] == [None] + [1000] * ALL
    (note,) = teacher.facts["notes"]
    assert note.endswith("Continuing with max_completion_tokens in place of max_tokens")


@pytest.mark.parametrize(
    "error",
    [
        _error(400, "'temperature' does not support 0.0 with this model.", param="temperature"),
        _error(400, "`temperature` is deprecated for this model."),
        _error(422, "temperature must be strictly positive"),
        _error(500, "Unsupported sampling parameter: temperature"),
    ],
)
def test_a_refused_temperature_is_left_out(tmp_path: Path, error: Asked) -> None:
    _, requests = _once(tmp_path, lambda body: error if "temperature" in body else None)
    assert ["temperature" in body for body in requests] == [True] + [False] * ALL


@pytest.mark.parametrize(
    "error",
    [
        _error(500, 'response_format type must be one of "text" or "json_object"', code=500),
        _error(400, "Invalid parameter: 'response_format' of type 'json_schema' is not supported"),
        _error(501, "structured outputs are not implemented"),
        _error(400, 'Unknown name "additionalProperties" at generation_config.response_schema'),
    ],
)
def test_a_refused_schema_becomes_a_json_object(tmp_path: Path, error: Asked) -> None:
    _, requests = _once(tmp_path, lambda body: error if _form(body) == "json_schema" else None)
    assert [_form(body) for body in requests] == ["json_schema"] + ["json_object"] * ALL


@pytest.mark.slow
def test_all_that_a_server_refuses_is_learned_one_by_one(tmp_path: Path) -> None:
    """An old server, which knows nothing: five refusals, for all pairs together."""

    def refuse(body: Asked) -> Asked | None:
        if _form(body):
            return _error(400, f"response_format {_form(body)} is not supported")
        for name in ("temperature", "max_tokens"):
            if name in body:
                return _error(400, f"Unrecognized request argument supplied: {name}")
        if _detail(body):
            where = ["body", "messages", 1, "content", 0, "image_url", "detail"]
            said = [{"loc": where, "msg": "extra fields not permitted"}]
            return {"status": 422, "error": {"detail": said}}
        return None

    teacher, requests = _once(tmp_path, refuse, concurrency=6)
    assert len(requests) == 5 + ALL
    assert len(teacher.facts["notes"]) == 5
    assert set(requests[-1]) == {"model", "messages", "max_completion_tokens"}
    assert not _detail(requests[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        _error(400, "max_tokens is too large: 1000. The maximum is 512"),
        _error(400, "This model's maximum context length is 900 tokens; max_tokens not possible"),
        _error(400, "the image violates our rules and is not allowed"),
        {"status": 422, "error": {"detail": [{"loc": ["body"], "msg": "not valid",
                                              "input": "temperature max_tokens response_format"}]}},
    ],
)  # fmt: skip
def test_other_refusals_change_nothing(tmp_path: Path, error: Asked) -> None:
    with Endpoint(lambda number, caption: error if number == 0 else None) as endpoint:
        teacher, records = _ask(tmp_path, endpoint, concurrency=1)
    assert (records[0].error or "").startswith(f"HTTP {error['status']}")
    check_answers(records[1:])
    assert "notes" not in teacher.facts
    assert {frozenset(body) for body in endpoint.requests} == {frozenset(endpoint.requests[0])}


def test_a_refusal_that_stays_ends_the_attempts(tmp_path: Path) -> None:
    error = _error(400, "temperature, max_tokens, response_format: not supported")
    with Endpoint(lambda number, caption: error) as endpoint:
        teacher = make_teacher(tmp_path, endpoint, give_up_after=3, concurrency=2)
        with pytest.raises(PairsiftError, match="3 requests in a row failed.*not supported"):
            teacher.annotate(make_records(ALL), make_images(tmp_path))
    assert len(endpoint.requests) <= 4 + 4


def _inside(**error: Any) -> Asked:
    return {"body": json.dumps({"error": error}).encode()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        _inside(message="Provider returned error", code=502),
        _inside(message="Rate limit exceeded", code="rate_limit_exceeded"),
        _inside(message="Overloaded", type="overloaded_error"),
        {"body": b'{"object": "error", "message": "busy, try again", "code": 503}'},
        {"body": b'{"choices": [{"error": {"code": 504, "message": "slow"}, "message": null}]}'},
    ],
)
def test_temporary_errors_inside_a_200_are_retried(tmp_path: Path, fault: Asked) -> None:
    with Endpoint(lambda number, caption: fault if number in (0, 3) else None) as endpoint:
        teacher, records = _ask(tmp_path, endpoint)
    check_answers(records)
    assert len(endpoint.requests) == ALL + 2
    assert teacher.cache.totals()["replies"] == ALL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (
            _inside(message="Provider returned error", code=502),
            "no answer after 3 attempts.*Provider",
        ),
        (_inside(message="No auth", code=401), "refuses: HTTP 200 with an error inside: No auth"),
        (_inside(message="Insufficient credits", code=402), "refuses.*credit"),
        (_inside(message="no such image", code=400), "in a row failed.*no such image"),
        ({"body": b'{"error": "model not loaded"}'}, "in a row failed.*model not loaded"),
        ({"body": b'{"status": "fine"}'}, "without a message.*fine"),
        ({"body": b"[1, 2]"}, "without a message"),
        (_error(402, "pay first"), "refuses: HTTP 402: pay first"),
    ],
)
def test_lasting_errors_inside_a_200_are_told(tmp_path: Path, fault: Asked, says: str) -> None:
    with Endpoint(lambda number, caption: fault) as endpoint:
        teacher = make_teacher(tmp_path, endpoint, retries=2, give_up_after=3)
        with pytest.raises(PairsiftError, match=says):
            teacher.annotate(make_records(ALL), make_images(tmp_path))
        assert teacher.cache.totals()["replies"] == 0


def _parts(*parts: Any) -> Fault:
    return lambda number, caption: {
        "content": [part if part is not None else good_answer(caption) for part in parts]
    }


def _part(kind: str, text: str | None = None) -> Fault:
    return lambda number, caption: {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm {"}]},
            {"type": kind, "text": text or good_answer(caption)},
        ]
    }


@pytest.mark.parametrize(
    "fault",
    [
        _part("text"),
        _part("output_text"),
        _parts("Here: ", None),
        lambda number, caption: {"content": json.loads(good_answer(caption))},
        lambda number, caption: {"content": good_answer(caption), "reason": "length"},
        lambda number, caption: {"content": f"<think>{{}}</think>{good_answer(caption)}"},
        lambda number, caption: {"content": None, "more": {"reasoning": good_answer(caption)}},
        lambda number, caption: {
            "content": "", "more": {"reasoning_content": f"\n```json\n{good_answer(caption)}```"}
        },
    ],
)  # fmt: skip
def test_answers_in_other_forms_are_read(tmp_path: Path, fault: Fault) -> None:
    with Endpoint(fault) as endpoint:
        _, records = _ask(tmp_path, endpoint)
    check_answers(records)
    assert len(endpoint.requests) == ALL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"content": "I see a dog."}, "no JSON object.*begins 'I see a dog.'"),
        ({"content": None, "more": {"reasoning_content": "Hm, " + good_answer("x")}},
         "only reasoning.*reasoning parser"),
        ({"content": "<think>the dog", "reason": "length"}, "cut off.*--max-output-tokens"),
        ({"content": '{"score": 7}'}, "no score for itm"),
        ({"content": None}, "answer is empty"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("concurrency", [1, 8])
def test_answers_malformed_alike_stop_the_run_early(
    tmp_path: Path, fault: Asked, says: str, concurrency: int
) -> None:
    with Endpoint(lambda number, caption: fault, delay=0.02) as endpoint:
        teacher = make_teacher(tmp_path, endpoint, concurrency=concurrency)
        with pytest.raises(PairsiftError, match=f"first 5 answers.*{says}"):
            teacher.annotate(make_records(ALL), make_images(tmp_path))
    assert len(endpoint.requests) == 5
    assert teacher.cache.totals()["replies"] == 5


@pytest.mark.slow
def test_refusals_and_a_bad_beginning_stop_nothing(tmp_path: Path) -> None:
    def fault(number: int, caption: str) -> Asked | None:
        bad: Asked = {"refusal": "no"} if number < 12 else {"content": "what?"}
        return bad if number < 16 else None

    with Endpoint(fault) as endpoint:
        _, records = _ask(tmp_path, endpoint, concurrency=1)
    assert [record.error for record in records[:4]] == ["refused: no"] * 4
    assert records[4].error == "malformed: no JSON object in 'what?'"
    check_answers(records[5:])


def test_a_content_filter_is_a_refusal(tmp_path: Path) -> None:
    fault = {"content": "", "reason": "content_filter"}
    with Endpoint(lambda number, caption: fault if caption.endswith("1") else None) as endpoint:
        _, records = _ask(tmp_path, endpoint)
    assert records[1].error == "refused: content_filter"


def _scaled(score: Any) -> Fault:
    return lambda number, caption: {
        "content": json.dumps(dict.fromkeys(METRICS, score(number) if callable(score) else score))
    }


@pytest.mark.parametrize("score", [0.7, 1, "0.85", lambda number: number % 2])
def test_another_scale_is_noticed_at_once(tmp_path: Path, score: Any) -> None:
    with Endpoint(_scaled(score)) as endpoint:
        teacher = make_teacher(tmp_path, endpoint, concurrency=1)
        with pytest.raises(PairsiftError, match=r"teacher-1 scores from 0 to 1.*5 answers"):
            teacher.annotate(make_records(ALL), make_images(tmp_path))
        assert len(endpoint.requests) == 5
        # And again, before more is paid for.
        teacher = make_teacher(tmp_path, endpoint, concurrency=1)
        with pytest.raises(PairsiftError, match="0 to 1"):
            teacher.annotate(make_records(ALL), make_images(tmp_path))
        assert len(endpoint.requests) == 5


def test_another_scale_is_noticed_of_few_answers_and_of_kept_ones(tmp_path: Path) -> None:
    with Endpoint(_scaled(0.5)) as endpoint:
        for _ in range(2):
            with pytest.raises(PairsiftError, match=r"0 to 1.*2 answers"):
                make_teacher(tmp_path, endpoint).annotate(make_records(2), make_images(tmp_path))
    assert len(endpoint.requests) == 2


@pytest.mark.slow
@pytest.mark.parametrize("score", [0, 2, lambda number: number * 0.3])
def test_low_scores_are_not_taken_for_another_scale(tmp_path: Path, score: Any) -> None:
    with Endpoint(_scaled(score)) as endpoint:
        _, records = _ask(tmp_path, endpoint, concurrency=1)
    assert all(record.error is None for record in records)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0}, "free"])
def test_uncounted_tokens_are_told_as_estimates(tmp_path: Path, usage: Any) -> None:
    ear = Ear()
    with Endpoint(lambda number, caption: {"usage": usage}) as endpoint:
        teacher, images = make_teacher(tmp_path, endpoint), make_images(tmp_path)
        estimate = teacher.estimate(teacher.plan(make_records(ALL), images)[1], images)
        bill = teacher.annotate(make_records(ALL), images, ear)
    assert bill.estimated == bill.requests == ALL
    asked = estimate.bill.input_tokens
    assert asked * 0.9 <= bill.input_tokens <= asked * 1.1
    assert bill.output_tokens >= ALL * 20
    assert "(estimated for 12, which the endpoint did not count)" in bill.text()
    assert [words for words in ear.messages if "estimates" in words] == [
        f"{endpoint.url} counts no tokens: tokens and cost are estimates"
    ]


class _Breaking(Ear):
    """A listener whose terminal is gone after the third answer."""

    def progress(self, task: str, done: int, total: int | None, **more: Any) -> None:
        if done == 3:
            raise BrokenPipeError("no terminal")


@pytest.mark.slow
def test_paid_requests_are_kept_when_something_else_breaks(tmp_path: Path) -> None:
    with Endpoint(delay=0.2) as endpoint:
        teacher = make_teacher(tmp_path, endpoint, concurrency=6)
        with pytest.raises(BrokenPipeError):
            teacher.annotate(make_records(40), make_images(tmp_path), _Breaking())
        asked = len(endpoint.requests)
        assert 5 <= asked <= 12
        assert teacher.cache.totals()["replies"] == sum(endpoint.answered.values()) == asked


def test_what_an_earlier_version_could_not_read_is_not_paid_for_again(tmp_path: Path) -> None:
    with Endpoint() as endpoint:
        _ask(tmp_path, endpoint)
        with sqlite3.connect(tmp_path / "replies.sqlite") as cache:
            cache.execute(
                "UPDATE replies SET text = '<think>{\"itm\"}</think>' || text, "
                "problem = 'malformed: broken JSON'"
            )
        _, records = _ask(tmp_path, endpoint)
    check_answers(records)
    assert len(endpoint.requests) == ALL
