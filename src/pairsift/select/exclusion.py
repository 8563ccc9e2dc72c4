"""Lists of uids that must not be kept: evaluation sets, takedowns, an earlier subset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.expressions.database import file_sql, register_filesystem, run_sql
from pairsift.sources.files import normalise, open_file
from pairsift.storage import Folder

TABLE = "excluded_uids"
_CHUNK = 1 << 20
_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)


def load_exclusions(connection: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> int:
    """Read lists of uids into the table `TABLE` (column ``uid``, UUID); return their number.

    A list is a DataComp subset file (``.npy`` of dtype u8,u8), a parquet file with a column
    ``uid``, or text with one uid per line.

    Raises:
        PairsiftError: a list does not exist, or has another form.
    """
    run_sql(connection, f"CREATE TEMP TABLE {TABLE} (uid UUID)")
    for path in paths:
        url = normalise(path)
        if (folder := Folder(url)).fs.isdir(folder.path):
            raise PairsiftError(
                f"--exclude {path}: there are no marks in this folder; give one that `pairsift "
                "dedup --against` wrote, or a list of uids (.npy, .parquet or text)"
            )
        if url.endswith(".npy"):
            _load(connection, _npy_uids(url), url)
        elif url.endswith(".parquet"):
            _load_parquet(connection, url)
        else:
            _load(connection, _text_uids(url), url)
    return int(run_sql(connection, f"SELECT count(*) FROM {TABLE}").fetchall()[0][0])


def _load(connection: duckdb.DuckDBPyConnection, chunks: Iterator[pa.Array], url: str) -> None:
    for chunk in chunks:
        uids = pa.table({"uid": chunk})
        connection.register("exclusion_chunk", uids)
        run_sql(
            connection, f"INSERT INTO {TABLE} SELECT try_cast(uid AS UUID) FROM exclusion_chunk"
        )
        connection.unregister("exclusion_chunk")
    _refuse_malformed(connection, url)


def _load_parquet(connection: duckdb.DuckDBPyConnection, url: str) -> None:
    folder = Folder(url)
    if not folder.is_local:
        register_filesystem(connection, folder.fs)
    open_file(url).close()  # raises the error for a missing file
    source = f"read_parquet({file_sql(url)})"
    names = [row[0] for row in run_sql(connection, f"DESCRIBE FROM {source}").fetchall()]
    if "uid" not in names:
        raise PairsiftError(
            f"the exclusion list {url} has no column uid; its columns are "
            f"{', '.join(names)}. Rename the one with the uids"
        )
    run_sql(
        connection,
        f"INSERT INTO {TABLE} SELECT try_cast(uid AS UUID) FROM {source} WHERE uid IS NOT NULL",
    )
    _refuse_malformed(connection, url)


def _refuse_malformed(connection: duckdb.DuckDBPyConnection, url: str) -> None:
    wrong = run_sql(connection, f"SELECT count(*) FROM {TABLE} WHERE uid IS NULL").fetchall()[0][0]
    if wrong:
        raise PairsiftError(
            f"{wrong:,} entries of the exclusion list {url} are not uids (32 hexadecimal digits)"
        )


def _npy_uids(url: str) -> Iterator[pa.Array]:
    with open_file(url) as file:
        try:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read(file)
        except (ValueError, KeyError) as error:
            raise PairsiftError(f"the exclusion list {url} is not a .npy file: {error}") from error
        if dtype != np.dtype("u8,u8") or len(shape) != 1:
            raise PairsiftError(
                f"the exclusion list {url} has the dtype {dtype}; expected u8,u8 as in "
                "a DataComp subset file"
            )
        while content := file.read(_CHUNK * dtype.itemsize):
            yield hex_uids(np.frombuffer(content, dtype=dtype))


def hex_uids(pairs: np.ndarray) -> pa.Array:
    """Return uids of 32 hexadecimal digits from an array of dtype u8,u8."""
    halves = np.stack([pairs["f0"], pairs["f1"]], axis=1).astype(">u8")
    octets = np.ascontiguousarray(halves).view(np.uint8).reshape(-1, 16)
    digits = np.empty((len(octets), 32), dtype=np.uint8)
    digits[:, 0::2] = _HEX[octets >> 4]
    digits[:, 1::2] = _HEX[octets & 15]
    offsets = np.arange(len(octets) + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(
        len(octets), pa.py_buffer(offsets.tobytes()), pa.py_buffer(digits.tobytes())
    )


def _text_uids(url: str) -> Iterator[pa.Array]:
    with open_file(url) as file:
        chunk: list[str] = []
        for line in file:
            uid = line.decode("utf-8", "replace").strip()
            if uid:
                chunk.append(uid)
            if len(chunk) == _CHUNK:
                yield pa.array(chunk)
                chunk = []
        yield pa.array(chunk, pa.string())
