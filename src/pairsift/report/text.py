"""Make text from the data safe to show in a page. The template escapes it."""

from __future__ import annotations

import json
import re

from markupsafe import Markup

# C0 and C1 controls, half surrogates and non-characters have no meaning in HTML.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
# Marks that reorder the text after them. <bdi> limits them to the caption; inside it they can
# still hide text, so they are made visible.
_REORDERING = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")
REPLACEMENT = "\ufffd"


def printable(text: str | None, limit: int = 500) -> str:
    """Return text with plain white space and visible controls, at most `limit` characters."""
    if not text:
        return ""
    cut = text[: 2 * limit]
    line = " ".join(_REORDERING.sub(REPLACEMENT, _UNPRINTABLE.sub(REPLACEMENT, cut)).split())
    if len(line) > limit or len(cut) < len(text):
        return line[:limit].rstrip() + "…"
    return line


def script_json(value: object) -> Markup:
    """Return JSON that can be inside a ``<script>`` element: no markup, no line separators."""
    plain = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ASCII only
    escaped = plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(escaped)
