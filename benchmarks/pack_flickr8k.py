"""Pack one split of Flickr8k as webdataset shards, one pair per image and caption.

    python benchmarks/pack_flickr8k.py --data DATA/flickr8k --split dev --shards 10 --out pool

Keys are ``<image>-<caption number>``, uids the first 32 digits of the key's SHA-256, so that the
same pair always has the same uid. The images may be used but not redistributed: do not put the
shards into a repository.
"""

from __future__ import annotations

import argparse
import hashlib
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import webdataset as wds


def pack(data: Path, split: str, shards: int, out: Path, captions_per_image: int = 5) -> int:
    """Write the shards and return the number of pairs; images of neighbours stay together."""
    captions = pq.read_table(data / "captions_english.parquet", filters=[("split", "==", split)])
    rows = captions.sort_by([("image_file", "ascending"), ("caption_number", "ascending")])
    pairs = [
        row
        for row in rows.to_pylist()
        if row["images_tar"] and row["caption_number"] < captions_per_image
    ]
    images = _read_images(data, {row["images_tar"] for row in pairs})
    out.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        part = pairs[len(pairs) * shard // shards : len(pairs) * (shard + 1) // shards]
        with wds.TarWriter(str(out / f"{shard:05d}.tar"), mtime=0) as tar:
            for row in part:
                key = f"{Path(row['image_file']).stem}-{row['caption_number']}"
                uid = hashlib.sha256(key.encode()).hexdigest()[:32]
                tar.write(
                    {
                        "__key__": key,
                        "jpg": images[row["image_file"]],
                        "txt": row["caption_english"],
                        "json": {"uid": uid, "caption": row["caption_english"]},
                    }
                )
    return len(pairs)


def _read_images(data: Path, tars: set[str]) -> dict[str, bytes]:
    images = {}
    for name in sorted(tars):
        with tarfile.open(data / name) as tar:
            for member in tar:
                content = tar.extractfile(member)
                if content is not None:
                    images[member.name] = content.read()
    return images


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", choices=("train", "dev", "test"), default="dev")
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--captions", type=int, default=5, help="captions of each image, 1 to 5")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    count = pack(options.data, options.split, options.shards, options.out, options.captions)
    print(f"{count} pairs in {options.shards} shards in {options.out}")
