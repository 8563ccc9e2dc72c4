"""The Hugging Face dataset: opened by the library itself."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pairsift.errors import PairsiftError
from pairsift.select import Selection, select
from pairsift.writers import write_dataset
from tests.score_folders import score_folder, score_table, uid_of, write_tar


def _png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def _selection(path: Path) -> Selection:
    tables = {}
    for shard in range(2):
        keys = [f"{shard}{row:03d}" for row in range(10)]
        members = []
        for row, key in enumerate(keys):
            uid = uid_of(shard * 10 + row)
            members += [
                (f"{key}.png", _png(shard * 100 + row)),
                (f"{key}.txt", f"caption of {key}".encode()),
                (f"{key}.json", json.dumps({"uid": uid, "url": f"https://a/{key}"}).encode()),
            ]
        write_tar(path / "data" / f"{shard}.tar", members)
        scores = {"itm": list(range(10)), "language": ["en", "de"] * 5}
        uids = [uid_of(shard * 10 + row) for row in range(10)]
        tables[str(shard)] = score_table(str(shard), keys, scores, uids=uids)
    scores_path = score_folder(path / "scores", tables, root=path / "data")
    return select(scores_path, where="itm >= 3", out=path / "sel")


def test_datasets_opens_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the extra datasets")
    written = write_dataset(_selection(tmp_path), tmp_path / "out", rows_per_file=4)
    assert (written.files, written.written, written.rows) == (4, 4, 14)
    found = datasets.load_dataset(
        str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert isinstance(found.features["image"], datasets.Image)
    assert found["key"][:] == [f"{shard}{row:03d}" for shard in range(2) for row in range(3, 10)]
    row = found[8]
    assert row["image"].size == (9, 7)
    assert row["image"].getpixel((0, 0)) == (104, 0, 0)
    assert (row["caption"], row["uid"], row["shard"]) == ("caption of 1004", uid_of(14), "1")
    assert (row["itm"], row["language"]) == (4.0, "en")
    assert json.loads(row["metadata"])["url"] == "https://a/1004"
    raw = found.cast_column("image", datasets.Image(decode=False))
    assert raw[8]["image"] == {"bytes": _png(104), "path": "1004.png"}


def test_run_again_writes_what_is_missing(tmp_path: Path) -> None:
    selection = _selection(tmp_path)
    write_dataset(selection, tmp_path / "out", rows_per_file=4)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out" / "data").iterdir()}
    for place in (0, 2):
        (tmp_path / "out" / "data" / f"train-{place:05d}-of-00004.parquet").unlink()
    again = write_dataset(selection, tmp_path / "out", rows_per_file=4)
    assert again.written == 2
    after = {path.name: path.read_bytes() for path in (tmp_path / "out" / "data").iterdir()}
    assert after == before


def test_mistakes(tmp_path: Path) -> None:
    selection = _selection(tmp_path)
    write_dataset(selection, tmp_path / "out")
    with pytest.raises(PairsiftError, match="begun with another rows_per_file"):
        write_dataset(selection, tmp_path / "out", rows_per_file=4)
    with pytest.raises(PairsiftError, match="already holds"):
        write_dataset(selection, tmp_path / "data")
    nothing = select(str(tmp_path / "scores"), where="itm > 100", out=tmp_path / "none")
    empty = write_dataset(nothing, tmp_path / "none-out")
    assert (empty.rows, empty.files) == (0, 1)
    found = pq.read_table(tmp_path / "none-out" / "data" / "train-00000-of-00001.parquet")
    assert found.num_rows == 0
    assert found.schema.equals(pq.read_schema(next((tmp_path / "out" / "data").iterdir())))
    write_tar(tmp_path / "data" / "1.tar", [("other.png", _png(1)), ("other.txt", b"x")])
    with pytest.raises(PairsiftError, match=r"1\.tar has changed since it was scored"):
        write_dataset(selection, tmp_path / "out2")


def test_rows_groups_stay_small(tmp_path: Path) -> None:
    """A reader that wants one picture fetches a hundred, not ten thousand."""
    keys = [f"{row:04d}" for row in range(250)]
    members = [member for key in keys for member in ((f"{key}.png", _png(1)), (f"{key}.txt", b"x"))]
    write_tar(tmp_path / "data" / "a.tar", members)
    table = score_table("a", keys, {"itm": np.arange(250.0).tolist()})
    scores = score_folder(tmp_path / "scores", {"a": table}, root=tmp_path / "data")
    write_dataset(select(scores, out=tmp_path / "sel"), tmp_path / "out")
    (path,) = (tmp_path / "out" / "data").iterdir()
    assert pq.read_metadata(path).num_row_groups == 3


def test_a_dataset_without_rows_is_streamed(tmp_path: Path) -> None:
    """`load_dataset` refuses splits without rows, unless it streams them."""
    datasets = pytest.importorskip("datasets", reason="needs the extra datasets")
    selection = _selection(tmp_path)
    none = select(selection.scores, where="itm > 1000", out=tmp_path / "none")
    assert write_dataset(none, tmp_path / "out").rows == 0
    found = datasets.load_dataset(str(tmp_path / "out"), split="train", streaming=True)
    assert list(found) == []
    assert isinstance(found.features["image"], datasets.Image)
    assert {"caption", "itm"} <= set(found.features)
