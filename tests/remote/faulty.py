"""A real HTTP server that fails as told: of its own files, or in front of another server."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

S3_ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code><Message>m</Message></Error>'
)


@dataclass
class Fault:
    """An answer instead of the right one; `times` of them, then all is well again.

    Attributes:
        cut: the right answer, but the connection closes after half of it.
    """

    status: int
    times: int = 1_000_000
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False

    @classmethod
    def s3(cls, status: int, code: str, times: int = 1_000_000) -> Fault:
        """As S3 tells it."""
        headers = {"Content-Type": "application/xml"}
        return cls(status, times, headers, S3_ERROR.format(code).encode())


@dataclass
class FaultyServer:
    """Where it listens, what it serves, and how it fails.

    Attributes:
        fault: for a method and path, the fault that is due, if any.
        seen: requests so far, as ``(method, path)``.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    fault: Callable[[str, str], Fault | None] = lambda method, path: None
    seen: list[tuple[str, str]] = field(default_factory=list)

    def requests(self, part: str) -> int:
        """How many requests had this in their path."""
        return sum(part in path for _, path in self.seen)


@contextmanager
def faulty_server(upstream: str | None = None) -> Iterator[FaultyServer]:
    """Serve `files` with ranges, or what `upstream` answers, save for the faults."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.seen.append((self.command, self.path))
            fault = server.fault(self.command, self.path)
            if fault and (fault.times <= 0 or (fault.cut and self.command != "GET")):
                fault = None
            if fault:
                fault.times -= 1
            self.cut = bool(fault and fault.cut)
            if fault and not self.cut:
                self._send(fault.status, fault.headers, fault.body)
            elif upstream is not None:
                self._forward(body)
            else:
                self._serve()

        def _forward(self, body: bytes) -> None:
            connection = http.client.HTTPConnection(urlsplit(upstream or "").netloc)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            hop = {"transfer-encoding", "connection", "content-length", "date", "server"}
            headers = {name: v for name, v in answer.getheaders() if name.lower() not in hop}
            length = answer.getheader("Content-Length")
            self._send(answer.status, headers, answer.read(), length)
            connection.close()

        def _serve(self) -> None:
            content = server.files.get(self.path.partition("?")[0])
            if content is None:
                return self._send(404, {}, b"")
            wanted = self.headers.get("Range")
            if not wanted:
                return self._send(200, {"Accept-Ranges": "bytes"}, content)
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or len(content)), len(content) - 1)
            headers = {"Content-Range": f"bytes {start}-{stop}/{len(content)}"}
            return self._send(206, headers, content[start : stop + 1])

        def _send(
            self, status: int, headers: dict[str, str], body: bytes, length: str | None = None
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if self.command == "HEAD":
                self.send_header("Content-Length", length or str(len(body)))
                body = b""
            else:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.cut:
                body, self.close_connection = body[: len(body) // 2], True
            self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = FaultyServer(f"http://127.0.0.1:{listener.server_address[1]}")
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
