"""Connected components of pairs of hashes in the database, which spills what memory cannot hold.

The alternating algorithm of Kiveris et al., "Connected Components in MapReduce and Beyond", SoCC
2014: a large-star links every larger neighbour of a node to the smallest of its neighbours, a
small-star every smaller one. Both keep the components and only shorten the paths in them; after
O(log^2 n) rounds each node is linked to the smallest node of its component.
"""

from __future__ import annotations

import duckdb

from pairsift.expressions.database import run_sql

STARS = "stars"


def connect(connection: duckdb.DuckDBPyConnection, pairs: str) -> int:
    """Make the table `STARS`: ``a``, a hash, and ``b``, the smallest hash of its component.

    The smallest one has no row of its own, nor has a hash without a neighbour.

    Args:
        pairs: a relation with columns ``a`` and ``b``, a > b.

    Returns:
        the number of rounds.
    """
    run_sql(
        connection, f"CREATE OR REPLACE TEMP TABLE {STARS} AS SELECT DISTINCT a, b FROM {pairs}"
    )
    rounds = 0
    while not _is_forest_of_stars(connection):
        _large_star(connection)
        _small_star(connection)
        rounds += 1
    return rounds


def _is_forest_of_stars(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether every hash has one link, to a hash that has none."""
    ((links, hashes),) = run_sql(
        connection, f"SELECT count(*), count(DISTINCT a) FROM {STARS}"
    ).fetchall()
    if links > hashes:
        return False
    deeper = f"SELECT 1 FROM {STARS} SEMI JOIN (SELECT a AS b FROM {STARS}) USING (b) LIMIT 1"
    return not run_sql(connection, deeper).fetchall()


def _large_star(connection: duckdb.DuckDBPyConnection) -> None:
    both = f"(SELECT a AS u, b AS v FROM {STARS} UNION ALL SELECT b, a FROM {STARS})"
    _replace(
        connection,
        f"WITH least AS (SELECT u, least(u, min(v)) AS m FROM {both} GROUP BY u) "
        f"SELECT DISTINCT v AS a, m AS b FROM {both} JOIN least USING (u) WHERE v > u",
    )


def _small_star(connection: duckdb.DuckDBPyConnection) -> None:
    _replace(
        connection,
        f"WITH least AS (SELECT a AS u, min(b) AS m FROM {STARS} GROUP BY a) "
        f"SELECT b AS a, m AS b FROM {STARS} JOIN least ON a = u WHERE b <> m "
        "UNION SELECT u, m FROM least",
    )


def _replace(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    run_sql(connection, f"CREATE OR REPLACE TEMP TABLE linked AS {sql}")
    run_sql(connection, f"DROP TABLE {STARS}")
    run_sql(connection, f"ALTER TABLE linked RENAME TO {STARS}")
