"""Names of a webdataset sample's members: the key, a dot, and a suffix for the kind of member."""

from __future__ import annotations

from typing import AnyStr


def split_member(name: AnyStr) -> tuple[AnyStr, AnyStr] | None:
    """Return key and suffix of a member: the key ends at the first dot of the last part of its
    path.

    Returns:
        None for a name without a dot there, or with nothing before it: it belongs to no sample.
    """
    slash, dot = (b"/", b".") if isinstance(name, bytes) else ("/", ".")
    start = name.rfind(slash) + 1
    end = name.find(dot, start)
    return (name[:end], name[end + 1 :]) if end > start else None


def member_key(key: str) -> str:
    """Return a key without dots in its last part, where a dot would end the key in a tar.

    An empty last part becomes ``_``, and leading slashes are removed, because readers skip such
    names. So does a zero byte, where a name ends in a tar, and a part ``..``, which would lead out
    of the folder into which a tar is unpacked.
    """
    *folders, base = key.replace("\0", "_").lstrip("/").split("/")
    folders = ["_" if part == ".." else part for part in folders]
    return "/".join([*folders, base.replace(".", "_") or "_"])
