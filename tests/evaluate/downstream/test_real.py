"""The comparison on photographs with captions by people."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pairsift.cli import main

DATA = Path(__file__).parents[4] / "shared" / "data"


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the data sets in {DATA}")
def test_a_pool_of_photographs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {
        "--images": DATA / "flickr8k/images_train_part1_3000.tar",
        "--captions": DATA / "flickr8k/captions_english.parquet",
        "--alt-text": DATA / "web_alt_text_only/laion_sample.parquet",
        "--image-limit": 40,
        "--classification": DATA / "classification/clothing_test_and_validation.parquet",
        "--classification-limit": 30,
        "--scorer": "heuristics",
        "--seeds": 1,
        "--jobs": 1,
        "--out": tmp_path,
    }
    words = [str(word) for option in options.items() for word in option]
    monkeypatch.setattr(sys, "argv", ["pairsift", "evaluate", "downstream", *words, "--json"])
    main()
    found = json.loads(capsys.readouterr().out)
    assert found["pairs"] == 160
    filters = {entry["filter"]: entry for entry in found["filters"]}
    assert set(filters) == {"none", "random", "labels", "heuristics"}
    # File names are too short; which of the others pass is up to chance in so small a pool.
    assert filters["heuristics"]["kept_of_kind"]["file_name"] == 0
    assert set(filters["none"]["scores"]) == {"classification", "clothing_test_and_validation"}
