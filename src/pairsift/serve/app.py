"""The HTTP application: routes, access control and error responses."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pairsift import __version__
from pairsift.images import ImageLimits
from pairsift.pair import Pair
from pairsift.scorers.base import Scorer
from pairsift.scores import COMPANIONS
from pairsift.serve.batcher import Batcher, QueueFullError, Row
from pairsift.serve.body import Budget, ScoreRequest, Share, read_request
from pairsift.serve.fetch import Fetcher
from pairsift.serve.messages import (
    Health,
    MetricMeaning,
    ScoreAnswer,
    ScoredRow,
    ScorerFacts,
    problems,
    request_body,
)
from pairsift.serve.metrics import ServeMetrics
from pairsift.serve.settings import ServeSettings

_Result = TypeVar("_Result")
_PATHS = ("/score", "/scorer", "/healthz", "/metrics", "/openapi.json")
_IDENTITY = ("status", "error", "width", "height", "caption_length")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_CLIENT_GONE = 499
_DISCARD_S = 5.0
_LIMITS = (
    "max_body", "max_image", "max_pixels", "max_pairs", "max_queue", "time_limit",
)  # fmt: skip


class _Service:
    """The objects that the routes use."""

    def __init__(self, scorer: Scorer, settings: ServeSettings) -> None:
        self.scorer, self.settings = scorer, settings
        self.columns = tuple(field.name for field in scorer.columns)
        asked = scorer.fingerprint.get("metrics", "").split(",")
        self.metrics = {name: m for name, m in scorer.described.items() if name in asked}
        self.monitor = ServeMetrics(lambda: self.batcher.queued)
        self.budget = Budget(settings.max_bytes)
        self.batcher = Batcher(
            scorer,
            batch_size=settings.batch_size,
            max_wait=settings.max_wait,
            workers=settings.workers,
            max_queue=settings.max_queue,
            limits=ImageLimits(settings.max_image, settings.max_pixels),
            time_limit=settings.time_limit,
            watch=self.monitor.batch,
        )
        self.fetcher: Fetcher | None = None
        if settings.allow_remote:
            self.fetcher = Fetcher(
                max_bytes=settings.max_image,
                time_limit=settings.fetch_time_limit,
                at_once=max(1, settings.max_bytes // settings.max_image),
                allow_networks=settings.allow_networks,
            )

    @contextlib.asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        self.batcher.start()
        try:
            yield
        finally:
            await self.batcher.stop()
            if self.fetcher is not None:
                await self.fetcher.close()

    async def score(self, request: Request) -> ScoreAnswer | Response:
        if trouble := self.batcher.trouble:
            raise HTTPException(503, trouble, {"Retry-After": "60"})
        with self.budget.share() as share:
            asked = await read_request(request, self.settings, share, tuple(self.metrics))
            try:
                with self.batcher.admit(len(asked)):
                    limit = self.settings.time_limit
                    rows = await asyncio.wait_for(
                        _unless_gone(request, self._rows(asked, share)), limit
                    )
            except QueueFullError as error:
                raise HTTPException(
                    429,
                    f"more than {self.settings.max_queue} pairs would be in the queue; try again "
                    "later",
                    {"Retry-After": str(error.retry_after)},
                ) from None
            except asyncio.TimeoutError:
                raise HTTPException(504, f"no scores within {limit:g} s") from None
        if rows is None:
            return Response(status_code=_CLIENT_GONE)
        for row in rows:
            self.monitor.pair(row["status"])
        keep = self._columns(asked.metrics)
        return ScoreAnswer(rows=[_message(row, keep) for row in rows])

    async def _rows(self, asked: ScoreRequest, share: Share) -> Sequence[Row]:
        sources: list[contextlib.AbstractAsyncContextManager[Pair]] = [
            share.pair(pair) for pair in asked.pairs
        ]
        if self.fetcher is not None:
            sources += [
                self.fetcher.pair(url, caption, str(index))
                for index, (url, caption) in enumerate(asked.urls)
            ]
        return await asyncio.gather(*map(self.batcher.score, sources))

    def _columns(self, metrics: tuple[str, ...] | None) -> tuple[str, ...]:
        """Return the columns of the requested metrics, and those that belong to no metric."""
        described = self.scorer.described
        unwanted = [name for name in described if metrics is not None and name not in metrics]
        hidden = {name + ending for name in unwanted for ending in ("", "_p", *COMPANIONS)}
        return tuple(column for column in self.columns if column not in hidden)

    def facts(self) -> ScorerFacts:
        return ScorerFacts(
            scorer=self.scorer.name,
            fingerprint=dict(self.scorer.fingerprint),
            columns=list(self.columns),
            metrics=list(self.metrics),
            meanings={
                name: MetricMeaning(**metric.to_json()) for name, metric in self.metrics.items()
            },
            limits={name: getattr(self.settings, name) for name in _LIMITS},
        )


def _message(row: Row, columns: Sequence[str]) -> ScoredRow:
    scores = {name: _plain(row[name]) for name in columns}
    return ScoredRow(**{name: row[name] for name in _IDENTITY}, scores=scores)


def _plain(value: Any) -> Any:
    # Only the digits of the float32, without the extra ones of its conversion to float64.
    return float(f"{value:.7g}") if isinstance(value, float) else value


async def _unless_gone(request: Request, work: Awaitable[_Result]) -> _Result | None:
    """Return the result; None, with the work cancelled, if the client has disconnected."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _key_check(key: str) -> Callable[..., Awaitable[None]]:
    """A dependency that refuses requests without the API key; compares it in constant time."""
    expected = key.encode()
    bearer = HTTPBearer(
        scheme_name="API key", description="The key of this server.", auto_error=False
    )

    async def check(given: HTTPAuthorizationCredentials | None = Depends(bearer)) -> None:  # noqa: B008
        sent = given.credentials.encode("utf-8", "replace") if given else b""
        if not hmac.compare_digest(sent, expected):
            raise HTTPException(
                401,
                "send the API key: Authorization: Bearer KEY",
                {"WWW-Authenticate": "Bearer"},
            )

    return check


