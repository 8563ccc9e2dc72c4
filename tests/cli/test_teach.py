"""`pairsift teach` before anything is asked of a teacher."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.samples import jpeg
from tests.support.commands import pairsift

pytest.importorskip("openai", reason="needs pairsift[teach]")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    lines = ["image,caption"]
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(seed=number))
        lines += [f"{number}.jpg,a {word} square" for word in ("red", "grey")]
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    return tmp_path


COMMAND = ("teach", "openai", "--captions", "captions.csv", "--images", ".", "--model", "some")


def test_the_cost_is_estimated_without_a_key(place: Path) -> None:
    arguments = (*COMMAND, "--out", "r.jsonl", "--dry-run", "--price-input", "1", "--json")
    done = pairsift(*arguments, cwd=place)
    assert done.returncode == 0, done.stderr
    estimate = json.loads(done.stdout)
    assert estimate["requests"] == estimate["pairs"] > 0
    assert estimate["cost"] > 0
    assert not (place / "r.jsonl").exists()


def test_without_a_key_nothing_is_asked(place: Path) -> None:
    done = pairsift(*COMMAND, "--out", "r.jsonl", cwd=place)
    assert done.returncode == 2
    assert "set the environment variable OPENAI_API_KEY, or give --base-url" in done.stderr
