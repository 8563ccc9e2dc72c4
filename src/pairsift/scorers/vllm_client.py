"""Requests to a server that speaks vLLM's OpenAI protocol."""

from __future__ import annotations

import os
import re
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.scorers.vllm_answers import Step

API_KEY_VARIABLE = "VLLM_API_KEY"
# What servers say that allow fewer log probabilities than they were asked for.
_TOO_MANY = re.compile(
    r"logprobs.{0,80}?(?:greater|more|less|most|max|exceed|between)", re.I | re.S
)


class VLLMClient:
    """One model on a server; safe to use from many threads.

    Args:
        base_url: the address, with `/v1`.
        model: the server's name of it; None for its only model.
        top_logprobs: how many of the most likely tokens to request; servers allow 20 unless started
            with ``--max-logprobs``.
        timeout: for one request, in seconds.
        retries: for one request, on rate limits, time-outs, broken connections and server errors.

    Raises:
        PairsiftError: the server does not answer, refuses the key, or does not have the model.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        top_logprobs: int = 20,
        timeout: float = 120.0,
        retries: int = 5,
    ) -> None:
        self._openai = _import_openai()
        self.base_url = base_url
        self.top_logprobs = top_logprobs
        self._client = self._openai.OpenAI(
            base_url=base_url,
            api_key=api_key or os.environ.get(API_KEY_VARIABLE) or "none",
            timeout=timeout,
            max_retries=retries,
        )
        self.model, self.root = self._find(model)

    def _find(self, wanted: str | None) -> tuple[str, str]:
        """Return the name of the model, and what the server says about its origin."""
        try:
            served = {model.id: model for model in self._client.models.list().data}
        except self._openai.OpenAIError as error:
            raise PairsiftError(
                f"{self.base_url} does not return its models: {_in_words(error)}. Give the address "
                f"of a vLLM server with /v1, and its key, if it has one, in ${API_KEY_VARIABLE}"
            ) from error
        if wanted is None and len(served) == 1:
            (wanted,) = served
        if wanted is None or wanted not in served:
            what = f"does not serve {wanted!r}" if wanted else "serves several models"
            raise PairsiftError(
                f"{self.base_url} {what}; it has {', '.join(served)}: --model {self.base_url}#NAME"
            )
        return wanted, str(getattr(served[wanted], "root", None) or wanted)

    def check(self, image: str, text: str) -> None:
        """Send one request, so that an unusable server is refused before any pair is lost.

        Args:
            image, text: as for :meth:`answer`; any will do.

        Raises:
            PairsiftError: there is no answer, or it has no log probabilities of several tokens.
        """
        wanted = min(2, self.top_logprobs)
        try:
            steps = self._first_answer(image, text)
        except VLLMError as error:
            raise PairsiftError(
                f"{self.model} on {self.base_url} cannot be asked for scores: {error}. The scorer "
                "`vllm` sends an image and reads log probabilities (logprobs, "
                f"top_logprobs={self.top_logprobs}): start the server so that it takes and gives "
                "these, or let the model judge with `pairsift teach openai`"
            ) from error
        told = len(steps[0].alternatives) if steps else 0
        if told < wanted or all(log_p == 0 for _, log_p in steps[0].alternatives[:wanted]):
            raise PairsiftError(
                f"{self.model} on {self.base_url} gives log probabilities of {told} tokens where "
                f"{self.top_logprobs} were asked for; the scorer `vllm` cannot read a score from "
                "that. Start the server so that it gives them (vLLM does), or let the model judge "
                "with `pairsift teach openai`"
            )

    def _first_answer(self, image: str, text: str) -> list[Step]:
        """Ask for as many log probabilities as the server allows; ``top_logprobs`` keeps how many.

        Raises:
            VLLMError: no answer, after all retries.
        """
        while True:
            try:
                return self._ask(_user_turn(image, text), 1)
            except VLLMError as error:
                fewer = _allowed(str(error), self.top_logprobs)
                if fewer is None:
                    raise
                self.top_logprobs = fewer

    def answer(self, image: str, text: str, tokens: int) -> list[Step]:
        """What the model writes about an image, a token at a time, the likeliest always.

        Args:
            image: data URI.
            text: what the user says below it.
            tokens: the most tokens to write.

        Raises:
            VLLMError: there is no answer, after all retries.
        """
        return self._ask(_user_turn(image, text), tokens)

    def next_step(self, image: str, text: str, written: str) -> Step:
        """Return what the model would write after `written`.

        Raises:
            VLLMError: there is no answer, after all retries.
        """
        messages = [*_user_turn(image, text), {"role": "assistant", "content": written}]
        goes_on = {"continue_final_message": True, "add_generation_prompt": False}
        steps = self._ask(messages, 1, goes_on)
        if not steps:
            raise VLLMError(f"the server has no token to follow {written!r}")
        return steps[0]

    def _ask(
        self, messages: list[dict[str, Any]], tokens: int, extra: dict[str, Any] | None = None
    ) -> list[Step]:
        try:
            completion = self._client.chat.completions.create(
                model=self.model,
                messages=messages,
                temperature=0.0,
                max_tokens=tokens,
                logprobs=True,
                top_logprobs=self.top_logprobs,
                extra_body=extra,
            )
            content = completion.choices[0].logprobs.content or []
            return [
                Step(
                    entry.token,
                    [(str(top.token), float(top.logprob)) for top in entry.top_logprobs or []],
                )
                for entry in content
            ]
        except self._openai.OpenAIError as error:
            raise VLLMError(_in_words(error)) from error
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise VLLMError(f"the server's answer has no logprobs: {error}") from error


class VLLMError(Exception):
    """This pair cannot be scored; other pairs may be."""


def _allowed(words: str, asked: int) -> int | None:
    """How many log probabilities a server allows that refuses so many; None if that is not why."""
    if asked < 2 or not _TOO_MANY.search(words):
        return None
    fewer = [int(number) for number in re.findall(r"\d+", words) if 0 < int(number) < asked]
    return fewer[-1] if fewer else asked // 2


def _user_turn(image: str, text: str) -> list[dict[str, Any]]:
    content = [
        {"type": "image_url", "image_url": {"url": image}},
        {"type": "text", "text": text},
    ]
    return [{"role": "user", "content": content}]


def _in_words(error: Exception) -> str:
    cause = error.__cause__
    words = f"{type(error).__name__}: {error}"
    return (f"{words} ({cause})" if cause is not None and str(cause) else words)[:300]


def _import_openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise PairsiftError(
            "the scorer `vllm` needs the openai package: pip install 'pairsift[vllm]'"
        ) from error
    return openai
