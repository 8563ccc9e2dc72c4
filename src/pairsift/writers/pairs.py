"""A pair as the members of a webdataset sample, for sources that are not tars."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pairsift.image_formats import find_format
from pairsift.pair import Pair


def image_extension(image: bytes) -> str:
    """Return the extension of an encoded image from its first bytes; ``jpg`` if the format is
    unknown.
    """
    found = find_format(image)
    return found.suffixes[0] if found else "jpg"


def member_key(key: str) -> str:
    """Return the key without dots in its last part, where a dot would end the key in a tar.

    An empty last part becomes ``_``, because readers skip names that begin with a dot.
    """
    folder, slash, base = key.rpartition("/")
    folder, base = folder.lstrip("/"), base.replace(".", "_") or "_"
    return f"{folder}{slash if folder else ''}{base}"


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
