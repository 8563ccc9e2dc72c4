"""Tiny random checkpoints, written name by name in the legacy LLaVA file format.

What each file should compute is worked out here too, from the parts it was written from and with
nothing of the loader: that is what the tests compare against.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.scorers.mlm.checkpoints import make_tokenizer

TOWER = "model.vision_tower.vision_tower.vision_model."
HIDDEN, VISION = 32, 24
PATCH, SIDE = 4, 7  # 7 x 7 patches: pooled to 3 x 3, cells overlap as 27 x 27 to 12 x 12 do
POOLED = 9
LANGUAGE = {"llava": "Llama", "llava_llama": "Llama", "llava_qwen": "Qwen2", "llava_qwen3": "Qwen3"}
IMAGES = {
    "size": {"height": PATCH * SIDE, "width": PATCH * SIDE},
    "resample": 3,
    "image_mean": [0.5, 0.4, 0.6],
    "image_std": [0.5, 0.5, 0.4],
}


@dataclass
class Layout:
    """One way in which checkpoints were published."""

    model_type: str = "llava_qwen"
    tower: str = "siglip"
    projector: str = "aapool_mlp"
    tower_inside: bool = True
    safetensors: bool = True
    shards: int = 1
    tied: bool = True
    head_saved: bool = False
    labels: int = 0
    spare_rows: int = 0
    select_layer: int = -1


@dataclass
class Written:
    """A checkpoint on disk, and the parts it was written from."""

    folder: Path
    tower_folder: Path
    layout: Layout
    tokenizer: Any
    language: Any
    tower: Any
    projector: nn.Sequential
    head: Tensor
    tensors: dict[str, Tensor]

    def features(self, pixels: np.ndarray) -> Tensor:
        """(1, tokens, hidden) embeddings of one image, (height, width, 3) uint8."""
        mean, std = np.array(IMAGES["image_mean"]), np.array(IMAGES["image_std"])
        values = ((pixels / 255 - mean) / std).astype(np.float32).transpose(2, 0, 1)
        with torch.no_grad():
            output = self.tower(
                pixel_values=torch.from_numpy(values)[None], output_hidden_states=True
            )
            features = output.hidden_states[self.layout.select_layer]
            if self.layout.tower == "clip":
                features = features[:, 1:]
            if self.layout.projector == "aapool_mlp":
                features = average(features[0])[None]
            return self.projector(features)

    def outputs(self, ids: list[int], pixels: np.ndarray) -> np.ndarray:
        """Outputs of the head after a prompt in which -200 stands for the image."""
        at = ids.index(-200)
        embed = self.language.get_input_embeddings()
        with torch.no_grad():
            before, after = (
                embed(torch.tensor(part, dtype=torch.long)) for part in (ids[:at], ids[at + 1 :])
            )
            sequence = torch.cat([before, self.features(pixels)[0], after])[None]
            hidden = self.language(inputs_embeds=sequence, use_cache=False).last_hidden_state
            return (hidden[0, -1] @ self.head.T).numpy()


def average(features: Tensor) -> Tensor:
    """Mean over overlapping cells of a square map of patches, cell by cell."""
    side, cells = math.isqrt(len(features)), math.isqrt(POOLED)
    grid = features.reshape(side, side, -1)
    pooled = []
    for row in range(cells):
        for column in range(cells):
            rows = slice(row * side // cells, -(-(row + 1) * side // cells))
            columns = slice(column * side // cells, -(-(column + 1) * side // cells))
            pooled.append(grid[rows, columns].mean(dim=(0, 1)))
    return torch.stack(pooled)


def write(
    folder: Path,
    layout: Layout,
    *,
    rename: Callable[[str], str] = str,
    config_changes: dict[str, Any] | None = None,
    seed: int = 0,
) -> Written:
    """Write a checkpoint and its tower in a folder beside it."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<unk>"})
    language = _language(layout, len(tokenizer) + layout.spare_rows)
    tower = make_tower(layout)
    projector = nn.Sequential(nn.Linear(VISION, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN))
    embeddings = language.get_input_embeddings().weight.detach()
    head = embeddings if layout.tied else torch.randn_like(embeddings) * 0.3
    if layout.labels:
        head = torch.randn(layout.labels, HIDDEN)
    tensors = _named(layout, language, tower, projector, head)

    written = Written(
        folder / "checkpoint",
        folder / "tower",
        layout,
        tokenizer,
        language,
        tower,
        projector,
        head[: len(tokenizer)],
        tensors,
    )
    written.folder.mkdir(parents=True)
    config = _config(layout, language, str(written.tower_folder)) | (config_changes or {})
    (written.folder / "config.json").write_text(json.dumps(config))
    save_weights(written.folder, {rename(name): tensor for name, tensor in tensors.items()}, layout)
    tokenizer.save_pretrained(written.folder)
    written.tower_folder.mkdir()
    if layout.tower_inside:  # then only its shape is needed
        tower.config.save_pretrained(written.tower_folder)
    else:
        tower.save_pretrained(written.tower_folder)
    (written.tower_folder / "preprocessor_config.json").write_text(json.dumps(IMAGES))
    return written


