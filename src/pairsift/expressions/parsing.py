"""Parse expressions in SQL's and Python's spellings with Python's grammar."""

from __future__ import annotations

import ast
import json
import keyword
import re
import unicodedata

from pairsift.errors import PairsiftError
from pairsift.expressions.terms import Columns

_MAX_LENGTH = 10_000
QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
# Any character beyond ASCII may be in a name.
_NAME = r"[A-Za-z_\x80-\U0010ffff][A-Za-z_0-9\x80-\U0010ffff]*"
_TOKEN = re.compile(rf"{QUOTED}|{_NAME}|<>|[<>=!]=|=|.", re.DOTALL)
_SPELLINGS = {"=": "==", "<>": "!=", "null": "None", "true": "True", "false": "False"}
_WORDS = {python: ours for ours, python in _SPELLINGS.items() if ours.isalpha()}
_LOWERED = {"and", "or", "not", "in", "is"}


def split_conditions(
    text: str, columns: Columns | None = None, option: str = "--where"
) -> list[str]:
    """Split at the outermost ``and``; each condition keeps the user's spelling.

    Args:
        columns: to recognise a text that is only a column's name.
    """
    if columns is not None and text.strip() in columns:
        return [text.strip()]
    body, source = parse(text, option)
    conditions = [source]
    if isinstance(body, ast.BoolOp) and isinstance(body.op, ast.And):
        conditions = [
            ast.get_source_segment(source, value) or ast.unparse(value) for value in body.values
        ]
    return [
        "".join(_WORDS.get(token, token) for token in _TOKEN.findall(condition))
        for condition in conditions
    ]


def parse(text: str, option: str, hint: str = "") -> tuple[ast.expr, str]:
    """Parse an expression.

    Args:
        option: name for error messages, e.g. ``--where``.
        hint: what the error message adds.

    Returns:
        its syntax tree, and the text in Python's spelling, to which the tree's positions refer.

    Raises:
        PairsiftError: it is not an expression.
    """
    if len(text) > _MAX_LENGTH:
        raise PairsiftError(f"{option} is longer than {_MAX_LENGTH} characters")
    tokens = []
    for token in _TOKEN.findall(" ".join(text.split("\n"))):
        lowered = token.lower()
        if lowered == "between":
            raise PairsiftError(f'{option} "{text}": write 20 <= itm <= 60 instead of BETWEEN')
        tokens.append(lowered if lowered in _LOWERED else _SPELLINGS.get(lowered, token))
    source = "".join(tokens).strip()
    try:
        return ast.parse(source, mode="eval").body, source
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "it cannot be parsed"
        raise PairsiftError(
            f'{option} "{text}" is not an expression ({reason}){hint}; write for example '
            '"itm >= 66 and odf >= 20", or "0.5*itm + 0.5*odf"'
        ) from error


def written_name(name: str) -> str:
    """Return a column's name as written in an expression: in double quotes if it needs them."""
    return name if is_bare(name) else json.dumps(name, ensure_ascii=False)


def is_bare(name: str) -> bool:
    """Return whether a column can be named without quotes."""
    return unicodedata.normalize("NFKC", name) == name and all(
        part.isidentifier()
        and not keyword.iskeyword(part)
        and part.lower() not in (_LOWERED | _SPELLINGS.keys() | {"between"})
        for part in name.split(".")
    )
