"""Image inputs from a checkpoint's own processor, whatever its type."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.backbone import ImageInputs
from pairsift.scorers.mlm.chat import UNWRITTEN
from pairsift.scorers.mlm.encode import TokenizerEncode
from pairsift.scorers.mlm.pixels import describe_processor

#: Names of arrays that are no arguments as they are: one entry a token; the image's ids, and those
#: that a processor puts behind the prompt.
PER_TOKEN, IMAGE_IDS, CLOSING_IDS = "each token's ", "the image's ids", "closing ids"
_MARKER = -1
_WORD = "a"
_SIDES = (96, 64)  # of the image that processors are tried with


class ProcessorEncode:
    """Prompt text to ids as a processor makes them, the image as one marker.

    Args:
        tokenizer: the processor's.
        written: text that stands for the image in a prompt; empty if the processor wants none.
        options: further arguments of the processor.
        joint: what a processor puts between the image and the words behind it.

    Attributes:
        before: where the image's ids go if nothing is written for it: behind so many ids.
        lead: ids that the processor puts in front of a prompt, and the tokenizer does not.
        keeps_end: whether the end of text that a processor puts behind a prompt belongs to it.
        ends: ids of such ends.
    """

    def __init__(
        self,
        tokenizer: Any,
        written: str,
        options: Mapping[str, Any] | None = None,
        joint: str = "",
    ) -> None:
        self.written, self.joint = written, joint
        self._encode = TokenizerEncode(tokenizer)
        self.before = 0
        self.lead: list[int] = []
        self.keeps_end = False
        self.ends = {tokenizer.eos_token_id, tokenizer.sep_token_id} - {None}
        self.options = dict(options or {})
        self.image_token = written or UNWRITTEN
        self.marker = _MARKER
        if written:
            ids = self._encode(written)
            self.marker = ids[-1]
            if ids[int(ids[:1] == [self._encode.bos]) :] != [self.marker]:
                raise PairsiftError(f"{written} is not one token of the checkpoint's tokenizer")

    def __call__(self, text: str) -> list[int]:
        image = self.image_token
        ids = self._encode(text.replace(image, f"{self.written}{self.joint}"))
        if ids[: len(self.lead)] != self.lead:
            ids = [*self.lead, *ids]
        if UNWRITTEN in text:
            ids.insert(self.before, _MARKER)
        return ids


class ProcessorTransform:
    """PIL image to what a processor makes of it, and the ids that stand for it. Picklable.

    An array with one entry a token is kept as its values before, at and behind the image's ids,
    so that it can be made for any prompt.
    """

    def __init__(self, processor: Any, encode: ProcessorEncode) -> None:
        self.processor = processor
        self.options = encode.options
        # A word before the image, too, so that what is kept for each token is seen there.
        ids = encode(trial_text(encode.image_token))
        self.text = trial_text(encode.written)
        at = ids.index(encode.marker)
        self._before, self._after = ids[:at], ids[at + 1 :]
        # An end of text is for models that read the prompt and write the answer apart.
        self._ends = set() if encode.keeps_end else encode.ends
        # What grows with the text has one entry a token.
        shapes = [self._shapes(self.text), self._shapes(f"{self.text} {_WORD} {_WORD}")]
        self._per_token = {name for name, shape in shapes[0].items() if shapes[1][name] != shape}

    def _shapes(self, text: str) -> dict[str, tuple[int, ...]]:
        batch = run_processor(self.processor, text, trial_image(), self.options)
        return {name: tuple(getattr(value, "shape", ())) for name, value in batch.items()}

    def __call__(self, image: Any) -> ImageInputs:
        batch = run_processor(self.processor, self.text, image, self.options)
        ids = to_arrays(batch.pop("input_ids"))[0]
        start, end = len(self._before), find_ids(ids, self._after)
        if ids[:start].tolist() != self._before or end < start:
            raise PairsiftError("the checkpoint's processor changes the prompt's words")
        arrays: dict[str, Any] = {}
        for name, value in batch.items():
            if name in ("attention_mask", "labels") or value is None:
                continue
            value = to_arrays(value)
            if name in self._per_token:
                if value.shape[:2] != (1, len(ids)):
                    raise PairsiftError(f"the processor's {name} has no place for the answers")
                arrays[f"{PER_TOKEN}{name}"] = np.concatenate(
                    [value[0, :1], value[0, start:end], value[0, -1:]]
                )
            else:
                arrays[name] = value
        closing = ids[end + len(self._after) :]
        arrays[CLOSING_IDS] = np.array([i for i in closing if i not in self._ends], dtype=np.int64)
        arrays[IMAGE_IDS] = np.asarray(ids[start:end], dtype=np.int64)
        return ImageInputs(arrays, arrays[IMAGE_IDS])

    def describe(self) -> str:
        return describe_processor(getattr(self.processor, "image_processor", self.processor))


def trial_text(image: str) -> str:
    """A prompt to try a processor with; words stand before the image if anything is written."""
    before = "" if image in ("", UNWRITTEN) else _WORD
    return f"{before}{image}{_WORD}{_WORD}"


def run_processor(
    processor: Any, text: str, image: Any, options: Mapping[str, Any]
) -> dict[str, Any]:
    """A prompt with one image through a processor, as a dictionary of tensors."""
    return dict(processor(text=text, images=image, return_tensors="pt", **options))


@cache
def trial_image() -> Any:
    """An image that processors are tried with."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (*_SIDES, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def to_arrays(value: Any) -> Any:
    """Tensors as arrays, however deep in lists they are; workers send arrays cheaply."""
    if isinstance(value, torch.Tensor):
        return value.numpy()
    if isinstance(value, (list, tuple)):
        return [to_arrays(part) for part in value]
    return value


