"""Pairs that the scorer was not trained for are named in the report."""

from __future__ import annotations

from pathlib import Path

from pairsift.report import write_report
from pairsift.report.galleries import pick_galleries
from pairsift.report.scope import read_scope
from pairsift.report.table import open_rows
from pairsift.scorers.scope import Scope
from pairsift.select import select
from tests.report.conftest import Scored
from tests.report.test_build import Page
from tests.score_folders import score_folder, score_table


def _text(path: Path) -> str:
    return " ".join(" ".join(Page(path.read_text("utf-8")).texts).split())


def test_counts_of_marked_rows(marked: str, tmp_path: Path) -> None:
    with open_rows(marked) as rows:
        note = read_scope(rows)
        galleries = {gallery.title: gallery for gallery in pick_galleries(rows, 6)}
    assert note is not None
    assert note.marked is not None
    # Ten are in German, one of which could not be scored.
    assert [(part.pairs, part.kept) for part in note.marked] == [(9, 9)]
    assert [panel.label for panel in galleries["Out of scope"].panels] == ["language"]
    assert len(galleries["Out of scope"].panels[0].picks) == 6

    selection = select(marked, where="itm >= 50", out=tmp_path / "kept")
    write_report(marked, str(tmp_path / "kept"), str(tmp_path / "r.html"))
    with open_rows(marked, selection) as rows:
        note = read_scope(rows)
    assert note is not None
    assert note.marked is not None
    [part] = note.marked
    assert 0 < part.kept < part.pairs == 9
    text = _text(tmp_path / "r.html")
    assert "trained on photographs <of cats>. It was not trained for anything else" in text
    assert "Of the scored pairs, 9 (23.7%) are out of scope" in text
    assert f"the selection keeps {part.kept} of them" in text
    assert 'where "out_of_scope is null"' in text
    assert "de outside scope 9" in text
    assert "en outside" not in text
    assert "in scope 29" in text


def test_leaving_them_out_is_a_reason(marked: str, tmp_path: Path) -> None:
    select(marked, where="out_of_scope is null", out=tmp_path / "kept")
    write_report(marked, str(tmp_path / "kept"), str(tmp_path / "r.html"), gallery_size=0)
    text = _text(tmp_path / "r.html")
    assert "out_of_scope is null dropped by the selection" in text
    assert "the selection keeps 0 of them" in text


def test_a_run_without_marks_says_so(tmp_path: Path, scored: Scored) -> None:
    table = score_table("a", ["1", "2"], {"itm": [1.0, 2.0]})
    facts = {"a": {"scope": Scope(("en", "de")).to_json()}}
    write_report(score_folder(tmp_path / "s", {"a": table}, facts=facts), None, str(tmp_path / "r"))
    text = _text(tmp_path / "r")
    assert "The scorer reads captions in en, de. The rows are not marked:" in text
    with open_rows(scored.scores) as rows:
        assert read_scope(rows) is None
