"""Keys and suffixes of tar members, as the webdataset library reads them."""

from __future__ import annotations

import pytest
from webdataset.tariterators import base_plus_ext

from pairsift.sources.member_names import member_key, split_member

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


@pytest.mark.parametrize("key", ["a", "a.b", "p/a.b", "/p/.a", "p/", "", "p.q/r"])
def test_a_key_that_is_made_fit_is_found_again(key: str) -> None:
    assert split_member(f"{member_key(key)}.jpg") == (member_key(key), "jpg")
    assert base_plus_ext(f"{member_key(key)}.jpg") == (member_key(key), "jpg")
