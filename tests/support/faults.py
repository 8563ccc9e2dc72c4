"""Hurt runs in every way they are hurt in practice, and compare what they leave behind.

Every fault works on real processes of the real command and ends with the same question: are the
files those of a run nobody disturbed, with no row lost, none twice, and nothing else in the folder?
`benchmarks/faults.py` runs them at length, the tests in small.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pairsift.byte_ranges import decode_checks
from pairsift.engines.base import RunSummary
from pairsift.engines.changed import KNOWN
from pairsift.sources import find_shards

COMMAND = (sys.executable, "-m", "pairsift")
# Import and set-up of the command; faults before it are dull, and get a small share.
_DULL_SHARE = 0.15


def make_pool(folder: Path, shards: int, samples: int, seed: int = 0) -> Path:
    """Webdataset shards of small noise pictures with uids; some samples are broken."""
    random_numbers = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for sample in range(samples):
                size = tuple(int(side) for side in random_numbers.integers(180, 320, 2))
                noise = random_numbers.integers(0, 256, (6, 6, 3), dtype=np.uint8)
                picture = io.BytesIO()
                Image.fromarray(noise).resize(size).save(picture, "JPEG")
                words = " ".join(["word"] * int(random_numbers.integers(1, 30)))
                members = {
                    "jpg": picture.getvalue() if sample % 25 else b"broken",
                    "json": json.dumps({"uid": f"{shard:016x}{sample:016x}"}).encode(),
                    "txt": f"caption {sample} of {shard}: {words}".encode(),
                }
                for suffix, content in members.items():
                    header = tarfile.TarInfo(f"{shard:05d}{sample:04d}.{suffix}")
                    header.size = len(content)
                    tar.addfile(header, io.BytesIO(content))
    return folder


def environment(**variables: str) -> dict[str, str]:
    """One thread a process: what is tested is not speed."""
    return dict(os.environ) | {"OMP_NUM_THREADS": "1"} | variables


@dataclass(frozen=True)
class Step:
    """A command and the folder it fills."""

    name: str
    arguments: tuple[str, ...]
    out: Path
    compare: Callable[[Path, Path], str | None]

    def start(self, **popen: Any) -> subprocess.Popen[bytes]:
        """Run the command, quietly, in a process group of its own."""
        return subprocess.Popen(
            [*COMMAND, *self.arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment(),
            **popen,
        )


def compare_tables(ours: Path, theirs: Path) -> str | None:
    """What differs between two score folders, in words; None if nothing does."""
    # What runs that went on have noted of the shards is no part of the scores.
    names = sorted(path.name for path in theirs.iterdir() if path.name != KNOWN)
    if (found := sorted(path.name for path in ours.iterdir() if path.name != KNOWN)) != names:
        return f"files differ: {sorted(set(found) ^ set(names))}"
    for name in names:
        if name.endswith(".parquet"):
            mine, other = (pq.read_table(folder / name) for folder in (ours, theirs))
            if not same_rows(mine, other):
                return f"rows of {name} differ"
        elif (ours / name).read_bytes() != (theirs / name).read_bytes():
            return f"{name} differs"
    return None


def same_rows(ours: pa.Table, theirs: pa.Table) -> bool:
    """Whether all columns are equal; the metadata has time stamps."""
    bare = (table.replace_schema_metadata(None) for table in (ours, theirs))
    return next(bare).equals(next(bare))


def same_content(ours: pa.Table, theirs: pa.Table) -> bool:
    """Whether rows and the samples' checksums are equal."""
    checks = [decode_checks(table.schema.metadata) for table in (ours, theirs)]
    return same_rows(ours, theirs) and np.array_equal(*map(np.asarray, checks))


def compare_bytes(ours: Path, theirs: Path) -> str | None:
    """What differs between two folders, byte for byte."""
    mine, other = digests(ours), digests(theirs)
    differing = sorted(name for name in mine.keys() | other.keys()
                       if mine.get(name) != other.get(name))  # fmt: skip
    return f"files differ: {differing}" if differing else None


