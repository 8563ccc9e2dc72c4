"""Columns of a multimodal scorer: their names, types and values."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pairsift.metrics import METRICS, Metric, Scale
from pairsift.scorers.mlm.columns import metric_columns, score_columns
from pairsift.scorers.mlm.trie import ScoreSummary


def metric(name: str, scale: Scale) -> Metric:
    return Metric(name, name, name, "How much?", scale)


YES = metric("text", Scale.listed({"yes": 1, "no": 0}))


def test_a_metric_has_four_columns_and_a_question_of_yes_and_no_five() -> None:
    names = [field.name for field in score_columns([METRICS["itm"], YES])]
    assert names == [
        "itm", "itm_top", "itm_std", "itm_validity",
        "text", "text_top", "text_std", "text_validity", "text_p", "caption_truncated",
    ]  # fmt: skip
    assert len(score_columns()) == 4 * len(METRICS) + 1
    assert [field.name for field in score_columns([])] == ["caption_truncated"]


@pytest.mark.parametrize(
    ("scale", "kind"),
    [
        (Scale.range(0, 100), pa.int16()),
        (Scale.range(-5, 5), pa.int16()),
        (Scale.listed({"half": 0.5, "none": 0}), pa.float32()),
        (Scale.listed({"most": 32767, "none": 0}), pa.int16()),
        (Scale.listed({"most": 32768, "none": 0}), pa.float32()),
        (Scale.listed({"most": 0, "least": -40000}), pa.float32()),
    ],
)
def test_the_likeliest_answer_is_stored_as_its_value_needs(scale: Scale, kind: pa.DataType) -> None:
    fields = {field.name: field.type for field in score_columns([metric("m", scale)])}
    assert fields["m_top"] == kind
    assert fields["m"] == fields["m_std"] == fields["m_validity"] == pa.float32()


def test_columns_hold_the_summary_of_their_metric() -> None:
    numbers = [np.array([[1.0, 0.25], [2.0, 0.75]]) + 10 * place for place in range(3)]
    summary = ScoreSummary(*numbers, validity=np.array([[1.0, 0.5], [0.9, 0.8]]))
    expected = summary.expected
    metrics = [METRICS["itm"], YES]
    found = metric_columns(summary, metrics)
    assert set(found) == {field.name for field in score_columns(metrics)} - {"caption_truncated"}
    assert found["itm"].tolist() == expected[:, 0].tolist()
    assert found["text_validity"].tolist() == [0.5, 0.8]
    assert found["text_p"].tolist() == (expected[:, 1] * [0.5, 0.8]).tolist()
    assert set(metric_columns(summary, metrics, ["text"])) == {
        "text", "text_top", "text_std", "text_validity", "text_p",
    }  # fmt: skip
    assert metric_columns(summary, metrics, []) == {}