def to_tensors(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """The other way: arrays as tensors on a device, fractions in the model's own type."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value if value.flags.writeable else value.copy())
    if isinstance(value, torch.Tensor):
        return value.to(device, dtype if value.is_floating_point() else value.dtype)
    if isinstance(value, list):
        return [to_tensors(part, device, dtype) for part in value]
    return value


def spread(values: np.ndarray, length: int, at: int) -> np.ndarray:
    """An array with one entry for each of ``length`` ids, from what the transform kept.

    Args:
        at: where the image's ids begin.
    """
    behind = length - at - len(values) + 2
    return np.concatenate(
        [np.repeat(values[:1], at, 0), values[1:-1], np.repeat(values[-1:], behind, 0)]
    )


def find_ids(ids: Sequence[int] | np.ndarray, part: Sequence[int] | np.ndarray) -> int:
    """Where the last occurrence of some ids begins; -1 if they do not occur."""
    whole, wanted = list(map(int, ids)), list(map(int, part))
    starts = range(len(whole) - len(wanted), -1, -1)
    return next((at for at in starts if whole[at : at + len(wanted)] == wanted), -1)


def find_placeholder(processor: Any, tokenizer: Any, model: Any) -> ProcessorEncode:
    """Find out what stands for an image in this processor's prompts.

    The chat template says so; without one, the texts that are likely are tried.

    Raises:
        PairsiftError: the processor takes no image with any of them; says why.
    """
    candidates = _candidates(processor, tokenizer, model.config)
    if template := getattr(tokenizer, "chat_template", None):
        rendered = _render(tokenizer, template)
        found = [text for text in candidates if rendered.count(text) == 1]
        candidates = found or ["", *candidates]
    takes = inspect.signature(model.forward).parameters
    options = {"return_mm_token_type_ids": True} if "mm_token_type_ids" in takes else {}
    why = ""
    written_and_joint = itertools.product(dict.fromkeys([*candidates, ""]), ("", " "))
    for written, joint in written_and_joint:
        try:
            encode = ProcessorEncode(tokenizer, written, options, joint)
            encode.keeps_end = bool(model.config.is_encoder_decoder)
            text = trial_text(written)
            ids = run_processor(processor, text, trial_image(), options)["input_ids"][0].tolist()
            if written:
                before = encode(text)[: encode(text).index(encode.marker)]
                starts = (at for at in range(len(ids)) if ids[at : at + len(before)] == before)
                encode.lead = ids[: next(starts, 0)]
            else:
                encode.before = _shared(encode(f"{joint}{text}"), ids)
            ProcessorTransform(processor, encode)(trial_image())
            return encode
        except Exception as error:  # processors raise what they like
            why = why or str(error) or type(error).__name__
    raise PairsiftError(f"the checkpoint's processor takes no image and text: {_line(why)}")


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    count = 0
    for one, other in zip(first[:-1], second, strict=False):
        if one != other:
            break
        count += 1
    return count


def _candidates(processor: Any, tokenizer: Any, config: Any) -> list[str]:
    found: list[Any] = [getattr(processor, name, None) for name in ("boi_token", "image_token")]
    found.append(getattr(tokenizer, "image_token", None))
    for name in ("image_token_id", "image_token_index"):
        if isinstance(index := getattr(config, name, None), int) and 0 <= index < len(tokenizer):
            found.append(tokenizer.convert_ids_to_tokens(index))
    texts = [getattr(text, "content", text) for text in [*found, "<image>"]]
    return list(dict.fromkeys(text for text in texts if isinstance(text, str) and text))


def _render(tokenizer: Any, template: Any) -> str:
    parts = [{"type": "image"}, {"type": "text", "text": _WORD}]
    try:
        return str(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
            )
        )
    except Exception:  # a template may refuse whatever it does not know
        return ""


def _line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else "it fails"


def load_processor(folder: Any, tokenizer: Any, image_processor: Any = None) -> Any:
    """The checkpoint's processor; without torchvision, its type's with the Pil image processor.

    Raises:
        PairsiftError: it cannot be made; says why.
    """
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # they raise what they like
        why = error
    if image_processor is not None:
        try:
            return _assemble(folder, tokenizer, image_processor())
        except Exception as error:
            why = error
    raise PairsiftError(
        f"cannot read the processor of {folder}: {_line(str(why))}; if it says that torchvision "
        "is needed, install the version that fits your torch"
    )


def _assemble(folder: Any, tokenizer: Any, image_processor: Any) -> Any:
    import json
    from pathlib import Path

    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    path = Path(folder) / "processor_config.json"
    settings: Mapping[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    kind = json.loads((Path(folder) / "config.json").read_text("utf-8"))["model_type"]
    name = settings.get("processor_class") or PROCESSOR_MAPPING_NAMES[kind]
    cls = getattr(transformers, name)
    parts = {"image_processor": image_processor, "tokenizer": tokenizer}
    kept = {
        key: value
        for key, value in settings.items()
        if key not in ("processor_class", "auto_map") and not isinstance(value, dict)
    }

    class Made(cls):  # type: ignore[misc, valid-type]
        """Without a video processor, which torchvision is needed for; no video is ever given."""

        def check_argument_for_proper_class(self, name: str, argument: Any) -> Any:
            return type(argument)

    others = {name: None for name in cls.get_attributes() if name not in parts}
    made = Made(**parts, **others, **kept)
    made.__class__ = cls  # workers get it by its own name
    return made
