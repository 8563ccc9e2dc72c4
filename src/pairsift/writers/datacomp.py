"""DataComp subset file: the kept uids as a sorted numpy array, the input of its resharder."""

from __future__ import annotations

import binascii
import os
import string
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import IO, TypeVar

import numpy as np
import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.select.record import KeptShard, Selection
from pairsift.storage import Folder, OutputKind, output_file

UID_DTYPE = np.dtype("u8,u8")


def _is_subset(file: IO[bytes]) -> bool:
    if np.lib.format.read_magic(file) != (1, 0):
        return False
    return bool(np.lib.format.read_array_header_1_0(file)[2] == UID_DTYPE)


SUBSET = OutputKind("a DataComp subset file", _is_subset)
_UID_DIGITS = 32
_HEXADECIMAL = np.frombuffer(string.hexdigits.encode(), dtype=np.uint8)
_BUCKET_BITS = 6
# Score tables that are read ahead.
_AHEAD = 8
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class DatacompFile:
    """A written subset file.

    Attributes:
        uids: number of entries.
        duplicates: kept rows that were left out, because their uid was already there.
    """

    path: str
    uids: int
    duplicates: int

    def lines(self) -> list[str]:
        """What was written, for people."""
        repeated = f" ({self.duplicates:,} repeated left out)" if self.duplicates else ""
        return [f"{self.uids:,} uids in {self.path}{repeated}"]


def write_datacomp(
    selection: Selection, path: str | os.PathLike[str], duplicates: bool = False
) -> DatacompFile:
    """Write the uids of a selection as a DataComp subset file.

    The file is written by `np.save`: a sorted array of dtype ``u8,u8`` with the first and the last
    16 hexadecimal digits of each uid. Memory: little more than 16 bytes per kept row.

    Args:
        duplicates: whether to keep a uid as often as the selection does; the resharder then writes
            the sample that many times. False keeps it once.

    Raises:
        PairsiftError: a kept row has no uid, or one that is not 32 hexadecimal digits; or the path
            holds a file that is not a subset file.
    """
    buckets = _read_uids(selection)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        subsets = list(pool.map(partial(_sorted, duplicates=duplicates), buckets))
    count = sum(map(len, subsets))
    target = os.fspath(path)
    folder, name = output_file(target, SUBSET)
    folder.create()
    folder.remove_leftovers()
    with folder.atomic(name) as file:
        header = {
            "descr": np.lib.format.dtype_to_descr(UID_DTYPE),
            "fortran_order": False,
            "shape": (count,),
        }
        np.lib.format.write_array_header_1_0(file, header)
        for subset in subsets:
            file.write(subset.data)
    return DatacompFile(target, count, selection.kept - count)


def _read_uids(selection: Selection) -> list[list[np.ndarray]]:
    """Return arrays (n, 2) of the kept rows' uids, in buckets by their first bits.

    Sorting each bucket is faster than sorting all uids at once, and needs memory for them only
    once.
    """
    buckets: list[list[np.ndarray]] = [[] for _ in range(1 << _BUCKET_BITS)]
    # More threads than cores only help where storage is waited for.
    local = all(Folder(scores).is_local for scores in selection.scores)
    with ThreadPoolExecutor(os.cpu_count() if local else None) as pool:
        for parts in _in_order(pool, _dealt, selection.shards()):
            for bucket, part in zip(buckets, parts, strict=True):
                if len(part):
                    bucket.append(part)
    return buckets


def _dealt(shard: KeptShard) -> list[np.ndarray]:
    """Return the uids of one score table by bucket."""
    halves = _uids(shard)
    bucket = (halves[:, 0] >> np.uint64(64 - _BUCKET_BITS)).astype(np.uint8)
    ends = np.cumsum(np.bincount(bucket, minlength=1 << _BUCKET_BITS))[:-1]
    order = np.argsort(bucket, kind="stable")  # numpy uses a radix sort for bytes
    return np.split(halves.take(order, axis=0), ends)  # quicker than halves[order]


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[_T], _R], items: Iterable[_T]
) -> Iterator[_R]:
    """Run `pool.map` only a few items ahead."""
    ahead: deque[Future[_R]] = deque()
    for item in items:
        ahead.append(pool.submit(work, item))
        if len(ahead) > _AHEAD:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def _sorted(parts: list[np.ndarray], duplicates: bool) -> np.ndarray:
    """Return one bucket as a sorted array (n, 2); its parts are freed on the way."""
    if not parts:
        return np.empty((0, 2), dtype=np.uint64)
    uids: np.ndarray = np.concatenate(parts)
    parts.clear()
    uids = uids.take(sort_uids(uids[:, 0].copy(), uids[:, 1]), axis=0)
    if not duplicates and len(uids):
        uids = uids[np.concatenate([[True], (uids[1:] != uids[:-1]).any(axis=1)])]
    return uids


def sort_uids(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Return the indices that sort uids, by their first halves, which are rarely equal."""
    order: np.ndarray = np.argsort(high)
    ascending = high[order]
    equal = ascending[1:] == ascending[:-1]
    if equal.any():
        # Second halves are compared only where first halves are equal.
        inside = np.concatenate([[False], equal]) | np.concatenate([equal, [False]])
        places = np.flatnonzero(inside)
        tied = order[places]
        order[places] = tied[np.lexsort((tied, low[tied], high[tied]))]
    return order


def parse_uids(uids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Convert uids of 32 hexadecimal digits to both halves, a uint64 array (n, 2).

    Raises:
        ValueError: a uid is null or malformed; the only argument is the index of the first such
            uid.
    """
    if isinstance(uids, pa.ChunkedArray):
        uids = uids.combine_chunks()
    if not len(uids):
        return np.empty((0, 2), dtype=np.uint64)
    uids = uids.cast(pa.string())
    _, ends, characters = uids.buffers()
    ends = np.frombuffer(ends, dtype=np.int32)[uids.offset : uids.offset + len(uids) + 1]
    right = np.diff(ends) == _UID_DIGITS
    if uids.null_count:
        right &= uids.is_valid().to_numpy(zero_copy_only=False)
    if not right.all():
        raise ValueError(int(np.argmin(right)))
    digits = memoryview(characters)[ends[0] : ends[-1]]
    try:
        octets = binascii.unhexlify(digits)
    except binascii.Error:
        wrong = np.flatnonzero(~np.isin(np.frombuffer(digits, dtype=np.uint8), _HEXADECIMAL))
        raise ValueError(int(wrong[0]) // _UID_DIGITS) from None
    return np.frombuffer(octets, dtype=">u8").astype(np.uint64).reshape(-1, 2)


def _uids(shard: KeptShard) -> np.ndarray:
    """Return both halves of a table's kept uids, (n, 2)."""
    uids = shard.table(["uid"]).column("uid")
    try:
        return parse_uids(uids)
    except ValueError as error:
        place = error.args[0]
        key = shard.table(["key"]).column("key")[place].as_py()
        uid = uids[place].as_py()
        what = "no uid" if uid is None else f"the uid {uid!r}, which is not 32 hexadecimal digits"
        raise PairsiftError(
            f"sample {key} of {shard.shard} has {what}; a DataComp subset needs one for every "
            "sample: use another writer, or add a field uid to the samples' .json and score again"
        ) from error
