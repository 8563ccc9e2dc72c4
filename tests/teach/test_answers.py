"""Reading what models write in place of the JSON that they are asked for."""

from __future__ import annotations

import json
import time

import pytest

from pairsift.metrics import METRICS, Answer, Metric, Scale
from pairsift.scorers.mlm.prompt_files import load_prompts
from pairsift.teach.answers import MalformedAnswerError, parse_answer, wrong_scale
from pairsift.teach.prompt import answer_schema, of_pack

WANTED = {"itm": 70.0, "odf": 0.0, "ctq": 100.0, "su": 33.0}
GOOD = {name: {"score": int(score), "rationale": f"{name}."} for name, score in WANTED.items()}
TEXT = json.dumps(GOOD)
TITLES = {name: METRICS[name].title for name in WANTED}


def _scores(give: object) -> str:
    return json.dumps({name: {"score": give, "rationale": "r"} for name in WANTED})


@pytest.mark.parametrize(
    "text",
    [
        f'<think>\nThe form is {{"itm": {{"score": 1}}}}, so {{"itm": 5}}.\n</think>\n\n{TEXT}',
        f"<thinking>{_scores(1)}</thinking>{TEXT}",
        f'<Think type="long">no {{ at all</Think>\n{TEXT}',
        f"The template opened it: {_scores(2)}\n</think>\n{TEXT}",
        f"<reasoning>a</reasoning><think>{_scores(3)}</think>{TEXT}",
        f"Here you are:\n```json\n{TEXT}\n```\nLet me know {{if}} you need more.",
        f"```\n{TEXT}\n```",
        f'A 12" pipe, see [1] and {{this}}: {TEXT} [end',
        f"The form is {_scores(1)}. My answer: {TEXT}",
        f"{TEXT}{TEXT}",
        json.dumps({"scores": GOOD}),
        json.dumps({"result": {"answer": [GOOD]}}),
        json.dumps({"model": "m", "evaluation": {"scores": GOOD}}),
        json.dumps([GOOD]),
        json.dumps([{name: GOOD[name]} for name in GOOD]),
        "\n".join(json.dumps({name: GOOD[name]}) for name in GOOD),
        json.dumps([{"metric": name, **GOOD[name]} for name in GOOD]),
        json.dumps({"answer": TEXT}),
        json.dumps({name.upper(): entry for name, entry in GOOD.items()}),
        json.dumps({TITLES[name]: entry for name, entry in GOOD.items()}),
        json.dumps({TITLES[n].lower().replace(" ", "_"): entry for n, entry in GOOD.items()}),
        json.dumps({f"{TITLES[name]} ({name.upper()})": entry for name, entry in GOOD.items()}),
        json.dumps({f"{name}_score": score for name, score in WANTED.items()}),
        json.dumps({n: {"Score": e["score"], "Reason": e["rationale"]} for n, e in GOOD.items()}),
        json.dumps({**GOOD, "confidence": 0.3, "overall": {"score": 9}}),
        TEXT[:-1] + ",}",
        TEXT.replace('."}', '.",\n}'),
        TEXT.replace("70", "70 // good\n"),
        TEXT.replace("70", "70%").replace(": 33", ": 33 / 100"),
        TEXT.replace("itm.", "line\nbreak, \t and a comma,}"),
        json.dumps({name: str(int(score)) for name, score in WANTED.items()}),
        json.dumps({name: f"{score:.0f}/100" for name, score in WANTED.items()}),
        json.dumps({name: f" {score:.1f} % " for name, score in WANTED.items()}),
        json.dumps({name: f"{score:.0f} out of 100." for name, score in WANTED.items()}),
        json.dumps(WANTED),
    ],
)  # fmt: skip
def test_what_can_mean_one_thing_only_is_read(text: str) -> None:
    assert parse_answer(text, tuple(METRICS)).scores == WANTED


def test_rationales_come_along() -> None:
    assert parse_answer(TEXT, ("itm", "su")).why == {"itm": "itm.", "su": "su."}
    upper = json.dumps({"ITM": {"Score": 5, "Explanation": " why "}})
    assert parse_answer(upper, ("itm",)).why == {"itm": "why"}


