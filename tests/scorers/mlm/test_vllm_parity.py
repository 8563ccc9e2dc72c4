"""The vLLM scorer and the scorer `mlm`, on one and the same checkpoint."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairsift import Pair, load_scorer
from pairsift.scorers.mlm.prompt_files import load_prompts
from pairsift.scorers.mlm.prompts import PromptPack
from tests.scorers.mlm.checkpoints import make_pairs, save_checkpoint
from tests.scorers.mlm.plain import PlainModel
from tests.scorers.vllm_server import MODEL, VLLMServer

pytest.importorskip("openai", reason="needs the extra vllm")


class CheckpointServer(VLLMServer):
    """Serves a checkpoint with vLLM's protocol; the forward passes are transformers' own."""

    def __init__(self, folder: Path) -> None:
        self.plain = PlainModel(folder)
        tokenizer = self.plain.tokenizer
        ids = range(len(tokenizer))
        self.texts = [text.replace("Ġ", " ") for text in tokenizer.convert_ids_to_tokens(ids)]
        self.images: dict[str, bytes] = {}
        self._known: dict[tuple[str, str], dict[str, float]] = {}
        super().__init__(most_logprobs=len(self.texts))

    def model(
        self, caption: str, metric: str, body: dict[str, Any], sure: float | None
    ) -> Callable[[str], dict[str, float]]:
        image, text = body["messages"][0]["content"]
        data = base64.b64decode(image["image_url"]["url"].partition(",")[2])
        self.images[caption] = data
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        prompt = f"USER: IMAGE\n{text['text']} ASSISTANT:"

        def following(written: str) -> dict[str, float]:
            key = text["text"], written
            if key not in self._known:
                self._known[key] = compute(written)
            return self._known[key]

        def compute(written: str) -> dict[str, float]:
            logits = self.plain.next_logits(picture, prompt + written)[-1].astype(np.float64)
            p = np.exp(logits - logits.max())
            p /= p.sum()
            found: dict[str, float] = {}
            for token, probability in zip(self.texts, p.tolist(), strict=True):
                found[token] = found.get(token, 0.0) + probability
            return found

        return following


@pytest.mark.slow
@pytest.mark.parametrize("whole_numbers", [False, True])
def test_both_read_the_same_distribution(tmp_path: Path, whole_numbers: bool) -> None:
    folder = save_checkpoint(tmp_path / "model", "llava", whole_numbers=whole_numbers)
    pairs = make_pairs(1)
    own = load_prompts()
    pack = PromptPack("test", own.instruction, own.metrics, chat="tokenizer", answer_tail="")
    options: dict[str, Any] = {"metrics": "itm,su", "prompts": pack}
    with CheckpointServer(folder) as server:
        served = load_scorer(
            "vllm", model=f"{server.url}#{MODEL}", tolerance=0.0, concurrency=1,
            top_logprobs=server.most_logprobs, **options,
        )  # fmt: skip
        rows = served.score(pairs).to_pylist()
        found = served.distributions(pairs)
        # The server saw JPEGs: the local scorer gets the same.
        seen = [Pair(pair.key, server.images[pair.caption or ""], pair.caption) for pair in pairs]
    local: Any = load_scorer("mlm", model=str(folder), device="cpu", **options)
    assert local.distributions(seen) == pytest.approx(found, abs=1e-5)
    for row, expected in zip(rows, local.score(seen).to_pylist(), strict=True):
        for metric in ("itm", "su"):
            assert row[metric] == pytest.approx(expected[metric], abs=1e-2)
            assert row[f"{metric}_std"] == pytest.approx(expected[f"{metric}_std"], abs=1e-2)
            assert row[f"{metric}_validity"] == pytest.approx(
                expected[f"{metric}_validity"], rel=1e-3
            )
