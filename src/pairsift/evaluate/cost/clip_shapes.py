"""CLIPScore in the shapes of published CLIP models, with random weights, to measure only
its cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pairsift.errors import PairsiftError

if TYPE_CHECKING:
    from pairsift.scorers.clip import ClipScorer

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_BICUBIC = 3
_START, _END = "<|start|>", "<|end|>"


@dataclass(frozen=True, slots=True)
class ClipShape:
    """Sizes of a CLIP model (Radford et al., 2021, tables 19 and 20).

    Attributes:
        side, patch: size of the image and of its patches, pixels.
        vision, text: width, layers and heads of the encoders.
        embedding: width of the vectors that are compared.
    """

    name: str
    side: int
    patch: int
    vision: tuple[int, int, int]
    text: tuple[int, int, int]
    embedding: int
    vocabulary: int = 49408
    window: int = 77

    def config(self, end: int) -> Any:
        """Return transformers' configuration; the caption is read at the token `end`."""
        from transformers import CLIPConfig

        towers = [
            {
                "hidden_size": width,
                "num_hidden_layers": layers,
                "num_attention_heads": heads,
                "intermediate_size": 4 * width,
                "projection_dim": self.embedding,
            }
            for width, layers, heads in (self.vision, self.text)
        ]
        towers[0] |= {"image_size": self.side, "patch_size": self.patch}
        towers[1] |= {
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.window,
            "bos_token_id": end - 1,
            "eos_token_id": end,
            "pad_token_id": end,
        }
        return CLIPConfig(
            vision_config=towers[0], text_config=towers[1], projection_dim=self.embedding
        )


_L14 = ClipShape("ViT-L/14", 224, 14, (1024, 24, 16), (768, 12, 12), 768)
SHAPES: Mapping[str, ClipShape] = {
    shape.name: shape
    for shape in (
        ClipShape("ViT-B/32", 224, 32, (768, 12, 12), (512, 12, 8), 512),
        ClipShape("ViT-B/16", 224, 16, (768, 12, 12), (512, 12, 8), 512),
        _L14,
        replace(_L14, name="ViT-L/14@336px", side=336),
    )
}


def find_shape(name: str) -> ClipShape:
    """Return a shape by its name.

    Raises:
        PairsiftError: it is not one of `SHAPES`.
    """
    if name not in SHAPES:
        raise PairsiftError(f"no CLIP shape {name!r}: choose from {', '.join(SHAPES)}, or none")
    return SHAPES[name]


def random_clip(shape: ClipShape, device: str = "auto", dtype: str = "auto") -> ClipScorer:
    """Make CLIPScore of a shape with random weights.

    Captions are tokenized with the embedded filter's vocabulary (49,152 byte pairs), because it is
    the closest to CLIP's own (49,408) that is always installed.
    """
    import torch
    from transformers import CLIPModel, PreTrainedTokenizerFast

    from pairsift.scorers.clip import ClipScorer, ClipTransform
    from pairsift.scorers.image_recipe import ImageRecipe
    from pairsift.scorers.placement import pick_device, pick_dtype

    where = pick_device(device)
    tokenizer = _tokenizer()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=_START, eos_token=_END, pad_token=_END
    )
    with torch.device(where):
        model: Any = CLIPModel._from_config(
            shape.config(fast.eos_token_id), dtype=pick_dtype(dtype, where)
        )
    recipe = ImageRecipe(shape.side, None, (shape.side,) * 2, _BICUBIC, 1 / 255, _MEAN, _STD)
    return ClipScorer(
        model.eval().requires_grad_(False),
        ClipTransform(recipe, fast, shape.window, fills_window=False),
        fingerprint={"checkpoint": f"random weights in the shape of {shape.name}"},
    )


def _tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    from pairsift.scorers.mlm.tiny.inputs import TOKENIZER_FILE
    from pairsift.scorers.mlm.tiny.scorer import ASSET

    tokenizer = Tokenizer.from_file(str(ASSET / TOKENIZER_FILE))
    tokenizer.add_special_tokens([_START, _END])
    ends = [(token, tokenizer.token_to_id(token)) for token in (_START, _END)]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{_START} $A {_END}", pair=None, special_tokens=ends
    )
    return tokenizer
