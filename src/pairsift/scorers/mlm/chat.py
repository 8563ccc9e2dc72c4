"""Chat formats by name: how the user's message is put into a prompt.

A checkpoint with its own chat template uses that one. The named formats are those with which the
published filters, which have no template, were trained or used.
"""

from __future__ import annotations

from typing import Any

from pairsift.errors import PairsiftError

_VICUNA = (
    "A chat between a curious {person} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {person}'s questions."
)

#: Stands for the image in prompts of models that want no text for it.
UNWRITTEN = "\0image\0"

#: text before and after the user's message
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
    """Return the prompt up to the point where the answer begins.

    Args:
        chat: a key of :data:`CHAT_FORMATS`, or ``tokenizer`` for the checkpoint's own template.
        user: the user's message beside the image.
        image_token: text that stands for the image; it is first in the user's message.

    Raises:
        PairsiftError: there is no such format, or the tokenizer has no template for an image.
    """
    if chat != "tokenizer":
        if chat not in CHAT_FORMATS:
            names = ", ".join(["auto", "tokenizer", *CHAT_FORMATS])
            raise PairsiftError(
                f"unknown chat format {chat!r} in the prompt pack; choose from {names}"
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
    if image_token == UNWRITTEN:  # the model's processor puts the image in front by itself
        prompt = f"{UNWRITTEN}{prompt}"
    if prompt.count(image_token) != 1 or user not in prompt:
        raise PairsiftError(
            f"the checkpoint's chat template does not place one image ({image_token}) and the "
            "user's words; name another chat format in the prompt pack"
        )
    return str(prompt)
