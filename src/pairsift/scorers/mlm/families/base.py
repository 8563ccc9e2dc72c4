"""Shared code of the architectures: a model of transformers, and its processor's settings."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.backbone import EmbedsBackbone, text_limit
from pairsift.scorers.mlm.encode import TokenizerEncode


class HubBackbone(EmbedsBackbone):
    """An ``AutoModelForImageTextToText`` checkpoint.

    Args:
        model: the model, on its device, in evaluation mode.
        tokenizer: its tokenizer.
        processor: its image processor, of the kind that does not need torchvision.
        settings: the content of its ``processor_config.json``; empty if it has none.

    Raises:
        PairsiftError: the tokenizer lacks the image token.
    """

    model_types: ClassVar[tuple[str, ...]]

    def __init__(
        self, model: Any, tokenizer: Any, processor: Any, settings: Mapping[str, Any]
    ) -> None:
        inner = model.model
        decoder = getattr(inner, "language_model", None) or inner.text_model
        super().__init__(decoder, model.get_output_embeddings())
        self.model: nn.Module = model
        self.inner = inner
        self.config = model.config
        self.kind = self.config.model_type
        self.tokenizer = tokenizer
        self.encode = TokenizerEncode(tokenizer)
        self.processor = processor
        self.settings = settings
        self.max_length = text_limit(self.config.get_text_config(decoder=True), tokenizer)
        self.image_marker = int(self.config.image_token_id)
        self.image_token = str(tokenizer.convert_ids_to_tokens(self.image_marker))
        if self.encode(self.image_token)[-1:] != [self.image_marker]:
            raise PairsiftError(
                f"the tokenizer has no image token for id {self.image_marker} of config.json; "
                "are its files those of the model?"
            )
        self.image_transform = self.make_transform()

    @abc.abstractmethod
    def make_transform(self) -> Any:
        """Return the object that preprocesses images."""
