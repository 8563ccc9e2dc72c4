"""Prompt packs as files: read, written, imported, refused."""

from __future__ import annotations

import re

import pytest

from pairsift.errors import PairsiftError
from pairsift.metrics import METRICS, Answer, Scale
from pairsift.scorers.mlm.prompt_files import (
    dump_pack,
    import_reference_prompts,
    load_prompts,
    parse_pack,
)
from pairsift.scorers.mlm.prompts import MetricPrompt, PromptPack

# The layout of the published scripts, with words of our own.
SCRIPT = '''
import os
raise SystemExit("this must never run")

LLAVA_INSTRUCTION_TEMPLATE = """Text: {{caption}}

{{criteria}} More is better for {{aspect}}."""

criteria_image_text_matching = "Match?"
criteria_object_detail_fulfillment = "Details?"
{ctq} = "Grammar?"
criteria_semantic_understanding = """Knowledge?
1. Names
"""

def main():
    criteria_image_text_matching = "not this one"
'''


def test_the_packaged_pack_has_words_for_every_metric():
    pack = load_prompts()
    assert tuple(pack.metrics) == tuple(METRICS)
    for metric in METRICS:
        turn = pack.user_turn(metric, "A {red} dog")
        assert turn.startswith("Caption: A {red} dog\n")
        assert METRICS[metric].aspect in turn
        assert pack.metrics[metric].criteria in turn
        assert "  " not in turn


@pytest.mark.parametrize("ctq", ["criteria_caption_text_quality", "criteria_cation_text_quality"])
def test_constants_of_a_published_script_are_read_and_nothing_is_run(tmp_path, ctq):
    script = tmp_path / "mlm_filter_scoring.py"
    script.write_text(SCRIPT.format(ctq=ctq))
    pack = import_reference_prompts(script)
    assert pack.name == "mlm_filter_scoring"
    assert pack.chat == "auto"
    assert pack.user_turn("ctq", "a dog") == (
        "Text: a dog\n\nGrammar? More is better for caption text quality."
    )
    assert pack.metrics["itm"].criteria == "Match?"
    assert pack.metrics["su"].criteria == "Knowledge?\n1. Names\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:", "cannot read prompts"),
        ("x = 1", "LLAVA_INSTRUCTION_TEMPLATE"),
        ("LLAVA_INSTRUCTION_TEMPLATE = open('x').read()", "LLAVA_INSTRUCTION_TEMPLATE"),
        ("LLAVA_INSTRUCTION_TEMPLATE = '{caption}'", "criteria_image_text_matching"),
    ],
)
def test_a_script_without_prompts_is_refused(tmp_path, text, message):
    script = tmp_path / "script.py"
    script.write_text(text)
    with pytest.raises(PairsiftError, match=message):
        import_reference_prompts(script)


def test_a_pack_survives_its_file(tmp_path):
    criteria = 'Quotes "so", a \\backslash\\n, a\ttab,\nlines,\n\n"""triple""", é and \x7f.'
    pack = PromptPack(
        "mine", "{caption}\n{criteria}{aspect}", {"itm": MetricPrompt("match", criteria)}, "v1", ""
    )
    path = tmp_path / "mine.toml"
    path.write_text(dump_pack(pack), "utf-8")
    again = load_prompts(path)
    assert again == pack
    assert again.digest == pack.digest
    assert load_prompts(pack) is pack


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "not TOML"),
        ('name = "x"', "instruction is missing"),
        ('name = "x"\ninstruction = "{caption}"\n[metrics.itm]\naspect = "x"', "criteria is miss"),
        ('name = "x"\ninstruction = "{caption}"\nmetrics = 3', "metrics must be"),
        ('name = "x"\ninstruction = "{caption}"\nchat_format = "v1"', "chat_format"),
        ('name = "x"\ninstruction = "{criteria}"\n[metrics]', "must be there exactly once"),
        ('name = "x"\ninstruction = "{caption}{score}"\n[metrics]', "score"),
        ('name = "x"\ninstruction = "{caption"\n[metrics]', "instruction"),
    ],
)
def test_broken_packs_are_refused(text, message):
    with pytest.raises(PairsiftError, match=message):
        parse_pack(text, "broken.toml")


