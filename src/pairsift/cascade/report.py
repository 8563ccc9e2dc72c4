"""Files beside a cascade's scores: its plan, and its agreement with full scoring."""

from __future__ import annotations

import json
from typing import Any

from pairsift.cascade.columns import VALUE
from pairsift.cascade.plan import Plan
from pairsift.scores import TABLE_SUFFIX, read_shard_names, without_suffix
from pairsift.select.query import select
from pairsift.storage import Folder

NAME = "_cascade.json"


def write_agreement(scores: str, plan: Plan) -> dict[str, Any] | None:
    """Measure the planned cut on the audited rows, and write the result into the score folder.

    Returns:
        :meth:`pairsift.select.agreement.Agreement.to_json`; None, and nothing is written, while
        tables of the run are missing.
    """
    folder = Folder(scores)
    if read_shard_names(folder) - without_suffix(folder.names(), TABLE_SUFFIX):
        return None
    if plan.keep is not None:
        selection = select(scores, top=plan.keep, by=VALUE)
    else:
        selection = select(scores, where=f"{VALUE} >= {plan.at!r}")
    content = {
        "cut": plan.cut,
        "rows": selection.record.rows,
        "kept": selection.kept,
        "agreement": selection.record.agreement,
        "plan": plan.to_json(),
    }
    folder.write(NAME, (json.dumps(content, indent=1) + "\n").encode())
    return selection.record.agreement
