"""Where records are written: the folder that the path names."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.teach.records import METADATA_KEY, Record, read_records, write_records

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


@pytest.mark.parametrize("name", ["teacher.parquet", "teacher.jsonl"])
def test_records_come_back_as_they_were_written(tmp_path: Path, name: str) -> None:
    records = [
        Record(
            "a.jpg", "line\u2028break and \u00fc", "own", 2, {"itm": 3.5, "su": 1}, {"itm": "so"}
        ),
        Record("b.jpg", "x", error="refused: no"),
    ]
    path = str(tmp_path / "sub" / name)
    assert write_records(path, records, {"teacher": "t"}) == 2
    assert read_records(path) == records
    if name.endswith("parquet"):
        assert b'"teacher": "t"' in pq.read_schema(path).metadata[METADATA_KEY]
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    with pytest.raises(PairsiftError, match="holds no teacher records"):
        read_records(str(tmp_path / "bad.parquet"))
