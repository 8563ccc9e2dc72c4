"""What the document of the server says of its requests and refusals."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pairsift.metrics import METRICS
from pairsift.serve.messages import MetricMeaning, Problem, ScoredRow, problems, request_body


def test_a_scorer_without_metrics_takes_none() -> None:
    for metrics, there in ((METRICS, True), ({}, False)):
        content = request_body(metrics, 5, with_urls=True)["content"]
        for kind in ("multipart/form-data", "application/json"):
            assert ("metrics" in content[kind]["schema"]["properties"]) is there
    told = request_body(METRICS, 5, True)["content"]["multipart/form-data"]["schema"]["properties"]
    for name, metric in METRICS.items():
        assert f"`{name}`, 0 to 100: {metric.asks}" in told["metrics"]["description"]


def test_urls_are_described_only_where_they_are_fetched() -> None:
    assert set(request_body(METRICS, 5, False)["content"]) == {"multipart/form-data"}


def test_the_most_pairs_are_those_of_the_server() -> None:
    content = request_body(METRICS, 7, True)["content"]
    pairs = content["application/json"]["schema"]["properties"]["pairs"]
    assert (pairs["minItems"], pairs["maxItems"]) == (1, 7)
    captions = content["multipart/form-data"]["schema"]["properties"]["caption"]["anyOf"][1]
    assert captions["maxItems"] == 7


def test_every_refusal_has_a_meaning() -> None:
    codes = (400, 401, 403, 408, 413, 415, 422, 429, 503, 504)
    found = problems(*codes)
    assert tuple(found) == codes
    assert all(each["model"] is Problem and each["description"] for each in found.values())
    with pytest.raises(KeyError):
        problems(418)


def test_a_row_has_one_of_the_statuses_and_plain_scores() -> None:
    row = {"error": None, "width": 3, "height": 4, "caption_length": 5}
    made = ScoredRow(status="ok", scores={"itm": 1.5, "kind": "x", "passes": True}, **row)
    assert made.model_dump(mode="json")["scores"] == {"itm": 1.5, "kind": "x", "passes": True}
    with pytest.raises(ValidationError, match="status"):
        ScoredRow(status="fine", scores={}, **row)


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_a_metric_can_be_described(metric: object) -> None:
    told = MetricMeaning(**metric.to_json())  # type: ignore[attr-defined]
    assert (told.low, told.high, told.better) == (0, 100, "higher")
