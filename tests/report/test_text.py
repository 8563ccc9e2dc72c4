from __future__ import annotations

import json

import pytest

from pairsift.report.text import printable, script_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, ""),
        ("plain\n\ttext  here", "plain text here"),
        ("nul \0 bell \x07", "nul \ufffd bell \ufffd"),
        ("\u202eabc", "\ufffdabc"),
        ("half \ud83d", "half \ufffd"),
        ("<b>", "<b>"),
        ("كلب 犬 🐕", "كلب 犬 🐕"),
    ],
)
def test_printable(text: str | None, shown: str) -> None:
    assert printable(text) == shown


def test_printable_cuts_long_text_without_reading_it_all() -> None:
    assert printable("word " * 1_000_000, 12) == "word word wo…"
    assert printable("   " * 1000 + "end", 10) == "…"


def test_script_json_holds_no_markup_and_reads_back() -> None:
    value = {"name": "</script><!-- & \u2028\u2029 \ud800"}
    text = script_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value
