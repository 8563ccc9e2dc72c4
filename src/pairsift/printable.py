"""Make untrusted text safe for a terminal: keys, file names and errors may move the cursor."""

from __future__ import annotations

import re

# Control characters, characters that change the writing direction, and lone surrogates, which
# cannot be encoded.
_UNSAFE = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
)
_CONTROL = re.compile(f"[{_UNSAFE}]")
_CONTROL_OR_LINE = re.compile(f"[\t\n{_UNSAFE}]")


def printable(text: str) -> str:
    r"""Return the text with control characters escaped (``\x1b``); line breaks and tabs stay."""
    return _CONTROL.sub(_escape, text)


def one_line(text: str) -> str:
    r"""Do the same, with line breaks and tabs escaped too (``\n``)."""
    return _CONTROL_OR_LINE.sub(_escape, text)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its class if it has no text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
