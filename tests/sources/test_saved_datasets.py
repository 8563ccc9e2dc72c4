"""Folders of the package datasets: which Arrow files are rows, which are caches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
