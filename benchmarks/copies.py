"""What is found of each kind of copy, and how fast, beside imagehash and imagededup.

    python benchmarks/copies.py --images A.tar B.tar --originals 10000 --copies 1000 \
        --peers PEERS/bin/python --folder F

Takes `--originals` images, and for each kind of copy `--copies` copies of them, drawn at random. A
pool is the originals and the copies of one kind. ``pairsift`` is the steps of its commands,
``score --scorer hashes`` and ``dedup``. The peers hash the same files in a Python of their own with
both installed, and all pairs within their distance are counted: imagededup at its default of 10
bits, imagehash, which has none, at 4.

*Recall*: copies that are of one group with their original, or for the peers within the distance.
*Precision*: of all pairs that are so found, those of one original. Speed: ms an image, from
file to hash, one thread, the tools in turns, the median of the rounds.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import tarfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageOps

from pairsift import load_scorer
from pairsift.dedup import dedup
from pairsift.engines.local import score_shards
from pairsift.hashing import perceptual_hash
from pairsift.images import decode_image
from pairsift.sources import find_shards

SECONDS_OF_ROUND = 400
ROUNDS = 5
IMAGEHASH_DISTANCE, IMAGEDEDUP_DISTANCE = 4, 10

Edit = Callable[[Image.Image, np.random.Generator], Image.Image]


def _scaled(factor: float) -> Edit:
    return lambda image, rng: image.resize(
        (round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC
    )


def _cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    left, top = rng.uniform(0, 0.03, 2) * image.size
    size = 0.97 * image.width, 0.97 * image.height
    return image.crop((int(left), int(top), int(left + size[0]), int(top + size[1])))


def _written_on(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    copy = image.copy()
    place = 0.05 * image.width, 0.9 * image.height
    ImageDraw.Draw(copy).text(place, "(c) a photographer", fill="white")
    return copy


def _same(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image


# Kind: the edit, and the JPEG quality it is saved with.
KINDS: dict[str, tuple[Edit, int]] = {
    "JPEG, quality 90": (_same, 90),
    "JPEG, quality 70": (_same, 70),
    "JPEG, quality 50": (_same, 50),
    "JPEG, quality 30": (_same, 30),
    "resized by 0.5": (_scaled(0.5), 85),
    "resized by 0.75": (_scaled(0.75), 85),
    "resized by 1.5": (_scaled(1.5), 85),
    "resized by 2": (_scaled(2), 85),
    "cropped by 3 %": (_cropped, 85),
    "grey": (lambda image, rng: image.convert("L"), 85),
    "small text": (_written_on, 85),
    "border of 2 %": (lambda im, rng: ImageOps.expand(im, round(0.02 * im.width), "black"), 85),
    "mirrored": (lambda image, rng: ImageOps.mirror(image), 85),
}

# Hashes the files that it is told, a line each, in the peers' Python.
_PEER = """
import json, sys, time
from pathlib import Path
name, rounds = sys.argv[1], int(sys.argv[2])
paths = sys.stdin.read().split("\\n")
if name == "imagehash":
    import imagehash
    from PIL import Image
    def hashed(path): return str(imagehash.phash(Image.open(path)))
else:
    from imagededup.methods import PHash
    method = PHash(verbose=False)
    def hashed(path): return method.encode_image(image_file=path)
hashed(paths[0])
seconds = []
for _ in range(rounds):
    begin = time.perf_counter()
    found = [hashed(path) for path in paths]
    seconds.append(time.perf_counter() - begin)
