"""Read requests of `POST /score` within limits of size, time and memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException, Request
from pydantic import ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from pairsift.captions import decode_caption
from pairsift.metrics import split_names
from pairsift.pair import Fault, Pair
from pairsift.serve.messages import UrlRequest
from pairsift.serve.settings import ServeSettings

FORM, JSON = "multipart/form-data", "application/json"
_FIELDS = ("image", "caption", "metrics")


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """The pairs of a request, with image bytes or with URLs of images."""

    pairs: tuple[Pair, ...] = ()
    urls: tuple[tuple[str, str], ...] = ()
    metrics: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.pairs) + len(self.urls)


class Budget:
    """Limits the bytes that all requests hold together."""

    def __init__(self, total: int) -> None:
        self._left = total

    @contextlib.contextmanager
    def share(self) -> Iterator[Share]:
        """Reserve bytes for one request until the block and all users of the bytes have ended."""
        share = Share(self)
        with share.used():
            yield share

    def take(self, size: int) -> bool:
        """Reserve bytes, if there are enough."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give_back(self, size: int) -> None:
        """Return bytes."""
        self._left += size


class Share:
    """The bytes reserved for one request."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._users = 0
        self.taken = 0

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Hold the bytes while the block runs, even after the request."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._budget.give_back(self.taken)
                self.taken = 0

    @contextlib.asynccontextmanager
    async def pair(self, pair: Pair) -> AsyncIterator[Pair]:
        """Return a context with a pair whose bytes belong to this share."""
        with self.used():
            yield pair

    def take(self, size: int) -> None:
        """Reserve more bytes.

        Raises:
            HTTPException: 503 if not enough are left.
        """
        if not self._budget.take(size):
            raise HTTPException(
                503,
                "the server has reached its limit of bytes in memory; try again later",
                {"Retry-After": "1"},
            )
        self.taken += size


async def read_request(
    request: Request, settings: ServeSettings, share: Share, metrics: tuple[str, ...]
) -> ScoreRequest:
    """Read and check a request.

    Args:
        metrics: the metrics that the scorer gives; empty if it gives other columns.

    Raises:
        HTTPException: 400, 403, 408, 413, 415, 422 or 503, with a sentence on what is wrong.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == JSON and not settings.allow_remote:
        raise HTTPException(
            403, "this server does not fetch images (it was started without --allow-remote); "
            f"upload them as {FORM}",
        )  # fmt: skip
    if kind not in (FORM, JSON):
        raise HTTPException(415, f"send {FORM} with the fields image and caption")
    stream = _limited(request, settings.max_body, share)
    try:
        if kind == JSON:
            read = _read_json(stream, settings)
        else:
            read = _read_form(request.headers, stream, settings)
        asked = await asyncio.wait_for(read, settings.body_time_limit)
    except asyncio.TimeoutError:
        raise HTTPException(
            408, f"the request did not arrive within {settings.body_time_limit:g} s"
        ) from None
    if not 1 <= len(asked) <= settings.max_pairs:
        raise HTTPException(
            422,
            f"{len(asked)} captions; a request must have at least 1 and at most "
            f"{settings.max_pairs}",
        )
    for name in asked.metrics or ():
        if name not in metrics:
            raise HTTPException(
                422, f"this server does not score {name}; it scores {', '.join(metrics) or 'none'}"
            )
    return asked


async def _limited(request: Request, max_body: int, share: Share) -> AsyncGenerator[bytes, None]:
    too_large = HTTPException(413, f"a request must have at most {max_body:,} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_body:
        raise too_large
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_body:
            raise too_large
        share.take(len(chunk))
        yield chunk


async def _read_form(
    headers: Headers, stream: AsyncGenerator[bytes, None], settings: ServeSettings
) -> ScoreRequest:
    most = settings.max_pairs + len(_FIELDS) + 8
    # Decoded as Latin-1, a field that is not UTF-8 keeps its bytes, so that this can be detected.
    plain = Headers({"content-type": headers["content-type"] + "; charset=latin-1"})
    parser = MultiPartParser(
        plain, stream, max_files=most, max_fields=most, max_part_size=settings.max_body
    )
    fields: dict[str, list[bytes]] = {name: [] for name in _FIELDS}
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"not readable as {FORM}: {error.message}") from None
    except (
        ValueError,
        UnicodeError,
        KeyError,
    ) as error:  # the form parser raises it on malformed headers
        raise HTTPException(400, f"not readable as {FORM}: {type(error).__name__}") from None
    async with contextlib.AsyncExitStack() as uploads:
        for _, value in form.multi_items():
            if isinstance(value, UploadFile):
                uploads.push_async_callback(value.close)
        for name, value in form.multi_items():
            if name not in fields:
                raise HTTPException(
                    422, f"unknown field {name[:40]!r}; the fields are {', '.join(_FIELDS)}"
                )
            content = await value.read() if isinstance(value, UploadFile) else value.encode(
                "latin-1"
            )  # fmt: skip
            fields[name].append(content)
    images, captions = fields["image"], fields["caption"]
    if len(images) != 1:
        raise HTTPException(
            422, f"{len(images)} fields named image; a request must have exactly one"
        )
    return ScoreRequest(
        pairs=tuple(
            _pair(str(index), images[0], decode_caption(caption))
            for index, caption in enumerate(captions)
        ),
        metrics=_metrics([name.decode("latin-1") for name in fields["metrics"]]),
    )


def _pair(key: str, image: bytes, caption: str | Fault) -> Pair:
    if isinstance(caption, Fault):
        return Pair(key, image, None, fault=caption)
    return Pair(key, image, caption)


async def _read_json(stream: AsyncGenerator[bytes, None], settings: ServeSettings) -> ScoreRequest:
    body = bytearray()
    async for chunk in stream:
        body += chunk
    try:
        content = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"not readable as JSON: {error}") from None
    try:
        asked = UrlRequest.model_validate(content, strict=True)
    except ValidationError as error:
        raise HTTPException(422, _first_words(error)) from None
    return ScoreRequest(
        urls=tuple((pair.url, pair.caption) for pair in asked.pairs),
        metrics=_metrics(asked.metrics),
    )


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _first_words(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or "the body"
    return f"{where}: {first['msg']}"[:500]


def _metrics(names: list[str]) -> tuple[str, ...] | None:
    asked = [name for part in names for name in split_names(part)]
    return tuple(dict.fromkeys(asked)) or None
