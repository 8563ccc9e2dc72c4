"""Which checkpoints can be trained, and what is kept beside the weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("accelerate", reason="needs the extra train")

from pairsift.errors import PairsiftError
from pairsift.train.student import Base, copy_beside, find_base


def test_a_base_has_a_name_that_holds_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_base("model").reference == str(tmp_path / "model")
    assert Base("org/name", tmp_path / "cache").reference == "org/name"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"adapter_config.json": {}}, "is a LoRA adapter; .*merge it first"),
        ({"config.json": {"model_type": "llava_llama", "mm_vision_tower": "x"}},
         "legacy LLaVA layout, which Pairsift scores but does not train"),
    ],
)  # fmt: skip
def test_checkpoints_that_cannot_be_trained_are_told(
    tmp_path: Path, files: dict[str, object], words: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(PairsiftError, match=words):
        find_base(str(tmp_path))


def test_what_stands_beside_the_weights_is_copied_and_what_the_model_writes_is_not(
    tmp_path: Path,
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    kept = {"tokenizer.json", "tokenizer.model", "merges.txt", "chat_template.jinja",
            "preprocessor_config.json"}  # fmt: skip
    others = {"config.json", "generation_config.json", "adapter_config.json", "README.md",
              "model.safetensors", "model.safetensors.index.json"}  # fmt: skip
    for name in kept | others:
        (source / name).write_text(name)
    (target / "tokenizer.json").write_text("older")
    copy_beside(source, target)
    assert {file.name for file in target.iterdir()} == kept
    assert (target / "tokenizer.json").read_text() == "tokenizer.json"
