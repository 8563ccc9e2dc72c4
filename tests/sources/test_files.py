"""Files and folders, local and behind URLs: their names, their listings, their errors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from pairsift.errors import PairsiftError
from pairsift.retry import Backoff
from pairsift.sources import files
from pairsift.sources.left_out import LeftOut
from pairsift.storage_errors import StorageError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Visible and hidden files in two levels, a link to a folder, and a dangling link."""
    for name in ("b.txt", "a.txt", ".hidden", "sub/c.txt", "sub/.d", ".git/e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    return tmp_path


@pytest.fixture
def memory() -> Iterator[str]:
    """The same files behind a URL."""
    store = fsspec.filesystem("memory")
    for name in ("b.txt", "a.txt", ".hidden", "sub/c.txt", "sub/.d", ".git/e.txt"):
        store.pipe_file(f"/files/{name}", name.encode())
    yield "memory:///files"
    store.rm("/files", recursive=True)


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("s3://bucket/key", True), ("HTTPS://a/b", True), ("zip://x::s3://b/a.zip", True),
        ("/a/b", False), ("a/b", False), ("file:///a", False), ("local://a", False),
        ("a:b", False), ("1s3://x", False), ("", False),
    ],
)  # fmt: skip
def test_what_is_a_url(path: str, remote: bool) -> None:
    assert files.is_url(path) is remote


def test_paths_are_absolute_and_urls_have_one_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    here = os.getcwd()
    for path, expected in [
        ("a/../b/", f"{here}/b"), ("/a//b/", "/a/b"), ("~/pool", "/home/anna/pool"),
        ("file:///a/b", "/a/b"), ("local:///a", "/a"), ("memory://x/y/", "memory:///x/y"),
        ("memory:///x/y", "memory:///x/y"),
    ]:  # fmt: skip
        assert files.normalise(path) == expected


def test_unknown_protocols_are_told() -> None:
    for action in (files.normalise, files.open_file, files.list_folder, files.look_up):
        with pytest.raises(PairsiftError, match="cannot open nosuch://a/b"):
            action("nosuch://a/b")


def test_a_file_is_opened_by_path_and_by_url(tree: Path, memory: str) -> None:
    for url in (f"{tree}/a.txt", f"{memory}/a.txt"):
        with files.open_file(url) as file:
            assert file.read() == b"a.txt"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "missing does not exist; check the path"),
        ("gone.txt", "gone.txt does not exist; check the path"),
        ("a.txt/b", "a.txt/b does not exist; check the path"),
        ("sub", "sub is a folder, but a file is expected"),
    ],
)
def test_what_cannot_be_opened_is_told(tree: Path, name: str, words: str) -> None:
    with pytest.raises(PairsiftError, match=words):
        files.open_file(str(tree / name))


def test_a_missing_file_behind_a_url_is_told(memory: str) -> None:
    with pytest.raises(StorageError, match="files/missing"):
        files.open_file(f"{memory}/missing")


def test_a_folder_lists_what_is_not_hidden(tree: Path, memory: str) -> None:
    found = {entry.url.rpartition("/")[2]: entry for entry in files.list_folder(str(tree))}
    assert set(found) == {"a.txt", "b.txt", "sub", "loop", "gone.txt"}
    assert (found["a.txt"].size, found["a.txt"].is_folder) == (5, False)
    assert found["sub"].is_folder
    assert (found["gone.txt"].size, found["gone.txt"].version) == (None, None)
    remote = {entry.url: entry.is_folder for entry in files.list_folder(memory)}
    assert remote == {f"{memory}/a.txt": False, f"{memory}/b.txt": False, f"{memory}/sub": True}


def test_what_is_no_folder_is_an_empty_listing(tree: Path, memory: str) -> None:
    for place in (f"{tree}/a.txt", f"{tree}/missing", f"{memory}/missing", f"{memory}/a.txt"):
        assert files.list_folder(place) == []


@pytest.mark.parametrize("end", ["", "/"])
def test_a_walk_goes_down_and_counts_what_it_leaves_out(tree: Path, memory: str, end: str) -> None:
    for root in (str(tree), memory):
        left_out = LeftOut()
        found = {entry.url for entry in files.walk(root + end, left_out)}
        assert found - {f"{root}/gone.txt"} == {
            f"{root}/a.txt", f"{root}/b.txt", f"{root}/sub/c.txt",
        }  # fmt: skip
        notes = " ".join(left_out.notes())
        assert "3 hidden names" in notes
        assert ("links" in notes) is (root == str(tree))


def test_patterns_match_files_and_folders(tree: Path, memory: str) -> None:
    for root in (str(tree), memory):
        assert {entry.url for entry in files.glob(f"{root}/?.txt")} == {
            f"{root}/a.txt", f"{root}/b.txt",
        }  # fmt: skip
        assert [entry.is_folder for entry in files.glob(f"{root}/su[b]")] == [True]
        assert files.glob(f"{root}/missing/*") == []
    assert files.glob(f"{tree}/gone*") == []  # a dangling link


def test_a_special_file_is_marked_in_a_listing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "plain").write_text("")
    assert {Path(e.url).name: e.is_special for e in files.list_folder(str(tmp_path))} == {
        "pipe": True, "plain": False,
    }  # fmt: skip
    with pytest.raises(PairsiftError, match="pipe is a pipe, device or socket"):
        files.refuse_special(str(tmp_path / "pipe"))
    files.refuse_special(str(tmp_path / "plain"))
    files.refuse_special(str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("failure", "raised", "attempts"),
    [
        (FileNotFoundError("x"), FileNotFoundError, 1),
        (NotADirectoryError("x"), NotADirectoryError, 1),
        (PermissionError(13, "x"), StorageError, 1),
        (TimeoutError("x"), StorageError, 3),
        (ValueError("a mistake of ours"), ValueError, 1),
    ],
)
def test_a_listing_that_fails(
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    raised: type[Exception],
    attempts: int,
) -> None:
    monkeypatch.setattr(files, "BACKOFF", Backoff(attempts=3, first=0.001))
    calls = []

    def action() -> None:
        calls.append(1)
        raise failure

    with pytest.raises(raised) as found:
        files.ask("s3://bucket/pool", action)
    assert type(found.value) is raised or isinstance(found.value, raised)
    assert len(calls) == attempts


def test_a_storage_that_recovers_is_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BACKOFF", Backoff(attempts=3, first=0.001))
    answers: list[Callable[[], str]] = []

    def action() -> str:
        answers.append(lambda: "x")
        if len(answers) < 3:
            raise TimeoutError("x")
        return "found"

    assert files.ask("s3://bucket/pool", action) == "found"
