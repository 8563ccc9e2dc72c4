"""The device is kept at work: what is started, fetched and read when, and what fails alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from pairsift import Status
from pairsift.scorers.base import DeviceScorer, Prepared
from pairsift.scorers.batches import BATCHES_BESIDE, WINDOW_BATCHES, score_prepared


class Recording(DeviceScorer):
    """Gives back its inputs, and notes what is done, in which thread.

    Inputs fail where they are told to: "collate 3" when a batch that holds 3 is collated.
    """

    name: ClassVar[str] = "recording"
    columns = (pa.field("value", pa.float32()),)
    fingerprint: ClassVar[dict[str, str]] = {"scorer": "recording"}
    preparer = staticmethod(lambda pair: pair)

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.log: list[str] = []
        self.threads: dict[str, set[int]] = {"collate": set(), "start": set(), "fetch": set()}

    def order(self, inputs: Sequence[int]) -> list[int]:
        return list(range(len(inputs)))

    def _note(self, what: str, inputs: Sequence[int]) -> None:
        self.log.append(f"{what} {inputs[0]}")
        self.threads[what].add(threading.get_ident())
        if any(f"{what} {value}" == self.failing for value in inputs):
            raise RuntimeError(f"no such luck in {what}")

    def collate(self, inputs: Sequence[int]) -> Any:
        self._note("collate", inputs)
        return np.array(inputs)

    def start(self, collated: Any) -> Any:
        self._note("start", collated.tolist())

        def fetch() -> dict[str, np.ndarray]:
            self._note("fetch", collated.tolist())
            return {"value": collated}

        return fetch


def rows(count: int) -> Iterator[Prepared]:
    for number in range(count):
        yield Prepared("s", str(number), None, inputs=number)


def test_a_batch_is_started_before_the_results_of_the_last_one_are_fetched() -> None:
    scorer = Recording()
    table = score_prepared(scorer, rows(8), batch_size=2)
    assert table["value"].to_pylist() == list(range(8))
    on_the_device = [entry for entry in scorer.log if not entry.startswith("collate")]
    assert on_the_device == [
        "start 0", "start 2", "fetch 0", "start 4", "fetch 2", "start 6", "fetch 4", "fetch 6",
    ]  # fmt: skip


def test_the_device_stays_at_work_from_one_window_to_the_next() -> None:
    scorer = Recording()
    count = 2 * WINDOW_BATCHES + 1
    assert score_prepared(scorer, rows(count), batch_size=1).num_rows == count
    log = [entry for entry in scorer.log if not entry.startswith("collate")]
    for number in range(count - 1):
        assert log.index(f"start {number + 1}") < log.index(f"fetch {number}")


def test_batches_are_collated_in_another_thread_than_they_are_started() -> None:
    scorer = Recording()
    score_prepared(scorer, rows(20), batch_size=2)
    here = {threading.get_ident()}
    assert scorer.threads["start"] == scorer.threads["fetch"] == here
    assert len(scorer.threads["collate"]) == 1
    assert scorer.threads["collate"] != here


@pytest.mark.parametrize("half", ["collate", "start", "fetch"])
def test_only_the_pair_fails_with_which_a_batch_fails(half: str) -> None:
    table = score_prepared(Recording(f"{half} 3"), rows(10), batch_size=4)
    assert table["value"].to_pylist() == [0, 1, 2, None, 4, 5, 6, 7, 8, 9]
    assert table["status"].to_pylist() == ["ok"] * 3 + ["model_error"] + ["ok"] * 6
    assert table["error"].to_pylist()[3] == f"RuntimeError: no such luck in {half}"


def test_rows_that_cannot_be_scored_are_watched_and_keep_their_place() -> None:
    waiting = list(rows(40))
    for row in waiting[::3]:
        row.fail(Status.IMAGE_CORRUPT, "broken")
    for row in waiting[2 * WINDOW_BATCHES : 4 * WINDOW_BATCHES]:
        row.fail(Status.IMAGE_CORRUPT, "a window of these alone")
    watched: list[str] = []
    table = score_prepared(
        Recording(), waiting, batch_size=2, watch=lambda some: watched.extend(r.key for r in some)
    )
    assert table["key"].to_pylist() == [str(number) for number in range(40)]
    assert sorted(watched, key=int) == table["key"].to_pylist()
    bad = [row.status is not Status.OK for row in waiting]
    assert [value is None for value in table["value"].to_pylist()] == bad


def test_failures_are_not_watched_before_the_rows_read_with_them() -> None:
    waiting = list(rows(400))
    for row in waiting[::25]:
        row.fail(Status.IMAGE_CORRUPT, "broken")
    bad = done = 0

    def watch(some: Sequence[Prepared]) -> None:
        nonlocal bad, done
        bad += sum(row.status is not Status.OK for row in some)
        done += len(some)
        assert bad / done <= 0.05  # four in a hundred

    score_prepared(Recording(), waiting, batch_size=25, watch=watch)
    assert (bad, done) == (16, 400)


def test_only_a_window_of_prepared_rows_is_held() -> None:
    taken = scored = most_held = 0

    def counted() -> Iterator[Prepared]:
        nonlocal taken, most_held
        for row in rows(200):
            taken += 1
            most_held = max(most_held, taken - scored)
            yield row

    def watch(done: Sequence[Prepared]) -> None:
        nonlocal scored
        time.sleep(0.002)  # as a device would, so that reading is ahead
        scored += len(done)
        assert all(row.inputs is None for row in done)

    table = score_prepared(Recording(), counted(), batch_size=2, watch=watch)
    assert table.num_rows == scored == 200
    assert 2 * WINDOW_BATCHES < most_held <= 2 * (WINDOW_BATCHES + BATCHES_BESIDE)


def test_watch_may_stop_the_run_and_its_thread_ends() -> None:
    def stop(done: Sequence[Prepared]) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        score_prepared(Recording(), rows(1000), 1, stop)
    deadline = time.monotonic() + 5
    while any(t.name == "pairsift-batches" for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_error_while_rows_are_read_is_raised_here() -> None:
    def broken() -> Iterator[Prepared]:
        yield from rows(3)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        score_prepared(Recording(), broken(), 2)


def test_no_rows_give_an_empty_table() -> None:
    assert score_prepared(Recording(), [], 2).column_names[-1] == "value"
