"""Fixtures of several areas; and the environment, set before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# MKL sums in one order whatever the CPU: what another machine computed is compared to 1e-4.
os.environ.setdefault("MKL_CBWR", "AVX2")
# Ray lowers the priority of its workers by 15: beside other tests they would hardly run.
os.environ.setdefault("RAY_worker_niceness", "0")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real browser, as `tests/support/headless.py` starts it."""
    from tests.support.headless import chromium

    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint of LLaVA's architecture; not to be changed."""
    from tests.scorers.mlm.checkpoints import save_checkpoint

    return save_checkpoint(tmp_path_factory.mktemp("llava"), "llava")


@pytest.fixture(scope="package")
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: for tiny models a second one costs more than it gives."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
