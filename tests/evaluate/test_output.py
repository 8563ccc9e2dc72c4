"""The files of an evaluation."""

from __future__ import annotations

import json
from pathlib import Path

from pairsift.evaluate.output import markdown_page, markdown_table, write_evaluation


def test_tables_survive_names_with_bars() -> None:
    lines = markdown_table((["scorer", "tau"], [["a|b", "0.5"]]))
    assert lines == ["| scorer | tau |", "| --- | ---: |", "| a\\|b | 0.5 |"]
    assert markdown_table((["a", "b"], []), left=2)[1] == "| --- | --- |"


def test_a_page_leaves_out_empty_parts() -> None:
    assert markdown_page("Title", ["one", "two"], [], ["three"]) == "# Title\n\none\ntwo\n\nthree\n"


def test_all_files_are_named(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    result = {"tau": 0.5, "names": ["é"]}
    assert write_evaluation(str(out), result, "# é\n", {"plot.svg": b"<svg/>"}) == [
        "result.json", "table.md", "plot.svg",
    ]  # fmt: skip
    assert json.loads((out / "result.json").read_text()) == result
    assert (out / "table.md").read_text("utf-8") == "# é\n"
    assert (out / "plot.svg").read_bytes() == b"<svg/>"
