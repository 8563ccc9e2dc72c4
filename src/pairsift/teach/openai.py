"""A teacher behind any endpoint that speaks the OpenAI chat protocol.

One request per pair asks for all metrics. It sends the image as a data URI; the answer is JSON with
each score before its rationale. A reply is written to the cache before it is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.images import ImageFaultError, decode_image, jpeg_data_uri
from pairsift.metrics import DEFAULT_SCALE
from pairsift.progress import Listener, NullListener
from pairsift.sources.image_store import Images
from pairsift.teach.answers import ENOUGH, MalformedAnswerError, parse_answer, quote, wrong_scale
from pairsift.teach.cache import Reply, ReplyCache, request_key
from pairsift.teach.chat import Chat, Message, RequestError, import_openai
from pairsift.teach.cost import Bill, Prices, answer_tokens, image_tokens, text_tokens
from pairsift.teach.prompt import TeacherPrompt
from pairsift.teach.records import Record
from pairsift.teach.settings import OpenAISettings

_SAMPLE = 50
_MALFORMED, _REFUSED, _CUT_OFF = "malformed: ", "refused: ", "cut off at "


@dataclass(slots=True)
class Estimate:
    """What a run is going to request, estimated before the first request.

    Attributes:
        pairs: number of distinct pairs.
        cached: how many of them earlier runs have answered.
        bill: tokens and cost of the others. Image tokens follow GPT-4o's rule, text tokens the
            length of the text.
    """

    pairs: int
    cached: int
    bill: Bill

    def text(self) -> str:
        """One line for people."""
        return (
            f"{self.pairs:,} pairs, {self.cached:,} answered before; to ask, estimated: "
            f"{self.bill.text()}"
        )


@dataclass(frozen=True, slots=True)
class Task:
    """One request to make."""

    key: str
    image: str
    caption: str


@dataclass(slots=True)
class OpenAITeacher:
    """Annotates pairs by sending requests to an endpoint.

    Args:
        cache: where replies are kept; it may also hold replies of other models and prompts.
        api_key: None for endpoints that need no key.
        max_cost: stop when this run has cost this much, in the currency of `prices`.

    Attributes:
        notes: which fields the endpoint did not support, and what was changed.

    Raises:
        PairsiftError: the prompt has no criteria for a metric, or openai is not installed.
    """

    settings: OpenAISettings
    prompt: TeacherPrompt
    cache: ReplyCache
    api_key: str | None = None
    prices: Prices = field(default_factory=Prices)
    max_cost: float | None = None
    notes: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        missing = [m for m in self.settings.metrics if m not in self.prompt.criteria]
        if missing:
            raise PairsiftError(f"prompt {self.prompt.name!r} has no criteria for {missing[0]!r}")
        if self.max_cost is not None and not self.prices.known:
            raise PairsiftError("--max-cost needs prices: give --price-input and --price-output")
        import_openai()

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the records' metadata says about this teacher."""
        return {
            "teacher": "openai",
            "model": self.settings.model,
            "prompt": self.prompt.name,
            "prompt_sha256": self.prompt.digest(self.settings.metrics),
            **self.settings.deciding,
            **({"notes": self.notes} if self.notes else {}),
        }

    def key(self, image: bytes, caption: str) -> str:
        """Return the digest under which the cache keeps the reply about a pair."""
        digest = self.prompt.digest(self.settings.metrics)
        return request_key(self.settings.model, digest, image, caption, self.settings.deciding)

    def estimate(self, tasks: Sequence[Task], images: Images) -> Estimate:
        """Estimate the tokens and cost of all pairs without an answer, from a sample of them."""
        todo = [task for task in tasks if not self._settled(task.key)]
        bill = Bill(self.prices)
        # Every n-th pair, so that the sample has candidates of all kinds.
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
        """Return the key of every record, and the distinct requests in order."""
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

    def annotate(
        self,
        records: Sequence[Record],
        images: Images,
        listener: Listener | None = None,
    ) -> Bill:
        """Fill in scores, rationales and errors of the records, in place.

        The call can be killed at any time and repeated. Pairs with a reply in the cache are not
        asked about again. Malformed replies are the exception: they get `attempts` requests in
        total.

        Returns:
            requests, tokens and cost of this run.

        Raises:
            PairsiftError: the endpoint rejects the key, model or address; it is out of service; its
                first answers are all malformed or all on another scale; or `max_cost` is reached.
                The replies so far are kept.
        """
        listener = listener or NullListener()
        keys, tasks = self.plan(records, images)
        known = [task.key for task in tasks if self._settled(task.key)]
        if len(known) >= ENOUGH:
            self._check_scale(known)
        listener.message(self.estimate(tasks, images).text())
        run = _Run(self, images, listener, len(tasks))
        asyncio.run(run.ask([task for task in tasks if not self._settled(task.key)]))
        self._check_scale(keys)
        for record, key in zip(records, keys, strict=True):
            self._fill(record, key, run.errors)
        return run.bill

    def read(self, key: str) -> tuple[int, Reply] | None:
        """Return how often a pair was answered, and its last reply; None if it never was.

        The reply is parsed again, because this version may be able to read one that an earlier
        could not.
        """
        last = self.cache.last(key)
        if last is None or not (last[1].problem or "").startswith(_MALFORMED):
            return last
        attempt, reply = last
        return attempt, replace(reply, problem=malformed(reply.text, self.settings))

    def _settled(self, key: str) -> bool:
        last = self.read(key)
        if last is None:
            return False
        attempt, reply = last
        return reply.problem is None or attempt >= self.settings.attempts

    def _check_scale(self, keys: Sequence[str]) -> None:
        replies = [last[1] for key in keys if (last := self.read(key)) is not None]
        check_scale([reply for reply in replies if reply.problem is None], self.settings)

    def _fill(self, record: Record, key: str, errors: dict[str, str]) -> None:
        last = self.read(key)
        if last is not None and last[1].problem is None:
            answer = parse_answer(last[1].text, self.settings.metrics, self.settings.known)
            record.scores, record.why, record.error = answer.scores, answer.why, None
            return
        problem = last[1].problem if last is not None else None
        record.error = errors.get(key) or problem or "not asked"


