"""Write training data: LLaVA's JSON with an image folder, and a Hugging Face dataset."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pairsift.balance.sample import Chosen
from pairsift.errors import PairsiftError
from pairsift.image_formats import image_extension
from pairsift.scorers.mlm.prompts import PromptPack
from pairsift.sources.image_store import Images
from pairsift.sources.text_files import read_json
from pairsift.storage import Folder

LLAVA_FILE, MESSAGES_FILE, IMAGE_FOLDER = "llava.json", "messages.parquet", "images"
_IMAGE_TOKEN = "<image>"


def question(choice: Chosen, prompts: PromptPack) -> str:
    """Return the user message beside the image, the same as at scoring time.

    LLaVA's code inserts an image wherever it reads its image token, so a caption must not contain
    one.
    """
    caption = choice.record.caption.replace(_IMAGE_TOKEN, "image")
    return prompts.user_turn(choice.metric, caption)


def answer(choice: Chosen, prompts: PromptPack) -> str:
    """Return the nearest answer on the first line, then the rationale if the teacher gave one."""
    why = choice.record.why.get(choice.metric)
    scale = prompts.metrics[choice.metric].scale
    text = scale.answers[scale.nearest(choice.score)].spellings[0].strip()
    return f"{text}\n{why}" if why else text


def file_name(image: str, content: bytes | None) -> str:
    """Return a safe file name without folders for an image's name, with an extension."""
    flat = re.sub(r"[^A-Za-z0-9._-]+", "_", image).lstrip(".") or "image"
    named = re.search(r"\.[A-Za-z]{3,4}$", flat)
    return flat if named else f"{flat}.{image_extension(content or b'')}"


def read_general(path: str, count: int | None, seed: int) -> list[dict[str, Any]]:
    """Read general instructions in LLaVA's form: `count` of them, drawn at random, or all.

    Raises:
        PairsiftError: the file has another form.
    """
    entries = read_json(path)
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("conversations"), list)
        for entry in entries
    ):
        raise PairsiftError(f"{path} is not LLaVA's JSON: a list of entries with conversations")
    if count is None or count >= len(entries):
        return entries
    picked = np.random.default_rng(seed).choice(len(entries), count, replace=False)
    return [entries[index] for index in sorted(picked)]


def write_llava(
    out: str,
    chosen: Sequence[Chosen],
    prompts: PromptPack,
    files: Mapping[str, str],
    general: Sequence[Mapping[str, Any]] = (),
    seed: int = 0,
) -> int:
    """Write `llava.json`, shuffled, and return the number of entries.

    Args:
        files: the path of each image, by name, below the image folder that LLaVA is given.
    """
    entries: list[Mapping[str, Any]] = [
        {
            "id": f"pairsift-{choice.metric}-{number:06d}",
            "image": files[choice.record.image],
            "conversations": [
                {"from": "human", "value": f"{_IMAGE_TOKEN}\n{question(choice, prompts)}"},
                {"from": "gpt", "value": answer(choice, prompts)},
            ],
            "metric": choice.metric,
            "score": round(choice.score, 2),
            "caption": choice.record.caption,
        }
        for number, choice in enumerate(chosen)
    ]
    if general:
        entries += general
        order = np.random.default_rng(seed).permutation(len(entries))
        entries = [entries[index] for index in order]
    content = json.dumps(entries, ensure_ascii=False, indent=1).encode("utf-8", "replace")
    Folder(out).write(LLAVA_FILE, content)
    return len(entries)


def write_messages(out: str, chosen: Sequence[Chosen], prompts: PromptPack, images: Images) -> None:
    """Write `messages.parquet`, which `datasets.load_dataset("parquet", ...)` reads.

    Columns: `images` (decoded by datasets), `messages` (role, and content as a list of parts, as
    chat templates of multimodal models take it), and `metric`, `score`, `image`, `caption`,
    `kind`.

    Raises:
        PairsiftError: datasets is not installed.
    """
    try:
        from datasets import Dataset, Features, Image, Value
    except ImportError as error:
        raise PairsiftError(
            "the Hugging Face dataset needs datasets: pip install 'pairsift[balance]', or "
            "--no-messages"
        ) from error
    part = {"type": Value("string"), "text": Value("string")}
    features = Features(
        {
            "images": [Image()],
            "messages": [{"role": Value("string"), "content": [part]}],
            "metric": Value("string"),
            "score": Value("float32"),
            "image": Value("string"),
            "caption": Value("string"),
            "kind": Value("string"),
        }
    )

    def rows() -> Iterator[dict[str, Any]]:
        for choice in chosen:
            asked = [
                {"type": "image", "text": None},
                {"type": "text", "text": question(choice, prompts)},
            ]
            said = [{"type": "text", "text": answer(choice, prompts)}]
            yield {
                "images": [{"bytes": images.read(choice.record.image), "path": None}],
                "messages": [
                    {"role": "user", "content": asked},
                    {"role": "assistant", "content": said},
                ],
                "metric": choice.metric,
                "score": choice.score,
                "image": choice.record.image,
                "caption": choice.record.caption,
                "kind": choice.record.kind,
            }

    folder = Folder(out)
    # The dataset's cache would otherwise stay on the disk after the run.
    with tempfile.TemporaryDirectory() as temporary:
        dataset = Dataset.from_generator(rows, features=features, cache_dir=temporary)
        with folder.atomic(MESSAGES_FILE) as file:
            dataset.to_parquet(file)


def write_images(out: str, names: Sequence[str], images: Images) -> dict[str, str]:
    """Copy images, with unchanged bytes, into `images/`; return their paths below `out` by name."""
    folder = Folder(f"{out.rstrip('/')}/{IMAGE_FOLDER}")
    folder.create()
    files: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        content = images.read(name)
        file = file_name(name, content)
        if file in taken:
            raise PairsiftError(
                f"two images would both be written as {file}; the second is {name!r}"
            )
        taken.add(file)
        folder.write(file, content)
        files[name] = f"{IMAGE_FOLDER}/{file}"
    return files
