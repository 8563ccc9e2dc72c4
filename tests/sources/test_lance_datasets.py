"""Lance datasets without Lance; with it, see tests/integrations/test_lance.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.sources import find_shards
from pairsift.sources.files import FileEntry
from pairsift.sources.lance_datasets import is_inside, lance_folders
from tests.samples import jpeg, write_tar


def dataset(folder: Path) -> Path:
    """The names of a dataset's files."""
    for name in ("_versions/1.manifest", "_deletions/0-1-2.arrow", "data/0.lance"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def test_without_the_package_a_dataset_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lance", None)
    folder = dataset(tmp_path / "pairs.lance")
    for given in (folder, tmp_path, f"{tmp_path}/*.lance"):
        with pytest.raises(PairsiftError, match=r"pairs\.lance is a Lance dataset.*\[lance\]'"):
            find_shards(str(given))


def test_beside_tars_a_dataset_is_another_kind(tmp_path: Path) -> None:
    dataset(tmp_path / "pairs.lance")
    write_tar(tmp_path / "0.tar", {"a": {"jpg": jpeg(), "txt": "a red square"}})
    with pytest.raises(PairsiftError, match=r"more than one kind of source .*1 for lance"):
        find_shards(str(tmp_path))
    found = find_shards(str(tmp_path), "webdataset")
    assert [shard.name for shard in found.shards] == ["0"]
    assert "1 Lance datasets" in found.notes[0]


def test_the_outer_folder_is_the_dataset() -> None:
    names = ["p/x/_versions/1.manifest", "p/x/data/_versions/2.manifest", "p/y/_versions/note.txt"]
    folders = lance_folders(FileEntry(name, 1) for name in names)
    assert folders == {"p/x"}
    assert is_inside("p/x/data/0.lance", folders)
    assert not is_inside("p/x.tar", folders)


def test_a_file_of_a_dataset_is_refused(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "pairs.lance")
    with pytest.raises(PairsiftError, match="give the folder of the Lance dataset"):
        find_shards(str(folder / "data" / "0.lance"))
