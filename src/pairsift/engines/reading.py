"""Shards as an engine reads them: patient with storage, and only the rows that are wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from pairsift.errors import PairsiftError
from pairsift.pair import Pair
from pairsift.retry import Backoff
from pairsift.sources import Shard, open_shard

BACKOFF = Backoff()


class UnreadableShardError(PairsiftError):
    """No table can be made of this shard now; the others are not concerned."""


class Reader(Protocol):
    """Pairs of one shard; `problem` and `extents` (of all its samples) hold after the last."""

    @property
    def problem(self) -> str | None: ...

    @property
    def extents(self) -> Sequence[int] | None: ...

    def __iter__(self) -> Iterator[Pair]: ...


class PatientReader:
    """Reads a shard; when its storage fails, opens it anew and goes on behind the last pair.

    The wait between attempts grows; a pair that gets through sets it back.

    Args:
        wait: sleeps for some seconds, or less if the run ends.

    Raises (while iterating):
        UnreadableShardError: it cannot be opened, or storage kept failing.
    """

    def __init__(
        self,
        shard: Shard,
        wait: Callable[[float], object] = time.sleep,
        backoff: Backoff | None = None,
    ) -> None:
        self.shard = shard
        self.problem: str | None = None
        self.extents: Sequence[int] | None = None
        self._wait = wait
        self._backoff = backoff or BACKOFF

    def __iter__(self) -> Iterator[Pair]:
        taken = 0
        last = ""
        delays = self._backoff.delays()
        while True:
            try:
                reader = open_shard(self.shard)
                for index, pair in enumerate(reader):
                    if index < taken:
                        if index == taken - 1 and pair.key != last:
                            raise UnreadableShardError(
                                f"{self.shard.url} was changed while it was being read"
                            )
                        continue
                    taken, last = index + 1, pair.key
                    delays = self._backoff.delays()
                    yield pair
                self.problem, self.extents = reader.problem, reader.extents
                return
            except PairsiftError as error:
                raise UnreadableShardError(str(error)) from error
            except Exception as error:
                # Readers turn all that is wrong with the data into faults and problems. What is
                # left is storage and network, whose libraries raise errors of many a kind.
                delay = next(delays, None)
                if delay is None:
                    raise UnreadableShardError(
                        f"{self.shard.url}: reading failed {self._backoff.attempts} times, last "
                        f"after {taken} samples: {type(error).__name__}: {error}"
                    ) from error
                self._wait(delay)


class SelectedRows:
    """Of a shard's pairs those in some rows of its score table.

    Args:
        rows: place in the shard, from 0, and the key it had there when it was scored.

    Raises (while iterating):
        UnreadableShardError: the shard is not the one that was scored.
    """

    def __init__(self, reader: PatientReader, rows: Mapping[int, str]) -> None:
        self.rows = rows
        self._reader = reader

    @property
    def problem(self) -> str | None:
        return self._reader.problem

    @property
    def extents(self) -> Sequence[int] | None:
        return self._reader.extents

    def __iter__(self) -> Iterator[Pair]:
        left = len(self.rows)
        for index, pair in enumerate(self._reader):
            if index not in self.rows:
                continue
            if pair.key != self.rows[index]:
                break
            left -= 1
            yield pair
        if left:
            raise UnreadableShardError(
                f"{self._reader.shard.url} is not what it was when it was scored; "
                "delete its table to score it anew"
            )