def test_one_metric_needs_no_name() -> None:
    for text in ('{"score": 61, "rationale": "r"}', '[{"rating": "61"}]', '{"itm": 61}'):
        assert parse_answer(text, ("itm",)).scores == {"itm": 61}
    with pytest.raises(MalformedAnswerError, match="no score for itm"):
        parse_answer('{"score": 61}', ("itm", "su"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "empty"),
        ("  \n", "empty"),
        ("I'd rather not.", 'no JSON object in "I\'d rather not."'),
        (f"<think>I could say {TEXT}", "only thinking"),
        (f"<think>{TEXT}</think>", "only thinking"),
        (TEXT[:-30], 'in \'{"itm"'),
        ('{"itm": {"score": 70', "broken JSON"),
        (json.dumps({"itm": 70}), "no score for odf"),
        (_scores("high"), "no score for itm but 'high'"),
        (_scores("7/10"), "no score for itm but '7/10'"),
        (_scores("3 out of 5"), "'3 out of 5'"),
        (_scores("70-80"), "'70-80'"),
        (_scores("-5"), "'-5'"),
        (_scores(None), "no score for itm"),
        (_scores(True), "no score for itm"),
        (_scores(101), "itm is 101, not in 0..100"),
        (_scores("700"), "itm is 700, not in 0..100"),
        (_scores(-1), "not in 0..100"),
        (_scores(float("nan")), "itm"),
        (_scores(float("inf")), "itm"),
        (_scores(10**400), "itm"),
        ("[" * 100_000, "no JSON object|broken JSON"),
        ("{" * 100_000, "broken JSON"),
        ('{"a":' * 3000 + "1" + "}" * 3000, "broken JSON|no score"),
    ],
)
def test_what_cannot_be_read_is_malformed(text: str | None, says: str) -> None:
    begin = time.monotonic()
    with pytest.raises(MalformedAnswerError, match=says) as raised:
        parse_answer(text, tuple(METRICS))
    assert len(str(raised.value)) < 400
    assert time.monotonic() - begin < 5


def test_another_scale_is_seen() -> None:
    assert wrong_scale([{"itm": 0.7, "su": 0.0}, {"itm": 1.0, "su": 0.25}])
    assert wrong_scale([{"itm": 1.0}, {"itm": 0.0}])
    assert not wrong_scale([{"itm": 0.7}, {"itm": 2.0}])
    assert not wrong_scale([{"itm": 0.0}, {"itm": 0.0}])
    assert not wrong_scale([])


OPEN = {
    "stars": Metric("stars", "Stars", "", "How many?", Scale.range(1, 5)),
    "text": Metric(
        "text", "Readable text", "", "Is there text?",
        Scale((Answer(1, ("yes", "Yes")), Answer(0, ("no",)))),
    ),
    "grade_2": Metric("grade_2", "Grade", "", "?", Scale.listed({"poor": 0, "good": 100})),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ('{"stars": 4, "text": "yes", "grade_2": "good"}', (4, 1, 100)),
        ('{"stars": "4/5", "Readable text": true, "grade_2": {"score": "Poor."}}', (4, 1, 0)),
        ('{"stars": {"score": 1}, "text": 0, "grade_2": 100}', (1, 0, 100)),
    ],
)
def test_answers_of_any_pack_are_read(text, scores):
    assert tuple(parse_answer(text, tuple(OPEN), OPEN).scores.values()) == scores


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"stars": 6}', "stars is 6, not in 1..5"),
        ('{"stars": "4/10"}', "no score for stars"),
        ('{"text": "perhaps"}', "no score for text but 'perhaps'"),
        ('{"text": 0.5}', "no score for text"),
    ],
)
def test_answers_off_the_scale_are_malformed(text, message):
    [name] = [name for name in OPEN if name in text]
    with pytest.raises(MalformedAnswerError, match=message):
        parse_answer(text, (name,), OPEN)


def test_a_pack_is_asked_of_a_teacher():
    prompt = of_pack(load_prompts("vqascore"))
    text = prompt.user_text("a {caption} dog", ("vqascore",))
    assert "a {caption} dog" in text
    assert "vqascore, VQAScore: Does the image show what the caption says?" in text
    assert "Answer with 'No' or 'Yes'." in text
    schema = answer_schema(("vqascore",), prompt.metrics)
    assert schema["properties"]["vqascore"]["properties"]["score"]["enum"] == ["No", "Yes"]
