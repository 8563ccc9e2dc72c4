"""Names that the scores of a cascade are known by, to those who make them and who read them."""

from __future__ import annotations

SCORER = "cascade"
VALUE = "cascade"
UNAUDITED = "cascade_unaudited"
STAGE = "cascade_stage"
AUDIT = "cascade_audit"

# Fields of the fingerprint.
AGREEMENT = "agreement"
READ_WHEN_OPEN = "read_when_open"
"""Columns that are null where a cheap stage settled the pair, by commas."""
