"""The chat around a prompt."""

from __future__ import annotations

import pytest

from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.chat import CHAT_FORMATS, render_chat
from tests.scorers.mlm.checkpoints import make_tokenizer


def test_named_chat_formats():
    prompt = render_chat("v1", "Rate it.", image_token="<image>")
    assert prompt.startswith("A chat between a curious user and")
    assert prompt.endswith("USER: <image>\nRate it. ASSISTANT:")
    assert render_chat("llava_v0", "Rate it.", image_token="<image>").endswith(
        "###Human: <image>\nRate it.###Assistant:"
    )
    assert render_chat("qwen_instruct", "Rate it.", image_token="<image>") == (
        "<|im_start|>system\nYou are a helpful assistant<|im_end|><|im_start|>user\n"
        "<image>\nRate it.<|im_end|><|im_start|>assistant\n"
    )
    with pytest.raises(PairsiftError, match="llama_3"):
        render_chat("vicuna", "Rate it.", image_token="<image>")
    assert all(len(parts) == 2 for parts in CHAT_FORMATS.values())


def test_a_checkpoint_without_a_usable_template_is_told():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(PairsiftError, match="no chat template"):
        render_chat("tokenizer", "Rate it.", image_token="<image>", tokenizer=tokenizer)
    tokenizer.chat_template = "{{ messages[0]['content'][1]['text'] }}"
    with pytest.raises(PairsiftError, match="one image"):
        render_chat("tokenizer", "Rate it.", image_token="<image>", tokenizer=tokenizer)
