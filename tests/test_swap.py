"""Outputs of one run are replaced together."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from pairsift.swap import OutputSet

NAMES = ("list.npy", "shards", "page.html")
OLD, NEW = {"of": "old"}, {"of": "new"}


def _make(url: str, names: dict[str, str], identity: dict[str, str], *, drop: bool = True) -> None:
    outputs = OutputSet(url, NAMES)
    outputs.begin(identity)
    fs, path = fsspec.core.url_to_fs(outputs.stage)
    for name, content in names.items():
        fs.makedirs(f"{path}/{name}".rpartition("/")[0], exist_ok=True)
        fs.pipe_file(f"{path}/{name}", content.encode())
    outputs.commit(drop=drop)


def _files(url: str) -> dict[str, str]:
    fs, path = fsspec.core.url_to_fs(url)
    return {
        name[len(path) + 1 :]: fs.cat_file(name).decode()
        for name in fs.find(path)
        if not name.endswith("_outputs.json")
    }


@pytest.fixture(params=["disk", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "disk" else f"memory://swap-{tmp_path.name}"


def test_new_outputs_replace_old_ones_and_drop_what_is_gone(url: str) -> None:
    _make(url, {"list.npy": "1", "shards/0.tar": "1", "shards/1.tar": "1"}, OLD)
    assert OutputSet(url, NAMES).current == OLD
    _make(url, {"shards/0.tar": "2", "page.html": "2"}, NEW)
    assert _files(url) == {"shards/0.tar": "2", "page.html": "2"}
    assert OutputSet(url, NAMES).current == NEW


def test_outputs_that_were_not_made_may_stay(url: str) -> None:
    _make(url, {"list.npy": "1", "shards/0.tar": "1"}, OLD)
    _make(url, {"list.npy": "2"}, NEW, drop=False)
    assert _files(url) == {"list.npy": "2", "shards/0.tar": "1"}


def test_stage_is_gone_on_with_for_the_same_outputs_only(url: str) -> None:
    first = OutputSet(url, NAMES)
    first.begin(OLD)
    fs, path = fsspec.core.url_to_fs(first.stage)
    fs.pipe_file(f"{path}/list.npy", b"half")
    OutputSet(url, NAMES).begin(OLD)
    assert fs.exists(f"{path}/list.npy")
    OutputSet(url, NAMES).begin(NEW)
    assert not fs.exists(f"{path}/list.npy")


def test_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "mine").write_text("mine")
    (tmp_path / "mine").write_text("mine")
    _make(str(tmp_path), {"list.npy": "1"}, OLD)
    assert _files(str(tmp_path)) == {"next/mine": "mine", "mine": "mine", "list.npy": "1"}


def test_ended_in_any_step_it_is_finished_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every change of the folder in turn is the one before which the process ends."""

    class EndError(BaseException):
        pass

    for step in range(30):
        place = tmp_path / str(step)
        _make(str(place), {"list.npy": "1", "shards/0.tar": "1", "shards/1.tar": "1"}, OLD)
        left = step
        with monkeypatch.context() as patch:
            for name in ("replace", "unlink", "rmdir"):
                change = getattr(os, name)

                def ended(*args: object, _change: object = change, **options: object) -> None:
                    nonlocal left
                    left -= 1
                    if left < 0:
                        raise EndError
                    _change(*args, **options)  # type: ignore[operator]

                patch.setattr(os, name, ended)
            try:
                _make(str(place), {"shards/0.tar": "2", "page.html": "2"}, NEW)
                done = True
            except EndError:
                done = False
        found = OutputSet(str(place), NAMES)
        if found.current == OLD:
            assert _files(str(place)).items() >= {"list.npy": "1", "shards/1.tar": "1"}.items()
            _make(str(place), {"shards/0.tar": "2", "page.html": "2"}, NEW)
        assert _files(str(place)) == {"shards/0.tar": "2", "page.html": "2"}
        if done:
            return
    pytest.fail("it never came to the end")
