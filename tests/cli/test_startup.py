"""The command answers at once: nothing heavy is imported before it is needed."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "transformers", "pyarrow", "duckdb", "numpy", "PIL", "ray")


def _modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_import_is_light() -> None:
    assert _modules_after("import pairsift").isdisjoint(HEAVY)


def test_command_line_is_light() -> None:
    assert _modules_after("import pairsift.cli").isdisjoint(HEAVY)


@pytest.mark.slow
def test_help_is_much_quicker_than_importing_torch() -> None:
    """A ratio in one run, because absolute times on a shared machine mean little."""

    def seconds(*command: str) -> float:
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - begin

    help_time = statistics.median(
        seconds(sys.executable, "-m", "pairsift", "--help") for _ in range(3)
    )
    torch_time = seconds(sys.executable, "-c", "import torch")
    assert help_time < torch_time
