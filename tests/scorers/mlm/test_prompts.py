from __future__ import annotations

from dataclasses import replace

import pytest

from pairsift import hashing
from pairsift.errors import PairsiftError
from pairsift.metrics import Scale
from pairsift.scorers import caption_index, marking
from pairsift.scorers.mlm.prompt_files import (
    load_prompts,
)
from pairsift.scorers.mlm.prompts import MetricPrompt, PromptPack, check_metric_name
from pairsift.scores import IDENTITY_FIELDS


def test_digest_changes_with_the_words():
    pack = load_prompts()
    assert pack.digest != PromptPack(pack.name, pack.instruction + "!", pack.metrics).digest


def test_no_metric_has_the_name_of_a_column_that_stands_beside_any_scorers():
    for field in (*IDENTITY_FIELDS, *marking.COLUMNS, *caption_index.COLUMNS, *hashing.HASH_FIELDS):
        with pytest.raises(PairsiftError, match="another column of this name"):
            check_metric_name(field.name)


def test_what_is_for_people_only_is_not_in_the_digest():
    prompt = MetricPrompt("a", "b")
    plain = PromptPack("x", "{caption}", {"a": prompt})
    for change, same in [
        ({"title": "A"}, True), ({"asks": "A?"}, True), ({"better": "lower"}, True),
        ({"scale": Scale.range(0, 9)}, False), ({"instruction": "{caption}!"}, False),
    ]:  # fmt: skip
        changed = PromptPack("x", "{caption}", {"a": replace(prompt, **change)})
        assert (changed.digest == plain.digest) is same


def test_a_missing_pack_and_a_missing_metric_are_named(tmp_path):
    with pytest.raises(PairsiftError, match=r"nowhere\.toml"):
        load_prompts(tmp_path / "nowhere.toml")
    with pytest.raises(PairsiftError, match="'su'"):
        PromptPack("x", "{caption}", {"itm": MetricPrompt("a", "b")}).user_turn("su", "c")
