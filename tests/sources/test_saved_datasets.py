"""Folders of the package datasets: which Arrow files are rows, which are caches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.sources import find_shards
from pairsift.sources.files import walk
from pairsift.sources.saved_datasets import written_by_datasets


def told(root: Path, **contents: str) -> tuple[set[str], set[str]]:
    """The names of caches and of descriptions among files with these contents."""
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    caches, described = written_by_datasets(walk(str(root)))
    start = len(str(root)) + 1
    return {url[start:] for url in caches}, {url[start:] for url in described}


def state(*rows: str) -> str:
    return json.dumps({"_data_files": [{"filename": name} for name in rows]})


def test_arrow_files_beside_the_rows_of_a_dataset_are_caches(tmp_path: Path) -> None:
    files = {"state.json": state("data-0.arrow"), "dataset_info.json": "{}",
             "data-0.arrow": "", "cache-1.arrow": "", "tmp.ipc": "", "notes.txt": ""}  # fmt: skip
    assert told(tmp_path, **files) == (
        {"cache-1.arrow", "tmp.ipc"}, {"state.json", "dataset_info.json"},
    )  # fmt: skip


def test_each_folder_is_judged_by_itself(tmp_path: Path) -> None:
    files = {"dataset_dict.json": "{}", "train/state.json": state("a.arrow"), "train/a.arrow": "",
             "train/b.arrow": "", "plain/b.arrow": "", "plain/cache-b.arrow": ""}  # fmt: skip
    assert told(tmp_path, **files) == (
        {"train/b.arrow"}, {"dataset_dict.json", "train/state.json"},
    )  # fmt: skip


def test_without_a_state_caches_are_known_by_their_names(tmp_path: Path) -> None:
    files = {"dataset_info.json": "{}", "set-train.arrow": "", "cache-5.arrow": ""}
    assert told(tmp_path, **files)[0] == {"cache-5.arrow"}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "7", "{}", '{"_data_files": 5}', '{"_data_files": ["a.arrow"]}', "\xff",
     '{"_data_files": []}', '{"_data_files": [{"file": "a.arrow"}]}'],
)  # fmt: skip
def test_a_state_of_something_else_makes_nothing_a_cache(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_bytes(content.encode("latin-1"))
    assert told(tmp_path, **{"a.arrow": "", "b.feather": ""}) == (set(), {"state.json"})


FILES = [f"data-0000{number}-of-00003.arrow" for number in range(3)]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "saved" / "train"
    folder.mkdir(parents=True)
    for name in (*FILES, "cache-01.arrow"):
        (folder / name).write_bytes(b"")
    named = {"_data_files": [{"filename": name} for name in FILES]}
    (folder / "state.json").write_text(json.dumps(named))
    return folder


def names(path: Path | str) -> list[str]:
    return [shard.url.rpartition("/")[2] for shard in find_shards(str(path)).shards]


@pytest.mark.parametrize("lost", FILES)
def test_a_missing_file_of_rows_is_told(saved: Path, lost: str) -> None:
    assert names(saved) == FILES
    (saved / lost).unlink()
    for path in (saved, saved.parent):
        with pytest.raises(PairsiftError, match=f"lacks 1 of the 3 files .* the first {lost}"):
            names(path)
    assert names(f"{saved}/data-*.arrow") == [name for name in FILES if name != lost]


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"_data_files": [1]}'])
def test_without_a_list_of_files_caches_go_by_their_names(saved: Path, content: str | None) -> None:
    (saved / "dataset_info.json").write_text("{}")
    if content is None:
        (saved / "state.json").unlink()
    else:
        (saved / "state.json").write_text(content)
    assert names(saved) == FILES