def digests(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@dataclass
class Findings:
    """What a fault did.

    Attributes:
        faults: how many were done; in `runs` runs that came to their end after all.
        orphans: child processes that outlived the one that was killed.
        wrong: in words, what differs from the undisturbed run.
        notes: what else there is to know.
    """

    name: str
    faults: int = 0
    runs: int = 0
    orphans: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """For a person."""
        verdict = "; ".join(self.wrong[:3]) if self.wrong else "equal to the undisturbed run"
        notes = "".join(f", {name} {value}" for name, value in self.notes.items())
        return (
            f"{self.name}: {self.faults} faults in {self.runs} completed runs, "
            f"{self.orphans} orphans{notes}, {self.seconds:.0f} s: {verdict}"
        )


def steps(pool: Path, work: Path, scorer: str, reference: Path | None = None) -> list[Step]:
    """Score, select and write into `work`; later steps read what the reference run left."""
    source = reference or work
    scores, chosen = str(source / "scores"), str(source / "selection")
    return [
        Step(
            "score",
            ("score", str(pool), "--out", str(work / "scores"), "--scorer", scorer,
             "--workers", "1", "--batch-size", "8"),
            work / "scores",
            compare_tables,
        ),
        Step(
            "select",
            ("select", scores, "--top", "0.5", "--by", "smaller_side",
             "--out", str(work / "selection")),
            work / "selection",
            compare_bytes,
        ),
        Step(
            "write",
            ("write", chosen, "--webdataset", str(work / "written" / "shards"),
             "--samples-per-shard", "50",
             "--datacomp", str(work / "written" / "subset.npy"),
             "--parquet", str(work / "written" / "kept.parquet")),
            work / "written",
            compare_bytes,
        ),
    ]  # fmt: skip


def make_reference(pool: Path, folder: Path, scorer: str) -> dict[str, float]:
    """Run every step undisturbed; returns seconds by step."""
    times = {}
    for step in steps(pool, folder, scorer):
        begin = time.perf_counter()
        if (code := step.start().wait()) != 0:
            raise RuntimeError(f"the undisturbed {step.name} ended with {code}")
        times[step.name] = time.perf_counter() - begin
    return times


def kill_step(
    step: Step, theirs: Path, seconds: float, kills: int, dice: random.Random
) -> Findings:
    """Kill a step at random moments, run it again until it ends, compare, begin anew."""
    findings = Findings(f"SIGKILL during {step.name}")
    begin = time.perf_counter()
    set_up = 0.0
    while findings.faults < kills:
        shutil.rmtree(step.out, ignore_errors=True)
        while True:
            last = findings.faults >= kills
            low = 0.0 if dice.random() < _DULL_SHARE else 0.6 * set_up
            wait = None if last else dice.uniform(low, max(seconds, 1.2 * set_up))
            started = time.perf_counter()
            process = step.start()
            try:
                code = process.wait(wait)
            except subprocess.TimeoutExpired:
                findings.orphans += kill(process, dice)
                findings.faults += 1
                continue
            if code != 0:
                findings.wrong.append(f"exit code {code}")
                findings.faults = kills
                break
            set_up = set_up or min(seconds, time.perf_counter() - started)
            findings.runs += 1
            if (wrong := step.compare(step.out, theirs)) is not None:
                findings.wrong.append(wrong)
            break
    findings.seconds = time.perf_counter() - begin
    return findings


def kill(process: subprocess.Popen[bytes], dice: random.Random) -> int:
    """SIGKILL the process, or its whole group; returns how many of its children outlive it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        if dice.random() < 0.5:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=30)
        for child in alive:
            child.kill()
        return len(alive)
    process.wait()
    return 0


def kills(pool: Path, work: Path, options: argparse.Namespace) -> Iterator[Findings]:
    """Half of the kills over scoring, a quarter each over selecting and writing."""
    reference = work / "reference"
    times = make_reference(pool, reference, options.scorer)
    dice = random.Random(options.seed)
    shares = {"score": 0.5, "select": 0.25, "write": 0.25}
    for step in steps(pool, work / "hurt", options.scorer, reference):
        theirs = reference / step.out.relative_to(work / "hurt")
        count = round(options.kills * shares[step.name])
        yield kill_step(step, theirs, times[step.name], count, dice)


def kill_devices(pool: Path, work: Path, options: argparse.Namespace) -> Iterator[Findings]:
    """SIGKILL a run with two scorer processes at random: the command, one of them, or several.

    When only scorer processes die, the run continues, and is killed again.
    """
    reference = work / "reference"
    seconds = make_reference(pool, reference, options.scorer)["score"]
    dice = random.Random(options.seed)
    findings = Findings("SIGKILL of a run on cpu:2")
    findings.notes = {"of the command": 0, "of scorer processes": 0}
    out = work / "scores"
    step = Step(
        "score",
        ("score", str(pool), "--out", str(out), "--scorer", options.scorer, "--devices", "cpu:2",
         "--workers", "0", "--batch-size", "8"),
        out,
        compare_tables,
    )  # fmt: skip
    begin = time.perf_counter()
    while findings.faults < options.kills:
        shutil.rmtree(out, ignore_errors=True)
        process = step.start()
        while True:
            last = findings.faults >= options.kills
            try:
                code = process.wait(None if last else dice.uniform(0, 0.6 * seconds))
            except subprocess.TimeoutExpired:
                if dice.random() < 0.3:
                    findings.orphans += kill(process, dice)
                    findings.faults += 1
                    findings.notes["of the command"] += 1
                    process = step.start()
                    continue
                scorers = scorer_processes(process.pid)
                dice.shuffle(scorers)
                for victim in scorers[: dice.choice((1, 1, 2))]:  # none before they are started
                    with contextlib.suppress(psutil.NoSuchProcess):
                        victim.kill()
                        findings.faults += 1
                        findings.notes["of scorer processes"] += 1
                continue
            break
        findings.runs += 1
        findings.wrong += [f"exit code {code}"] if code else []
        wrong = step.compare(out, reference / "scores")
        findings.wrong += [wrong] if wrong else []
    findings.seconds = time.perf_counter() - begin
    yield findings


def scorer_processes(command: int) -> list[psutil.Process]:
    """Scorer processes of a run with `--devices`."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(command).children():
            with contextlib.suppress(psutil.Error):
                if "spawn_main" in " ".join(child.cmdline()):
                    found.append(child)
    return found


# Ray names its workers after what they are at: ray::MapWorker(MapBatches(ShardActor))
SCORERS = "(ShardActor)"


def actors_named(name: str, process: psutil.Process | None = None) -> list[psutil.Process]:
    """Processes of Ray's actors below this one, or below another."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in (process or psutil.Process()).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if name in " ".join(one.cmdline()):
                    found.append(one)
    return found


def scoring_actors() -> list[psutil.Process]:
    """Processes of the Ray engine's actors below this one."""
    return actors_named(SCORERS)


def ray_run(pool: Path, out: Path, scorer: str, listener: Any = None) -> RunSummary:
    """Score on the Ray cluster that has been joined, with two actors."""
    from pairsift.engines.ray import RayOptions, ScorerSpec, score_shards

    return score_shards(
        find_shards(str(pool)),
        ScorerSpec(scorer),
        str(out),
        ray_options=RayOptions(actors=2),
        batch_size=8,
        listener=listener,
    )


def kill_actors(pool: Path, work: Path, options: argparse.Namespace) -> Iterator[Findings]:
    """SIGKILL scoring actors of a Ray run at random, until so many are dead."""
    reference = work / "reference"
    make_reference(pool, reference, options.scorer)
    dice = random.Random(options.seed)
    findings = Findings("SIGKILL of Ray actors")
    begin = time.perf_counter()
    over = threading.Event()

    def kill_now_and_then() -> None:
        while findings.faults < options.kills and not over.wait(dice.uniform(0.1, 2.0)):
            if actors := scoring_actors():
                dice.choice(actors).kill()
                findings.faults += 1

    with ray_cluster():
        killer = threading.Thread(target=kill_now_and_then, daemon=True)
        killer.start()
        while findings.faults < options.kills:
            shutil.rmtree(work / "scores", ignore_errors=True)
            summary = ray_run(pool, work / "scores", options.scorer)
            findings.runs += 1
            if summary.rows != options.shards * options.samples:
                findings.wrong.append(f"{summary.rows} rows counted")
            wrong = compare_tables(work / "scores", reference / "scores")
            findings.wrong += [wrong] if wrong else []
        over.set()
        killer.join()
    findings.seconds = time.perf_counter() - begin
    yield findings


@contextlib.contextmanager
def ray_cluster() -> Iterator[None]:
    """A cluster of two cores on this machine."""
    import ray

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=100 * 2**20,
    )
    try:
        yield
    finally:
        ray.shutdown()


