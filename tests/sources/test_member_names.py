"""Keys and suffixes of tar members, as the webdataset library reads them."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from webdataset.tariterators import base_plus_ext

from pairsift.sources.member_names import member_key, split_member
from tests.samples import tar_bytes

NAMES = ["a.jpg", "a.b.json", "p/q.x/a.txt", "./a.jpg", "p/a", "a", ".hidden", "a.", "p/"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_split_as_the_library_does(name: str) -> None:
    key, suffix = base_plus_ext(name)
    found = split_member(name)
    assert found == (None if key is None else (key, suffix))
    raw = split_member(name.encode())
    assert raw == (None if found is None else (found[0].encode(), found[1].encode()))


def test_hidden_files_belong_to_no_sample() -> None:
    assert split_member("p/.hidden") is None  # the library's key would be "p/"


KEYS = ["a", "a.b", "p/a.b", "/p/.a", "p/", "", "p.q/r", "..", "../a", "p/../../a", "/../a", "a\0b"]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_is_made_fit_is_found_again(key: str) -> None:
    assert split_member(f"{member_key(key)}.jpg") == (member_key(key), "jpg")
    assert base_plus_ext(f"{member_key(key)}.jpg") == (member_key(key), "jpg")


@pytest.mark.parametrize("key", [*KEYS, "a\nb", "p/\0", "ü", "x" * 300])
def test_a_tar_holds_it_and_is_unpacked_below_its_folder(tmp_path: Path, key: str) -> None:
    name = f"{member_key(key)}.jpg"
    (tmp_path / "t.tar").write_bytes(tar_bytes([(name, b"x")]))
    with tarfile.open(tmp_path / "t.tar") as tar:
        assert tar.getnames() == [name]
    assert not name.startswith("/")
    assert ".." not in name.split("/")


def test_keys_that_tars_can_hold_stay_as_they_are() -> None:
    for key in ("a", "p/q.x/a", "./a", "p/..a/b", "a\nb", "..a/b"):
        assert member_key(key) == key
