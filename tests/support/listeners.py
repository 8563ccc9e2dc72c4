"""A listener that remembers what it is told."""

from __future__ import annotations

from typing import Any


class Recorder:
    """Remembers the messages, and the arguments of every progress report.

    Attributes:
        messages: texts, oldest first.
        reports: (task, done, total, keyword arguments), oldest first.
        heard: messages and reports in the order they came.
    """

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def message(self, text: str) -> None:
        self.heard.append(text)

    def progress(self, task: str, done: int, total: int | None, **more: Any) -> None:
        self.heard.append((task, done, total, more))

    @property
    def messages(self) -> list[str]:
        return [each for each in self.heard if isinstance(each, str)]

    @property
    def reports(self) -> list[tuple[str, int, int | None, dict[str, Any]]]:
        return [each for each in self.heard if not isinstance(each, str)]
