"""Paths into nested data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairsift.sources.fields import Items, NoFieldError, follow, join_steps, leaves

DATA: dict[str, Any] = {
    "caption": "a dog",
    "captions": ["first", "second"],
    "a.b": {"c": 1},
    "a": {"b": {"c": 2}, "x": []},
    "messages": [{"role": "user", "content": None}],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("caption", "a dog"),
        ("captions.0", "first"),
        ("captions.-1", "second"),
        ("a.b.c", 1),  # the longest name first
        ('"a".b.c', 1),
        ("messages.0.role", "user"),
        ("messages.0.content", None),
    ],
)
def test_a_path_leads_to_its_value(path: str, value: object) -> None:
    assert follow(DATA, path)[1] == value


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing", "no field 'nothing'; there are caption, captions"),
        ("caption.x", "caption is text, which has no fields"),
        ("captions.x", "captions is a list: give a number"),
        ("captions.2", "captions is a list of 2, with no item 2"),
        ("a.b.d", "no field 'd' in"),
        ("messages.0.content.x", "messages.0.content is null"),
        ("captions.99999999999", "give a number"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(path: str, words: str) -> None:
    with pytest.raises(NoFieldError) as raised:
        follow(DATA, path)
    assert words in str(raised.value)


def test_of_types_any_item_is_the_item() -> None:
    assert follow({"list": Items({"text": "string"})}, "list.17.text") == (
        ("list", 17, "text"),
        "string",
    )


_NAMES = st.text("ab.c0-", min_size=1, max_size=4).filter(lambda name: name.strip("."))
_JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc0", min_size=1, max_size=3), _JSON, min_size=1, max_size=3))
def test_every_leaf_is_found_by_its_path_where_names_have_no_dots(data: dict[str, Any]) -> None:
    for path, value in leaves(data):
        if "." not in json.dumps(data) and value not in ({}, []):
            assert follow(data, path) == (follow(data, path)[0], value)
            assert join_steps(follow(data, path)[0]) == path
