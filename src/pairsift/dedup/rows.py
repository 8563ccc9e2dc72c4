"""The rows of score tables by their hashes, as whole numbers that the database compares."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from pairsift.errors import PairsiftError
from pairsift.expressions.database import run_sql, score_columns
from pairsift.hashing import CAPTION, PHASH, SHA, VERSION
from pairsift.scorers.caption_index import CAPTION_INDEX
from pairsift.select.tables import ScoreTables, find_score_tables

HASHED = "hashed"


def open_hashed(
    connection: duckdb.DuckDBPyConnection, scores: str | Sequence[str], on: str
) -> ScoreTables:
    """Make the view `HASHED` of all rows that are ok.

    Its columns: ``pos``, ``phash`` (UBIGINT, null without one), ``sha_high``, ``sha_low``,
    ``caption_high``, ``caption_low``: the first 128 bits of either hash.

    Args:
        scores: one score folder or several.
        on: what copies have in common, see :func:`pairsift.dedup.dedup`.

    Raises:
        PairsiftError: the tables have no hashes, or those of another version.
    """
    tables = find_score_tables(connection, scores)
    run_sql(connection, f"CREATE OR REPLACE VIEW scored AS {tables.scan_sql()}")
    there = score_columns(connection, "scored")
    shown = ", ".join(tables.folders)
    if not {SHA, PHASH, CAPTION} <= there.keys():
        raise PairsiftError(
            f"{shown} has no hashes; score with --hashes, or beside these scores: "
            "`pairsift score SHARDS --scorer hashes --out OTHER`, and give OTHER here"
        )
    if CAPTION_INDEX in there and on in ("caption", "both"):
        raise PairsiftError(
            f"{shown} has several captions of each sample, which can be grouped by image alone: "
            "give --on image"
        )
    made = tables.fingerprint.get("hashes")
    if made != VERSION:
        raise PairsiftError(
            f"{shown} has other hashes ({made}) than this version of Pairsift compares "
            f"({VERSION}); score with --scorer hashes again"
        )
    run_sql(
        connection,
        f"CREATE OR REPLACE VIEW {HASHED} AS SELECT pos, {number(PHASH)} AS phash, "
        f"{number(SHA)} AS sha_high, {number(SHA, 17)} AS sha_low, "
        f"{number(CAPTION)} AS caption_high, {number(CAPTION, 17)} AS caption_low "
        "FROM scored WHERE status = 'ok'",
    )
    return tables


def number(column: str, start: int = 1) -> str:
    """Return SQL of 16 hexadecimal digits of a column as UBIGINT."""
    return f"('0x' || substr({column}, {start}, 16))::UBIGINT"
