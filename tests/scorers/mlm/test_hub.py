"""Checkpoints in the layout of transformers: types, files and tensors that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.hub import (
    check_tensors,
    check_type,
    load_tokenizer,
    quiet,
    read_settings,
)

FOLDER = Path("/models/x")


def test_types_of_transformers_are_taken_also_with_code_of_their_own_beside() -> None:
    assert check_type(FOLDER, {"model_type": "qwen2_vl"}) == "qwen2_vl"
    given = {"model_type": "llava", "auto_map": {"AutoModel": "code.Model"}}
    assert check_type(FOLDER, given) == "llava"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "bert"}, "model of type 'bert', which transformers .* does not list"),
        ({}, "model of type None"),
        (
            {"model_type": "own", "auto_map": {"AutoModel": "code.Model"}},
            "wants to run Python code of its own .* which Pairsift never does",
        ),
    ],
)
def test_other_types_are_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(PairsiftError, match=words):
        check_type(FOLDER, config)


def test_tensors_that_do_not_match_are_listed_up_to_a_few() -> None:
    check_tensors(FOLDER, missing=[], left_over=set())
    names = [f"layer.{number}" for number in range(10)]
    with pytest.raises(PairsiftError) as found:
        check_tensors(FOLDER, missing=set(names), left_over=["b", "a"], misshapen={"c"})
    words = str(found.value)
    assert "missing: layer.0, layer.1, " in words
    assert "layer.7 and 2 more; left over: a, b; of another shape: c" in words
    assert "\n" not in words


def test_settings_of_a_processor_are_read_or_absent(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == {}
    path = tmp_path / "processor_config.json"
    for content, expected in (({"a": 1}, {"a": 1}), ([1], {}), (None, {})):
        path.write_text(json.dumps(content))
        assert read_settings(tmp_path) == expected
    for broken in (b"{", b"\xff"):
        path.write_bytes(broken)
        with pytest.raises(PairsiftError, match=r"cannot read .*processor_config\.json"):
            read_settings(tmp_path)


def test_a_folder_without_a_tokenizer_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}))
    with pytest.raises(PairsiftError, match="cannot read the tokenizer of") as found:
        load_tokenizer(tmp_path)
    assert "\n" not in str(found.value)


def test_reports_of_transformers_are_silent_only_inside() -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()

    def fail() -> None:
        with quiet():
            assert logging.get_verbosity() == logging.ERROR
            assert not logging.is_progress_bar_enabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
