"""Options that a step checks by itself, before anything is read."""

from __future__ import annotations

from typing import Any

import pytest

from pairsift import PairsiftError
from pairsift.options import ScoreOptions
from pairsift.steps import check_score, loads_here, parse_actors, parse_part, scorer_options


@pytest.mark.parametrize(("text", "part"), [(None, None), ("1/8", (1, 8)), ("9/8", (9, 8))])
def test_a_part_is_read(text: str | None, part: tuple[int, int] | None) -> None:
    assert parse_part(text) == part


@pytest.mark.parametrize("text", ["", "1", "1/", "/8", "a/8", "1/0", "-1/8", "1/8/9", "1.5/8"])
def test_another_part_is_refused(text: str) -> None:
    with pytest.raises(PairsiftError, match="write it as i/n, for example 1/8"):
        parse_part(text)


@pytest.mark.parametrize(("text", "actors"), [(None, None), ("3", 3), ("2:16", (2, 16))])
def test_actors_are_read(text: str | None, actors: int | tuple[int, int] | None) -> None:
    assert parse_actors(text) == actors


@pytest.mark.parametrize("text", ["", "0", "x", "2:", ":2", "4:2", "0:2", "1:2:3"])
def test_other_actors_are_refused(text: str) -> None:
    with pytest.raises(PairsiftError, match="^--actors '"):
        parse_actors(text)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"retry": "all"}, "--retry 'all': only failed is known"),
        ({"rescore": "all"}, "--rescore 'all': only changed is known"),
        ({"engine": "spark"}, "--engine 'spark': choose local or ray"),
        ({"engine": "ray", "workers": 2}, "--workers is for the local engine"),
        ({"actors": "2"}, "--actors needs --engine ray"),
        ({"ray_address": "auto"}, "--ray-address needs --engine ray"),
        ({"engine": "ray", "devices": "all"}, "--devices is for the local engine"),
        ({"devices": "cpu:1", "device": "cpu"}, "give one of the two"),
        ({"part": "1"}, "--part '1'"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], words: str) -> None:
    with pytest.raises(PairsiftError, match=words):
        check_score(ScoreOptions(shards=["pool"], **options))


def test_a_scorer_is_loaded_here_unless_other_processes_load_it() -> None:
    assert loads_here(ScoreOptions(shards=["pool"]))
    assert not loads_here(ScoreOptions(shards=["pool"], engine="ray"))
    assert not loads_here(ScoreOptions(shards=["pool"], devices="cpu:2"))


def test_several_caption_fields_number_the_captions() -> None:
    one = ScoreOptions(shards=["pool"], caption_field="txt")
    two = ScoreOptions(shards=["pool"], caption_field="txt,alt")
    assert "caption_index" not in scorer_options(one)
    assert scorer_options(two)["caption_index"] is True