HEAD = 'name = "x"\ninstruction = "{caption} {criteria}"\n'


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("", "asks nothing"),
        ("[metrics.key]\ncriteria = 'x'", "'key': tables with scores have another column"),
        ("[metrics.status]\ncriteria = 'x'", "'status': tables"),
        ("[metrics.kind]\ncriteria = 'x'", "'kind': tables"),
        ("[metrics.Beauty]\ncriteria = 'x'", "'Beauty': a name is made of a-z"),
        ("[metrics.'a b']\ncriteria = 'x'", "'a b': a name is made of a-z"),
        ("[metrics.2d]\ncriteria = 'x'", "'2d': a name is made of a-z"),
        ("[metrics.and]\ncriteria = 'x'", "'and': the word has a meaning in --where"),
        ("[metrics.a_top]\ncriteria = 'x'", "'a_top': _top"),
        ("[metrics.a]\ncriteria = 'x'\nbetter = 'bigger'", "better is 'bigger'; it may be higher"),
        ("[metrics.a]\ncriteria = 'x'\nanswers = 3", "answers must be a table or a list"),
        ("[metrics.a]\ncriteria = 'x'\nanswers = []", "two answers or more, not 0"),
        ("[metrics.a]\ncriteria = 'x'\nanswers = { low = 5, high = 5 }", "low must be below high"),
        (
            "[metrics.a]\ncriteria = 'x'\nanswers = { low = 1.5, high = 5 }",
            "range of whole numbers",
        ),
        ("[metrics.a]\ncriteria = 'x'\nanswers = { low = 1 }", "range of whole numbers"),
        ("[metrics.a]\ncriteria = 'x'\nanswers = { low = 0, high = 5000 }", "5,001 answers"),
        (
            "[metrics.a]\ncriteria = 'x'\nanswers = [{ value = 1, spellings = ['yes'] }]",
            "two answers or more, not 1",
        ),
        (
            "[metrics.a]\ncriteria = 'x'\nanswers = ["
            "{ value = 1, spellings = ['yes'] }, { value = 0, spellings = ['yes'] }]",
            "'yes' stands there twice",
        ),
        (
            "[metrics.a]\ncriteria = 'x'\nanswers = ["
            "{ value = 1, spellings = ['yes'] }, { value = 1, spellings = ['sure'] }]",
            "two answers have the value 1",
        ),
        (
            "[metrics.a]\ncriteria = 'x'\nanswers = ["
            "{ value = 1, spellings = [] }, { value = 0, spellings = ['no'] }]",
            "value 1 has no spelling",
        ),
        (
            "[metrics.a]\ncriteria = 'x'\nanswers = ["
            "{ value = 1, spellings = [' '] }, { value = 0, spellings = ['no'] }]",
            "' ' of an answer has no letter",
        ),
        (
            "[metrics.a]\ncriteria = 'x'\nanswers = ["
            "{ value = nan, spellings = ['yes'] }, { value = 0, spellings = ['no'] }]",
            "nan",
        ),
        (
            "[metrics.a]\ncriteria = 'x'\nanswers = ["
            "{ value = 'high', spellings = ['yes'] }, { value = 0, spellings = ['no'] }]",
            "a number as value",
        ),
        ("[metrics.a]\ncriteria = 'x'\ninstruction = 'x'", "instruction of a: {caption} must"),
    ],
)
def test_metrics_that_cannot_be_asked_are_refused_in_one_line(metric, message):
    text = HEAD + (metric or "[metrics]")
    with pytest.raises(PairsiftError, match=re.escape(message)) as found:
        parse_pack(text, "broken.toml")
    assert str(found.value).startswith(("broken.toml: ", "prompt pack broken.toml: "))
    assert "\n" not in str(found.value)


EVERYTHING = PromptPack(
    "everything",
    "",
    {
        "useful": MetricPrompt(
            "usefulness", "Would a teacher use it?", Scale.range(1, 5), title="Usefulness",
            asks="Would a teacher use this figure?", instruction="{caption} {criteria} {answers}",
        ),
        "errors": MetricPrompt(
            "", "How many?", Scale.range(-3, 3), better="lower", instruction="{caption}",
        ),
        "text": MetricPrompt(
            "", 'Is there "text"?',
            Scale((Answer(1, ("yes", " YES")), Answer(0.5, ('a "bit"',)), Answer(0, ("no",)))),
            instruction="{caption}", better="neither",
        ),
    },
    answer_tail="",
)  # fmt: skip


def test_a_pack_of_any_answers_survives_its_file(tmp_path):
    path = tmp_path / "everything.toml"
    path.write_text(dump_pack(EVERYTHING), "utf-8")
    again = load_prompts(path)
    assert again == EVERYTHING
    assert again.digest == EVERYTHING.digest
    assert again.user_turn("useful", "a dog") == (
        "a dog Would a teacher use it? a whole number from 1 to 5"
    )
    assert again.metrics["text"].scale.values == (0, 0.5, 1)
    assert again.metrics["text"].scale.describe() == """'no', 'a "bit"' or 'yes'"""
    assert again.metric("errors").asks == "How many?"


def test_packs_of_before_keep_their_digests():
    """They stand in fingerprints: a folder that was begun with one goes on."""
    digests = {name: load_prompts(name).digest[:16] for name in ("pairsift", "compact")}
    assert digests == {"pairsift": "590f1fcb87277162", "compact": "0efa64465fbeb02e"}
