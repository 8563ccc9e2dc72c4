"""The fenced blocks of the documents' pages."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
SHELLS = ("sh", "bash", "shell")
PYTHON = ("python", "py")

_FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]*?) -->\s*\n)?"
    r"^(?P<indent> *)```(?P<language>\w+)?(?P<options>[^\n]*)\n(?P<body>.*?)^(?P=indent)```",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    body: str
    reason: str | None
    title: str | None

    @property
    def command(self) -> list[str]:
        """What of it is run; empty for files, other languages, and what cannot be run."""
        lines = [line for line in self.body.splitlines() if not line.startswith("pip install")]
        script = "\n".join(lines).strip()
        if not script or self.reason is not None:
            return []
        if self.language in SHELLS:
            return ["bash", "-euo", "pipefail", "-c", script]
        return [sys.executable, "-c", script] if self.language in PYTHON and not self.title else []


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks, in order."""
    for found in _FENCE.finditer(page.read_text("utf-8")):
        title = re.search(r'title="([^"]+)"', found["options"])
        yield Block(
            found["language"] or "", found["body"], found["reason"], title[1] if title else None
        )


def run_python(page: str, folder: Path, changes: Mapping[str, str]) -> None:
    """Run the Python blocks of a guide in a folder, whatever their marks say.

    Args:
        changes: what stands on the page, and what stands in for it here.
    """
    scripts = [block.body for block in blocks(GUIDES / page) if block.language in PYTHON]
    assert scripts
    for script in scripts:
        for written, here in changes.items():
            assert written in script
            script = script.replace(written, here)
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{script}\n--- output\n{done.stdout}\n{done.stderr}"
