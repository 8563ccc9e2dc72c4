"""Chat formats by name: where the user's turn goes in a prompt, and what stands around it.

A checkpoint with a chat template of its own is rendered with that one; the named formats are
those that the published filters, which have none, were trained or used with.
"""

from __future__ import annotations

from typing import Any

from pairsift.errors import PairsiftError

_VICUNA = (
    "A chat between a curious {person} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {person}'s questions."
)

#: text before and after the user's turn
CHAT_FORMATS: dict[str, tuple[str, str]] = {
    "plain": ("", ""),
    "v1": (_VICUNA.format(person="user") + " USER: ", " ASSISTANT:"),
    "llava_v1": (_VICUNA.format(person="human") + " USER: ", " ASSISTANT:"),
    "llava_v0": (_VICUNA.format(person="human") + "###Human: ", "###Assistant:"),
    "llama_3": (_VICUNA.format(person="user") + " USER: ", " ASSISTANT:"),
    "qwen_instruct": (
        "<|im_start|>system\nYou are a helpful assistant<|im_end|><|im_start|>user\n",
        "<|im_end|><|im_start|>assistant\n",
    ),
}


def render_chat(chat: str, user: str, *, image_token: str, tokenizer: Any = None) -> str:
    """Return the prompt up to where the answer begins.

    Args:
        chat: a key of :data:`CHAT_FORMATS`, or ``tokenizer`` for the checkpoint's own template.
        user: what the user says beside the image.
        image_token: text that stands for the image; it comes first in the user's turn.

    Raises:
        PairsiftError: no such format, or the tokenizer has no template that takes an image.
    """
    if chat != "tokenizer":
        if chat not in CHAT_FORMATS:
            names = ", ".join(["auto", "tokenizer", *CHAT_FORMATS])
            raise PairsiftError(
                f"unknown chat format {chat!r} in the prompt pack; it may be {names}"
            )
        before, after = CHAT_FORMATS[chat]
        return f"{before}{image_token}\n{user}{after}"
    if not getattr(tokenizer, "chat_template", None):
        raise PairsiftError(
            "the checkpoint has no chat template; name a format in the prompt pack, "
            f"chat = one of {', '.join(CHAT_FORMATS)}"
        )
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": user}]}
    prompt = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    if prompt.count(image_token) != 1 or user not in prompt:
        raise PairsiftError(
            f"the checkpoint's chat template does not place one image ({image_token}) and the "
            "user's words; name another chat format in the prompt pack"
        )
    return str(prompt)
