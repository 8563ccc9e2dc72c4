"""Right captions against wrong ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pairsift.cli import evaluate as command
from tests.samples import jpeg, tar_bytes

pytest.importorskip("scipy")


def _images(tmp_path: Path, count: int = 12) -> str:
    path = tmp_path / "images.tar"
    path.write_bytes(tar_bytes((f"{i}.jpg", jpeg(24, 16, i)) for i in range(count)))
    return str(path)


def _app() -> typer.Typer:
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)
    return app


def test_pairs_from_the_command_line(tmp_path: Path) -> None:
    rows = ["filename,caption,negative_caption,category"]
    rows += [f"{i}.jpg,a big brown dog,a dog,longer" for i in range(6)]
    rows += [f"{i}.jpg,a dog,a cat,same" for i in range(6)]
    rows += [f"{i}.jpg,a dog,a big brown cat,shorter" for i in range(4)]
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    arguments = [
        *("evaluate", "pairs", "--pairs", str(tmp_path / "pairs.csv"), "--scorer", "heuristics"),
        *("--images", _images(tmp_path), "--columns", "caption_words", "--resamples", "30"),
        *("--out", str(tmp_path / "out"), "--json"),
    ]
    result = CliRunner().invoke(_app(), arguments, catch_exceptions=False)
    (column,) = json.loads(result.stdout)["columns"]
    assert column["accuracy/longer"]["value"] == 1
    assert column["accuracy/same"]["value"] == 0.5
    assert column["accuracy/shorter"]["value"] == 0
    assert column["accuracy"]["value"] == pytest.approx((6 + 3) / 16)
    assert column["ties"] == pytest.approx(6 / 16)
    assert column["accuracy"]["low"] is column["accuracy"]["high"] is None  # six images
    assert "[too few]" in (tmp_path / "out" / "table.md").read_text()
