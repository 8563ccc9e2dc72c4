"""The file of labels that readers give to pairs (format: :mod:`pairsift.sources.labels`).

Every label is a line that is appended under a lock and synced before it is acknowledged, so several
windows, servers and readers may write to one file, and a kill loses nothing that was acknowledged.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import IO, Any

from pairsift.errors import PairsiftError
from pairsift.sources import files
from pairsift.sources.labels import LABELS, LabelledPair, is_label, labelled_pair
from pairsift.storage import OutputKind, output_file


@dataclass(frozen=True, slots=True)
class Label:
    """A label that counts.

    Attributes:
        number: its line, by which it can be undone.
        label: a key of :data:`~pairsift.sources.labels.LABELS`.
        by, at: who gave it, and when (UTC, ISO 8601).
    """

    number: int
    label: str
    by: str
    at: str


class LabelFile:
    """A file of labels, shared with other processes.

    Args:
        path: a local file; made if it does not exist.
        reader: name of who labels.

    Raises:
        PairsiftError: it is another kind of file, or cannot be written.
    """

    def __init__(self, path: str, reader: str) -> None:
        if files.is_url(path):
            raise PairsiftError(f"--labels {path}: labels need a file on a local disk")
        if not path.endswith(".jsonl"):
            raise PairsiftError(f"--labels {path}: give a name that ends in .jsonl (JSON lines)")
        output_file(path, OutputKind("a file of labels", _begins_with_label))
        self.path, self.reader = path, reader
        self._guard = threading.Lock()
        self._forget()
        with self._locked():
            pass

    def labels(self) -> dict[LabelledPair, Label]:
        """Return the labels that count, those of other processes included."""
        with self._locked():
            return {pair: labels[-1] for pair, labels in self._labels.items() if labels}

    def add(
        self, pair: LabelledPair, label: str, facts: Mapping[str, Any]
    ) -> tuple[Label, Label | None]:
        """Append a label, and return it and the one that it replaces.

        Args:
            facts: further columns: `caption`, `scores`, `scored_by`.

        Raises:
            PairsiftError: there is no such label, or the file cannot be written.
        """
        if label not in LABELS:
            raise PairsiftError(f"{label!r} is not a label; choose {', '.join(LABELS)}")
        with self._locked() as file:
            before = self._last(pair)
            self._append(file, pair, {"label": label, **facts})
            added = self._last(pair)
            assert added is not None
            return added, before

    def undo(self, pair: LabelledPair, number: int, facts: Mapping[str, Any]) -> Label | None:
        """Append a line that takes a label back, and return the label that counts again.

        Raises:
            PairsiftError: the label does not count any more, or the file cannot be written.
        """
        with self._locked() as file:
            labels = self._labels.get(pair, [])
            if not labels or labels[-1].number != number:
                now = f"{labels[-1].label} by {labels[-1].by}" if labels else "without a label"
                raise PairsiftError(f"nothing was undone: {pair[1]} is {now} by now")
            left = labels[-2].label if len(labels) > 1 else None
            self._append(file, pair, {"label": left, "undoes": number, **facts})
            return self._last(pair)

    def _last(self, pair: LabelledPair) -> Label | None:
        labels = self._labels.get(pair)
        return labels[-1] if labels else None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        """Hold the file alone, with all that others have written to it read."""
        try:
            with self._guard, open(self.path, "a+b") as file:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)
                self._read_new(file)
                yield file
        except OSError as error:
            raise PairsiftError(
                f"the labels {self.path} cannot be written ({error.strerror}); choose another "
                "--labels"
            ) from error

    def _append(self, file: IO[bytes], pair: LabelledPair, columns: Mapping[str, Any]) -> None:
        shard, key, index = pair
        at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        line = {"shard": shard, "key": key, "caption_index": index, **columns}
        line |= {"by": self.reader, "at": at}
        file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        file.flush()
        os.fsync(file.fileno())
        self._read_new(file)

    def _forget(self) -> None:
        self._labels: dict[LabelledPair, list[Label]] = {}
        self._lines, self._end, self._file = 0, 0, -1

    def _read_new(self, file: IO[bytes]) -> None:
        there = os.fstat(file.fileno())
        if there.st_ino != self._file or there.st_size < self._end:  # another file, or cut short
            self._forget()
            self._file = there.st_ino
        file.seek(self._end)
        *lines, rest = file.read().split(b"\n")
        for line in lines:
            self._lines += 1
            self._take(line)
        self._end += sum(len(line) + 1 for line in lines)
        if rest:
            self._mend(file, rest)

    def _mend(self, file: IO[bytes], rest: bytes) -> None:
        """End the last line, or remove it if a killed process, or a full disk, has cut it off."""
        if is_label(_parsed(rest)):
            file.write(b"\n")
        else:
            file.truncate(self._end)
        file.flush()
        self._read_new(file)

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        fields = _parsed(line)
        if not is_label(fields):
            raise PairsiftError(
                f"{self.path}, line {self._lines}: not a label; remove the line, or choose another "
                "--labels"
            )
        labels = self._labels.setdefault(labelled_pair(fields), [])
        if labels and labels[-1].number == fields.get("undoes"):
            labels.pop()
        elif fields["label"] is None:
            labels.clear()
        else:
            by, at = str(fields["by"]), str(fields["at"])
            labels.append(Label(self._lines, fields["label"], by, at))


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _begins_with_label(file: IO[bytes]) -> bool:
    return is_label(_parsed(file.readline()))
