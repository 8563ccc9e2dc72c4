"""What the `pairsift evaluate` commands print."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pairsift.cli.evaluation import print_table, show_result, split, split_all


class Result:
    def to_json(self) -> dict[str, Any]:
        return {"pairs": 3}

    def notes(self) -> list[str]:
        return ["2 of 3 pairs\x1b[2J count"]


@pytest.mark.parametrize(
    ("text", "names"), [(None, []), ("", []), (" a, b ,,c", ["a", "b", "c"]), (",", [])]
)
def test_names_are_split_at_commas(text: str | None, names: list[str]) -> None:
    assert split(text) == names


def test_an_option_may_be_repeated_and_joined() -> None:
    assert split_all(["a,b", "c", ""]) == ["a", "b", "c"]


def test_a_cell_is_never_markup_nor_wrapped_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["[b]name[/b]", "n"], [["[/a]x" + 150 * "y", "12"], ["\x1b[31mred", "3"]])
    out = capsys.readouterr().out
    assert "[b]name[/b]" in out
    assert "[/a]x" + 150 * "y" in out
    assert "\x1b" not in out
    header, first, second = (line for line in out.splitlines() if line.strip(" ─"))
    assert header.rstrip().endswith("n")
    assert len(first.rstrip()) == len(second.rstrip())  # numbers end in one column


def test_a_result_is_tables_and_notes_or_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    tables = {"Ratings": (["column", "tau"], [["itm", "0.5"]])}
    show_result(Result(), tables, "out", as_json=False)
    out = capsys.readouterr().out
    assert out.index("Ratings") < out.index("itm") < out.index("2 of 3") < out.index("to out")
    assert "\x1b" not in out
    show_result(Result(), tables, "out", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"pairs": 3}
