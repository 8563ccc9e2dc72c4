"""Bytes of all requests together are limited, and come back when their last user has ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("fastapi")

from fastapi import HTTPException

from pairsift.pair import Pair
from pairsift.serve.body import Budget, Share


@contextmanager
def refused() -> Iterator[None]:
    with pytest.raises(HTTPException) as caught:
        yield
    assert caught.value.status_code == 503
    assert caught.value.headers == {"Retry-After": "1"}


def test_requests_share_a_budget() -> None:
    budget = Budget(100)
    with budget.share() as one, budget.share() as other:
        one.take(60)
        with refused():
            other.take(41)
        other.take(40)
        with refused():
            one.take(1)
    assert budget.take(100)


def test_bytes_come_back_after_an_error() -> None:
    budget = Budget(100)
    with contextlib.suppress(ZeroDivisionError), budget.share() as share:
        share.take(100)
        raise ZeroDivisionError
    assert budget.take(100)


def test_a_thread_that_still_decodes_holds_the_bytes_of_a_request_that_is_gone() -> None:
    budget = Budget(100)

    async def decode(share: Share, gone: asyncio.Event) -> None:
        async with share.pair(Pair("a", b"", "a dog")):
            await gone.wait()
            with refused(), budget.share() as other:
                other.take(1)

    async def serve() -> None:
        gone = asyncio.Event()
        with budget.share() as share:
            share.take(100)
            decoding = asyncio.create_task(decode(share, gone))
            await asyncio.sleep(0)
        gone.set()
        await decoding

    asyncio.run(serve())
    assert budget.take(100)
