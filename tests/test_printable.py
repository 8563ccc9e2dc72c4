"""Untrusted text on a terminal."""

from __future__ import annotations

import pytest

from pairsift.printable import one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü 猫 🐱 [red]", "plain äöü 猫 🐱 [red]"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("over\rwritten", r"over\rwritten"),
        ("back\x08space\x7f", r"back\x08space\x7f"),
        ("c1 \x9b31m", r"c1 \x9b31m"),
        ("tpj.\u202egpj", r"tpj.\u202egpj"),
        ("lone \udc80", r"lone \udc80"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
    ],
)
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
    shown.encode()


def test_one_line_is_one() -> None:
    assert one_line("a\nb\tc\r\nd\u2028e") == r"a\nb\tc\r\nd\u2028e"
