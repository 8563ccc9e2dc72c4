"""The server against its own OpenAPI document: what it says is what it does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pairsift.scorers.base import Scorer
from pairsift.serve import ServeSettings, running_server

KEY = "correct-horse-battery-staple"


def fuzz(url: str, folder: Path, *options: str) -> None:
    """Run schemathesis with all its checks: cases at the edges of the schema, and random ones."""
    pytest.importorskip("schemathesis")
    _run(url, folder, "--phases", "coverage", *options)
    # A form has no types: a random null or number arrives as text, and is text.
    without = ("--exclude-checks", "negative_data_rejection")
    _run(url, folder, "--phases", "fuzzing", "--max-examples", "30", *without, *options)


def _run(url: str, folder: Path, *options: str) -> None:
    command = [
        sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
        "run", f"{url}/openapi.json", "--checks", "all", "--seed", "1", "--no-shrink",
        "--generation-deterministic", "--suppress-health-check", "all", "--no-color", *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 4" in done.stdout


@pytest.mark.slow
def test_uploads_do_what_the_document_says(url: str, tmp_path: Path) -> None:
    fuzz(url, tmp_path)


@pytest.mark.slow
def test_urls_do_what_the_document_says(scorer: Scorer, tmp_path: Path) -> None:
    # The made-up URLs lead nowhere, or to what is refused: every one ends as a row.
    options = ServeSettings(port=0, workers=0, allow_remote=True, fetch_time_limit=0.5, api_key=KEY)
    with running_server(scorer, options) as url:
        fuzz(url, tmp_path, "-H", f"Authorization: Bearer {KEY}")


@pytest.mark.parametrize("remote", [False, True])
def test_document_tells_of_urls_only_where_they_are_fetched(scorer: Scorer, remote: bool) -> None:
    from pairsift.serve.app import create_app

    document = create_app(scorer, ServeSettings(workers=0, allow_remote=remote)).openapi()
    kinds = document["paths"]["/score"]["post"]["requestBody"]["content"]
    assert set(kinds) == {"multipart/form-data"} | ({"application/json"} if remote else set())
