"""Cache of paid replies in one SQLite file, so that no reply is paid for twice.

A reply is committed before it is parsed. A killed run loses only the requests in progress.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.storage import hold

_LAYOUT = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    text TEXT,
    problem TEXT,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (key, attempt)
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to one request, as it is kept in the cache.

    Attributes:
        text: the message's text; None if there was none.
        problem: why the reply cannot be used; None if it can.
        input_tokens, output_tokens: as the endpoint counted them.
    """

    text: str | None
    problem: str | None
    input_tokens: int
    output_tokens: int


def request_key(model: str, prompt: str, image: bytes, caption: str, facts: Any) -> str:
    """Digest of everything that decides an answer, 64 hexadecimal digits.

    Args:
        prompt: digest of the prompt.
        image: the encoded image, as its source has it.
        facts: other settings that matter: temperature, size and detail of the image sent.
    """
    parts = [model, prompt, hashlib.sha256(image).hexdigest(), caption, facts]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class ReplyCache:
    """The replies of one or several runs. Only one process at a time can open a cache.

    Two runs would both pay for the same pairs. The lock is a separate file beside the cache,
    because SQLite releases its own lock between transactions. The kernel releases ours when the
    process ends.

    Raises:
        PairsiftError: the file is not a cache, or another run has it open.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._held = hold(f"{path}.lock")
        except OSError as error:
            raise PairsiftError(f"cannot open the cache of replies {path}: {error}") from error
        if self._held is None:
            raise PairsiftError(
                f"another run is using the cache of replies {path}: wait for it, or give another "
                "--cache"
            )
        try:
            # Autocommit: each reply is one transaction, on the disk before it is used.
            self._db = sqlite3.connect(path, isolation_level=None, timeout=5)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(_LAYOUT)
        except sqlite3.Error as error:
            self._held.close()
            raise PairsiftError(
                f"cannot open the cache of replies {path}: {error}; give another --cache"
            ) from error

    def __enter__(self) -> ReplyCache:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the cache, so that other runs can open it."""
        self._db.close()
        if self._held is not None:
            self._held.close()

    def add(self, key: str, model: str, endpoint: str, reply: Reply) -> None:
        """Store a reply as the next attempt at its request.

        Raises:
            PairsiftError: it cannot be written, for example on a full disk.
        """
        used = (reply.input_tokens, reply.output_tokens)
        row = (key, model, endpoint, reply.text, reply.problem, *used, time.time(), key)
        try:
            self._db.execute(
                "INSERT INTO replies SELECT ?, COALESCE(MAX(attempt), 0) + 1, ?, ?, ?, ?, ?, ?, ? "
                "FROM replies WHERE key = ?",
                row,
            )
        except sqlite3.Error as error:
            raise PairsiftError(
                f"cannot write a reply to {self.path}: {error}; those before it are safe: mend "
                "that and run the same command again"
            ) from error

    def last(self, key: str) -> tuple[int, Reply] | None:
        """Return how often a request was answered, and its last reply; None if it never was."""
        row = self._db.execute(
            "SELECT attempt, text, problem, input_tokens, output_tokens FROM replies "
            "WHERE key = ? ORDER BY attempt DESC LIMIT 1",
            (key,),
        ).fetchone()
        return None if row is None else (row[0], Reply(*row[1:]))

    def totals(self) -> Mapping[str, int]:
        """Count the replies and tokens of all runs so far."""
        row = self._db.execute(
            "SELECT COUNT(*), COALESCE(SUM(input_tokens), 0), COALESCE(SUM(output_tokens), 0) "
            "FROM replies"
        ).fetchone()
        return {"replies": row[0], "input_tokens": row[1], "output_tokens": row[2]}
