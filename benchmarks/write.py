"""How fast kept samples are copied into new webdataset shards.

    python benchmarks/write.py --gigabytes 5 --keep 0.3 --folder /scratch/pairsift-write

Makes tars of samples with random images (once; they are kept for the next run) and random scores,
selects, and then measures in one run, each into its own folder on the same disk:

- ``cp``: copy a file of as many bytes as are kept, and flush it to disk;
- ``tarfile``: plain Python, which reads every sample and adds the kept ones;
- ``pairsift``: :func:`pairsift.writers.write_webdataset`, flushes included.

With ``--cache cold`` each method starts with an empty page cache, if the machine allows dropping
it (root): then ours reads all of the pool from disk, and ``cp`` only the kept bytes. With
``--cache warm`` all files were read before.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pairsift.select import Selection

# Writing processes import this file, so what they do not need is imported where it is used.
SAMPLES_PER_TAR = 10_000
IMAGE_BYTES = 30_000


def make_pool(folder: Path, gigabytes: float, image_bytes: int) -> str:
    """Make tars below folder/data and their scores in folder/scores, once."""
    import numpy as np
    import pyarrow as pa

    from pairsift.pair import Status
    from pairsift.scores import ScoreFolder, score_schema, status_array
    from pairsift.sources import Shard, open_shard

    samples = int(gigabytes * 1e9 / (image_bytes + 4096))
    tars = max(1, round(samples / SAMPLES_PER_TAR))
    each = samples // tars
    mark, made = (
        folder / "made.json",
        {"tars": tars, "each": each, "image_bytes": image_bytes, "byte_ranges": True},
    )
    if mark.exists() and json.loads(mark.read_text()) == made:
        return str(folder / "scores")
    for name in ("data", "scores"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    scores = ScoreFolder(str(folder / "scores"), {"scorer": "synthetic"}, str(folder / "data"))
    for number in range(tars):
        rng = np.random.default_rng(number)
        name = f"{number:05d}"
        keys = [f"{number:05d}{row:04d}" for row in range(each)]
        noise = rng.bytes(image_bytes * 4)
        with tarfile.open(folder / "data" / f"{name}.tar", "w") as tar:
            for key in keys:
                size = int(rng.integers(image_bytes // 2, image_bytes * 3 // 2))
                start = int(rng.integers(0, len(noise) - size))
                info = json.dumps({"key": key, "url": "https://example.org/" + key}).encode()
                for suffix, content in (
                    ("jpg", noise[start : start + size]),
                    ("txt", b"a caption of the usual length, " * 2),
                    ("json", info),
                ):
                    header = tarfile.TarInfo(f"{key}.{suffix}")
                    header.size = len(content)
                    tar.addfile(header, io.BytesIO(content))
        table = pa.Table.from_arrays(
            [
                pa.array([name] * each),
                pa.array(keys),
                pa.nulls(each, pa.string()),
                status_array([Status.OK] * each),
                pa.nulls(each, pa.string()),
                *[pa.nulls(each, pa.int32())] * 3,
                pa.array(rng.random(each) * 100, pa.float32()),
            ],
            schema=score_schema([pa.field("itm", pa.float32())]),
        )
        path = folder / "data" / f"{name}.tar"
        facts = {"source": str(path), "source_kind": "webdataset",
                 "source_size": path.stat().st_size}  # fmt: skip
        reader = open_shard(Shard(name, str(path), "webdataset", path.stat().st_size))
        assert sum(1 for _ in reader) == each
        scores.commit(name, table, facts, reader.byte_ranges)
    mark.write_text(json.dumps(made))
    return str(folder / "scores")


def plain_python(selection: Selection, data: Path, out: Path) -> None:
    """Do what a script would do: read every sample, add the kept ones."""
    out.mkdir()
    written, count = 0, 0
    target = tarfile.open(out / f"{written:08d}.tar", "w")  # noqa: SIM115
    for shard in selection.shards():
        kept = set(shard.table(["key"]).column("key").to_pylist())
        with tarfile.open(data / f"{shard.shard}.tar") as tar:
            previous = None
            for member in tar:
                key = member.name.partition(".")[0]
                content = tar.extractfile(member)
                assert content is not None
                body = content.read()
                if key not in kept:
                    continue
                if key != previous and count == SAMPLES_PER_TAR:
                    target.close()
                    written, count = written + 1, 0
                    target = tarfile.open(out / f"{written:08d}.tar", "w")  # noqa: SIM115
                count += key != previous
                previous = key
                target.addfile(member, io.BytesIO(body))
    target.close()
    os.sync()


def copy(source: Path, out: Path) -> None:
    """Run ``cp`` and the flush that the other methods do too."""
    out.mkdir()
    subprocess.run(["cp", str(source), str(out / "copy")], check=True)
    subprocess.run(["sync", str(out / "copy")], check=True)


def timed(work: Callable[[], object], cache: str, reads: list[Path]) -> tuple[float, float]:
    """Return wall time and processor time in seconds, children included."""
    os.sync()
    if cache == "cold":
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    else:
        for path in reads:
            with path.open("rb") as file:
                while file.read(8 << 20):
                    pass
    before = os.times()
    begin = time.perf_counter()
    work()
    seconds = time.perf_counter() - begin
    after = os.times()
    return seconds, sum(after[:4]) - sum(before[:4])


def digest(folder: Path) -> str:
    """Return a digest of all member names and contents, in order."""
    found = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None
                found.update(member.name.encode() + content.read())
    return found.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--folder", type=Path, required=True, help="scratch space, kept")
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--keep", type=float, default=0.3)
    parser.add_argument("--image-bytes", type=int, default=IMAGE_BYTES)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="run the plain Python way too")
    parser.add_argument("--cache", choices=["warm", "cold"], default="warm")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()

    from pairsift.select import select
    from pairsift.writers import write_webdataset

    options.folder = options.folder.resolve()
    scores = make_pool(options.folder, options.gigabytes, options.image_bytes)
    selection = select(scores, top=options.keep, by="itm", out=options.folder / "selection")
    pool = sorted((options.folder / "data").glob("*.tar"))
    results = []
    for _ in range(options.rounds):
        outs = {name: options.folder / f"out-{name}" for name in ("pairsift", "cp", "tarfile")}
        for out in outs.values():
            shutil.rmtree(out, ignore_errors=True)
        row: dict[str, object] = {"cache": options.cache}
        ways: dict[str, Callable[[], object]] = {
            "pairsift": partial(
                write_webdataset, selection, outs["pairsift"], workers=options.workers
            ),
            "cp": partial(copy, options.folder / "kept.bin", outs["cp"]),
        }
        if options.plain:
            ways["tarfile"] = partial(
                plain_python, selection, options.folder / "data", outs["tarfile"]
            )
        for name, work in ways.items():
            reads = [options.folder / "kept.bin"] if name == "cp" else pool
            seconds, processor = timed(work, options.cache, reads)
            if name == "pairsift":
                size = sum(path.stat().st_size for path in outs[name].glob("*.tar"))
                with open(options.folder / "kept.bin", "wb") as file:
                    for path in sorted(outs[name].glob("*.tar")):
                        file.write(path.read_bytes())
                row["kept_gigabytes"] = size / 1e9
            row[f"{name}_seconds"], row[f"{name}_processor"] = seconds, processor
            print(f"{name:9} {seconds:8.2f} s  {size / 1e6 / seconds:8.1f} MB/s kept  "
                  f"{processor:7.2f} s of processor")  # fmt: skip
        row["share_of_cp"] = row["cp_seconds"] / row["pairsift_seconds"]  # type: ignore[operator]
        print(f"pairsift has {row['share_of_cp']:.0%} of the speed of cp")
        if options.plain:
            assert digest(outs["pairsift"]) == digest(outs["tarfile"]), "the two ways differ"
        for out in outs.values():
            shutil.rmtree(out, ignore_errors=True)
        results.append(row)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