def malformed(text: str | None, settings: OpenAISettings) -> str | None:
    """Return why a reply cannot be used; None if it can."""
    try:
        parse_answer(text, settings.metrics, settings.known)
    except MalformedAnswerError as error:
        return f"{_MALFORMED}{error}"
    return None


def check_scale(replies: Sequence[Reply], settings: OpenAISettings) -> None:
    """Refuse a teacher that scores from 0 to 1.

    Raises:
        PairsiftError: no score of the well-formed replies is above 1, and not all are 0.
    """
    told = (parse_answer(reply.text, settings.metrics, settings.known).scores for reply in replies)
    large = {name for name in settings.metrics if settings.known[name].scale == DEFAULT_SCALE}
    if wrong_scale({n: score for n, score in scores.items() if n in large} for scores in told):
        raise PairsiftError(
            f"{settings.model} scores from 0 to 1, not from 0 to 100: no score of "
            f"{len(replies)} answers is above 1, such as {quote(replies[0].text)}. Scores "
            "are not rescaled: state the scale more clearly in your own prompt (--prompts)"
        )


class _Run:
    """One run of requests: its workers, answers and bill."""

    def __init__(
        self, teacher: OpenAITeacher, images: Images, listener: Listener, total: int
    ) -> None:
        self.teacher, self.images, self.listener, self.total = teacher, images, listener, total
        self.settings = teacher.settings
        self.bill = Bill(teacher.prices)
        self.errors: dict[str, str] = {}
        self._stop: Exception | None = None
        self._failed_in_a_row = 0
        self._done = 0
        # One request at a time until a first answer can be read.
        self._trial = asyncio.Lock()
        self._proven = False
        self._malformed = 0
        self._first_replies: list[Reply] = []

    async def ask(self, tasks: Sequence[Task]) -> None:
        """Send a request for every task; after a fatal problem no further request begins."""
        self._done = self.total - len(tasks)
        waiting = iter(tasks)
        async with import_openai().AsyncOpenAI(
            api_key=self.teacher.api_key or "none",
            base_url=self.settings.base_url,
            timeout=self.settings.timeout,
            # We retry ourselves, because on a rate limit all workers must wait.
            max_retries=0,
        ) as client:
            system = self.teacher.prompt.system
            chat = Chat(client, self.settings, system, self._note, lambda: self._stop is not None)

            async def work() -> None:
                for task in waiting:
                    try:
                        await self._settle(chat, task)
                    # Other workers' requests are paid for, so they may finish first.
                    except Exception as error:
                        self._stop = self._stop or error
                    if self._stop is not None:
                        return

            await asyncio.gather(*(work() for _ in range(self.settings.concurrency)))
        if self._stop is not None:
            raise self._stop

    async def _settle(self, chat: Chat, task: Task) -> None:
        """Get a well-formed answer about one pair into the cache, or why there is none."""
        try:
            image = self.images.read(task.image)
            uri, size = await asyncio.to_thread(_encoded, image, self.settings.max_side)
        except ImageFaultError as fault:
            self._fail(task, f"{fault.status.value}: {fault}")
            return
        text = self.teacher.prompt.user_text(task.caption, self.settings.metrics)
        known = self.teacher.read(task.key)
        for _ in range(known[0] if known else 0, self.settings.attempts):
            try:
                reply = await self._answer(chat, task, uri, size, text)
            except RequestError as error:
                self._fail(task, str(error))
                self._failed_in_a_row += 1
                if self._failed_in_a_row >= (give_up := self.settings.give_up_after):
                    raise PairsiftError(
                        f"{give_up} requests in a row failed, the last with: {error}. "
                        "Answers so far are kept: run the command again when the endpoint works"
                    ) from error
                return
            if reply is None:
                return
            self._check_cost()
            if reply.problem is None:
                break
        self._tick()

    async def _answer(
        self, chat: Chat, task: Task, uri: str, size: tuple[int, int], text: str
    ) -> Reply | None:
        """Return one reply, stored and counted; None if the run stopped before the request."""
        if not self._proven:
            async with self._trial:
                if self._stop is not None:
                    return None
                if not self._proven:
                    try:
                        return self._keep(task, await chat.ask(uri, text), size, text)
                    except RequestError:
                        self._proven = True  # errors cost nothing, so requests may run in parallel
                        raise
        return self._keep(task, await chat.ask(uri, text), size, text)

    def _keep(self, task: Task, message: Message, size: tuple[int, int], text: str) -> Reply:
        settings, bill = self.settings, self.bill
        reply = _reply(message, settings)
        if message.tokens is None:
            if not bill.estimated:
                self._note(f"{settings.endpoint} counts no tokens: tokens and cost are estimates")
            asked = text_tokens(self.teacher.prompt.system) + text_tokens(text)
            asked += image_tokens(*size, settings.detail)
            written = text_tokens((message.text or "") + (message.reasoning or ""))
            reply = replace(reply, input_tokens=asked, output_tokens=written)
        self.teacher.cache.add(task.key, settings.model, settings.endpoint, reply)
        bill.add(reply.input_tokens, reply.output_tokens, estimated=message.tokens is None)
        self._failed_in_a_row = 0
        self._look(reply, message.finish)
        return reply

    def _look(self, reply: Reply, finish: str | None) -> None:
        """Stop if the first answers all cannot be used, before more money is spent."""
        if reply.problem is None:
            self._proven = True
            if len(self._first_replies) < ENOUGH:
                self._first_replies.append(reply)
                if len(self._first_replies) == ENOUGH:
                    check_scale(self._first_replies, self.settings)
        elif not self._first_replies and not reply.problem.startswith(_REFUSED):
            self._malformed += 1
            if self._malformed == ENOUGH:
                raise PairsiftError(
                    f"the first {ENOUGH} answers of {self.settings.model} cannot be read; the "
                    f"last: {reply.problem}; it begins {quote(reply.text)}"
                    f"{' (finish reason ' + finish + ')' if finish else ''}. No more requests "
                    f"were sent. Try {_advice(reply)}"
                )

    def _note(self, words: str) -> None:
        self.teacher.notes.append(words)
        self.listener.message(words)

    def _fail(self, task: Task, words: str) -> None:
        self.errors[task.key] = words
        self._tick()

    def _tick(self) -> None:
        self._done += 1
        self.listener.progress(
            "annotating", self._done, self.total, unit="pairs", detail=self.bill.text()
        )

    def _check_cost(self) -> None:
        limit = self.teacher.max_cost
        if limit is not None and self.bill.cost >= limit:
            raise PairsiftError(
                f"stopped at --max-cost {limit:g}: {self.bill.text()}. Answers so far are kept: "
                "run again with a higher --max-cost to continue"
            )


