"""Send a chat request and retry until it is answered or cannot be answered.

Temporary errors are retried. If the endpoint does not support a field, the request is changed.
Permanent errors are raised at once. An error may be an HTTP status, or part of a reply with status
200.
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
    """This pair cannot be answered; other pairs may be."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a model wrote.

    Attributes:
        text: the answer; None if there is none.
        reasoning: the thinking of a reasoning model, if the endpoint returns it.
        refusal: the model's words if it refused to answer; None if it answered.
        finish: why the model stopped, such as `stop` or `length`.
        tokens: input and output tokens, as the endpoint counts them; None if it does not count.
    """

    text: str | None
    reasoning: str | None
    refusal: str | None
    finish: str | None
    tokens: tuple[int, int] | None


@dataclass(eq=False)
class _FailureError(Exception):
    """One attempt has failed.

    Attributes:
        words: the reason, for people.
        status: the HTTP status, or the code of an error inside a 200; None if there is none.
        said: the endpoint's own words, for :class:`Dialect`.
        wait: seconds to wait before the next attempt, if the endpoint names them.
        passing: whether another attempt may succeed.
    """

    words: str
    status: int | None = None
    said: str = ""
    wait: float | None = None
    passing: bool = True


class Chat:
    """Sends requests to one model.

    Args:
        client: `openai.AsyncOpenAI` without its own retries, because on a rate limit all requests
            have to wait.
        system: the system message.
        note: called with a sentence for each field that the endpoint does not support.
        stopping: returns whether the run is ending; then nothing is retried.
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
        # OpenAI has renamed this field; other servers of its protocol know the old name.
        official = OFFICIAL_HOST in settings.endpoint
        self.dialect = Dialect(
            "max_completion_tokens" if official else "max_tokens",
            settings.structured,
            settings.temperature is not None,
        )

    async def ask(self, image: str, text: str) -> Message:
        """Return the model's answer about an image.

        Args:
            image: the image as a data URI.
            text: the user's text below the image.

        Raises:
            RequestError: this pair cannot be answered.
            PairsiftError: no pair can be answered.
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
            self._classify(failure)
            if tries > self._settings.retries or self._stopping():
                raise RequestError(f"no answer after {tries} attempts: {failure.words}")
            pause = min(_LONGEST_WAIT_S, 0.5 * 2 ** (tries - 1)) * random.uniform(0.5, 1)
            if failure.wait is not None:
                # A rate limit holds for all requests, so none starts earlier.
                self._next_start = max(self._next_start, time.monotonic() + failure.wait)
                pause = failure.wait
            await asyncio.sleep(pause)

    async def _try(self, arguments: Mapping[str, Any]) -> Message:
        openai = self._openai
        try:
            # The raw response, because servers do not always send what the client's types say.
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
        except openai.APIConnectionError as error:  # includes time-outs
            raise _FailureError(f"{type(error).__name__}: {error}") from error
        except (openai.APIError, ValueError) as error:  # the body is not a completion
            raise _FailureError(f"unreadable response: {error}") from error

    def _learn(self, used: Dialect, failure: _FailureError) -> bool:
        """Return whether the request has changed and should be sent again."""
        if not failure.said or failure.status in (*_FATAL, *_RETRYABLE):
            return False
        if used != self.dialect:  # another request has changed it in the meantime
            return True
        found = used.after(failure.said)
        if found is None:
            return False
        self.dialect, change = found
        self._note(
            f"{self._settings.endpoint} says: {failure.said.strip()[:_SHOWN]}. "
            f"Continuing with {change}"
        )
        return True

    def _classify(self, failure: _FailureError) -> None:
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
            schema = answer_schema(settings.metrics, settings.known)
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
        _FailureError: the body is an error, though the HTTP status is 200.
        ValueError: the body is neither a completion nor an error.
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
    """Return a message's text, which may be a string, a list of parts, or an object."""
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
    """Return the seconds that a Retry-After header asks for; it may hold seconds or a date."""
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
    """Import and return the openai package.

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
