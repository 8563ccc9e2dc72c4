from __future__ import annotations

import pytest

from pairsift.errors import PairsiftError
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.chat import CHAT_FORMATS, render_chat
from pairsift.scorers.mlm.prompt_files import (
    dump_pack,
    import_reference_prompts,
    load_prompts,
    parse_pack,
)
from pairsift.scorers.mlm.prompts import MetricPrompt, PromptPack
from tests.scorers.mlm.checkpoints import make_tokenizer

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


def test_digest_changes_with_the_words():
    pack = load_prompts()
    assert pack.digest != PromptPack(pack.name, pack.instruction + "!", pack.metrics).digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "not TOML"),
        ('name = "x"', "instruction is missing"),
        ('name = "x"\ninstruction = "{caption}"\n[metrics.beauty]\ncriteria = "x"', "beauty"),
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


def test_a_missing_pack_and_a_missing_metric_are_named(tmp_path):
    with pytest.raises(PairsiftError, match=r"nowhere\.toml"):
        load_prompts(tmp_path / "nowhere.toml")
    with pytest.raises(PairsiftError, match="'su'"):
        PromptPack("x", "{caption}", {"itm": MetricPrompt("a", "b")}).user_turn("su", "c")


def test_named_chat_formats():
    prompt = render_chat("v1", "Rate it.", image_token="<image>")
    assert prompt.startswith("A chat between a curious user and")
    assert prompt.endswith("USER: <image>\nRate it. ASSISTANT:")
    assert render_chat("llava_v0", "Rate it.", image_token="<image>").endswith(
        "###Human: <image>\nRate it.###Assistant:"
    )
    assert render_chat("qwen_instruct", "Rate it.", image_token="<image>") == (
        "<|im_start|>system\nYou are a helpful assistant<|im_end|><|im_start|>user\n"
        "<image>\nRate it.<|im_end|><|im_start|>assistant\n"
    )
    with pytest.raises(PairsiftError, match="llama_3"):
        render_chat("vicuna", "Rate it.", image_token="<image>")
    assert all(len(parts) == 2 for parts in CHAT_FORMATS.values())


def test_a_checkpoint_without_a_usable_template_is_told():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(PairsiftError, match="no chat template"):
        render_chat("tokenizer", "Rate it.", image_token="<image>", tokenizer=tokenizer)
    tokenizer.chat_template = "{{ messages[0]['content'][1]['text'] }}"
    with pytest.raises(PairsiftError, match="one image"):
        render_chat("tokenizer", "Rate it.", image_token="<image>", tokenizer=tokenizer)
