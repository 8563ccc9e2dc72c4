"""The prompt of a teacher."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.metrics import METRICS
from pairsift.teach.prompt import answer_schema, load_teacher_prompt

GOOD = """name = "mine"
system = "You judge."
instruction = "Judge {caption} by {criteria}"
[metrics.itm]
criteria = "does it fit"
"""


def test_the_built_in_prompt_asks_for_every_metric() -> None:
    prompt = load_teacher_prompt()
    text = prompt.user_text("a dog", list(METRICS))
    assert set(prompt.criteria) == set(METRICS)
    assert text.count("a dog") == 1
    assert all(prompt.criteria[metric].strip() in text for metric in METRICS)


def test_a_caption_cannot_fill_another_field(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(GOOD)
    prompt = load_teacher_prompt(str(tmp_path / "p.toml"))
    assert prompt.user_text("{criteria} {caption}", ["itm"]) == (
        "Judge {criteria} {caption} by does it fit"
    )


def test_the_digest_follows_what_is_asked(tmp_path: Path) -> None:
    prompt = load_teacher_prompt()
    assert prompt.digest(["itm"]) == load_teacher_prompt().digest(["itm"])
    assert prompt.digest(["itm"]) != prompt.digest(["odf"])
    assert prompt.digest(["itm", "odf"]) != prompt.digest(["odf", "itm"])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{caption}", "it", "{caption} must stand once"),
        ("{criteria}", "{criteria} {criteria}", "{criteria} must stand once"),
        ("metrics.itm", "metrics.beauty", "unknown metric 'beauty'"),
        ("[metrics.itm]", "[metrics", "cannot read"),
    ],
)
def test_another_form_names_the_file(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(PairsiftError) as raised:
        load_teacher_prompt(str(path))
    assert words in str(raised.value)
    assert "p.toml" in str(raised.value)


def test_the_score_comes_before_the_rationale() -> None:
    schema = answer_schema(["odf", "itm"])
    assert list(schema["properties"]) == ["odf", "itm"]
    assert list(schema["properties"]["itm"]["properties"]) == ["score", "rationale"]
    assert schema["additionalProperties"] is False


def test_a_file_without_a_system_text_is_a_prompt_pack(tmp_path: Path) -> None:
    path = tmp_path / "pack.toml"
    path.write_text('name = "p"\ninstruction = "{caption}"\n[metrics.a]\ncriteria = "Is it?"\n')
    prompt = load_teacher_prompt(str(path))
    assert list(prompt.metrics) == ["a"]
    assert "a, A: Is it?" in prompt.user_text("a dog", ["a"])
