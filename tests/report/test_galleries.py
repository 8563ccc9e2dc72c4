"""Which pairs the galleries show."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pairsift.report.cuts import margin_sql, read_conditions, slider_steps
from pairsift.report.galleries import Gallery, pick_galleries
from pairsift.report.table import open_rows
from pairsift.select import select
from tests.report.conftest import Scored
from tests.score_folders import score_folder, score_table


def by_name(galleries: list[Gallery]) -> dict[str, Gallery]:
    return {gallery.name: gallery for gallery in galleries}


def test_extremes_and_random_draws(scored: Scored) -> None:
    with open_rows(scored.scores) as rows:
        found = by_name(pick_galleries(rows, 5))
    values = sorted(scored.itm.values())
    assert [p.scores["itm"] for p in found["best"].panels[0].picks] == values[:-6:-1]
    assert [p.scores["itm"] for p in found["worst"].panels[0].picks] == values[:5]
    assert {panel.label for panel in found["by-0"].panels} == {"en", "fr", "de<b>"}
    assert len(found["random-kept"].panels[0].picks) == 5
    assert "borderline" not in found


def test_borderline_hugs_the_cut(scored: Scored, tmp_path: Path) -> None:
    selection = select(scored.scores, where="itm >= 40 and odf >= 10", out=tmp_path / "kept")
    with open_rows(scored.scores, selection) as rows:
        conditions = read_conditions(selection.record, rows.columns)
        assert conditions is not None
        assert slider_steps(conditions, rows.columns) == [40, 10, 0]
        found = by_name(pick_galleries(rows, 4, margin_sql(conditions)))
    just_in, just_out = found["borderline"].panels

    def margin(scores: dict[str, float | None]) -> float:
        return min((scores["itm"] or 0) - 40, (scores["odf"] or 0) - 10)

    assert all(p.kept and margin(p.scores) >= 0 for p in just_in.picks)
    assert all(not p.kept and margin(p.scores) < 0 for p in just_out.picks)
    margins = [margin(p.scores) for p in just_in.picks]
    assert margins == sorted(margins)


def test_a_pair_without_a_number_is_not_the_highest_that_was_dropped(tmp_path: Path) -> None:
    table = score_table("a", list("klmn"), {"itm": [1.0, float("nan"), 2.0, 3.0]})
    scores = score_folder(tmp_path / "s", {"a": table})
    selection = select(scores, where="itm > 2", out=tmp_path / "kept")
    with open_rows(scores, selection) as rows:
        _, just_out = by_name(pick_galleries(rows, 3))["borderline"].panels
    assert [pick.pos for pick in just_out.picks] == [2, 0, 1]


def test_disagreeing_scorers(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    itm = rng.random(200) * 100
    clip = itm / 100
    clip[[3, 5]] = 2.0  # far above what itm says, if that is low
    itm[[3, 5]] = 0.5
    itm[[7, 9]] = 99.5
    clip[[7, 9]] = -1.0
    keys = [f"{n:03d}" for n in range(200)]
    scores = score_folder(
        tmp_path / "s",
        {"a": score_table("a", keys, {"itm": itm.tolist(), "clip_score": clip.tolist()})},
    )
    with open_rows(scores) as rows:
        gallery = by_name(pick_galleries(rows, 2))["disagreeing"]
    ours, theirs = gallery.panels
    assert {p.pos for p in ours.picks} == {7, 9}
    assert {p.pos for p in theirs.picks} == {3, 5}


def test_slices_show_best_worst_and_others(scored: Scored) -> None:
    with open_rows(scored.scores) as rows:
        gallery = by_name(pick_galleries(rows, 9))["by-0"]
        values = dict(rows.fetch("SELECT language, list(itm ORDER BY itm) FROM rows WHERE status "
                                 "= 'ok' GROUP BY language"))  # fmt: skip
    assert [panel.label for panel in gallery.panels] == sorted(
        values, key=lambda value: (-len(values[value]), value)
    )
    for panel in gallery.panels:
        assert len({pick.pos for pick in panel.picks}) == len(panel.picks) == 9
        itm = {note: [p.scores["itm"] for p in panel.picks if p.note == note]
               for note in ("best", "worst", "random")}  # fmt: skip
        assert itm["best"] == values[panel.label][:-4:-1]
        assert itm["worst"] == values[panel.label][:3]
        assert len(itm["random"]) == 3


def test_failed_pairs_by_reason(scored: Scored) -> None:
    with open_rows(scored.scores) as rows:
        gallery = by_name(pick_galleries(rows, 8))["failed"]
        (panel,) = gallery.panels
        keys = [row.key for row in rows.details(pick.pos for pick in panel.picks).values()]
    assert panel.label == "image_corrupt"
    assert len(panel.picks) == 4
    assert all(pick.failed and not pick.kept for pick in panel.picks)
    assert all(key.endswith("9") for key in keys)
