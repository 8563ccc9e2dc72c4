"""Which config.json is a legacy one, and which of those are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import LlavaConfig

from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.legacy.config import is_legacy, read_config

PUBLISHED = {
    "model_type": "llava",
    "hidden_size": 5120,
    "vocab_size": 32000,
    "image_aspect_ratio": "pad",
    "mm_hidden_size": 1024,
    "mm_projector_type": "mlp2x_gelu",
    "mm_use_im_start_end": False,
    "mm_vision_select_feature": "patch",
    "mm_vision_select_layer": -2,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "rope_scaling": {"factor": 2.0, "type": "linear"},
    "tokenizer_model_max_length": 2048,
}


def write(folder: Path, **changes: object) -> Path:
    (folder / "config.json").write_text(json.dumps({**PUBLISHED, **changes}))
    return folder


def test_the_keys_decide_not_the_name(tmp_path):
    assert is_legacy(write(tmp_path))
    LlavaConfig().save_pretrained(tmp_path)  # today's `llava`
    assert not is_legacy(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    assert not is_legacy(tmp_path)
    (tmp_path / "config.json").unlink()
    assert not is_legacy(tmp_path)


def test_the_language_models_own_keys_are_kept(tmp_path):
    config = read_config(write(tmp_path))
    assert config.language_type == "llama"
    assert config.hidden_size == 5120
    assert config.pads_to_square
    assert config.select_layer == -2
    assert config.language["rope_scaling"] == {"factor": 2.0, "type": "linear"}
    assert not {key for key in config.language if key.startswith(("mm_", "model_type"))}


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("model_type", "llava_mpt", "'llava_mpt' is not supported"),
        ("mm_use_im_start_end", True, "mm_use_im_start_end is True"),
        ("mm_patch_merge_type", "spatial_unpad", "mm_patch_merge_type is 'spatial_unpad'"),
        ("image_aspect_ratio", "anyres", "image_aspect_ratio is 'anyres'"),
        ("mm_hidden_size", None, "has no mm_hidden_size"),
        ("mm_vision_select_layer", None, "has no mm_vision_select_layer"),
    ],
)
def test_layouts_that_would_be_misread_are_refused(tmp_path, key, value, told):
    with pytest.raises(PairsiftError, match=told) as caught:
        read_config(write(tmp_path, **{key: value}))
    assert "config.json" in str(caught.value)


def test_no_config(tmp_path):
    with pytest.raises(PairsiftError, match=r"has no config\.json"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(PairsiftError, match="not readable JSON"):
        read_config(tmp_path)
