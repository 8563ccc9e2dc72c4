"""A small server that speaks as much of the Hugging Face hub's API as fetching a model takes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

MAIN = "main"


def commit_of(revision: str) -> str:
    """The commit that a branch or tag of this hub stands for."""
    return hashlib.sha1(revision.encode()).hexdigest()


class Hub:
    """Models by name: per branch or tag, their files.

    Attributes:
        url: for HF_ENDPOINT.
        gated: names that need the token.
        token: the one that opens them.
        asked: (method, path) of all requests.
        broken: a file that ends half way.
    """

    def __init__(self) -> None:
        self.models: dict[str, dict[str, Mapping[str, bytes]]] = {}
        self.gated: set[str] = set()
        self.token = "hf_let_me_in"
        self.asked: list[tuple[str, str]] = []
        self.broken: str | None = None
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub.answer(self, head=True)

            def do_GET(self) -> None:
                hub.answer(self, head=False)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, name: str, files: Mapping[str, bytes], revision: str = MAIN) -> None:
        """Put a model on the hub."""
        self.models.setdefault(name, {})[revision] = dict(files)

    def fetched(self) -> set[str]:
        """Names of the files whose bytes were sent."""
        return {
            path.rpartition("/")[2]
            for method, path in self.asked
            if method == "GET" and "/resolve/" in path
        }

    def answer(self, request: Any, head: bool) -> None:
        path = unquote(urlsplit(request.path).path)
        self.asked.append((request.command, path))
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            name = "/".join(parts[2:4])
            revision = parts[5] if len(parts) > 5 else MAIN
        else:
            name, revision = "/".join(parts[:2]), parts[3] if len(parts) > 3 else MAIN
        if name not in self.models:
            return self._send(request, 404, {"X-Error-Code": "RepoNotFound"}, b"{}", head)
        about = parts[:2] == ["api", "models"]  # what a gated model is, everybody may know
        opened = request.headers.get("authorization") == f"Bearer {self.token}"
        if name in self.gated and not opened and not about:
            return self._send(request, 403, {"X-Error-Code": "GatedRepo"}, b"{}", head)
        versions = self.models[name]
        known = {commit_of(version): version for version in versions} | {v: v for v in versions}
        if revision not in known:
            return self._send(request, 404, {"X-Error-Code": "RevisionNotFound"}, b"{}", head)
        version = known[revision]
        files, commit = versions[version], commit_of(version)
        if about:
            if len(parts) > 4 and parts[4] == "tree":
                body: Any = [
                    {
                        "type": "file",
                        "path": file,
                        "size": len(data),
                        "oid": hashlib.sha1(data).hexdigest(),
                    }
                    for file, data in files.items()
                ]
            else:
                body = {
                    "id": name, "modelId": name, "sha": commit, "private": False, "tags": [],
                    "downloads": 0, "likes": 0, "gated": "manual" if name in self.gated else False,
                    "siblings": [{"rfilename": file} for file in files],
                }  # fmt: skip
            return self._send(
                request, 200, {"Content-Type": "application/json"}, json.dumps(body).encode(), head
            )
        file = "/".join(parts[4:])
        if file not in files:
            return self._send(request, 404, {"X-Error-Code": "EntryNotFound"}, b"{}", head)
        data = files[file]
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit}
        return self._send(request, 200, headers, data, head, cut=file == self.broken)

    def _send(
        self, request: Any, status: int, headers: Mapping[str, str], body: bytes, head: bool,
        cut: bool = False,
    ) -> None:  # fmt: skip
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if head:
            return
        if cut:
            request.wfile.write(body[: len(body) // 2])
            request.wfile.flush()
            request.connection.close()
            return
        request.wfile.write(body)
