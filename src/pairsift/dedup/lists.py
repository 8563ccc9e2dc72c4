"""Hash lists: the hashes of a set of images, in a small file that can be shared in their place.

A parquet file with one row for each image: ``set`` (the name of the set), ``name`` (of the image),
``image_sha256`` and ``image_phash``. Its metadata says which hashes they are.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from pairsift.arrow import is_damage, read_parquet
from pairsift.errors import PairsiftError
from pairsift.hashing import PHASH, SHA, VERSION, hash_bytes, perceptual_hash
from pairsift.images import ImageFaultError, decode_image
from pairsift.progress import Listener, NullListener
from pairsift.sources.files import normalise
from pairsift.sources.image_store import each_image
from pairsift.storage import Folder, OutputKind, output_file, split

LIST_KEY = b"pairsift.hashes"
SCHEMA = pa.schema(
    [
        pa.field("set", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field(SHA, pa.string(), nullable=False),
        pa.field(PHASH, pa.string()),
    ],
    metadata={LIST_KEY: VERSION.encode()},
)
_BATCH = 4096


@dataclass(frozen=True, slots=True)
class HashList:
    """A written hash list.

    Attributes:
        path: path of the list.
        images: number of its rows.
        without_phash: how many of them have nearly one colour or cannot be decoded, so that only an
            identical file is found.
    """

    path: str
    images: int
    without_phash: int


def _is_list(file: IO[bytes]) -> bool:
    return LIST_KEY in (pq.read_metadata(file).metadata or {})


LIST = OutputKind("a hash list of Pairsift", _is_list)


def write_hash_list(
    places: Sequence[str],
    out: str | os.PathLike[str],
    name: str | None = None,
    listener: Listener | None = None,
) -> HashList:
    """Hash the images of a set, such as an evaluation set, into a file.

    Args:
        places: folders, tars or parquet files with images; captions are not needed.
        out: the parquet file to write.
        name: name of the set; None for the name of each place.
        listener: receives the number of finished images; None for nobody.

    Returns:
        what was hashed.

    Raises:
        PairsiftError: a place holds no images, or none that can be read; or `out` is a file of
            another kind.

    Examples:
        >>> write_hash_list(["pool"], "pool.hashes.parquet").images
        4
    """
    listener = listener or NullListener()
    folder, file_name = output_file(out, LIST)
    folder.create()
    images = without = 0
    with folder.atomic(file_name) as file, pq.ParquetWriter(file, SCHEMA) as writer:
        for batch in hash_images(places, name):
            writer.write_table(batch)
            images += len(batch)
            without += batch[PHASH].null_count
            listener.progress("hashing images", images, None, unit="images")
    return HashList(os.fspath(out), images, without)


def hash_images(places: Sequence[str], name: str | None = None) -> Iterator[pa.Table]:
    """Yield hashes as tables of `SCHEMA`; arguments as for :func:`write_hash_list`."""
    rows: list[tuple[str, str, str, str | None]] = []
    for place in places:
        set_name = name or posixpath.basename(normalise(place).rstrip("/"))
        readable, fault = 0, ""
        for image_name, content in each_image(place):
            phash = None
            try:
                phash = perceptual_hash(decode_image(content)[0])
                readable += 1
            except ImageFaultError as error:
                fault = fault or f"{image_name}: {error}"
            rows.append((set_name, image_name, hash_bytes(content), phash))
            if len(rows) == _BATCH:
                yield _table(rows)
                rows = []
        if not readable:
            raise PairsiftError(
                f"no file of {place} can be read as an image ({fault}); give a folder, a tar or a "
                "parquet file of images"
            )
    if rows:
        yield _table(rows)


def _table(rows: Sequence[tuple[str, str, str, str | None]]) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)],
        schema=SCHEMA,
    )


def read_hashes(place: str) -> pa.Table:
    """Return the hashes of a set, from a hash list or from images that are hashed now.

    Args:
        place: a hash list, or a folder, tar or parquet file with images.

    Returns:
        a table of `SCHEMA`.

    Raises:
        PairsiftError: it is neither; or it is a hash list of another version of the hashes.
    """
    url = normalise(place)
    folder, name = split(url)
    made = _version(Folder(folder), name) if url.endswith(".parquet") else None
    if made is None:
        return pa.concat_tables([SCHEMA.empty_table(), *hash_images([place])])
    if made != VERSION:
        raise PairsiftError(
            f"{place} holds other hashes ({made}) than this version of Pairsift makes ({VERSION}); "
            "make the list again with `pairsift hashes`"
        )
    return read_parquet(Folder(folder).read(name)).cast(SCHEMA)


def _version(folder: Folder, name: str) -> str | None:
    """Return the version of a list's hashes; None if the file is not a hash list."""
    try:
        with folder.fs.open(folder.file(name), "rb") as file:
            found = (pq.read_metadata(file).metadata or {}).get(LIST_KEY)
    except FileNotFoundError:
        raise PairsiftError(
            f"there is no file {folder.file(name)}; give a hash list that `pairsift hashes` "
            "wrote, or a folder, tar or parquet file with images"
        ) from None
    except Exception as error:
        if not is_damage(error):
            raise
        raise PairsiftError(f"{folder.file(name)} is not a readable parquet file") from error
    return None if found is None else found.decode()
