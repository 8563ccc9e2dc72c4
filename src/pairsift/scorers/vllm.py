"""A multimodal model on a vLLM server, asked for numbers; the columns are those of `mlm`.

One request per metric. Image and caption come before the part that differs between metrics, and the
first metric is asked alone, so that the others can use the server's prefix cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image

from pairsift.errors import PairsiftError
from pairsift.images import ImageLimits, jpeg_data_uri
from pairsift.pair import Pair
from pairsift.scorers.base import Preparer, Scorer
from pairsift.scorers.mlm.columns import metric_columns, score_columns
from pairsift.scorers.mlm.prompt_files import load_prompts
from pairsift.scorers.mlm.prompts import PromptPack, pack_metrics
from pairsift.scorers.mlm.trie import NEVER, answer_values, summarise
from pairsift.scorers.vllm_answers import AnswerWalk, Spellings
from pairsift.scorers.vllm_client import VLLMClient, VLLMError

# Text that a server may read as a control token, such as <|im_end|>, <image> or [INST]. Only the
# tokenizer knows which of them it is, so all are split.
_CONTROL = re.compile(r"<(?=[^<>\s]{1,40}>)|\[(?=/?[A-Z_]{2,20}\])")
# The image of the test request at the start; models need a minimum size.
TRIAL_CAPTION = "a grey square"
_TRIAL_SIDE = 224


@dataclass(slots=True)
class VLLMInputs:
    """One pair, ready to be sent.

    Attributes:
        image: JPEG as a data URI.
        caption: as it is sent.
        truncated: whether the caption was truncated.
        outcome: (metrics, answers) probabilities, or why there are none; None before the request.
    """

    image: str
    caption: str
    truncated: bool
    outcome: np.ndarray | Exception | None = None


class VLLMTransform:
    """Preprocesses pairs. Picklable.

    Args:
        max_side: longer images are scaled down to this side, in pixels.
        max_caption_characters: longer captions are truncated.
    """

    def __init__(self, max_side: int, max_caption_characters: int) -> None:
        self.max_side = max_side
        self.max_caption_characters = max_caption_characters

    def __call__(self, image: Any, caption: str) -> VLLMInputs:
        cut = caption[: self.max_caption_characters]
        return VLLMInputs(
            jpeg_data_uri(image, self.max_side), _CONTROL.sub(r"\g<0> ", cut), cut != caption
        )

    def describe(self) -> str:
        """Return what the fingerprint says about preprocessing."""
        return (
            f"jpeg within {self.max_side}; caption {self.max_caption_characters} characters; "
            "then the server's"
        )


class VLLMScorer(Scorer):
    """Scores from the log probabilities that a server returns.

    Args:
        client: the model on its server.
        pack: the prompts; the server has its own chat format.
        metrics: names, in canonical order.
        transform: preprocesses pairs.
        concurrency: pairs whose requests are open at the same time.
        tolerance: fraction of the probability that may stay unread (see `vllm_answers`).
        limits: larger images get the status ``image_too_large``.
    """

    name: ClassVar[str] = "vllm"

    def __init__(
        self,
        client: VLLMClient,
        pack: PromptPack,
        metrics: Sequence[str],
        transform: VLLMTransform,
        *,
        concurrency: int,
        tolerance: float,
        limits: ImageLimits | None = None,
    ) -> None:
        self.client = client
        self.pack = pack
        self.metrics = tuple(metrics)
        self.tolerance = tolerance
        self._asked = [pack.metric(name) for name in self.metrics]
        self._spellings = [Spellings(metric) for metric in self._asked]
        self._values = answer_values([metric.scale for metric in self._asked])
        self.columns = score_columns(pack.in_tables())
        self.preparer = Preparer(transform, limits)
        # Some pairs take longer, so a batch has several times as many pairs as requests are open.
        self.batch_size = 4 * concurrency
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="pairsift-vllm")
        for metric in self.metrics:
            pack.user_turn(metric, "")  # raises if the pack lacks a metric
        self._fingerprint = {
            "scorer": self.name,
            "model_type": "served",
            "checkpoint": client.root,
            "prompts": pack.digest,
            "chat": "server; control tokens broken up",
            "preprocessing": transform.describe(),
            "dtype": "server",
            "metrics": ",".join(self.metrics),
            "reference_quirks": "false",
            "top_logprobs": str(client.top_logprobs),
            "tolerance": f"{tolerance:g}",
        }

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return dict(self._fingerprint)

    def score_batch(self, inputs: Sequence[VLLMInputs]) -> Mapping[str, np.ndarray]:
        summary = summarise(self._log_probabilities(inputs), self._values)
        columns = {field.name: np.full(len(inputs), np.nan) for field in self.columns}
        columns |= metric_columns(summary, self._asked)
        columns["caption_truncated"] = np.array([pair.truncated for pair in inputs])
        return columns

    def distributions(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Return (pairs, metrics, answers) float64 probabilities of each metric's answers.

        Answers are in the order of their values; metrics with fewer of them than others are padded
        with 0 on the right.

        Raises:
            PairsiftError: a pair cannot be scored; the error names its key.
        """
        inputs = self.prepare_all(pairs)
        try:
            p = np.exp(self._log_probabilities(inputs))
        except VLLMError as error:
            raise PairsiftError(str(error)) from error
        return np.asarray(p / p.sum(-1, keepdims=True))

    def _log_probabilities(self, inputs: Sequence[VLLMInputs]) -> np.ndarray:
        """Return (pairs, metrics, answers). Raises one pair's error, after all pairs are finished.

        Outcomes are kept: if a batch has failed and is scored again pair by pair, no pair is
            requested
        twice.
        """
        waiting = [pair for pair in inputs if pair.outcome is None]
        for pair, outcome in zip(waiting, self._threads.map(self._settle, waiting), strict=True):
            pair.outcome = outcome
        for pair in inputs:
            if isinstance(pair.outcome, Exception):
                raise pair.outcome
        p = np.stack([np.asarray(pair.outcome) for pair in inputs])
        log_p: np.ndarray = np.log(p, out=np.full_like(p, NEVER), where=p > 0)
        return log_p

    def _settle(self, pair: VLLMInputs) -> np.ndarray | Exception:
        try:
            p = np.zeros(self._values.shape)
            for row, metric, spellings in zip(p, self.metrics, self._spellings, strict=True):
                row[: spellings.count] = self._ask(pair, metric, spellings)
            return p
        except Exception as error:  # one failed pair must not fail its batch
            return error

    def _ask(self, pair: VLLMInputs, metric: str, spellings: Spellings) -> np.ndarray:
        text = self.pack.user_turn(metric, pair.caption).strip()
        steps = self.client.answer(pair.image, text, spellings.tokens)
        walk = AnswerWalk.along(steps, spellings)
        p = walk.finish(
            lambda written: self.client.next_step(pair.image, text, written), self.tolerance
        )
        if not p.sum() > 0:
            answer = "".join(step.token for step in steps)
            what = "not a number" if spellings.integers else "none of those in the prompt pack"
            raise VLLMError(f"{metric}: the model's answer is {what}: {answer!r}")
        return p