def _reply(message: Message, settings: OpenAISettings) -> Reply:
    """Turn a message into a reply, with the problem that makes it useless, if any."""
    text, problem = message.text, None
    thought = (message.reasoning or "").strip()
    # Servers with a reasoning parser may take an answer without thinking for thinking. Only such a
    # whole answer counts: scores inside real thinking may be drafts.
    if text is None and thought[:1] in ("{", "[", "`") and not malformed(thought, settings):
        text = thought
    if message.refusal is not None:
        problem = f"{_REFUSED}{message.refusal}"
    elif problem := malformed(text, settings):
        if message.finish == "length":
            problem = f"{_CUT_OFF}{settings.max_output_tokens} tokens"
        elif text is None and message.reasoning:
            problem = f"{_MALFORMED}only reasoning, and no answer: {quote(message.reasoning)}"
    used = message.tokens or (0, 0)
    return Reply(text, problem, *used)


def _advice(reply: Reply) -> str:
    if (reply.problem or "").startswith(_CUT_OFF):
        return "a larger --max-output-tokens, or a model that thinks less"
    if "only reasoning" in (reply.problem or "") or "only thinking" in (reply.problem or ""):
        return "a larger --max-output-tokens, or the server without its reasoning parser"
    return "--structured json_schema, another model, or your own prompt (--prompts)"


def _encoded(image: bytes, max_side: int) -> tuple[str, tuple[int, int]]:
    """Return the data URI of :func:`data_uri`, and the size of the image that is sent."""
    picture, _ = decode_image(image)
    scale = min(1.0, max_side / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return jpeg_data_uri(picture, max_side), (width, height)


def data_uri(image: bytes, max_side: int) -> str:
    """Encode an image as the JPEG data URI to send: checked decode, scaled down, without metadata.

    Raises:
        ImageFaultError: the image cannot be decoded.
    """
    return _encoded(image, max_side)[0]
