"""A teacher for tests: its images, its records, and what an endpoint makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pairsift.progress import NullListener
from pairsift.sources.image_store import ImageStore
from pairsift.teach.cache import ReplyCache
from pairsift.teach.cost import Prices
from pairsift.teach.openai import OpenAITeacher
from pairsift.teach.prompt import load_teacher_prompt
from pairsift.teach.records import Record
from pairsift.teach.settings import OpenAISettings
from tests.samples import jpeg, tar_bytes
from tests.teach.endpoint import METRICS, Endpoint, score


def make_images(tmp_path: Path, count: int = 4) -> ImageStore:
    path = tmp_path / "images.tar"
    path.write_bytes(tar_bytes((f"{i}.jpg", jpeg(60, 40, i)) for i in range(count)))
    return ImageStore([str(path)])


def make_records(count: int = 8, images: int = 4) -> list[Record]:
    return [Record(f"{i % images}.jpg", f"caption number {i}") for i in range(count)]


_OPEN: dict[str, ReplyCache] = {}


def make_teacher(tmp_path: Path, endpoint: Endpoint, **options: Any) -> OpenAITeacher:
    prices, limit = options.pop("prices", Prices()), options.pop("max_cost", None)
    settings = OpenAISettings(
        "teacher-1", endpoint.url, **{"timeout": 5.0, "retries": 4, "concurrency": 4, **options}
    )
    path = str(tmp_path / "replies.sqlite")
    if path in _OPEN:
        _OPEN.pop(path).close()  # the run before this one has ended
    cache = _OPEN[path] = ReplyCache(path)
    return OpenAITeacher(settings, load_teacher_prompt(), cache, "k3y", prices, limit)


def check_answers(records: list[Record]) -> None:
    for record in records:
        assert record.error is None
        assert record.scores == {m: score(record.caption, m) for m in METRICS}
        assert record.why["itm"] == "itm."


class Ear(NullListener):
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.details: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def progress(self, task: str, done: int, total: int | None, **more: Any) -> None:
        self.details.append(more["detail"])
