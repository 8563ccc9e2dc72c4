"""A small pool of the demo's photographs, scored, selected and written in every form.

    .venv/bin/python -m tests.outside.pool build/outside

The other scripts of this folder read what this one made. They run in environments of other
packages, where Pairsift is a command only: that of ``.venv``, or ``$PAIRSIFT``.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAIRSIFT = os.environ.get("PAIRSIFT", str(Path(__file__).parents[2] / ".venv/bin/pairsift"))
SHARDS = 3
FILES = {"datacomp": "subset.npy", "parquet": "kept.parquet"}  # the others are folders
AGAIN = 8  # samples that a last shard repeats, under other keys and the same uids


def pairsift(*arguments: object, exit_code: int = 0) -> str:
    """Run a command and return what it printed; end the script if its exit code is another one."""
    done = subprocess.run([PAIRSIFT, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != exit_code:
        raise SystemExit(f"pairsift {arguments[0]} ended with {done.returncode}: {done.stderr}")
    return done.stderr if exit_code else done.stdout


@dataclass(frozen=True)
class Made:
    """The pool and what was made of it, all below `folder`."""

    folder: Path

    @property
    def pool(self) -> Path:
        return self.folder / "pool"

    @property
    def best(self) -> Path:
        return self.folder / "best"

    def written(self, name: str) -> Path:
        """Return an output of ``pairsift write``."""
        return self.folder / "written" / name

    @property
    def told(self) -> dict[str, Any]:
        """What ``pairsift write --json`` printed."""
        told: dict[str, Any] = json.loads((self.folder / "written.json").read_text())
        return told


def make(folder: Path) -> Made:
    """Make a pool of tars with `sizes.json`, score it, select, and write all forms."""
    from pairsift.demo.shard import write_demo_shard  # with the photographs' packages

    made = Made(folder)
    samples = _samples(write_demo_shard(folder / "demo"))
    each = -(-len(samples) // SHARDS)
    shards = [samples[start : start + each] for start in range(0, len(samples), each)]
    shards.append([{f"again-{name}": body for name, body in s.items()} for s in samples[:AGAIN]])
    made.pool.mkdir()
    sizes = {}
    for index, shard in enumerate(shards):
        name = f"{index:08d}.tar"
        _write(made.pool / name, shard)
        sizes[name] = len(shard)
    (made.pool / "sizes.json").write_text(json.dumps(sizes))
    pairsift("score", made.pool, "--out", folder / "scores")
    pairsift("select", folder / "scores", "--top", 0.6, "--by", "itm", "--out", made.best)
    made.written("").mkdir()
    forms = ("webdataset", "buckets", "dataset", "datacomp", "parquet")
    told = pairsift(
        "write", made.best, "--samples-per-shard", 12, "--add-scores", "itm,odf",
        "--bucket-edges", "10,20", "--keep-duplicates", "--json",
        *(word for form in forms for word in (f"--{form}", made.written(FILES.get(form, form)))),
    )  # fmt: skip
    (folder / "written.json").write_text(told)
    return made


def sample_json(tar: Path) -> list[dict[str, Any]]:
    """Return the parsed ``.json`` member of each sample of a tar."""
    with tarfile.open(tar) as file:
        members = [member for member in file if member.name.endswith(".json")]
        return [json.load(file.extractfile(member) or io.BytesIO()) for member in members]


def versions(*packages: str) -> str:
    """Return the installed versions of packages, for the last line of a script."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)


def _samples(tar: Path) -> list[dict[str, bytes]]:
    """Return the members of each sample, by name."""
    grouped: dict[str, dict[str, bytes]] = {}
    with tarfile.open(tar) as file:
        for member in file:
            content = file.extractfile(member)
            if content is not None:
                grouped.setdefault(member.name.split(".")[0], {})[member.name] = content.read()
    return list(grouped.values())


def _write(path: Path, samples: list[dict[str, bytes]]) -> None:
    with tarfile.open(path, "w") as file:
        for sample in samples:
            for name, content in sample.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    target = Path(sys.argv[1]).absolute()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    print(f"{target}: {make(target).told}")
