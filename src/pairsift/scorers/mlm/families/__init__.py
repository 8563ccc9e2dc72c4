"""The multimodal architectures of transformers that one-pass scoring supports."""

from __future__ import annotations

from pairsift.scorers.mlm.families.base import HubBackbone
from pairsift.scorers.mlm.families.idefics3 import Idefics3Backbone
from pairsift.scorers.mlm.families.llava import LlavaBackbone
from pairsift.scorers.mlm.families.qwen_vl import QwenVLBackbone

#: by ``model_type`` of config.json
FAMILIES: dict[str, type[HubBackbone]] = {
    model_type: family
    for family in (LlavaBackbone, Idefics3Backbone, QwenVLBackbone)
    for model_type in family.model_types
}

#: image processor if the checkpoint names none
PROCESSORS = {
    "llava": "CLIPImageProcessor",
    "idefics3": "Idefics3ImageProcessor",
    "smolvlm": "SmolVLMImageProcessor",
    "qwen2_vl": "Qwen2VLImageProcessor",
    "qwen2_5_vl": "Qwen2VLImageProcessor",
    "qwen3_vl": "Qwen2VLImageProcessor",
}