print(json.dumps({"hashes": found, "seconds": seconds}))
"""


def peer_hashes(
    python: str, name: str, paths: Sequence[Path], rounds: int = 1
) -> tuple[np.ndarray, list[float]]:
    """Hashes of files as uint64, and seconds of each round."""
    done = subprocess.run(
        [python, "-c", _PEER, name, str(rounds)],
        input="\n".join(map(str, paths)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    return np.array([int(text, 16) for text in found["hashes"]], np.uint64), found["seconds"]


def read_images(tars: Sequence[str], count: int) -> list[bytes]:
    def members() -> Any:
        for path in tars:
            with tarfile.open(path) as tar:
                for member in tar:
                    if member.isfile():
                        yield tar.extractfile(member).read()  # type: ignore[union-attr]

    return list(islice(members(), count))


def jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def write_shard(path: Path, images: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in images.items():
            for suffix, data in (("jpg", content), ("txt", b"a photograph")):
                header = tarfile.TarInfo(f"{name}.{suffix}")
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))


def score(name: str, folder: Path, images: dict[str, bytes]) -> str:
    write_shard(folder / f"pool-{name}" / f"{name}.tar", images)
    scores = str(folder / f"scores-{name}")
    shards = find_shards(str(folder / f"pool-{name}"))
    score_shards(shards, load_scorer("hashes"), scores, workers=0)
    return scores


def rates(pairs: set[tuple[str, str]], copies: Sequence[str]) -> tuple[float, float, int]:
    """Recall, precision and number of pairs. Names are o-NUMBER and c-NUMBER of the original."""
    right = sum(a[2:] == b[2:] for a, b in pairs)
    found = {b for a, b in pairs if a[0] == "o" and a[2:] == b[2:]}
    return len(found) / len(copies), right / max(1, len(pairs)), len(pairs)


def grouped_pairs(folder: str) -> set[tuple[str, str]]:
    groups: dict[str, list[str]] = {}
    for row in pq.read_table(f"{folder}/groups.parquet").to_pylist():
        groups.setdefault(row["group"], []).append(row["key"])
    return {
        (min(a, b, key=lambda n: (n[0] != "o", n)), max(a, b, key=lambda n: (n[0] != "o", n)))
        for keys in groups.values()
        for place, a in enumerate(keys)
        for b in keys[:place]
    }


def near(names: Sequence[str], hashes: np.ndarray, distance: int) -> set[tuple[str, str]]:
    found = set()
    for place in range(1, len(hashes)):
        close = np.bitwise_count(hashes[:place] ^ hashes[place]) <= distance
        found |= {(names[other], names[place]) for other in np.flatnonzero(close).tolist()}
    return found


def ours_seconds(contents: Sequence[bytes]) -> float:
    begin = time.perf_counter()
    for content in contents:
        perceptual_hash(decode_image(content)[0])
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", nargs="+", required=True)
    parser.add_argument("--originals", type=int, default=10_000)
    parser.add_argument("--copies", type=int, default=1_000)
    parser.add_argument("--peers", help="a Python with imagehash and imagededup")
    parser.add_argument("--distances", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    contents = read_images(asked.images, asked.originals)
    originals = {f"o-{place:05}": content for place, content in enumerate(contents)}
    base = score("originals", asked.folder, originals)
    files = asked.folder / "files"
    files.mkdir(exist_ok=True)
    for name, content in originals.items():
        (files / f"{name}.jpg").write_bytes(content)
    peers = {"imagehash": IMAGEHASH_DISTANCE, "imagededup": IMAGEDEDUP_DISTANCE}
    base_of = {
        peer: peer_hashes(asked.peers, peer, [files / f"{name}.jpg" for name in originals])[0]
        for peer in peers
        if asked.peers
    }
    rows = []
    for kind, (edit, quality) in KINDS.items():
        copies = {}
        for place in np.sort(rng.permutation(len(contents))[: asked.copies]).tolist():
            image, _ = decode_image(contents[place])
            copies[f"c-{place:05}"] = jpeg(edit(image, rng), quality)
        name = kind.replace(" ", "-").replace(",", "").replace("%", "pc")
        made = score(name, asked.folder, copies)
        row: dict[str, Any] = {"kind": kind}
        for distance in asked.distances:
            out = str(asked.folder / f"copies-{name}-{distance}")
            dedup([base, made], out, distance=distance)
            row[f"pairsift, {distance} bits"] = rates(grouped_pairs(out), list(copies))
        paths = []
        for copy, content in copies.items():
            paths.append(files / f"{copy}.jpg")
            paths[-1].write_bytes(content)
        for peer, hashes in base_of.items():
            theirs = peer_hashes(asked.peers, peer, paths)[0]
            pairs = near([*originals, *copies], np.concatenate([hashes, theirs]), peers[peer])
            row[f"{peer}, {peers[peer]} bits"] = rates(pairs, list(copies))
        rows.append(row)
        print(json.dumps(row), flush=True)
    sample = list(originals)[:SECONDS_OF_ROUND]
    seconds: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        seconds.setdefault("pairsift", []).append(ours_seconds([originals[n] for n in sample]))
        for peer in base_of:
            paths = [files / f"{name}.jpg" for name in sample]
            seconds.setdefault(peer, []).extend(peer_hashes(asked.peers, peer, paths)[1])
    for tool, taken in seconds.items():
        told = [1000 * value / len(sample) for value in taken]
        print(f"{tool}: {statistics.median(told):.2f} ms an image ({min(told):.2f} to "
              f"{max(told):.2f})")  # fmt: skip
    names = [name for name in rows[0] if name != "kind"]
    print("| | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    for row in rows:
        cells = [f"{100 * row[n][0]:.1f} / {100 * row[n][1]:.1f}" for n in names]
        print(f"| {row['kind']} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
