"""Fetch the photographs of `photographs.csv.gz` from their public repositories into one tar.

    python training/photographs.py --repositories FOLDER --out photographs.tar

A repository that FOLDER lacks is fetched with git, at its commit alone. The tar's members are named
by the column `image_file`; they are JPEG, with a shorter side of 256 pixels at most. A photograph
that its repository does not have is named and left out; more than `MISSING` of them end the run.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps

FILE = Path(__file__).parent / "photographs.csv.gz"
"""One row a photograph: repository, commit, path, and captions by a model that saw it."""
JUDGED = FILE.with_name("photographs_judged.csv.gz")
"""How true such a model finds captions, mostly other pictures', of these photographs: 0 to 100."""
SIDE = 256
QUALITY = 88
MISSING = 0.02


def rows(table: Path) -> Iterator[dict[str, str]]:
    with gzip.open(table, "rt", newline="", encoding="utf-8") as lines:
        yield from csv.DictReader(lines)


def fetched(folder: Path, repository: str, commit: str) -> Path:
    """Return the git directory of a repository, fetching its commit if it is not there yet."""
    place = folder / repository.replace("/", "+")
    place.mkdir(parents=True, exist_ok=True)
    git = ["git", "-C", str(place)]
    if not (place / "HEAD").exists():
        subprocess.run([*git, "init", "--bare", "--quiet"], check=True)
    there = [*git, "cat-file", "-e", f"{commit}^{{commit}}"]
    if subprocess.run(there, stderr=subprocess.DEVNULL, check=False).returncode:
        address = f"https://github.com/{repository}"
        subprocess.run([*git, "fetch", "--quiet", "--depth", "1", address, commit], check=True)
    return place


def shrunk(image: bytes) -> bytes:
    """Return the photograph as JPEG, upright, its shorter side `SIDE` pixels at most."""
    photograph = Image.open(io.BytesIO(image))
    photograph.draft("RGB", (2 * SIDE, 2 * SIDE))  # a large JPEG need not be decoded in full
    upright = ImageOps.exif_transpose(photograph).convert("RGB")
    scale = SIDE / min(upright.size)
    if scale < 1:
        size = tuple(round(side * scale) for side in upright.size)
        upright = upright.resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    upright.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("repositories", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    part = args.out.with_name(args.out.name + ".part")
    table = list(rows(FILE))
    wanted = dict.fromkeys((row["repository"], row["commit"]) for row in table)
    places = {key: fetched(args.repositories, *key) for key in wanted}
    missing = 0
    with tarfile.open(part, "w") as tar:
        for row in table:
            place = places[row["repository"], row["commit"]]
            name = f"{row['commit']}:{row['source_path']}"
            show = ["git", "-C", str(place), "cat-file", "blob", name]
            blob = subprocess.run(show, capture_output=True, check=False)
            if blob.returncode:
                print(f"left out {row['repository']} {name}: {blob.stderr.decode().strip()}")
                missing += 1
                continue
            image = shrunk(blob.stdout)
            member = tarfile.TarInfo(row["image_file"])
            member.size = len(image)
            tar.addfile(member, io.BytesIO(image))
    print(f"{len(table) - missing} of {len(table)} photographs", flush=True)
    if missing > MISSING * len(table):
        raise SystemExit(f"{missing} photographs are missing; {part} is kept to look at")
    part.replace(args.out)


if __name__ == "__main__":
    main()
