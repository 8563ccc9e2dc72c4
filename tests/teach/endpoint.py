"""A real HTTP server on loopback that speaks the OpenAI chat protocol, with faults on demand."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

METRICS = ("itm", "odf", "ctq", "su")

Fault = Callable[[int, str], "dict[str, Any] | None"]
"""(number of the request, caption) -> what to do instead of answering; None answers."""


def score(caption: str, metric: str) -> int:
    """What this teacher thinks: anything, but always the same."""
    return hashlib.sha256(f"{caption}|{metric}".encode()).digest()[0] % 101


def good_answer(caption: str) -> str:
    """A well-formed answer about a caption."""
    return json.dumps({m: {"score": score(caption, m), "rationale": f"{m}."} for m in METRICS})


Judge = Callable[[Image.Image, str], str]
"""(image as it was sent, caption) -> content of the reply."""


class Endpoint:
    """Serves while it is entered.

    Args:
        judge: what is answered where no fault is due; good_answer() by default.

    Attributes:
        url: base URL, with `/v1`.
        requests: bodies of all requests, in order; `answered` counts good replies by caption.
        at: when each request came, in seconds of the monotonic clock.
        most_at_once: requests that were open at a time.
    """

    def __init__(
        self, fault: Fault | None = None, delay: float = 0.0, judge: Judge | None = None
    ) -> None:
        self.fault, self.delay = fault or (lambda number, caption: None), delay
        self.judge = judge or (lambda image, caption: good_answer(caption))
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.at: list[float] = []
        self.captions: list[str] = []
        self.answered: Counter[str] = Counter()
        self.image_sizes: set[tuple[int, int]] = set()
        self.most_at_once = self._open = 0
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

            def _answer(self, body: dict[str, Any]) -> None:
                status, headers, content = endpoint.handle(self.path, dict(self.headers), body)
                if not status:
                    self.close_connection = True  # hang up without a word
                    return
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client was killed, or had enough of waiting

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Endpoint:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def handle(
        self, path: str, headers: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, dict[str, str], bytes]:
        if path != "/v1/chat/completions":
            return 404, {}, b'{"error": {"message": "no such path"}}'
        image, text = body["messages"][1]["content"]
        data = image["image_url"]["url"].removeprefix("data:image/jpeg;base64,")
        caption = text["text"].split("==========\n")[1].rstrip("\n")
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        with self._lock:
            number = len(self.requests)
            self.requests.append(body)
            self.headers.append({name.lower(): value for name, value in headers.items()})
            self.captions.append(caption)
            self.at.append(time.monotonic())
            self.image_sizes.add(picture.size)
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
        try:
            return self._respond(number, caption, picture)
        finally:
            with self._lock:
                self._open -= 1

    def _respond(
        self, number: int, caption: str, image: Image.Image
    ) -> tuple[int, dict[str, str], bytes]:
        fault = self.fault(number, caption) or {}
        time.sleep(fault.get("sleep", self.delay))
        if "status" in fault:
            error = {"error": {"message": fault.get("message", "no"), "code": fault.get("code")}}
            error = fault.get("error", error)
            kind = {"content-type": "application/json"}
            return fault["status"], kind | fault.get("headers", {}), json.dumps(error).encode()
        if "body" in fault:
            return 200, {"content-type": "application/json"}, fault["body"]
        content = fault["content"] if "content" in fault else self.judge(image, caption)
        message = {"role": "assistant", "content": content, "refusal": fault.get("refusal")}
        message |= fault.get("more", {})
        completion = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": "teacher-1",
            "choices": [
                {"index": 0, "message": message, "finish_reason": fault.get("reason", "stop")}
            ],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
        }
        if "usage" in fault:
            completion["usage"] = fault["usage"]
        with self._lock:
            self.answered[caption] += 1
        return 200, {"content-type": "application/json"}, json.dumps(completion).encode()
