"""Send a chat request and retry until it is answered or cannot be.

Temporary errors are retried. If the endpoint does not support a field, the request is changed.
Permanent errors are raised at once. An error may be an HTTP status or part of a reply with 200.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.teach.dialect import Dialect, words_of
from pairsift.teach.prompt import answer_schema
from pairsift.teach.settings import OFFICIAL_HOST, OpenAISettings

_FATAL = (401, 402, 403, 404)
_RETRYABLE = (408, 409, 425, 429)
_PASSING = re.compile(
    r"rate.?limit|overload|time[d ]*.?out|unavailable|server.?error|internal|tempor|try again"
    r"|busy|capacity|provider returned error|upstream",
    re.I,
)
_BARRED = re.compile(
    r"insufficient.?(quota|credit|balance|fund)|invalid.?api.?key|api.?key not valid", re.I
)
_LONGEST_WAIT_S = 60.0
_SHOWN = 300


class RequestError(Exception):
    """This pair cannot be answered; others may be."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a model wrote.

    Attributes:
        text: None where there is none.
        reasoning: what a reasoning model has thought, if the endpoint tells.
        refusal: why it would not answer, in its words; None if it did.
        finish: why it stopped, such as `stop` or `length`.
        tokens: input and output, as the endpoint counts them; None if it does not.
    """

    text: str | None
    reasoning: str | None
    refusal: str | None
    finish: str | None
    tokens: tuple[int, int] | None


@dataclass(eq=False)
class _FailureError(Exception):
    """Why a try has failed.

    Attributes:
        words: for people.
        status: of HTTP, or what an error inside a 200 has as its code; None if there is none.
        said: the endpoint's own words, for :class:`Dialect`.
        wait: seconds that the endpoint asks to wait.
        passing: whether another try may do.
    """

    words: str
    status: int | None = None
    said: str = ""
    wait: float | None = None
    passing: bool = True


class Chat:
    """Requests to one model.

    Args:
        client: `openai.AsyncOpenAI`, without retries of its own: on a rate limit all must wait.
        system: the system message.
        note: told what the endpoint does not understand.
        stopping: whether the run ends, so that nothing is tried again.
    """

    def __init__(
        self,
        client: Any,
        settings: OpenAISettings,
        system: str,
        note: Callable[[str], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._client, self._settings, self._system = client, settings, system
        self._note, self._stopping = note, stopping
        self._openai = import_openai()
        self._next_start = 0.0
        # OpenAI has renamed the field; servers that follow its protocol know the old name.
        official = OFFICIAL_HOST in settings.endpoint
        self.dialect = Dialect(
            "max_completion_tokens" if official else "max_tokens",
            settings.structured,
            settings.temperature is not None,
        )

    async def ask(self, image: str, text: str) -> Message:
        """Get the model's answer about an image.

        Args:
            image: data URI.
            text: what the user says below it.

        Raises:
            RequestError: this pair cannot be answered.
            PairsiftError: no pair can.
        """
        tries = 0
        while True:
            await self._pace()
            dialect = self.dialect
            try:
                return await self._try(self._arguments(dialect, image, text))
            except _FailureError as error:
                failure = error
            if self._learn(dialect, failure):
                continue
            tries += 1
            self._judge(failure)
            if tries > self._settings.retries or self._stopping():
                raise RequestError(f"no answer after {tries} tries: {failure.words}")
            pause = min(_LONGEST_WAIT_S, 0.5 * 2 ** (tries - 1)) * random.uniform(0.5, 1)
            if failure.wait is not None:
                # The endpoint speaks to all of us: nobody starts before.
                self._next_start = max(self._next_start, time.monotonic() + failure.wait)
                pause = failure.wait
            await asyncio.sleep(pause)

    async def _try(self, arguments: Mapping[str, Any]) -> Message:
        openai = self._openai
        try:
            # Raw: what servers send is not always what the client's types promise.
            response = await self._client.chat.completions.with_raw_response.create(**arguments)
            return _message(json.loads(response.http_response.content))
        except openai.APIStatusError as error:
            said = words_of(error.body) or str(error.message)
            raise _FailureError(
                f"HTTP {error.status_code}: {said[:_SHOWN]}",
                error.status_code,
                said,
                _retry_after(error.response.headers),
                error.status_code in _RETRYABLE or error.status_code >= 500,
            ) from error
        except openai.APIConnectionError as error:  # time-outs are a kind of these
            raise _FailureError(f"{type(error).__name__}: {error}") from error
        except (openai.APIError, ValueError) as error:  # a body that is no completion
            raise _FailureError(f"unreadable response: {error}") from error

    def _learn(self, used: Dialect, failure: _FailureError) -> bool:
        """Whether the request should be changed and sent again."""
        if not failure.said or failure.status in (*_FATAL, *_RETRYABLE):
            return False
        if used != self.dialect:  # another request has learned meanwhile
            return True
        found = used.after(failure.said)
        if found is None:
            return False
        self.dialect, change = found
        self._note(
            f"{self._settings.endpoint} says: {failure.said.strip()[:_SHOWN]}. "
            f"Going on with {change}"
        )
        return True

    def _judge(self, failure: _FailureError) -> None:
        """Raise errors that a retry would not fix."""
        if failure.status in _FATAL or _BARRED.search(failure.said):
            raise PairsiftError(
                f"{self._settings.endpoint} refuses: {failure.words}. Check address, model, key "
                "and credit; answers so far are kept"
            ) from failure
        if not failure.passing:
            raise RequestError(failure.words) from failure

    async def _pace(self) -> None:
        """Wait until the rate limit allows another request."""
        while (now := time.monotonic()) < self._next_start:
            await asyncio.sleep(self._next_start - now)
        if self._settings.requests_per_minute:
            self._next_start = now + 60.0 / self._settings.requests_per_minute

    def _arguments(self, dialect: Dialect, image: str, text: str) -> dict[str, Any]:
        settings = self._settings
        url = {"url": image} | ({"detail": settings.detail} if dialect.detail else {})
        content = [{"type": "image_url", "image_url": url}, {"type": "text", "text": text}]
        arguments: dict[str, Any] = {
            "model": settings.model,
            "messages": [
                {"role": "system", "content": self._system},
                {"role": "user", "content": content},
            ],
            dialect.limit: settings.max_output_tokens,
        }
        if dialect.temperature:
            arguments["temperature"] = settings.temperature
        if dialect.structured == "json_schema":
            schema = answer_schema(settings.metrics)
            arguments["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "scores", "strict": True, "schema": schema},
            }
        elif dialect.structured == "json_object":
            arguments["response_format"] = {"type": "json_object"}
        return arguments


def _message(body: Any) -> Message:
    """Read a completion.

    Raises:
        _FailureError: it is an error, under a status of 200.
        ValueError: it is something else.
    """
    body = body if isinstance(body, Mapping) else {"body": body}
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    choice = choice if isinstance(choice, Mapping) else {}
    error = body.get("error") or choice.get("error")
    if error is None and (body.get("object") == "error" or body.get("detail")):
        error = body
    if error:
        raise _error_inside(error)
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise ValueError(f"a completion without a message: {json.dumps(body)[:_SHOWN]}")
    usage = body.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    counts = usage.get("prompt_tokens"), usage.get("completion_tokens")
    known = all(isinstance(count, int) for count in counts) and bool(counts[0])
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    finish = choice.get("finish_reason")
    refusal = message.get("refusal") or (finish if finish == "content_filter" else None)
    return Message(
        _text(message.get("content")),
        _text(reasoning),
        str(refusal) if refusal else None,
        str(finish) if finish else None,
        (int(counts[0] or 0), int(counts[1] or 0)) if known else None,
    )


def _text(content: Any) -> str | None:
    """The text of a message: as such, in parts, or as the object it stands for."""
    if isinstance(content, list):
        parts = [
            part if isinstance(part, str) else part.get("text")
            for part in content
            if isinstance(part, str)
            or (isinstance(part, Mapping) and "think" not in str(part.get("type")))
        ]
        texts = [part for part in parts if isinstance(part, str)]
        return "".join(texts) if texts else None
    if isinstance(content, Mapping):
        return json.dumps(content)
    return content if isinstance(content, str) and content.strip() else None


def _error_inside(error: Any) -> _FailureError:
    code = str(error.get("code") or error.get("status")) if isinstance(error, Mapping) else ""
    status = int(code) if re.fullmatch("[45][0-9][0-9]", code) else None
    said = words_of(error)
    if status is None:
        passing = _PASSING.search(said) is not None
    else:
        passing = status in _RETRYABLE or status >= 500
    return _FailureError(
        f"HTTP 200 with an error inside: {said[:_SHOWN]}", status, said, None, passing
    )


def _retry_after(headers: Any) -> float | None:
    """Seconds that a Retry-After header asks for, given in seconds or as a date."""
    value = headers.get("retry-after")
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return seconds if 0 <= seconds < float("inf") else None


def import_openai() -> Any:
    """The openai package.

    Raises:
        PairsiftError: it is not installed.
    """
    try:
        import openai
    except ImportError as error:
        raise PairsiftError(
            "this teacher needs the openai package: pip install 'pairsift[teach]'"
        ) from error
    return openai