def served_columns(options: Mapping[str, Any]) -> tuple[pa.Field, ...]:
    """The columns, without asking the server; `options` are those of :func:`load_vllm_scorer`."""
    return score_columns(load_prompts(options.get("prompts")).in_tables())


def load_vllm_scorer(
    model: str,
    *,
    metrics: str | Iterable[str] | None = None,
    prompts: PromptPack | str | Path | None = None,
    api_key: str | None = None,
    concurrency: int = 32,
    timeout: float = 120.0,
    retries: int = 5,
    top_logprobs: int = 20,
    tolerance: float = 0.01,
    max_side: int = 1024,
    max_caption_characters: int = 8000,
    limits: ImageLimits | None = None,
) -> VLLMScorer:
    """Score with a multimodal model on a vLLM server: the scorer ``vllm``.

    Args:
        model: ``URL#NAME``, such as ``http://localhost:8000/v1#Qwen/Qwen2.5-VL-7B-Instruct``;
            without a name, the only model that the server has.
        metrics: metrics to score, as a sequence or joined by commas; None for all of the pack.
        prompts: a prompt pack, its TOML file, or the name of one that comes along; None for
            Pairsift's own. White space before an answer is ignored, and so is `answer_tail`.
        api_key: key of the server; None takes the variable ``VLLM_API_KEY``, if it is set.
        concurrency: pairs whose requests are open at the same time; 32.
        timeout: longest time for one request, in seconds; 120.
        retries: how often to repeat a request after a rate limit, a time-out, a broken connection
            or a server error; 5.
        top_logprobs: how many of the likeliest tokens to ask for; 20. More needs a server started
            with a larger ``--max-logprobs``; where the server allows fewer, as many as it allows.
        tolerance: fraction of a score's probability that may stay unread, from 0 to below 1; 0.01.
        max_side: longer sides, in pixels, are scaled down to it before an image is sent; 1,024.
        max_caption_characters: longer captions are truncated; 8,000.
        limits: the largest image to decode; None for the defaults of
            :class:`~pairsift.images.ImageLimits`.

    Returns:
        the scorer, after one request that tries the server.

    Raises:
        PairsiftError: the server does not answer, refuses the key, does not serve the model or
            gives no log probabilities; or an option is out of range.

    Examples:
        >>> load_vllm_scorer("localhost:8000")
        Traceback (most recent call last):
        pairsift.errors.PairsiftError: --model 'localhost:8000': the scorer `vllm` needs the ...
        >>> # Not run: it needs a vLLM server.
        >>> scorer = load_vllm_scorer("http://localhost:8000/v1", metrics="itm")  # doctest: +SKIP
        >>> scorer.score(pairs)["itm"]  # doctest: +SKIP
    """
    url, _, name = model.partition("#")
    if not url.startswith(("http://", "https://")):
        raise PairsiftError(
            f"--model {model!r}: the scorer `vllm` needs the address of a server, for example "
            "http://localhost:8000/v1#Qwen/Qwen2.5-VL-7B-Instruct"
        )
    for what, value in (("concurrency", concurrency), ("top_logprobs", top_logprobs),
                        ("max_side", max_side)):  # fmt: skip
        if value < 1:
            raise PairsiftError(f"{what} is {value}; at least 1 is needed")
    if not 0 <= tolerance < 1:
        raise PairsiftError(f"tolerance is {tolerance}; give a fraction from 0 to below 1")
    pack = load_prompts(prompts)
    asked = pack_metrics(pack, metrics)
    client = VLLMClient(
        url.rstrip("/"), name or None,
        api_key=api_key, top_logprobs=top_logprobs, timeout=timeout, retries=retries,
    )  # fmt: skip
    grey = jpeg_data_uri(Image.new("RGB", (_TRIAL_SIDE, _TRIAL_SIDE), "grey"), _TRIAL_SIDE)
    client.check(grey, pack.user_turn(asked[0], TRIAL_CAPTION).strip())
    return VLLMScorer(
        client,
        pack,
        asked,
        VLLMTransform(max_side, max_caption_characters),
        concurrency=concurrency,
        tolerance=tolerance,
        limits=limits,
    )
