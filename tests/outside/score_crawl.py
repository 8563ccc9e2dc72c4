"""Download a small crawl with img2dataset from a server that fails, and score all its output forms.

    .venv-outside-img2dataset/bin/python -m tests.outside.score_crawl build/outside

Some addresses answer 404 or 500, too late, or with something that is no image. Whatever the form,
Pairsift must score what img2dataset calls a success, with the same scores, and tell the others.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.outside.pool import Made, pairsift, versions

TIMEOUT = 3
FAULTS = ("404", "500", "late", "html", "cut", "empty")
PER_SHARD = 16


def photographs(pool: Path) -> list[tuple[bytes, str]]:
    """Return the images and captions of a tar."""
    images: dict[str, bytes] = {}
    captions: dict[str, str] = {}
    with tarfile.open(pool) as tar:
        for member in tar:
            key, suffix = member.name.split(".")
            content = tar.extractfile(member)
            assert content is not None
            if suffix == "txt":
                captions[key] = content.read().decode()
            elif suffix != "json":
                images[key] = content.read()
    return [(images[key], caption) for key, caption in captions.items() if caption.strip()]


@contextmanager
def server(images: list[bytes]) -> Iterator[str]:
    """Serve ``/good/N``, and ``/FAULT/N`` with each of the faults; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, kind, place = self.path.split("/")
            body = images[int(place)]
            if kind.isdecimal():
                self.send_error(int(kind))
                return
            if kind == "late":
                time.sleep(TIMEOUT * 2)
            body = {"html": b"<html>gone</html>", "cut": body[:300], "empty": b""}.get(kind, body)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.handle_error = lambda *_: None  # a client that has gone: that of a late answer
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def download(urls: Path, form: str, out: Path) -> str:
    """Run img2dataset as its users do, and return what it printed."""
    done = subprocess.run(
        [
            Path(sys.executable).parent / "img2dataset", "--url_list", urls,
            "--input_format", "parquet", "--url_col", "url", "--caption_col", "caption",
            "--output_format", form, "--output_folder", out, "--image_size", "256",
            "--resize_mode", "keep_ratio", "--timeout", str(TIMEOUT), "--thread_count", "8",
            "--processes_count", "1", "--number_sample_per_shard", str(PER_SHARD),
        ],
        env=os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"},  # it asks the network otherwise
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"img2dataset ended with {done.returncode}: {done.stderr[-3000:]}")
    return done.stdout


def successes(out: Path) -> dict[str, str]:
    """Return the keys of the images that img2dataset got, with their captions."""
    stats = [json.loads(path.read_text()) for path in out.glob("*_stats.json")]
    rows = [
        row for path in sorted(out.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    good = {row["key"]: row["caption"] for row in rows if row["status"] == "success"}
    assert len(good) == sum(shard["successes"] for shard in stats)
    assert {row["status"] for row in rows} == {"success", "failed_to_download", "failed_to_resize"}
    return good


def scored(pool: Path, out: Path) -> list[dict[str, Any]]:
    """Score a pool and return the rows of its tables."""
    pairsift("score", pool, "--out", out)
    paths = sorted(out.glob("[!_]*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def main(folder: str) -> None:
    """Download in all forms, score them, and compare."""
    made = Made(Path(folder).absolute())
    pairs = [pair for tar in sorted(made.pool.glob("*.tar"))[:2] for pair in photographs(tar)]
    scores = {}
    with tempfile.TemporaryDirectory() as name, server([image for image, _ in pairs]) as url:
        work = Path(name)
        kinds = [FAULTS[i // 3 % len(FAULTS)] if i % 3 == 0 else "good" for i in range(len(pairs))]
        rows = [
            {"url": f"{url}/{kind}/{place}", "caption": caption}
            for place, (kind, (_, caption)) in enumerate(zip(kinds, pairs, strict=True))
        ]
        urls = work / "urls.parquet"
        pq.write_table(pa.Table.from_pylist(rows), urls)
        for form in ("files", "webdataset", "parquet"):
            download(urls, form, work / form)
            good = successes(work / form)
            assert len(good) == kinds.count("good"), (form, good)
            table = scored(work / form, work / f"scores-{form}")
            # In a folder, the key is the path of the image.
            ok = {row["key"].split("/")[-1]: row for row in table if row["status"] == "ok"}
            assert ok.keys() == good.keys(), (form, ok.keys() ^ good.keys())
            scores[form] = [ok[key]["itm"] for key in sorted(ok)]
            told = Counter(row["status"] for row in table)
            if form == "parquet":  # the only form that keeps the rows of the others
                assert told == {"ok": len(good), "source_failed": len(rows) - len(good)}, told
            else:
                assert told == {"ok": len(good)}, told
            print(f"{form}: {dict(told)} of {len(rows)} addresses")
        assert np.allclose(scores["files"], scores["webdataset"], atol=1e-3), scores
        assert np.allclose(scores["files"], scores["parquet"], atol=1e-3), scores
        refuse_tfrecord(urls, work)
    print(versions("img2dataset", "webdataset", "opencv-python-headless", "albumentations"))


def refuse_tfrecord(urls: Path, work: Path) -> None:
    """TFRecord files need tensorflow to be made, and are refused by name."""
    out = work / "tfrecord"
    told = download(urls, "tfrecord", out)
    if not any(out.glob("*.tfrecord")):
        assert "tfrecords require tensorflow" in told, told
        print("tfrecord: img2dataset itself stops without tensorflow; refusing a file of that name")
        for path in (work / "webdataset").glob("*.tar"):
            (out / path.name).with_suffix(".tfrecord").write_bytes(b"")
            shutil.copy(path.with_suffix(".parquet"), out)
    message = pairsift("score", out, "--out", work / "none", exit_code=2)
    assert "TFRecord files cannot be read" in message, message
    print(f"tfrecord: {message.strip().replace(str(out), 'POOL')}")


if __name__ == "__main__":
    main(sys.argv[1])
