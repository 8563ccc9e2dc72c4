"""The DataComp subset file, and its way through a resharder that follows the published rules."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairsift.errors import PairsiftError
from pairsift.select import select
from pairsift.writers import write_datacomp
from pairsift.writers.datacomp import parse_uids, sort_uids
from tests.score_folders import score_folder, score_table, uid_of


def _pair(uid: str) -> tuple[int, int]:
    return int(uid[:16], 16), int(uid[16:], 16)


def _scores(path: Path, uids: list[str | None]) -> str:
    keys = [f"{row:04d}" for row in range(len(uids))]
    half = len(uids) // 2
    tables = {
        "0": score_table("0", keys[:half], {"itm": list(range(half))}, uids=uids[:half]),
        "1": score_table("1", keys[half:], {"itm": list(range(half, len(uids)))}, uids=uids[half:]),
    }
    return score_folder(path, tables)


def test_exactly_the_selected_uids_sorted(tmp_path: Path) -> None:
    uids = [uid_of(number) for number in range(200)]
    selection = select(_scores(tmp_path / "s", uids), top=0.3, by="itm", out=tmp_path / "selection")
    written = write_datacomp(selection, tmp_path / "subset.npy")
    subset = np.load(tmp_path / "subset.npy")
    assert subset.dtype == np.dtype("u8,u8")
    assert subset.tolist() == sorted(_pair(uid) for uid in uids[140:])
    assert (written.uids, written.duplicates) == (60, 0)
    assert [name for name in os.listdir(tmp_path) if "tmp" in name] == []


def _reshard(subset: np.ndarray, pool: list[str]) -> list[str]:
    """What DataComp's resharder emits: each pool sample as often as the subset holds its uid."""
    assert subset.dtype == np.dtype("u8,u8")
    emitted = []
    for uid in pool:
        wanted = np.array([_pair(uid)], dtype=subset.dtype)[0]
        count = np.searchsorted(subset, wanted, "right") - np.searchsorted(subset, wanted, "left")
        emitted += [uid] * int(count)
    return emitted


def test_resharder_finds_every_selected_uid(tmp_path: Path) -> None:
    uids = [uid_of(number) for number in range(60)]
    scores = _scores(tmp_path / "s", [*uids, *uids[:20]])
    selection = select(scores, where="itm >= 10", out=tmp_path / "selection")
    once = write_datacomp(selection, tmp_path / "once.npy")
    assert (once.uids, once.duplicates) == (60, 10)
    assert sorted(_reshard(np.load(tmp_path / "once.npy"), uids)) == sorted(uids)
    write_datacomp(selection, tmp_path / "all.npy", duplicates=True)
    assert sorted(_reshard(np.load(tmp_path / "all.npy"), uids)) == sorted(uids + uids[10:20])


def test_missing_and_malformed_uids_are_named(tmp_path: Path) -> None:
    scores = _scores(tmp_path / "s", [uid_of(0), uid_of(1), uid_of(2), None])
    selection = select(scores, where="itm >= 0", out=tmp_path / "selection")
    with pytest.raises(PairsiftError, match="sample 0003 of 1 has no uid"):
        write_datacomp(selection, tmp_path / "x.npy")
    assert not (tmp_path / "x.npy").exists()
    scores = _scores(tmp_path / "t", [uid_of(0), "g" * 32])
    selection = select(scores, where="itm >= 0", out=tmp_path / "selection")
    with pytest.raises(PairsiftError, match="gggg', which is not 32 hexadecimal digits"):
        write_datacomp(selection, tmp_path / "x.npy")


@pytest.mark.parametrize("wrong", [None, "", "0" * 31, "0" * 33, "0" * 31 + "g", "é" * 16])
def test_the_first_wrong_uid_is_told_by_its_place(wrong: str | None) -> None:
    with pytest.raises(ValueError, match=r"\A2\Z"):
        parse_uids(pa.array([uid_of(0), uid_of(1), wrong, wrong]))


@pytest.mark.skipif(duckdb.__version__ < "2", reason="its parameters of queries import pandas")
def test_selecting_and_writing_does_not_wait_for_pandas(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    scores = _scores(tmp_path / "s", [uid_of(number) for number in range(20)])
    done = subprocess.run(
        [
            sys.executable, "-c",
            "import sys\n"
            "from pairsift.select import select\n"
            "from pairsift.writers import write_datacomp\n"
            "for options in ({'where': 'itm > 3'}, {'top': 0.5, 'by': 'itm'}):\n"
            f"    chosen = select({scores!r}, **options, out={os.fspath(tmp_path / 'o')!r})\n"
            f"    write_datacomp(chosen, {os.fspath(tmp_path / 'x.npy')!r})\n"
            "sys.exit('pandas' in sys.modules)",
        ],
        check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert len(np.load(tmp_path / "x.npy")) == 10


def test_nothing_kept_is_an_empty_file(tmp_path: Path) -> None:
    selection = select(
        _scores(tmp_path / "s", [uid_of(0), uid_of(1)]), where="itm > 9", out=tmp_path / "sel"
    )
    write_datacomp(selection, tmp_path / "x.npy")
    assert np.load(tmp_path / "x.npy").shape == (0,)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**64 - 1)), max_size=40),
    st.integers(0, 5),
)
def test_any_uids_round_trip(pairs: list[tuple[int, int]], offset: int) -> None:
    """First halves of few values, so that the second ones decide."""
    text = pa.array([f"{high:016x}{low:016X}" for high, low in pairs], pa.string())
    high, low = parse_uids(text.slice(min(offset, len(text)))).T
    assert list(zip(high.tolist(), low.tolist(), strict=True)) == pairs[min(offset, len(text)) :]
    order = sort_uids(high, low)
    assert [(int(high[i]), int(low[i])) for i in order] == sorted(pairs[min(offset, len(text)) :])


def test_file_is_what_numpy_saves(tmp_path: Path) -> None:
    uids = [uid_of(number) for number in range(10)]
    selection = select(_scores(tmp_path / "s", uids), where="itm >= 0", out=tmp_path / "sel")
    write_datacomp(selection, tmp_path / "ours.npy")
    with tempfile.TemporaryFile() as file:
        np.save(file, np.array(sorted(map(_pair, uids)), dtype="u8,u8"))
        file.seek(0)
        assert (tmp_path / "ours.npy").read_bytes() == file.read()
