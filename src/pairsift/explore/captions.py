"""Full-text search over captions: an SQLite index, built once from the source shards.

Captions are in the shards, not in the score tables. The index is a cache outside the score folder;
its name is a digest of the inputs. Each shard is committed separately, so that an interrupted build
can be resumed. A shard that cannot be read is not committed, and the next server tries it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.report.sources import SourceShards
from pairsift.select.tables import ROW_BITS, ScoreTables

MAX_INDEXED_CHARACTERS = 20_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS shards (place INTEGER PRIMARY KEY);
CREATE VIRTUAL TABLE IF NOT EXISTS captions
    USING fts5(caption, tokenize = "unicode61 remove_diacritics 2");
"""
# Scripts without spaces between words: the tokenizer takes a whole sentence for one word.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
)
_WORD = re.compile(r'"([^"]*)"|(\S+)')


class CaptionIndex:
    """The captions of all rows, by their position (:func:`pairsift.report.table.split_position`).

    Args:
        shards: the source shards of the score files.
        cache: folder for index files; None for the user's cache folder.

    Raises:
        PairsiftError: the index cannot be written there.

    Attributes:
        problems: why shards could not be read so far, by the number of their score file.
    """

    def __init__(self, shards: SourceShards, cache: str | None = None) -> None:
        self._shards = shards
        self.problems: dict[int, str] = {}
        folder = Path(cache) if cache else _cache_folder()
        self._path = folder / f"{_digest(shards.tables, shards.facts)}.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._connect() as connection:
                connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise PairsiftError(
                f"the caption index {self._path} cannot be used ({error}); remove it, or choose "
                "another folder with --cache"
            ) from error
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to read, in the background, the shards that are not in the index yet."""
        self._thread = threading.Thread(target=self._read_all, name="captions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading; what was read is kept."""
        self._stop.set()
        if self._thread:
            self._thread.join()

    def wait(self, seconds: float) -> bool:
        """Wait until every shard is read or has failed; False if it takes longer."""
        if self._thread:
            self._thread.join(seconds)
        return self.progress()[0] + len(self.problems) == len(self._shards)

    def progress(self) -> tuple[int, int]:
        """Return the number of shards in the index, and of all shards."""
        with self._connect() as connection:
            done = connection.execute("SELECT count(*) FROM shards").fetchone()[0]
        return int(done), len(self._shards)

    def search(self, text: str) -> list[int]:
        """Return the positions of captions that contain every word; "quoted words" must follow each
        other.

        A star at the end of a word matches any ending: ``dog*``. Case and accents do not matter.
            Only
        captions that are already read are found.
        """
        with self._connect() as connection:
            if _UNSPACED.search(text):
                pattern = re.sub(r"([%_\\])", r"\\\1", text.strip())
                found = connection.execute(
                    "SELECT rowid FROM captions WHERE caption LIKE ? ESCAPE '\\'", (f"%{pattern}%",)
                )
            else:
                query = match_query(text)
                if not query:
                    return []
                found = connection.execute(
                    "SELECT rowid FROM captions WHERE captions MATCH ?", (query,)
                )
            return [row[0] for row in found]

    def captions(self, positions: Iterable[int]) -> dict[int, str]:
        """Return captions by position, as far as they are read."""
        wanted = list(positions)
        marks = ",".join("?" * len(wanted))
        with self._connect() as connection:
            return dict(
                connection.execute(
                    f"SELECT rowid, caption FROM captions WHERE rowid IN ({marks})", wanted
                )
            )

    def _read_all(self) -> None:
        with self._connect() as connection:
            done = {row[0] for row in connection.execute("SELECT place FROM shards")}
        for place in range(len(self._shards)):
            if place in done:
                continue
            rows: list[tuple[int, str]] = []
            try:
                for row, pair in self._shards.rows(place):
                    if self._stop.is_set():
                        return
                    if pair.caption:
                        text = pair.caption[:MAX_INDEXED_CHARACTERS]
                        clean = text.encode("utf-8", "replace").decode().replace("\0", " ")
                        rows.append(((place << ROW_BITS) | row, clean))
            except PairsiftError as error:
                self.problems[place] = str(error)
            except Exception as error:  # one broken shard must not stop the reading of the others
                self.problems[place] = f"{type(error).__name__}: {error}"
            else:
                with self._connect() as connection:
                    connection.executemany(
                        "INSERT INTO captions (rowid, caption) VALUES (?, ?)", rows
                    )
                    connection.execute("INSERT INTO shards VALUES (?)", (place,))

    def _connect(self) -> _Session:
        return _Session(self._path)


class _Session:
    """A connection for one task; SQLite's own `with` commits but does not close."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=60)

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._connection.commit()
        finally:
            self._connection.close()


def match_query(text: str) -> str:
    """Turn a user's text into an FTS5 query with only words, phrases and a star after a word."""
    parts = []
    for phrase, word in _WORD.findall(text):
        token = phrase or word
        star = "*" if not phrase and token.endswith("*") else ""
        plain = token.rstrip("*").replace('"', " ").replace("\0", " ").strip()
        if re.search(r"\w", plain):
            parts.append(f'"{plain}"{star}')
    return " ".join(parts)


def _digest(tables: ScoreTables, facts: Sequence[Mapping[str, Any]]) -> str:
    content = [
        [
            table.shard,
            table.rows,
            fact.get("source"),
            fact.get("source_size"),
            fact.get("finished_at"),
        ]
        for table, fact in zip(tables.tables, facts, strict=True)
    ]
    described = json.dumps(["2", tables.folders, content], default=str)
    return hashlib.blake2b(described.encode(), digest_size=16).hexdigest()


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pairsift" / "captions"
