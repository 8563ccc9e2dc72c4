"""Where the samples of kept rows lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pairsift.errors import PairsiftError
from pairsift.select.record import KeptShard, Selection
from pairsift.sources.base import Shard


def find_source(
    shard: KeptShard, facts: Mapping[str, Any], selection: Selection, root: str | None
) -> Shard:
    """The source shard that a score table was made from.

    Args:
        facts: of the table, see :meth:`KeptShard.facts`.
        root: where the source shards lie now, if they were moved since they were scored.

    Raises:
        PairsiftError: `root` is given, but the shard did not lie below the old one.
    """
    url = str(facts["source"])
    if root is not None:
        roots = {entry["scores"]: entry["root"] for entry in selection.record.inputs}
        old = roots[shard.scores]
        if old is None or not url.startswith(old):
            raise PairsiftError(
                f"{url} does not lie below {old}, so --root cannot say where it is now"
            )
        url = root.rstrip("/") + url[len(old.rstrip("/")) :]
    options = tuple(sorted((facts.get("source_options") or {}).items()))
    return Shard(shard.shard, url, facts["source_kind"], facts.get("source_size"), options)
