"""A pair as the members of a webdataset sample, for sources that are not tars."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pairsift.image_formats import image_extension
from pairsift.pair import Pair
from pairsift.sources.member_names import member_key


def pair_members(pair: Pair, scores: Mapping[str, Any] | None = None) -> list[tuple[str, bytes]]:
    """Return the names and contents of a sample's members: image, ``.txt``, ``.json``."""
    key = member_key(pair.key)
    image = pair.image or b""
    fields: dict[str, Any] = {**pair.metadata, "key": pair.key}
    if pair.uid is not None:
        fields["uid"] = pair.uid
    fields.update(scores or {})
    return [
        (f"{key}.{image_extension(image)}", image),
        (f"{key}.txt", (pair.caption or "").encode("utf-8", "surrogatepass")),
        (f"{key}.json", json.dumps(fields, default=str).encode()),
    ]
