"""Names that the scores of a cascade are known by, to those who make them and who read them."""

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

# Fields of the fingerprint.
AGREEMENT = "agreement"
READ_WHEN_OPEN = "read_when_open"
"""Columns that are null where a cheap stage settled the pair, by commas."""


def stored_names(scorers: Sequence[Scorer]) -> list[dict[str, str]]:
    """Under which name each scorer's columns are stored, for each scorer.

    Their own, but where a later one has a column of that name: ``itm`` of a `pairsift-tiny` that
    comes before another multimodal model is ``pairsift_tiny_itm``.

    Raises:
        PairsiftError: two columns would have the same name all the same.
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
    """Columns that the value of the scorer at `place` may be made of, and as what they are stored.

    Its own by their own names, those of scorers before it as they are stored.
    """
    before = {name: name for columns in stored[:place] for name in columns.values()}
    return before | stored[place]