def cut_uploads(pool: Path, work: Path, options: argparse.Namespace) -> Iterator[Findings]:
    """SIGKILL scoring into an S3 bucket at random moments; half-sent uploads must not be listed."""
    import fsspec

    reference = work / "reference"
    seconds = make_reference(pool, reference, options.scorer)["score"]
    dice = random.Random(options.seed)
    findings = Findings("SIGKILL during uploads to S3")
    begin = time.perf_counter()
    with s3_server() as variables:
        store = fsspec.filesystem("s3", endpoint_url=variables["AWS_ENDPOINT_URL"])
        store.mkdir("faults")
        command = [
            *COMMAND, "score", str(pool), "--out", "s3://faults/scores",
            "--scorer", options.scorer, "--workers", "0", "--batch-size", "8",
        ]  # fmt: skip
        while findings.faults < options.kills:
            while True:
                process = subprocess.Popen(
                    command,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    env=environment(**variables),
                )
                last = findings.faults >= options.kills
                try:
                    code = process.wait(None if last else dice.uniform(0, 1.5 * seconds))
                except subprocess.TimeoutExpired:
                    findings.orphans += kill(process, dice)
                    findings.faults += 1
                    continue
                break
            findings.runs += 1
            findings.wrong += [f"exit code {code}"] if code else []
            copy = work / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir(parents=True)
            store.invalidate_cache()
            for path in store.find("faults/scores"):
                (copy / path.rsplit("/", 1)[-1]).write_bytes(store.cat_file(path))
            wrong = compare_tables(copy, reference / "scores")
            findings.wrong += [wrong] if wrong else []
            store.rm("faults/scores", recursive=True)
    findings.seconds = time.perf_counter() - begin
    yield findings


