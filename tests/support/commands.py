"""The command line: as a process of its own, or, much faster, in the process of the tests."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from pairsift.cli import main

Done = subprocess.CompletedProcess[str]


def start(*arguments: object, cwd: Path | None = None, **environment: str) -> Done:
    """Run `pairsift` as a user does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pairsift", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | environment,
    )


def pairsift(*arguments: object, cwd: Path | None = None) -> Done:
    """Run `pairsift` in this process: its exit code, and what Python code printed."""
    command = ["pairsift", *map(str, arguments)]
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code: object = 0
    with (
        patch.object(sys, "argv", command),
        _inside(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _signals_as_they_were(),
    ):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    assert code is None or isinstance(code, int), code
    told = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(command, code or 0, *told)


@contextlib.contextmanager
def _inside(folder: Path | None) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder or ".")
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _signals_as_they_were() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in handlers.items():
            signal.signal(number, handler)