def save_weights(folder: Path, tensors: dict[str, Tensor], layout: Layout) -> None:
    """Write tensors in one file, or in shards with their index."""
    stem, suffix = ("model", "safetensors") if layout.safetensors else ("pytorch_model", "bin")
    names = sorted(tensors)
    parts = [names[start :: layout.shards] for start in range(layout.shards)]
    index = {}
    for number, part in enumerate(parts, start=1):
        name = f"{stem}.{suffix}"
        if layout.shards > 1:
            name = f"{stem}-{number:05d}-of-{layout.shards:05d}.{suffix}"
        content = {name: tensors[name].clone().contiguous() for name in part}
        if layout.safetensors:
            save_file(content, folder / name, metadata={"format": "pt"})
        else:
            torch.save(content, folder / name)
        index |= dict.fromkeys(part, name)
    if layout.shards > 1:
        content = {"metadata": {"total_size": 0}, "weight_map": index}
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(content))


def _language(layout: Layout, vocabulary: int) -> Any:
    kind = LANGUAGE[layout.model_type]
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=vocabulary,
        hidden_size=HIDDEN,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        initializer_range=0.3,
        tie_word_embeddings=layout.tied,
        pad_token_id=None,
    )
    return getattr(transformers, f"{kind}Model")(config).eval()


def make_tower(layout: Layout) -> Any:
    kind = {"clip": "CLIP", "siglip": "Siglip"}[layout.tower]
    config = getattr(transformers, f"{kind}VisionConfig")(
        hidden_size=VISION,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=PATCH * SIDE,
        patch_size=PATCH,
    )
    tower = getattr(transformers, f"{kind}VisionModel")(config).eval()
    for parameter in tower.parameters():  # zeros and ones would hide what is left out
        nn.init.normal_(parameter, std=0.2)
    return tower


def _named(
    layout: Layout, language: Any, tower: Any, projector: nn.Sequential, head: Tensor
) -> dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in language.state_dict().items()}
    where = "mm_projector.mlp_projector" if layout.projector == "aapool_mlp" else "mm_projector"
    tensors |= {f"model.{where}.{name}": tensor for name, tensor in projector.state_dict().items()}
    if layout.tower_inside:
        tensors |= {TOWER + name: tensor for name, tensor in tower.state_dict().items()}
    if layout.labels:
        tensors["score.weight"] = head
    elif not layout.tied or layout.head_saved:
        tensors["lm_head.weight"] = head
    return tensors


def _config(layout: Layout, language: Any, tower_name: str) -> dict[str, Any]:
    own = language.config
    return {
        "architectures": ["LlavaForCausalLM"],
        "model_type": layout.model_type,
        "hidden_size": HIDDEN,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "rms_norm_eps": own.rms_norm_eps,
        "hidden_act": "silu",
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": layout.tied,
        "torch_dtype": "bfloat16",
        "vocab_size": 7,  # as if the embeddings had been resized afterwards
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 100_000,
        "image_aspect_ratio": "pad",
        "mm_hidden_size": VISION,
        "mm_num_image_tokens": POOLED,
        "mm_patch_merge_type": "flat",
        "mm_projector_type": layout.projector,
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": layout.select_layer,
        "mm_vision_tower": tower_name,
        "tokenizer_model_max_length": 400,
        "tokenizer_padding_side": "right",
        "use_mm_proj": True,
    }
