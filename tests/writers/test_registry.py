"""Which writers there are, and what they are asked to write."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.options import WriteOptions
from pairsift.writers import registry
from pairsift.writers.registry import BUILT_IN, entries, outputs_of


def test_every_built_in_writer_can_be_imported() -> None:
    assert all(callable(entry.load()) for entry in BUILT_IN)
    assert len({entry.file for entry in BUILT_IN}) == len(BUILT_IN)


def test_other_packages_add_writers_and_replace_none(monkeypatch: pytest.MonkeyPatch) -> None:
    group = registry.PLUGIN_GROUP
    plugins = [
        EntryPoint("zip", "zips:prepare", group),
        EntryPoint("datacomp", "theirs:prepare", group),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: plugins)
    found = entries()
    assert found["zip"].prepare == "zips:prepare"
    assert found["datacomp"] in BUILT_IN
    assert outputs_of(WriteOptions(to={"zip": "x"}, webdataset="kept")) == {
        "webdataset": "kept", "zip": "x",
    }  # fmt: skip


def test_nothing_and_unknown_writers_are_refused() -> None:
    with pytest.raises(PairsiftError, match="nothing to write: give --datacomp, "):
        outputs_of(WriteOptions())
    with pytest.raises(PairsiftError, match="--to nothing=x: no such writer; there are "):
        outputs_of(WriteOptions(to={"nothing": "x"}))


@pytest.mark.parametrize("other", ["out", "./out", "out/", "here/../out"])
def test_two_outputs_of_one_path_are_refused(
    other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PairsiftError, match="are both .*; give each its own"):
        outputs_of(WriteOptions(webdataset="out", dataset=other))
