"""Untrusted text on a terminal: keys, file names and errors may hold what moves its cursor."""

from __future__ import annotations

import re

# Control characters, and those that turn the direction of writing; lone surrogates, which no
# encoding can write.
_UNSAFE = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
)
_CONTROL = re.compile(f"[{_UNSAFE}]")
_CONTROL_OR_LINE = re.compile(f"[\t\n{_UNSAFE}]")


def printable(text: str) -> str:
    r"""The text with control characters written out (``\x1b``); lines and tabs stay."""
    return _CONTROL.sub(_escape, text)


def one_line(text: str) -> str:
    r"""The same, with line breaks and tabs written out too (``\n``)."""
    return _CONTROL_OR_LINE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
