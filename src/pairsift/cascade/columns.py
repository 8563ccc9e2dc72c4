"""Names of the columns in a cascade's scores."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pairsift.errors import PairsiftError
from pairsift.scorers.base import Scorer

SCORER = "cascade"
VALUE = "cascade"
UNAUDITED = "cascade_unaudited"
STAGE = "cascade_stage"
AUDIT = "cascade_audit"

# Names of fields in the fingerprint.
AGREEMENT = "agreement"
READ_WHEN_OPEN = "read_when_open"
"""Columns that are null where a cheap stage decided the pair, separated by commas."""


def stored_names(scorers: Sequence[Scorer]) -> list[dict[str, str]]:
    """Return the name under which each scorer's columns are stored, for each scorer.

    It is the column's own name, unless a later scorer has a column with the same name: ``itm`` of a
    `pairsift-tiny` before another multimodal model is stored as ``pairsift_tiny_itm``.

    Raises:
        PairsiftError: two columns would still have the same name.
    """
    stored: list[dict[str, str]] = []
    later: set[str] = set()
    for scorer in reversed(scorers):
        own = [field.name for field in scorer.columns]
        prefix = re.sub(r"\W", "_", scorer.name)
        stored.insert(0, {name: f"{prefix}_{name}" if name in later else name for name in own})
        later.update(own)
    names = [name for columns in stored for name in columns.values()]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise PairsiftError(
            f"two scorers of the cascade have columns of the same name: {', '.join(repeated)}"
        )
    return stored


def seen_by(place: int, stored: Sequence[dict[str, str]]) -> dict[str, str]:
    """Return the columns that an expression of the scorer at `place` may use, with their stored
    names.

    The scorer's own columns have their own names; those of earlier scorers have their stored names.
    """
    before = {name: name for columns in stored[:place] for name in columns.values()}
    return before | stored[place]
