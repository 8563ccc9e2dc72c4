"""The batcher by itself: what a thread holds is held, whoever has left."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from pairsift import Pair
from pairsift.scorers.heuristics import HeuristicsScorer
from pairsift.serve.batcher import Batcher
from pairsift.serve.body import Budget
from tests.samples import CAPTION, jpeg

PAIR = Pair("k", jpeg(), CAPTION)


class _Slow(HeuristicsScorer):
    """Prepares when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.begun = threading.Event(), threading.Semaphore(0)
        prepare = self.preparer

        def slowly(pair: Pair) -> object:
            self.begun.release()
            assert self.gate.wait(30)
            return prepare(pair)

        self.preparer = slowly  # type: ignore[assignment]


async def _until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("never")


def _with(scorer: _Slow, what: Callable[[Batcher], Awaitable[None]]) -> None:
    async def run() -> None:
        batcher = Batcher(scorer)
        batcher.start()
        try:
            await asyncio.wait_for(what(batcher), 30)
        finally:
            scorer.gate.set()
            await batcher.stop()

    asyncio.run(run())


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_bytes_count_until_the_thread_has_let_go_of_them(pairs: int) -> None:
    scorer, budget = _Slow(), Budget(1000)

    async def request(batcher: Batcher) -> None:
        with budget.share() as share:
            share.take(600)
            await asyncio.gather(*(batcher.score(share.pair(PAIR)) for _ in range(pairs)))

    async def what(batcher: Batcher) -> None:
        before = len(asyncio.all_tasks())
        task = asyncio.ensure_future(request(batcher))
        await asyncio.to_thread(scorer.begun.acquire)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)  # the request itself ends at once
        assert task.cancelled()
        await asyncio.sleep(0.1)
        assert not budget.take(600)  # two threads still hold the image
        scorer.gate.set()
        await _until(lambda: budget.take(600))
        assert not budget.take(401)  # given back once
        budget.give_back(600)
        # And every place ahead of the device is free again.
        rows = await asyncio.gather(*(batcher.score(_source(PAIR)) for _ in range(100)))
        assert {row["status"] for row in rows} == {"ok"}
        await _until(lambda: len(asyncio.all_tasks()) == before)

    _with(scorer, what)


@contextlib.asynccontextmanager
async def _source(pair: Pair) -> AsyncIterator[Pair]:
    yield pair


def test_who_leaves_before_a_thread_has_begun_holds_nothing() -> None:
    scorer = _Slow()
    left: list[int] = []

    @contextlib.asynccontextmanager
    async def source(number: int) -> AsyncIterator[Pair]:
        try:
            yield PAIR
        finally:
            left.append(number)

    async def what(batcher: Batcher) -> None:
        tasks = [asyncio.ensure_future(batcher.score(source(number))) for number in range(6)]
        for _ in range(2):  # there are two threads
            await asyncio.to_thread(scorer.begun.acquire)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=5)
        await _until(lambda: len(left) == 4)
        assert set(left) == {2, 3, 4, 5}
        scorer.gate.set()
        await _until(lambda: len(left) == 6)

    _with(scorer, what)


def test_a_source_that_fails_fails_its_request_only() -> None:
    scorer = _Slow()
    scorer.gate.set()

    @contextlib.asynccontextmanager
    async def broken() -> AsyncIterator[Pair]:
        raise OSError("no such host")
        yield PAIR

    async def what(batcher: Batcher) -> None:
        with pytest.raises(OSError, match="no such host"):
            await batcher.score(broken())
        assert (await batcher.score(_source(PAIR)))["status"] == "ok"

    _with(scorer, what)
