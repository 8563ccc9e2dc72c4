"""A teacher behind any endpoint that speaks the OpenAI chat protocol.

One request per pair asks for all metrics: image as a data URI, answer as JSON with the score before
the rationale. Replies go to the cache before anything else is done with them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol

from pairsift.errors import PairsiftError
from pairsift.evaluate.images import Images
from pairsift.images import ImageFaultError, decode_image, jpeg_data_uri
from pairsift.metrics import METRICS
from pairsift.teach.cache import Reply, ReplyCache, request_key
from pairsift.teach.cost import Bill, Prices, answer_tokens, image_tokens, text_tokens
from pairsift.teach.prompt import (
    MalformedAnswerError,
    TeacherPrompt,
    answer_schema,
    parse_answer,
)
from pairsift.teach.records import Record

OFFICIAL_HOST = "api.openai.com"
_FATAL = (401, 403, 404)
_RETRYABLE = (408, 409, 425, 429)
_LONGEST_WAIT_S = 60.0
_SAMPLE = 50

Structured = Literal["json_schema", "json_object", "none"]


@dataclass(frozen=True, slots=True)
class OpenAISettings:
    """How to ask.

    Attributes:
        model: as the endpoint names it.
        base_url: of the endpoint, with `/v1`; None for OpenAI's own.
        metrics: that are asked for.
        structured: how the form of the answer is enforced; `none` where the endpoint cannot.
        temperature: None leaves it to the endpoint, as some models demand.
        max_output_tokens: where a runaway answer is cut.
        detail: `low`, `high` or `auto`, for endpoints that know it.
        max_side: longer images are scaled down, in pixels. All are encoded anew as JPEG, so that
            no metadata (place, owner) leaves the house.
        concurrency: requests at a time.
        requests_per_minute: None for no limit of our own.
        timeout: of one request, in seconds.
        retries: of one request on rate limits, timeouts and server errors.
        attempts: at getting a well-formed answer, all runs counted.
        give_up_after: requests in a row that failed for good, before the run stops.
    """

    model: str
    base_url: str | None = None
    metrics: Sequence[str] = tuple(METRICS)
    structured: Structured = "json_schema"
    temperature: float | None = 0.0
    max_output_tokens: int = 1000
    detail: str = "auto"
    max_side: int = 768
    concurrency: int = 8
    requests_per_minute: float | None = None
    timeout: float = 120.0
    retries: int = 8
    attempts: int = 3
    give_up_after: int = 10

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides an answer beside model, prompt and pair; part of the cache key."""
        return {
            "structured": self.structured,
            "temperature": self.temperature,
            "max_output_tokens": self.max_output_tokens,
            "detail": self.detail,
            "max_side": self.max_side,
        }


@dataclass(slots=True)
class Estimate:
    """What a run will ask for, before it does.

    Attributes:
        pairs: distinct pairs in all.
        cached: of those, answered by earlier runs.
        bill: tokens and cost of the others; image tokens by GPT-4o's rule, text by its length.
    """

    pairs: int
    cached: int
    bill: Bill

    def text(self) -> str:
        """For people."""
        return (
            f"{self.pairs:,} pairs, {self.cached:,} answered before; to ask, estimated: "
            f"{self.bill.text()}"
        )


class TeachListener(Protocol):
    """Told how a run goes on."""

    def estimated(self, estimate: Estimate) -> None:
        """Before the first request."""

    def answered(self, done: int, total: int, bill: Bill) -> None:
        """`done` of `total` pairs are settled; `bill` is what this run has used so far."""


class Silence:
    """A listener that says nothing."""

    def estimated(self, estimate: Estimate) -> None: ...

    def answered(self, done: int, total: int, bill: Bill) -> None: ...


@dataclass(frozen=True, slots=True)
class Task:
    """One request to be made."""

    key: str
    image: str
    caption: str