def create_app(scorer: Scorer, settings: ServeSettings) -> FastAPI:
    """Create the application, to be served by any ASGI server.

    During its lifespan it runs decode processes and a device thread. Each server process has one
    scorer, so more processes need more memory and more devices.
    """
    service = _Service(scorer, settings)
    app = FastAPI(
        title="Pairsift",
        summary="Score how well image and caption match, and how good the caption is.",
        version=__version__,
        lifespan=service.lifespan,
        # FastAPI's pages load scripts from a content delivery network.
        docs_url=None,
        redoc_url=None,
    )
    with_key = [Depends(_key_check(settings.api_key))] if settings.api_key is not None else []
    refusals = problems(401, 403) if with_key else problems(403)

    @app.post(
        "/score",
        dependencies=with_key,
        response_model=ScoreAnswer,
        responses=refusals | problems(400, 408, 413, 415, 422, 429, 503, 504),
        openapi_extra={
            "requestBody": request_body(service.metrics, settings.max_pairs, settings.allow_remote)
        },
    )
    async def score(request: Request) -> Any:
        """Score an image with one or more captions."""
        return await service.score(request)

    @app.get("/scorer", dependencies=with_key, responses=refusals)
    async def facts() -> ScorerFacts:
        """Describe the scorer and the limits of this server."""
        return service.facts()

    @app.get("/healthz", responses=problems(403, 503))
    async def health() -> Health:
        """Tell whether the server can score."""
        if trouble := service.batcher.trouble:
            raise HTTPException(503, trouble)
        return Health(status="ok")

    @app.get(
        "/metrics",
        dependencies=with_key,
        responses=refusals | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        response_class=Response,
    )
    async def metrics() -> Response:
        """Counts and times, for Prometheus."""
        return Response(
            service.monitor.text(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    local_only = settings.is_local and settings.api_key is None
    app.add_middleware(
        _AccessMiddleware,
        local_only=local_only,
        monitor=service.monitor,
        max_discarded=settings.max_body,
    )
    return app


class _AccessMiddleware:
    """Counts responses, delivers refusals, and refuses requests that web pages make in a browser.

    A foreign page can make its own host name resolve to localhost, or post a form to it. If an API
    key is set, both fail, because the page does not know the key.
    """

    def __init__(
        self, app: ASGIApp, local_only: bool, monitor: ServeMetrics, max_discarded: int
    ) -> None:
        self._app, self._local_only, self._monitor = app, local_only, monitor
        self._max_discarded = max_discarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        code = 500
        headers = dict(scope["headers"])
        body = _Body(receive)

        async def note(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-content-type-options", b"nosniff"),
                    (b"cache-control", b"no-store"),
                ]
                if code >= 400 and code != 408 and b"expect" not in headers:
                    await body.discard(self._max_discarded)
            await send(message)

        path = scope["path"] if scope["path"] in _PATHS else "other"
        try:
            if self._local_only and not _from_this_machine(headers):
                refusal = JSONResponse({"detail": "this server answers to localhost only"}, 403)
                await refusal(scope, body.receive, note)
            else:
                await self._app(scope, body.receive, note)
        finally:
            self._monitor.request(path, code, time.perf_counter() - begin)


class _Body:
    """A request's body, passed on to the application."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def discard(self, most: int) -> None:
        """Read the rest of the body, within limits.

        If the connection were closed while the client is still sending, the client would lose the
        answer.
        """
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._read(most), _DISCARD_S)

    async def _read(self, left: int) -> None:
        while not self._ended and left > 0:
            left -= len((await self.receive()).get("body", b""))


def _from_this_machine(headers: dict[bytes, bytes]) -> bool:
    host = headers.get(b"host", b"").decode("latin-1")
    origin = headers.get(b"origin", b"").decode("latin-1")
    return _is_local(f"//{host}") and (not origin or _is_local(origin))


def _is_local(url: str) -> bool:
    try:
        return urlsplit(url).hostname in _LOCAL_NAMES
    except ValueError:
        return False
