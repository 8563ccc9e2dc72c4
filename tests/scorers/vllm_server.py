"""A real HTTP server that speaks vLLM's OpenAI protocol, logprobs included.

Behind it is no network but a known distribution over what a model could answer, so that what a
client reads from the log probabilities can be compared with what they were made from.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image

from pairsift.scorers.mlm.prompt_files import load_prompts
from pairsift.scorers.mlm.prompts import PromptPack
from pairsift.scorers.vllm import TRIAL_CAPTION
from tests.teach.endpoint import Endpoint

MODEL = "some/vlm-7b"
END = "<end>"
WORDS = {" I": 0.5, "The": 0.3, "\n": 0.2}
"""What the model answers where it answers with no number, and how likely."""

Spelling = Literal["digits", "whole"]


def believed(caption: str, metric: str) -> tuple[np.ndarray, float]:
    """The distribution over 0..100 of this model, (101,), and how sure it is to give a number."""
    seed = hashlib.sha256(f"{caption}|{metric}".encode()).digest()
    rng = np.random.default_rng(list(seed))
    middle, width = rng.uniform(0, 100), rng.uniform(0.5, 8)
    p = np.exp(-0.5 * ((np.arange(101) - middle) / width) ** 2)
    p[rng.integers(0, 101)] += 0.2 * p.sum()
    p[[0, 10, 100]] += rng.uniform(0, 0.1, 3) * p.sum()
    return p / p.sum(), float(rng.uniform(0.7, 1))


class VLLMServer(Endpoint):
    """Serves while it is entered.

    Args:
        spelling: whether the tokenizer has a token for every digit, or for every number.
        lead: token of white space that the model writes first, if any.
        most_logprobs: as ``--max-logprobs``.
        key: that clients must give.
        trial: the answer to the one question at the start; as to others by default.
        pack: what is asked; its instruction begins with ``Caption: {caption}`` and an empty line.

    Attributes:
        trials: bodies of the questions at the start.
        asked: (caption, metric, what the assistant had written), in the order they came.
    """

    def __init__(
        self,
        spelling: Spelling = "digits",
        *,
        lead: str = "",
        most_logprobs: int = 20,
        models: Sequence[str] = (MODEL,),
        key: str | None = None,
        trial: tuple[int, dict[str, str], bytes] | None = None,
        pack: PromptPack | None = None,
        **options: Any,
    ) -> None:
        self.spelling, self.lead, self.most_logprobs = spelling, lead, most_logprobs
        self.models, self.key = models, key
        self.asked: list[tuple[str, str, str]] = []
        self.trials: list[dict[str, Any]] = []
        self.trial = trial
        self.pack = pack or load_prompts()
        super().__init__(**options)

    def handle(
        self, path: str, headers: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, dict[str, str], bytes]:
        given = {name.lower(): value for name, value in headers.items()}.get("authorization")
        if self.key is not None and given != f"Bearer {self.key}":
            return _json(401, {"error": {"message": "Unauthorized"}})
        if path == "/v1/models":
            models = [{"id": name, "object": "model", "root": f"/models/{name}"}
                      for name in self.models]  # fmt: skip
            return _json(200, {"object": "list", "data": models})
        if path != "/v1/chat/completions" or body["model"] not in self.models:
            return _json(404, {"error": {"message": "not found"}})
        if body["top_logprobs"] > self.most_logprobs:
            words = f"Requested sample logprobs of {body['top_logprobs']}, which is greater than "
            return _json(400, {"error": {"message": words + f"{self.most_logprobs}"}})
        image, text = body["messages"][0]["content"]
        data = image["image_url"]["url"].removeprefix("data:image/jpeg;base64,")
        caption = re.search(r"^Caption: (.*?)\n\n", text["text"], re.DOTALL)
        metrics = self.pack.metrics
        (metric,) = [name for name in metrics if metrics[name].criteria in text["text"]]
        assert caption is not None
        written = ""
        if len(body["messages"]) > 1:
            assert body["continue_final_message"] is True
            assert body["add_generation_prompt"] is False
            written = body["messages"][1]["content"]
        if caption[1] == TRIAL_CAPTION:  # not a pair: told apart from what the tests count
            self.trials.append(body)
            return self.trial or self._write(0, caption[1], metric, written, body)
        with self._lock:
            number = len(self.requests)
            self.requests.append(body)
            self.asked.append((caption[1], metric, written))
            self.image_sizes.add(Image.open(io.BytesIO(base64.b64decode(data))).size)
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
        try:
            return self._complete(number, caption[1], metric, written, body)
        finally:
            with self._lock:
                self._open -= 1

    def _complete(
        self, number: int, caption: str, metric: str, written: str, body: dict[str, Any]
    ) -> tuple[int, dict[str, str], bytes]:
        fault = self.fault(number, caption) or {}
        time.sleep(fault.get("sleep", self.delay))
        if "status" in fault:
            if not fault["status"]:
                return 0, {}, b""
            return _json(fault["status"], {"error": {"message": fault.get("message", "no")}})
        if "body" in fault:
            return 200, {"content-type": "application/json"}, fault["body"]
        return self._write(number, caption, metric, written, body, fault.get("sure"))

    def _write(
        self,
        number: int,
        caption: str,
        metric: str,
        written: str,
        body: dict[str, Any],
        sure: float | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        following = self.model(caption, metric, body, sure)
        steps: list[dict[str, Any]] = []
        while len(steps) < body["max_tokens"] and not written.endswith(END):
            likely = sorted(following(written).items(), key=lambda item: item[1], reverse=True)
            top = [_logprob(token, q) for token, q in likely[: body["top_logprobs"]] if q > 0]
            steps.append({**top[0], "top_logprobs": top})
            written += top[0]["token"]
        choice = {
            "index": 0,
            "finish_reason": "length",
            "message": {"role": "assistant", "content": written},
            "logprobs": {"content": steps},
        }
        answer = {"id": f"c{number}", "object": "chat.completion", "created": int(time.time()),
                  "model": body["model"], "choices": [choice]}  # fmt: skip
        return _json(200, answer)

    def model(
        self, caption: str, metric: str, body: dict[str, Any], sure: float | None
    ) -> Callable[[str], dict[str, float]]:
        """The model: what is written → probabilities of the next token, by its text."""
        p, usual = believed(caption, metric)
        return lambda written: self._next(p, usual if sure is None else sure, written)

    def _next(self, p: np.ndarray, sure: float, written: str) -> dict[str, float]:
        """Probabilities of all next tokens."""
        if self.lead and not written:
            return {self.lead: 0.95, "Well": 0.05}
        digits = written.removeprefix(self.lead)
        if not digits:
            first = dict(_spelled(p, self._tokens()))
            return {token: sure * q for token, q in first.items()} | {
                word: (1 - sure) * q for word, q in WORDS.items()
            }
        if not digits.isdecimal() or self.spelling == "whole":
            return {END: 1.0}
        behind = {number: q for number, q in enumerate(p) if str(number).startswith(digits)}
        total = sum(behind.values())
        found: dict[str, float] = {}
        for number, q in behind.items():
            rest = str(number)[len(digits) :]
            token = rest[0] if rest else END
            found[token] = found.get(token, 0.0) + q / total
        return found or {END: 1.0}

    def _tokens(self) -> list[str]:
        return [str(n) if self.spelling == "whole" else str(n)[0] for n in range(101)]


def _spelled(p: np.ndarray, tokens: Iterable[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for token, q in zip(tokens, p, strict=True):
        found[token] = found.get(token, 0.0) + float(q)
    return found


def _logprob(token: str, q: float) -> dict[str, Any]:
    return {"token": token, "logprob": math.log(q), "bytes": list(token.encode())}


def _json(status: int, content: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return status, {"content-type": "application/json"}, json.dumps(content).encode()