@dataclass(slots=True)
class OpenAITeacher:
    """Judges pairs by asking an endpoint.

    Args:
        cache: where replies are kept; may hold those of other models and prompts.
        api_key: None for endpoints that want none.
        max_cost: stop once this run has cost so much, in the currency of `prices`.

    Raises:
        PairsiftError: the prompt has no criteria for a metric, or openai is not installed.
    """

    settings: OpenAISettings
    prompt: TeacherPrompt
    cache: ReplyCache
    api_key: str | None = None
    prices: Prices = field(default_factory=Prices)
    max_cost: float | None = None

    def __post_init__(self) -> None:
        missing = [m for m in self.settings.metrics if m not in self.prompt.criteria]
        if missing:
            raise PairsiftError(f"prompt {self.prompt.name!r} has no criteria for {missing[0]!r}")
        if self.max_cost is not None and not self.prices.known:
            raise PairsiftError("--max-cost needs prices: give --price-input and --price-output")
        _import_openai()

    @property
    def facts(self) -> dict[str, Any]:
        """For the records' metadata."""
        return {
            "teacher": "openai",
            "model": self.settings.model,
            "prompt": self.prompt.name,
            "prompt_sha256": self.prompt.digest(self.settings.metrics),
            **self.settings.deciding,
        }

    def key(self, image: bytes, caption: str) -> str:
        """Digest under which the reply about a pair is kept."""
        digest = self.prompt.digest(self.settings.metrics)
        return request_key(self.settings.model, digest, image, caption, self.settings.deciding)

    def estimate(self, tasks: Sequence[Task], images: Images) -> Estimate:
        """What the pairs without a settled answer will take, from a sample of them."""
        todo = [task for task in tasks if not self._settled(task.key)]
        bill = Bill(self.prices)
        # Every n-th, so that the sample has candidates of all kinds.
        sample = todo[:: max(1, len(todo) // _SAMPLE)]
        read = 0
        tokens = 0
        for task in sample:
            try:
                image, _ = decode_image(images.read(task.image))
            except ImageFaultError:
                continue
            read += 1
            image.thumbnail((self.settings.max_side,) * 2)
            user = self.prompt.user_text(task.caption, self.settings.metrics)
            tokens += image_tokens(*image.size, self.settings.detail)
            tokens += text_tokens(self.prompt.system) + text_tokens(user)
        bill.requests = len(todo)
        bill.input_tokens = round(tokens / max(read, 1) * len(todo))
        bill.output_tokens = answer_tokens(len(self.settings.metrics)) * len(todo)
        return Estimate(len(tasks), len(tasks) - len(todo), bill)

    def plan(self, records: Sequence[Record], images: Images) -> tuple[list[str], list[Task]]:
        """The key of every record, and the distinct requests, in order."""
        keys: list[str] = []
        tasks: dict[str, Task] = {}
        last, content = None, b""
        for record in records:
            if record.image != last:
                last, content = record.image, images.read(record.image)
            key = self.key(content, record.caption)
            keys.append(key)
            tasks.setdefault(key, Task(key, record.image, record.caption))
        return keys, list(tasks.values())

    def judge(
        self,
        records: Sequence[Record],
        images: Images,
        listener: TeachListener | None = None,
    ) -> Bill:
        """Fill in scores, rationales and errors of the records, in place.

        Kill it at any moment and call it again: pairs with a reply in the cache are not asked
        about again, but for malformed replies, which are given `attempts` in all.

        Returns:
            what this run has used.

        Raises:
            PairsiftError: the endpoint refuses the key, model or address, or is out of service; or
                `max_cost` is reached. Replies so far are kept.
        """
        listener = listener or Silence()
        keys, tasks = self.plan(records, images)
        listener.estimated(self.estimate(tasks, images))
        run = _Run(self, images, listener, len(tasks))
        asyncio.run(run.ask([task for task in tasks if not self._settled(task.key)]))
        for record, key in zip(records, keys, strict=True):
            self._fill(record, key, run.errors)
        return run.bill

    def _settled(self, key: str) -> bool:
        last = self.cache.last(key)
        if last is None:
            return False
        attempt, reply = last
        return reply.problem is None or attempt >= self.settings.attempts

    def _fill(self, record: Record, key: str, errors: dict[str, str]) -> None:
        last = self.cache.last(key)
        if last is not None and last[1].problem is None:
            answer = parse_answer(last[1].text, self.settings.metrics)
            record.scores, record.why, record.error = answer.scores, answer.why, None
            return
        problem = last[1].problem if last is not None else None
        record.error = errors.get(key) or problem or "not asked"


class _Run:
    """One run of requests: workers, pace, pauses and the bill."""

    def __init__(
        self, teacher: OpenAITeacher, images: Images, listener: TeachListener, total: int
    ) -> None:
        self.teacher, self.images, self.listener, self.total = teacher, images, listener, total
        self.settings = teacher.settings
        self.bill = Bill(teacher.prices)
        self.errors: dict[str, str] = {}
        self._openai = _import_openai()
        self._next_start = 0.0
        self._stop: PairsiftError | None = None
        self._failed_in_a_row = 0
        self._done = 0

    async def ask(self, tasks: Sequence[Task]) -> None:
        """Ask about every task; a fatal problem lets nobody begin another."""
        self._done = self.total - len(tasks)
        waiting = iter(tasks)
        async with self._openai.AsyncOpenAI(
            api_key=self.teacher.api_key or "none",
            base_url=self.settings.base_url,
            timeout=self.settings.timeout,
            # Our own retries, because on a rate limit all workers must wait, not one.
            max_retries=0,
        ) as client:

            async def work() -> None:
                for task in waiting:
                    try:
                        await self._settle(client, task)
                    except PairsiftError as error:
                        self._stop = self._stop or error
                    if self._stop is not None:
                        return

            # Whatever stops the run, requests that are on their way are paid for: they end first.
            await asyncio.gather(*(work() for _ in range(self.settings.concurrency)))
        if self._stop is not None:
            raise self._stop

    async def _settle(self, client: Any, task: Task) -> None:
        """Get a well-formed answer about one pair into the cache, or a reason why there is none."""
        try:
            image = self.images.read(task.image)
            content = await asyncio.to_thread(self._content, image, task.caption)
        except ImageFaultError as fault:
            self._fail(task, f"{fault.status.value}: {fault}")
            return
        known = self.teacher.cache.last(task.key)
        for _ in range(known[0] if known else 0, self.settings.attempts):
            try:
                reply = await self._request(client, content)
            except _RequestError as error:
                self._fail(task, str(error))
                self._failed_in_a_row += 1
                if self._failed_in_a_row >= (give_up := self.settings.give_up_after):
                    raise PairsiftError(
                        f"{give_up} requests in a row failed, the last with: {error}. "
                        "Answers so far are kept: run again when the endpoint is well"
                    ) from error
                return
            self._failed_in_a_row = 0
            endpoint = self.settings.base_url or OFFICIAL_HOST
            self.teacher.cache.add(task.key, self.settings.model, endpoint, reply)
            self.bill.add(reply.input_tokens, reply.output_tokens)
            self._check_cost()
            if reply.problem is None:
                break
        self._tick()

    def _fail(self, task: Task, words: str) -> None:
        self.errors[task.key] = words
        self._tick()

    def _tick(self) -> None:
        self._done += 1
        self.listener.answered(self._done, self.total, self.bill)

    def _check_cost(self) -> None:
        limit = self.teacher.max_cost
        if limit is not None and self.bill.cost >= limit:
            raise PairsiftError(
                f"stopped at --max-cost {limit:g}: {self.bill.text()}. Answers so far are kept: "
                "run again with more to go on"
            )

    def _content(self, image: bytes, caption: str) -> list[dict[str, Any]]:
        uri = data_uri(image, self.settings.max_side)
        text = self.teacher.prompt.user_text(caption, self.settings.metrics)
        return [
            {"type": "image_url", "image_url": {"url": uri, "detail": self.settings.detail}},
            {"type": "text", "text": text},
        ]

    async def _request(self, client: Any, content: list[dict[str, Any]]) -> Reply:
        """One answered request, however many tries it takes.

        Raises:
            _RequestError: this pair cannot be answered.
            PairsiftError: no pair can.
        """
        openai = self._openai
        for attempt in range(self.settings.retries + 1):
            await self._pace()
            try:
                completion = await client.chat.completions.create(**self._arguments(content))
                return self._reply(completion)
            except openai.APIStatusError as error:
                problem, wait = self._judge_status(error), _retry_after(error.response.headers)
            except openai.APIConnectionError as error:  # time-outs are a kind of these
                problem, wait = f"{type(error).__name__}: {error}", None
            except (openai.APIError, ValueError) as error:  # a body that is no completion
                problem, wait = f"unreadable response: {error}", None
            if attempt == self.settings.retries or self._stop is not None:
                raise _RequestError(f"no answer after {attempt + 1} tries: {problem}")
            pause = min(_LONGEST_WAIT_S, 0.5 * 2**attempt) * random.uniform(0.5, 1)
            if wait is not None:
                # The endpoint speaks to all of us: nobody starts before.
                self._next_start = max(self._next_start, time.monotonic() + wait)
                pause = wait
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    def _judge_status(self, error: Any) -> str:
        """Words for a status that is worth another try; raises for one that is not."""
        status, words = error.status_code, f"HTTP {error.status_code}: {error.message}"
        if status in _FATAL or getattr(error, "code", None) == "insufficient_quota":
            raise PairsiftError(
                f"{self.settings.base_url or OFFICIAL_HOST} refuses: {words}. Check address, model "
                "and key; answers so far are kept"
            ) from error
        if status not in _RETRYABLE and status < 500:
            raise _RequestError(words) from error
        return words

    async def _pace(self) -> None:
        """Wait for the next free start."""
        while (now := time.monotonic()) < self._next_start:
            await asyncio.sleep(self._next_start - now)
        if self.settings.requests_per_minute:
            self._next_start = now + 60.0 / self.settings.requests_per_minute

    def _arguments(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        settings = self.settings
        arguments: dict[str, Any] = {
            "model": settings.model,
            "messages": [
                {"role": "system", "content": self.teacher.prompt.system},
                {"role": "user", "content": content},
            ],
        }
        # OpenAI has renamed the field; servers that follow its protocol know the old name.
        official = settings.base_url is None or OFFICIAL_HOST in settings.base_url
        limit = "max_completion_tokens" if official else "max_tokens"
        arguments[limit] = settings.max_output_tokens
        if settings.temperature is not None:
            arguments["temperature"] = settings.temperature
        if settings.structured == "json_schema":
            schema = answer_schema(settings.metrics)
            arguments["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "scores", "strict": True, "schema": schema},
            }
        elif settings.structured == "json_object":
            arguments["response_format"] = {"type": "json_object"}
        return arguments

    def _reply(self, completion: Any) -> Reply:
        choices = getattr(completion, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise ValueError("a completion without a message")
        message, reason = choices[0].message, choices[0].finish_reason
        usage = getattr(completion, "usage", None)
        text = message.content if isinstance(message.content, str) else None
        problem = None
        if getattr(message, "refusal", None):
            problem = f"refused: {message.refusal}"
        elif reason == "length":
            problem = f"cut off at {self.settings.max_output_tokens} tokens"
        else:
            try:
                parse_answer(text, self.settings.metrics)
            except MalformedAnswerError as error:
                problem = f"malformed: {error}"
        return Reply(
            text,
            problem,
            int(getattr(usage, "prompt_tokens", 0) or 0),
            int(getattr(usage, "completion_tokens", 0) or 0),
        )


class _RequestError(Exception):
    """A pair that cannot be answered; others may be."""


def data_uri(image: bytes, max_side: int) -> str:
    """An image as the JPEG data URI that is sent: guarded decode, scaled down, no metadata.

    Raises:
        ImageFaultError: it cannot be decoded.
    """
    picture, _ = decode_image(image)
    return jpeg_data_uri(picture, max_side)


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


def _import_openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise PairsiftError(
            "this teacher needs the openai package: pip install 'pairsift[teach]'"
        ) from error
    return openai
