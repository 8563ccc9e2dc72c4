"""The plain way to ask a model, written without the package: one prompt, one forward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image


class PlainModel:
    """A checkpoint as transformers runs it, for one image and one full prompt at a time."""

    def __init__(self, folder: Path) -> None:
        self.model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
        self.kind = self.model.config.model_type
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        name = {
            "llava": "CLIPImageProcessorPil",
            "idefics3": "Idefics3ImageProcessorPil",
            "smolvlm": "SmolVLMImageProcessorPil",
        }.get(self.kind, "Qwen2VLImageProcessorPil")
        self.processor = getattr(transformers, name).from_pretrained(folder)

    def image(self, image: Image.Image) -> tuple[dict[str, torch.Tensor], str]:
        """Return the model's image arguments, and the text that stands for the image."""
        if self.kind == "llava":
            batch = self.processor(image, return_tensors="pt")
            return {"pixel_values": batch["pixel_values"]}, "<image>" * 16
        if self.kind in ("idefics3", "smolvlm"):
            batch = self.processor([[image]], return_row_col_info=True, return_tensors="pt")
            squares, text = "<image>" * 4, ""
            rows, columns = batch["rows"][0][0], batch["cols"][0][0]
            for row in range(rows):
                for column in range(columns):
                    text += f"<fake_token_around_image><row_{row + 1}_col_{column + 1}>{squares}"
                text += "\n"
            text += "\n" if rows else ""
            text += f"<fake_token_around_image><global-img>{squares}<fake_token_around_image>"
            keys = ("pixel_values", "pixel_attention_mask")
            return {key: batch[key] for key in keys}, text
        batch = self.processor(image, return_tensors="pt")
        merged = int(batch["image_grid_thw"].prod()) // 4
        text = f"<|vision_start|>{'<|image_pad|>' * merged}<|vision_end|>"
        return dict(batch), text

    @torch.no_grad()
    def next_logits(
        self, image: Image.Image, prompt: str, more: tuple[int, ...] = ()
    ) -> np.ndarray:
        """Return the next-token logits at the end of a prompt, ``IMAGE`` standing for the image.

        Args:
            more: token ids to put behind the prompt; logits are returned after each of them too.

        Returns:
            (1 + len(more), vocabulary) float32.
        """
        arguments, text = self.image(image)
        ids = self.tokenizer(prompt.replace("IMAGE", text), add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*ids, *more]])
        if self.kind.startswith("qwen"):
            arguments["mm_token_type_ids"] = (ids == self.model.config.image_token_id).int()
        output: Any = self.model(
            input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **arguments
        )
        return output.logits[0, -1 - len(more) :].float().numpy()
