"""The HTTP server: standard library only, on the loopback address, behind a secret path.

It writes nothing but labels, and those only into the file that it was given for them.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pairsift.errors import PairsiftError
from pairsift.explore.captions import CaptionIndex
from pairsift.explore.images import PictureReader
from pairsift.explore.labelling import UNLABELLED, Labelling, shown
from pairsift.explore.labels import LabelFile
from pairsift.explore.rows import MORE_COLUMNS, Filter, RowFinder
from pairsift.pair import Status
from pairsift.report.aggregate import count_rows
from pairsift.report.build import all_joins, gather
from pairsift.report.cuts import describe
from pairsift.report.page import render_page
from pairsift.report.table import ScoredRows, open_rows
from pairsift.report.text import printable
from pairsift.select import Join, Selection, read_selection
from pairsift.sources.labels import LABELS

ADDRESS = "127.0.0.1"
_LARGEST_BODY = 4096
_ASSETS = {
    "": ("explore.html", "text/html; charset=utf-8"),
    "explore.js": ("explore.js", "text/javascript; charset=utf-8"),
    "explore.css": ("explore.css", "text/css; charset=utf-8"),
}
_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class _Explorer:
    """The data that the server answers from."""

    def __init__(
        self,
        rows: ScoredRows,
        selection: Selection | None,
        index: CaptionIndex,
        labels: LabelFile | None,
    ) -> None:
        self.rows = rows
        self.selection = selection
        self.index = index
        self.finder = RowFinder(rows)
        self.pictures = PictureReader(rows.shards)
        self.tally = count_rows(rows)
        self.changed = rows.shards.changes()
        self.labelling: Labelling | None = None
        if labels is not None:
            scored = self.tally.kept + self.tally.dropped
            self.labelling = Labelling(labels, rows, self.finder, index, scored)
        self._report: bytes | None = None
        self._report_lock = threading.Lock()

    def summary(self) -> dict[str, Any]:
        done, shards = self.index.progress()
        return {
            "scores": ", ".join(self.rows.tables.folders),
            "selection": describe(self.selection) if self.selection else None,
            "rows": self.tally.rows,
            "kept": self.tally.kept,
            "dropped": self.tally.dropped,
            "failed": self.tally.failed,
            "columns": [
                {"name": c.name, "title": c.title, "asks": c.asks, "low": c.low, "high": c.high}
                for c in self.rows.columns
            ],
            "kinds": self.rows.kinds,
            "pool": self.rows.shards.has_samples,
            "more": list(MORE_COLUMNS),
            "expression": self.finder.expression_columns,
            "statuses": {s.value: s.meaning for s in Status if s is not Status.OK},
            "captions_read": done,
            "shards": shards,
            "labels": list(LABELS) if self.labelling else None,
            "changed": len(self.changed),
            "first_changed": [
                printable(text, 300) for change in self.changed[:1] for text in change
            ],
        }

    def search(self, asked: dict[str, str]) -> dict[str, Any]:
        words = asked.get("q", "").strip()
        among: set[int] | None = set(self.index.search(words)) if words else None
        without: Iterable[int] = ()
        fate, label = asked.get("fate", "all"), asked.get("label", "all")
        labels = self.labelling.by_position() if self.labelling else {}
        if self.labelling and label == UNLABELLED:
            without, fate = labels, "ok" if fate == "all" else fate
        elif self.labelling and label != "all":
            chosen = self.labelling.chosen(label, labels)
            among = set(chosen) if among is None else among.intersection(chosen)
        page = self.finder.find(
            Filter(
                where=asked.get("where", ""),
                fate=fate,
                sort=asked.get("sort", "place"),
                descending=asked.get("order") == "desc",
                page=_number(asked.get("page", "0")),
                size=_number(asked.get("size", "24")),
            ),
            among,
            without,
        )
        positions = [row["pos"] for row in page.rows]
        captions = self.index.captions(positions)
        self.pictures.expect(row["pos"] for row in page.rows if row["status"] == "ok")
        for row in page.rows:
            caption = captions.get(row["pos"])
            row["label"] = shown(labels.get(row["pos"]))
            # JavaScript's numbers cannot hold a position, and text is made printable here, in one
            # place.
            row["pos"] = str(row["pos"])
            row["caption"] = None if caption is None else printable(caption, 2_000)
            row["key"], row["shard"] = printable(row["key"]), printable(row["shard"])
            row["error"] = printable(row["error"])
        done, shards = self.index.progress()
        problems = list(self.index.problems.values())
        return {
            "total": page.total,
            "rows": page.rows,
            "labels": self.labelling.counts(labels) if self.labelling else None,
            "captions_read": done,
            "captions_unread": len(problems),
            "why": printable(problems[0], 300) if problems else None,
            "shards": shards,
        }

    def whole_row(self, pos: int) -> dict[str, Any]:
        row = self.finder.whole_row(pos)
        caption = self.index.captions([pos]).get(pos)
        shown = {n: printable(v) if isinstance(v, str) else v for n, v in row.items()}
        return {"row": shown, "caption": None if caption is None else printable(caption, 20_000)}

    def report(self) -> bytes:
        """The static report on the same rows, built at the first request."""
        with self._report_lock, self.finder.alone():
            if self._report is None:
                title = self.rows.tables.folders[0].rstrip("/").rsplit("/", 1)[-1]
                content = gather(self.rows, self.selection, None, title, 12)
                self._report = render_page(content).encode("utf-8", "replace")
            return self._report


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise PairsiftError(f"{text!r} is not a number")
    return int(text)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for a closed list of paths, and POST for labels; refuses the rest."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "pairsift"
    sys_version = ""

    def do_GET(self) -> None:
        self._serve(self._answer)

    def do_POST(self) -> None:
        self.close_connection = True  # a body that is refused is not read
        self._serve(self._label)

    def _serve(self, answer: Callable[[str, dict[str, str]], None]) -> None:
        # A foreign web page can make its own host name resolve to this address.
        if self.headers.get("Host") not in self.server.hosts:
            return self._refuse(403, "wrong host")
        url = urlsplit(self.path)
        prefix = f"/{self.server.token}/"
        if not url.path.startswith(prefix):
            return self._refuse(404, "not found: open the complete address that pairsift printed")
        asked = {name: values[-1] for name, values in parse_qs(url.query).items()}
        try:
            return answer(url.path[len(prefix) :], asked)
        except PairsiftError as error:
            return self._send(400, _json({"error": str(error)}), "application/json")
        except (KeyError, ValueError, RecursionError):
            return self._refuse(404, "not found")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, path: str, asked: dict[str, str]) -> None:
        explorer = self.server.explorer
        name, _, rest = path.partition("/")
        if path in _ASSETS:
            file, kind = _ASSETS[path]
            content = resources.files(__package__).joinpath(file).read_bytes()
            return self._send(200, content, kind)
        if path == "api/summary":
            return self._send(200, _json(explorer.summary()), "application/json")
        if path == "api/rows":
            return self._send(200, _json(explorer.search(asked)), "application/json")
        if path.startswith("api/row/"):
            found = explorer.whole_row(_number(path.removeprefix("api/row/")))
            return self._send(200, _json(found), "application/json")
        if name == "image" and rest:
            picture = explorer.pictures.get(_number(rest))
            if isinstance(picture, bytes):
                return self._send(200, picture, "image/jpeg")
            return self._refuse(404, picture)
        if path == "report":
            return self._send(200, explorer.report(), "text/html; charset=utf-8", policy=None)
        return self._refuse(404, "not found")

    def _label(self, path: str, _: dict[str, str]) -> None:
        labelling = self.server.explorer.labelling
        if labelling is None:
            return self._refuse(501, "this server writes no labels; start it with --labels FILE")
        if path != "api/label":
            return self._refuse(404, "not found")
        # A form of a foreign page can send neither this type nor this origin.
        if self.headers.get_content_type() != "application/json":
            return self._refuse(415, "send application/json")
        if self.headers.get("Origin", self.server.origins[0]) not in self.server.origins:
            return self._refuse(403, "wrong origin")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 9):
            return self._refuse(411, "send the length of the body")
        if int(length) > _LARGEST_BODY:
            return self._refuse(413, f"send a body of at most {_LARGEST_BODY} bytes")
        match json.loads(self.rfile.read(int(length))):
            case {"pos": str(pos), "label": str(label)}:
                changed = labelling.label(_number(pos), label)
            case {"pos": str(pos), "undo": int(number)}:
                changed = labelling.undo(_number(pos), number)
            case _:
                raise PairsiftError("expected an object with pos, and with label or undo")
        return self._send(200, _json(changed), "application/json")

    def _refuse(self, code: int, words: str) -> None:
        self._send(code, words.encode("utf-8", "replace"), "text/plain; charset=utf-8")

    def _send(self, code: int, content: bytes, kind: str, policy: str | None = _POLICY) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        if self.close_connection:
            self.send_header("Connection", "close")
        if policy:  # the report has its own, stricter policy
            self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):  # the browser has left the page
                self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Do nothing, because a browser requests hundreds of images."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, explorer: _Explorer) -> None:
        self.explorer = explorer
        self.token = secrets.token_urlsafe(16)
        super().__init__((ADDRESS, port), _Handler)
        self.hosts = [f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")]
        self.origins = [f"http://{host}" for host in self.hosts]

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return "reader"


def _json(value: object) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


@contextlib.contextmanager
def running_server(
    scores: str | Sequence[str],
    selection: str | None = None,
    joins: Sequence[str | Join] = (),
    port: int = 0,
    cache: str | None = None,
    roots: Sequence[str] = (),
    groups: str | None = None,
    labels: str | None = None,
    reader: str | None = None,
) -> Iterator[str]:
    """Serve a score folder while the block runs; yields the address to open.

    Args:
        scores: one score folder or several; nothing is written to them.
        selection: folder that ``pairsift select`` wrote; None if nothing was selected.
        joins: tables of other scorers, as :func:`pairsift.select.select` takes them.
        port: port on the loopback address; 0 for any free port.
        cache: folder for the caption index; None for the user's cache folder.
        roots: where the source shards are now, if they were moved since scoring: one for all score
            folders, or one for each.
        groups: folder that `pairsift dedup` wrote; None for the one that the selection used.
        labels: local file that labels are appended to (:mod:`pairsift.sources.labels`); None to
            only look.
        reader: name that is written beside each label; None for the user's name.

    Raises:
        PairsiftError: there are no scores, the port is in use, or `labels` cannot be written.
    """
    file = LabelFile(labels, reader or _user()) if labels is not None else None
    chosen = read_selection(selection) if selection else None
    joined = all_joins(joins, chosen)
    with open_rows(
        scores, chosen, None, joined, more=MORE_COLUMNS, roots=roots, groups=groups
    ) as rows:
        index = CaptionIndex(rows.shards, cache)
        explorer = _Explorer(rows, chosen, index, file)
        try:
            server = _Server(port, explorer)
        except OSError as error:
            raise PairsiftError(
                f"port {port} cannot be used ({error.strerror}); choose another --port"
            ) from error
        index.start()
        # Looks ten times a second whether it should end.
        thread = threading.Thread(
            target=server.serve_forever, args=(0.1,), name="http", daemon=True
        )
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            index.stop()


def explore(
    scores: str | Sequence[str],
    selection: str | None = None,
    joins: Sequence[str | Join] = (),
    port: int = 0,
    cache: str | None = None,
    ready: Callable[[str], None] = print,
    roots: Sequence[str] = (),
    groups: str | None = None,
    labels: str | None = None,
    reader: str | None = None,
) -> None:
    """Serve until Ctrl-C; the arguments are those of :func:`running_server`.

    Args:
        ready: called with the address once the server answers.
    """
    with running_server(
        scores, selection, joins, port, cache, roots, groups, labels, reader
    ) as url:
        ready(url)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