@contextlib.contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """A local S3 server; yields the environment in which it is found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    variables = {
        "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the S3 server does not come up")
            time.sleep(0.1)
        yield variables
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.terminate()
        server.wait()


def fill_disk(pool: Path, work: Path, options: argparse.Namespace) -> Iterator[Findings]:
    """Score into a disk that fills up, make a little room, go on, until it is done. Needs root."""
    reference = work / "reference"
    make_reference(pool, reference, options.scorer)
    needed = sum(path.stat().st_size for path in (reference / "scores").iterdir())
    findings = Findings("a full disk")
    begin = time.perf_counter()
    disk = work / "disk"
    disk.mkdir(parents=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={4 * needed + 2**20}", "tmpfs", str(disk)],
        check=True,
    )
    try:
        step = steps(pool, disk, options.scorer)[0]
        ballast = disk / "ballast"
        with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        while (code := step.start().wait()) != 0:
            findings.faults += 1
            hidden = [path.name for path in step.out.glob(".*")] if step.out.exists() else []
            if code != 2 or hidden:
                findings.wrong.append(f"exit code {code}, {len(hidden)} temporary files")
            room = ballast.stat().st_size - max(16 * 1024, needed // options.kills)
            os.truncate(ballast, max(0, room))
        findings.runs = 1
        wrong = compare_tables(step.out, reference / "scores")
        findings.wrong += [wrong] if wrong else []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    findings.seconds = time.perf_counter() - begin
    yield findings


def replaced(pool: Path, work: Path, options: argparse.Namespace) -> Iterator[Findings]:
    """Replace a shard at random moments of scoring, writing and a resumed write.

    The new content has the same size or another one; it is written in place or put there by a
    rename. A third of the runs each. No byte may be written that is not of what was scored, and
    no table may be left for what it was not made from without a word.
    """
    dice = random.Random(options.seed)
    trial = _Replacing(pool, work, dice, options.scorer)
    shares = {"score": trial.score, "write": trial.write, "resume": trial.resume}
    for number, (name, run) in enumerate(shares.items()):
        findings = Findings(f"a shard replaced during {name}")
        findings.notes = {"told": 0, "harmless": 0}
        begin = time.perf_counter()
        for _ in range(len(range(number, options.kills, len(shares)))):
            run(findings)
            findings.faults += 1
        findings.seconds = time.perf_counter() - begin
        yield findings


class _Replacing:
    """Runs in which a shard is replaced, and what they must leave behind."""

    def __init__(self, pool: Path, work: Path, dice: random.Random, scorer: str) -> None:
        self.dice = dice
        self.scorer = scorer
        self.pool = work / "pool"
        self.originals = pool
        self.out = work / "out"
        self.names = sorted(path.name for path in pool.iterdir())
        self.variants = {name: _variants(pool / name, dice) for name in self.names}
        self.tables: dict[tuple[str, str], pa.Table] = {}
        for which in ("original", *next(iter(self.variants.values()))):
            self.reset()
            for name in self.names if which != "original" else ():
                (self.pool / name).write_bytes(self.variants[name][which])
            self.command("score", str(self.pool), "--out", str(work / which), "--scorer", scorer)
            for name in self.names:
                table = pq.read_table(work / which / f"{name[:-4]}.parquet")
                self.tables[name, which] = table
        self.reset()
        self.selection, self.reference = str(work / "selection"), work / "reference"
        self.seconds = {"score": self.timed("score", str(self.pool), "--out", str(work / "again"),
                                            "--scorer", scorer)}  # fmt: skip
        self.command("select", str(work / "original"), "--top", "0.5", "--by", "smaller_side",
                     "--out", self.selection)  # fmt: skip
        self.seconds["write"] = self.timed(*self.writing(self.reference))

    def writing(self, out: Path) -> list[str]:
        """Arguments of the command that writes."""
        return ["write", self.selection, "--webdataset", str(out), "--samples-per-shard", "5"]

    def reset(self) -> None:
        """The pool as it was made, with new time stamps at most."""
        for folder in (self.pool, self.out):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.originals, self.pool)

    def command(self, *arguments: str) -> tuple[int, str]:
        """Run the command to its end; exit code and what it said."""
        done = subprocess.run(
            [*COMMAND, *arguments], capture_output=True, text=True, env=environment(), check=False
        )
        return done.returncode, done.stdout + done.stderr

    def timed(self, *arguments: str) -> float:
        """Seconds that the command takes."""
        begin = time.perf_counter()
        code, words = self.command(*arguments)
        if code:
            raise RuntimeError(words)
        return time.perf_counter() - begin

    def replace(self) -> tuple[str, str]:
        """Replace a shard; returns its name and which content it has now."""
        name = self.dice.choice(self.names)
        which = self.dice.choice(sorted(self.variants[name]))
        if self.dice.random() < 0.5:
            (self.pool / name).write_bytes(self.variants[name][which])
        else:
            other = self.pool / ".other"
            other.write_bytes(self.variants[name][which])
            other.replace(self.pool / name)
        return name, which

    def wait(self, process: subprocess.Popen[Any], seconds: float) -> None:
        """Until a random moment of the run: by the clock, or when so many files are there."""
        if self.dice.random() < 0.3:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.dice.uniform(0.4, 1.05) * seconds)
            return
        wanted = self.dice.randint(1, 2 * len(self.names))
        while process.poll() is None:
            with contextlib.suppress(OSError):
                if len(os.listdir(self.out)) >= wanted:
                    break
            time.sleep(0.001)

    def disturbed(self, seconds: float, *arguments: str) -> tuple[int, str, str, str]:
        """Run a command and replace a shard on the way."""
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
        )
        self.wait(process, seconds)
        name, which = self.replace()
        words, _ = process.communicate()
        return process.returncode, words, name, which

    def score(self, findings: Findings) -> None:
        """A shard is replaced while it, or another one, is scored."""
        self.reset()
        scoring = ("score", str(self.pool), "--out", str(self.out), "--scorer", self.scorer)
        code, words, name, which = self.disturbed(self.seconds["score"], *scoring)
        table = self.out / f"{name[:-4]}.parquet"
        told = code in (2, 3) and name[:-4] in words
        if code and not told:
            findings.wrong.append(f"score ended with {code}: {words[-200:]}")
        if not told and same_content(pq.read_table(table), self.tables[name, which]):
            findings.notes["harmless"] += 1
        elif not told:  # replaced after it was scored: the next run has to notice
            code, words = self.command(*scoring)
            told = code == 2 and name[:-4] in words
            if not told:
                findings.wrong.append(f"a changed shard was not told: {code} {words[-200:]}")
        findings.notes["told"] += told
        code, words = self.command(*scoring, "--rescore", "changed")
        if code or not same_content(pq.read_table(table), self.tables[name, which]):
            findings.wrong.append(f"not scored again: {code} {words[-200:]}")
        for other in self.names:
            now = which if other == name else "original"
            found = pq.read_table(self.out / f"{other[:-4]}.parquet")
            if not same_content(found, self.tables[other, now]):
                findings.wrong.append(f"rows of {other} are not those of its content")
        findings.runs += 1

    def write(self, findings: Findings) -> None:
        """A shard is replaced while samples are copied."""
        self.reset()
        ended = self.disturbed(self.seconds["write"], *self.writing(self.out))
        self._judge(findings, *ended[:3])

    def resume(self, findings: Findings) -> None:
        """A write is killed, a shard replaced, the write run again."""
        self.reset()
        process = subprocess.Popen(
            [*COMMAND, *self.writing(self.out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        self.wait(process, self.seconds["write"])
        process.kill()
        process.wait()
        name, _ = self.replace()
        self._judge(findings, *self.command(*self.writing(self.out)), name)

    def _judge(self, findings: Findings, code: int, words: str, name: str) -> None:
        findings.runs += 1
        theirs = digests(self.reference)
        found = digests(self.out) if self.out.exists() else {}
        if wrong := [each for each in found if found[each] != theirs.get(each)]:
            findings.wrong.append(f"wrong bytes in {wrong}")
        if code == 0:
            findings.notes["harmless"] += 1
            if found != theirs:
                findings.wrong.append("ended well without all files")
        elif code == 2 and name in words and "has changed since it was scored" in words:
            findings.notes["told"] += 1
        else:
            findings.wrong.append(f"not told: {code} {words[-200:]}")


def _variants(path: Path, dice: random.Random) -> dict[str, bytes]:
    """Other contents of a shard: one of the same size, two of another."""
    with tarfile.open(path) as tar:
        members = [(member.name, _content(tar, member)) for member in tar]
    turned = [
        (name, content.swapcase() if name.endswith(".txt") else content)
        for name, content in members
    ]
    same = _tar(turned)
    assert len(same) == path.stat().st_size
    longer = [
        (
            name,
            content + b" and more" * dice.randint(100, 400) if name.endswith(".txt") else content,
        )
        for name, content in members
    ]
    return {"same": same, "longer": _tar(longer), "shorter": _tar(members[: len(members) // 2])}


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file is not None else b""


def _tar(members: Sequence[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return file.getvalue()


FAULTS = {
    "kills": kills,
    "devices": kill_devices,
    "ray": kill_actors,
    "uploads": cut_uploads,
    "disk": fill_disk,
    "replaced": replaced,
}
