"""DataComp subset file: the kept uids as a sorted numpy array, as its resharder takes them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairsift.errors import PairsiftError
from pairsift.select.record import KeptShard, Selection
from pairsift.storage import Folder

UID_DTYPE = np.dtype("u8,u8")
_UID_DIGITS = 32
_INVALID = 255
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class DatacompFile:
    """A written subset file.

    Attributes:
        uids: entries in it.
        duplicates: kept rows whose uid was there already and that were left out.
    """

    path: str
    uids: int
    duplicates: int


def write_datacomp(
    selection: Selection, path: str | os.PathLike[str], duplicates: bool = False
) -> DatacompFile:
    """Write the uids of a selection as a DataComp subset file.

    The file is `np.save`'s of a sorted array of dtype ``u8,u8``: the first and the last 16
    hexadecimal digits of each uid. Memory: 24 bytes per kept row.

    Args:
        duplicates: keep a uid as often as the selection does, for which the resharder emits the
            sample that many times; otherwise once.

    Raises:
        PairsiftError: a kept row has no uid, or one that is not 32 hexadecimal digits.
    """
    high = np.empty(selection.kept, dtype=np.uint64)
    low = np.empty(selection.kept, dtype=np.uint64)
    filled = 0
    for shard in selection.shards():
        stop = filled + len(shard.rows)
        high[filled:stop], low[filled:stop] = _uids(shard)
        filled = stop
    order = sort_uids(high, low)
    keep = np.ones(len(order), dtype=bool)
    if not duplicates and len(order):
        for start in range(1, len(order), _CHUNK):
            this, before = order[start : start + _CHUNK], order[start - 1 : start - 1 + _CHUNK]
            before = before[: len(this)]
            same = (high[this] == high[before]) & (low[this] == low[before])
            keep[start : start + len(this)] = ~same
    count = int(keep.sum())
    target = os.fspath(path)
    parent, _, name = target.rpartition("/")
    folder = Folder(parent or ("/" if target.startswith("/") else "."))
    folder.create()
    folder.remove_leftovers()
    with folder.atomic(name) as file:
        header = {
            "descr": np.lib.format.dtype_to_descr(UID_DTYPE),
            "fortran_order": False,
            "shape": (count,),
        }
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(order), _CHUNK):
            chosen = order[start : start + _CHUNK][keep[start : start + _CHUNK]]
            chunk = np.empty(len(chosen), dtype=UID_DTYPE)
            chunk["f0"], chunk["f1"] = high[chosen], low[chosen]
            file.write(chunk.tobytes())
    return DatacompFile(target, count, len(order) - count)


def sort_uids(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Indices that sort uids; as fast as sorting the first halves, which hardly ever tie."""
    order = np.argsort(high)
    equal = high[order[1:]] == high[order[:-1]]
    if equal.any():
        # Only the runs of equal first halves need their second halves compared.
        inside = np.concatenate([[False], equal]) | np.concatenate([equal, [False]])
        places = np.flatnonzero(inside)
        tied = order[places]
        order[places] = tied[np.lexsort((tied, low[tied], high[tied]))]
    return order


def parse_uids(uids: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Both halves of uids of 32 hexadecimal digits, as uint64 arrays.

    Raises:
        ValueError: the index of the first that is null or not such a uid is its only argument.
    """
    if isinstance(uids, pa.ChunkedArray):
        uids = uids.combine_chunks()
    lengths = pc.fill_null(pc.binary_length(uids), 0).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(lengths != _UID_DIGITS)
    if len(wrong):
        raise ValueError(int(wrong[0]))
    text = b"".join([]) if not len(uids) else _character_bytes(uids)
    nibbles = _NIBBLES[np.frombuffer(text, dtype=np.uint8)].reshape(-1, _UID_DIGITS)
    wrong = np.flatnonzero((nibbles == _INVALID).any(axis=1))
    if len(wrong):
        raise ValueError(int(wrong[0]))
    halves = (nibbles[:, 0::2] << 4 | nibbles[:, 1::2]).view(">u8")
    return halves[:, 0].astype(np.uint64), halves[:, 1].astype(np.uint64)


def _character_bytes(uids: pa.Array) -> memoryview:
    uids = uids.cast(pa.string())
    offsets = np.frombuffer(uids.buffers()[1], dtype=np.int32)
    start, stop = offsets[uids.offset], offsets[uids.offset + len(uids)]
    return memoryview(uids.buffers()[2])[start:stop]


def _nibbles() -> np.ndarray:
    table = np.full(256, _INVALID, dtype=np.uint8)
    for digit in "0123456789abcdefABCDEF":
        table[ord(digit)] = int(digit, 16)
    return table


_NIBBLES = _nibbles()


def _uids(shard: KeptShard) -> tuple[np.ndarray, np.ndarray]:
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
