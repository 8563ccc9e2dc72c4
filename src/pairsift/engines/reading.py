"""Read shards for an engine: retry when storage fails, and read selected rows only."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from pairsift.errors import PairsiftError
from pairsift.pair import Pair
from pairsift.provenance import difference
from pairsift.retry import Backoff, wait_before_retry
from pairsift.sources import Shard, look_up, open_shard
from pairsift.storage_errors import Cause, StorageError, reason, storage_error

BACKOFF = Backoff()


class UnreadableShardError(PairsiftError):
    """This shard cannot be read now. Other shards are not affected."""


class Reader(Protocol):
    """The pairs of one shard. The attributes are complete after the last pair.

    Attributes:
        shard: with the size and version it had when it was read.
        problem, byte_ranges: as of :class:`~pairsift.sources.ShardReader`, of all its samples.
        checks: of all its samples, see :meth:`~pairsift.sources.ShardReader.check`.
    """

    @property
    def shard(self) -> Shard: ...

    @property
    def problem(self) -> str | None: ...

    @property
    def byte_ranges(self) -> Sequence[int] | None: ...

    @property
    def checks(self) -> Sequence[int]: ...

    def __iter__(self) -> Iterator[Pair]: ...


class PatientReader:
    """Reads a shard. If storage fails, opens it again and continues after the last pair.

    The wait between attempts grows; it is reset when a pair is read.

    Args:
        wait: sleeps for some seconds, or less if the run ends.

    Raises (while iterating):
        UnreadableShardError: it cannot be opened, storage kept failing, or it was changed while it
            was being read.
        StorageError: nothing in its storage can be read, for example because there are no
            credentials.
    """

    def __init__(
        self,
        shard: Shard,
        wait: Callable[[float], object] = time.sleep,
        backoff: Backoff | None = None,
    ) -> None:
        self.shard = shard
        self.problem: str | None = None
        self.byte_ranges: Sequence[int] | None = None
        self.checks: array[int] = array("I")
        self._keys: array[int] = array("q")  # their hashes
        self._wait = wait
        self._backoff = backoff or BACKOFF
        self.gave_up = False  # whether all attempts failed

    def __iter__(self) -> Iterator[Pair]:
        delays = self._backoff.delays()
        opened: Shard | None = None
        while True:
            try:
                now = as_it_is(self.shard)
                opened = opened or now
                self._refuse_change(opened, now)
                reader = open_shard(self.shard)
                index = -1
                for index, pair in enumerate(reader):
                    if self._is_taken(index, pair, reader.check(pair)):
                        continue
                    delays = self._backoff.delays()
                    yield pair
                if index + 1 < len(self._keys):
                    raise self._changed()
                self._refuse_change(opened, as_it_is(self.shard))
                self.shard = opened
                self.problem, self.byte_ranges = reader.problem, reader.byte_ranges
                return
            except Exception as error:
                if isinstance(error, PairsiftError) and not isinstance(error, StorageError):
                    raise UnreadableShardError(str(error)) from error
                # Readers report damaged data as faults and problems. Other errors come from
                # storage and network libraries, which raise many different types.
                self._wait(self._before_retry(error, delays))

    def _before_retry(self, error: Exception, delays: Iterator[float]) -> float:
        """Return the seconds to wait before the shard is opened again.

        Raises:
            StorageError: nothing in this storage can be read.
            UnreadableShardError: waiting does not help, or was tried often enough.
        """
        failed = storage_error(error, self.shard.url, "read")
        if failed.cause.everywhere:
            raise failed from error
        if failed.cause in (Cause.MISSING, Cause.DENIED, Cause.GATED):
            raise UnreadableShardError(str(failed)) from error
        delay = next(delays, None)
        if delay is None:
            self.gave_up = True
            times = "once" if (n := self._backoff.attempts) == 1 else f"{n} times"
            raise UnreadableShardError(
                f"{self.shard.url}: reading failed {times}, the last time after {len(self._keys)} "
                "samples: "
                f"{reason(error, self.shard.url)}"
            ) from error
        return wait_before_retry(error, delay, self._backoff)

    @property
    def has_read(self) -> bool:
        """Whether at least one sample was read."""
        return bool(self._keys)

    def _is_taken(self, index: int, pair: Pair, check: int) -> bool:
        """Return whether an earlier attempt has yielded the pair. A new pair is recorded."""
        if index == len(self._keys):
            self._keys.append(hash(pair.key))
            self.checks.append(check)
            return False
        if self._keys[index] != hash(pair.key) or self.checks[index] != check:
            raise self._changed()
        return True

    def _refuse_change(self, opened: Shard, now: Shard) -> None:
        if difference(opened, now.size, now.version) is not None:
            raise self._changed()

    def _changed(self) -> UnreadableShardError:
        return UnreadableShardError(f"{self.shard.url} was changed while it was being read")


def as_it_is(shard: Shard) -> Shard:
    """Return the shard with its current size and version, if the storage gives them.

    Raises:
        OSError: the storage fails.
    """
    if shard.kind == "folder" or (shard.size is None and shard.version is None):
        return shard  # a folder, or a storage without sizes and versions
    entry = look_up(shard)
    return shard if entry is None else replace(shard, size=entry.size, version=entry.version)


class SelectedRows:
    """The pairs of a shard that are in given rows of its score table.

    Args:
        rows: position in the shard, from 0, and the key that it had there when it was scored.
        checks: checksums of all rows at scoring time; the other rows must be unchanged too. None
            for tables older than checksums.

    Raises (while iterating):
        UnreadableShardError: the shard is not the one that was scored.
    """

    def __init__(
        self, reader: PatientReader, rows: Mapping[int, str], checks: np.ndarray | None = None
    ) -> None:
        self.rows = rows
        self._reader = reader
        self._checks = checks

    @property
    def shard(self) -> Shard:
        return self._reader.shard

    @property
    def problem(self) -> str | None:
        return self._reader.problem

    @property
    def byte_ranges(self) -> Sequence[int] | None:
        return self._reader.byte_ranges

    @property
    def checks(self) -> Sequence[int]:
        return self._reader.checks

    def __iter__(self) -> Iterator[Pair]:
        left = len(self.rows)
        for index, pair in enumerate(self._reader):
            if index not in self.rows:
                if self._is_other(index):
                    raise self._changed()
                continue
            if pair.key != self.rows[index]:
                break
            left -= 1
            yield pair
        if left or (self._checks is not None and len(self._checks) != len(self.checks)):
            raise self._changed()

    def _is_other(self, index: int) -> bool:
        if self._checks is None:
            return False
        return index >= len(self._checks) or self.checks[index] != self._checks[index]

    def _changed(self) -> UnreadableShardError:
        return UnreadableShardError(
            f"{self._reader.shard.url} has changed since it was scored; score all of it again with "
            "--rescore changed"
        )
