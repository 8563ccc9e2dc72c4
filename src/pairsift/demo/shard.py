"""Write the demo's pairs into a webdataset shard like those of a crawl."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

from pairsift.demo.photos import PHOTOS, captions
from pairsift.storage import Folder

KEY_SEPARATOR = "-"


def write_demo_shard(folder: Path) -> Path:
    """Write ``00000.tar`` and return its path: 48 pairs, a truncated image and an empty caption.

    Keys are ``<photo>-<kind of caption>``; uids are hashes of the keys, 32 hexadecimal digits as in
    DataComp.
    """
    target = Folder(str(folder))
    target.create()
    with target.atomic("00000.tar") as file, tarfile.open(fileobj=file, mode="w") as tar:
        for photo, kind, caption in captions():
            suffix = Path(photo.path).suffix
            _add(tar, f"{photo.name}{KEY_SEPARATOR}{kind}", suffix, photo.read(), caption)
        first = PHOTOS[0]
        broken = first.read()[: 2**14]
        _add(tar, f"broken{KEY_SEPARATOR}image", Path(first.path).suffix, broken, first.right)
        _add(tar, f"empty{KEY_SEPARATOR}caption", Path(first.path).suffix, first.read(), "  ")
    return folder / "00000.tar"


def _add(tar: tarfile.TarFile, key: str, suffix: str, image: bytes, caption: str) -> None:
    uid = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
    fields = {"uid": uid, "caption": caption, "key": key}
    for extension, content in (
        (suffix, image),
        (".txt", caption.encode()),
        (".json", json.dumps(fields).encode()),
    ):
        member = tarfile.TarInfo(f"{key}{extension}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
