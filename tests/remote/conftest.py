"""A real S3 server on the loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

for name in ("s3fs", "moto", "flask"):
    pytest.importorskip(name, reason="needs pairsift[dev,s3]")


@dataclass
class Bucket:
    """A fresh bucket; `client` talks to it past Pairsift."""

    url: str
    name: str
    client: Any

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def get(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix
        )
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def uploads(self) -> list[str]:
        """Multi-part uploads that were begun and neither finished nor given up."""
        answer = self.client.list_multipart_uploads(Bucket=self.name)
        return [upload["Key"] for upload in answer.get("Uploads", ())]


@dataclass
class Server:
    """A moto server process and where it listens."""

    endpoint: str
    log: Path

    def requests(self) -> list[str]:
        """Request lines so far, e.g. ``GET /bucket/key HTTP/1.1``."""
        return [line.split('"')[1] for line in self.log.read_text().splitlines() if '"' in line]


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("s3") / "server.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=output,
        )
    server = Server(f"http://127.0.0.1:{port}", log)
    deadline = time.monotonic() + 90
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no S3 server: {log.read_text()}") from None
            time.sleep(0.1)
    settings = {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.setitem(os.environ, "FSSPEC_S3_ENDPOINT_URL", server.endpoint)
        yield server
    process.terminate()
    process.wait()


@pytest.fixture
def bucket(s3_server: Server) -> Bucket:
    import boto3

    client = boto3.client("s3", endpoint_url=s3_server.endpoint)
    name = f"test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return Bucket(f"s3://{name}", name, client)
