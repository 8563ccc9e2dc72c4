"""Output that several commands share, and the exit code of a scoring run."""

from __future__ import annotations

import json

import pytest
import typer

from pairsift.cli.common import emit, end_scoring, table, tell, warn
from pairsift.engines.base import RunSummary


def _summary(**facts: object) -> RunSummary:
    return RunSummary("a b", **({"shards": 2, "skipped": 0} | facts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("summary", "code", "words"),
    [
        (_summary(), 0, ""),
        (_summary(rows=3, statuses={"ok": 2, "image_missing": 1}), 0, ""),
        (
            _summary(unreadable={"x": "no tar"}, rows=1, statuses={"ok": 1}),
            3,
            "pairsift: 1 shards could not be read and have no table; first: x: no tar "
            "(the same command tries them again)\n",
        ),
        (
            _summary(unreadable={"x": "no tar", "y": "gone"}),
            3,
            "pairsift: none of the 2 shards could be read and have no table; first: x: no tar "
            "(the same command tries them again)\n",
        ),
        (
            _summary(rows=3, statuses={"image_missing": 3}, first_failures=["0/k: image_missing"]),
            4,
            "first: 0/k: image_missing. To see them: pairsift status 'a b' --failures\n",
        ),
        (
            _summary(unreadable={"x": "no tar"}, rows=3, statuses={"image_missing": 3}),
            4,
            "no pair was scored: all 3 failed with image_missing",
        ),
    ],
)
def test_a_run_ends_with_its_code_and_a_sentence(
    summary: RunSummary, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if code:
        with pytest.raises(typer.Exit) as stop:
            end_scoring(summary)
        assert stop.value.exit_code == code
    else:
        end_scoring(summary)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert words in printed.err
    assert bool(printed.err) == bool(code)


def test_a_result_is_json_or_text(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"a": 1, "path": "é", "other": {1}}, True, "not this")
    assert json.loads(capsys.readouterr().out) == {"a": 1, "path": "é", "other": "{1}"}
    emit({"a": 1}, False, "one\ntwo \x1b[31mred")
    printed = capsys.readouterr().out
    assert printed.startswith("one\ntwo ")
    assert "\x1b" not in printed


def test_warnings_are_one_line_each_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    warn("a\nb")
    tell(["c", "d\x07"])
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("pairsift: ") for line in lines)
    assert "\x07" not in printed.err


def test_columns_are_aligned() -> None:
    assert table([("a", "one"), ("long", "two"), ("", "")]) == "a     one\nlong  two\n      "
    assert table([]) == ""
