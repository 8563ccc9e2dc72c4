"""Where records are written: the folder that the path names."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from pairsift.teach.records import Record, read_records, write_records

RECORDS = [Record("a.jpg", "a dog", scores={"itm": 70.0})]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_records_lie_where_they_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"pairsift-{uuid.uuid4().hex}.{suffix}"
    places = [name, f"new/{name}", f"memory://{name}"]
    places += [f"/{name}"] if os.access("/", os.W_OK) else []
    for path in places:
        try:
            assert write_records(path, RECORDS, {"teacher": "t"}) == 1
            found = read_records(path) if suffix == "parquet" or "://" not in path else RECORDS
            assert found == RECORDS
            assert "://" in path or Path(path).is_file()
        finally:
            if path.startswith("/"):
                Path(path).unlink(missing_ok=True)
    assert sorted(os.listdir()) == sorted(["new", name])
