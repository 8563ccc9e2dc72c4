"""DataComp's own training and evaluation, driven for a selection.

Four steps, each a command that a user could type; see https://github.com/mlfoundations/datacomp
for what they are. A step that left its result behind is not done again:

==========  ===================================================================================
subset      `pairsift write`: the kept uids as a sorted `.npy`
reshard     DataComp's `resharder.py`: new shards of the kept samples
train       DataComp's `train.py`, which runs open_clip with the scale's fixed settings
evaluate    DataComp's `evaluate.py`: zero-shot on its 38 data sets
==========  ===================================================================================
"""

from __future__ import annotations

import filecmp
import importlib.util
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pairsift.errors import PairsiftError

SUBSET = "subset.npy"
SHARDS = "shards"
RESHARDED = "sample_ids.npy"
"""The resharder's copy of the subset it worked for, beside its shards."""
TRAINING = "training"
RESULTS = "eval_results.jsonl"


@dataclass(frozen=True, slots=True)
class Scale:
    """A scale of the benchmark, as its `scale_configs.py` fixes it."""

    model: str
    samples_seen: int
    global_batch: int


SCALES = {
    "small": Scale("ViT-B-32", 12_800_000, 4096),
    "medium": Scale("ViT-B-32", 128_000_000, 4096),
    "large": Scale("ViT-B-16", 1_280_000_000, 8192),
    "xlarge": Scale("ViT-L-14", 12_800_000_000, 90112),
}


@dataclass(frozen=True)
class DatacompRun:
    """What is to be trained.

    Attributes:
        scale: one of :data:`SCALES`.
        selection: folder that `pairsift select` wrote, over the scores of the pool in `data`.
        data: what `download_upstream.py` made: its shards are in `data`/shards.
        code: checkout of mlfoundations/datacomp.
        out: folder for subset, shards, checkpoints and results.
        gpus: processes of `torchrun` on this machine.
        name: of the run, as DataComp's `--exp_name`.
        evalsets: what `download_evalsets.py` fetched; None streams them.
        accumulate: micro-batches a step, for fewer or smaller GPUs; the global batch stays.
    """

    scale: str
    selection: str
    data: str
    code: str
    out: str
    gpus: int = 8
    name: str = "pairsift"
    seed: int = 0
    evalsets: str | None = None
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise PairsiftError(f"no scale {self.scale!r}: choose from {', '.join(SCALES)}")
        batch = SCALES[self.scale].global_batch
        if batch % (self.gpus * self.accumulate):
            raise PairsiftError(
                f"--gpus {self.gpus} x --accumulate {self.accumulate} does not divide the global "
                f"batch of scale {self.scale}, {batch:,}: the result could not be compared"
            )

    @property
    def results(self) -> Path:
        """Where the evaluation writes its results."""
        return Path(self.out) / TRAINING / self.name / RESULTS


@dataclass(frozen=True, slots=True)
class Step:
    """One command.

    Attributes:
        done: a file whose presence says that the step is finished; None for one that finds out
            by itself what is left to do.
        cwd: folder to run in; None for the caller's.
    """

    name: str
    command: tuple[str, ...]
    done: Path | None = None
    cwd: Path | None = None

    def text(self) -> str:
        """As typed into a shell."""
        words = shlex.join(self.command)
        return f"(cd {shlex.quote(str(self.cwd))} && {words})" if self.cwd else words


def steps(run: DatacompRun) -> list[Step]:
    """The commands of a run, in order, with absolute paths."""
    out, code = Path(run.out).absolute(), Path(run.code).absolute()
    shards = Path(run.data).absolute() / SHARDS
    training = out / TRAINING
    train = ["torchrun", "--nproc_per_node", str(run.gpus), "train.py"]
    train += ["--scale", run.scale, "--data_dir", str(out / SHARDS)]
    train += ["--output_dir", str(training), "--exp_name", run.name, "--seed", str(run.seed)]
    train += ["--accum_freq", str(run.accumulate)] if run.accumulate > 1 else []
    evaluate = ["python", "evaluate.py", "--track", "filtering"]
    evaluate += ["--train_output_dir", str(training / run.name)]
    evaluate += ["--data_dir", str(Path(run.evalsets).absolute())] if run.evalsets else []
    subset = out / SUBSET
    selection = str(Path(run.selection).absolute())
    return [
        Step("subset", ("pairsift", "write", selection, "--datacomp", str(subset))),
        # It wants its folder to be there; what a killed run left in it is overwritten.
        Step("folder", ("mkdir", "-p", str(out / SHARDS))),
        Step(
            "reshard",
            (
                "python",
                "resharder.py",
                "--input-dir",
                str(shards),
                "--output-dir",
                str(out / SHARDS),
                "--subset-file",
                str(subset),
                "--overwrite",
            ),
            out / SHARDS / "meta.json",
            code,
        ),
        # It goes on from the latest checkpoint by itself, and writes info.pkl at the end.
        Step("train", tuple(train), training / run.name / "info.pkl", code),
        # It skips the data sets whose results it finds.
        Step("evaluate", tuple(evaluate), None, code),
    ]


def missing(run: DatacompRun) -> list[str]:
    """What is not there that the commands need, in words; empty where they can run."""
    problems = []
    code = Path(run.code)
    absent = [n for n in ("resharder.py", "train.py", "evaluate.py") if not (code / n).is_file()]
    if absent:
        problems.append(
            f"{code} has no {', '.join(absent)}: --datacomp-code needs a checkout of "
            "github.com/mlfoundations/datacomp"
        )
    packages = {
        "open_clip": "open_clip_torch",
        "clip_benchmark": "clip_benchmark",
        "webdataset": "webdataset",
        "cloudpathlib": "cloudpathlib",
    }
    for module, package in packages.items():
        if importlib.util.find_spec(module) is None:
            problems.append(f"the Python package {package} is not installed here")
    if shutil.which("torchrun") is None:
        problems.append("torchrun is not on PATH")
    if not any((Path(run.data) / SHARDS).glob("*.tar")):
        problems.append(
            f"{Path(run.data) / SHARDS} has no tars: --data needs what DataComp's "
            f"`download_upstream.py --scale {run.scale}` made"
        )
    if not (Path(run.selection) / "selection.json").is_file():
        problems.append(f"{run.selection} is no selection: give what `pairsift select` wrote")
    import torch

    gpus = torch.cuda.device_count()
    if gpus < run.gpus:
        problems.append(f"{gpus} GPUs are here and --gpus {run.gpus} are asked for")
    return problems


def drive(run: DatacompRun, tell: Callable[[str], None]) -> Path:
    """Run the steps that are not done yet.

    Args:
        tell: told each command before it runs.

    Returns:
        the file with the results.

    Raises:
        PairsiftError: something is missing, or see :func:`run_steps`.
    """
    problems = missing(run)
    if problems:
        raise PairsiftError(
            f"DataComp at scale {run.scale} cannot run here: {'; '.join(problems)}. --dry-run "
            "prints the commands, to be run where all this is"
        )
    return run_steps(run, tell)


def run_steps(run: DatacompRun, tell: Callable[[str], None]) -> Path:
    """:func:`drive` without looking first whether all is there.

    Raises:
        PairsiftError: a command fails, or the subset is not the one that was resharded before.
    """
    Path(run.out).mkdir(parents=True, exist_ok=True)
    for step in steps(run):
        if step.done is not None and step.done.is_file():
            tell(f"# {step.name}: done before")
            continue
        tell(step.text())
        if step.name == "folder":
            _refuse_another_subset(Path(run.out))
        code = subprocess.run(_here(step.command), cwd=step.cwd, check=False).returncode
        if code:
            raise PairsiftError(
                f"the step {step.name} ended with exit code {code}: {step.text()}. Mend what it "
                "complains about and run the same command again to go on from there"
            )
    return run.results


def _refuse_another_subset(out: Path) -> None:
    """The steps after the subset would be taken for done, with the samples of an earlier one."""
    copy = out / SHARDS / RESHARDED
    if copy.is_file() and not filecmp.cmp(copy, out / SUBSET, shallow=False):
        raise PairsiftError(
            f"{out / SHARDS} holds the samples of another selection; choose another --out"
        )


def _here(command: tuple[str, ...]) -> list[str]:
    """The command with this interpreter in place of whatever `python` and `pairsift` may be."""
    if command[0] == "python":
        return [sys.executable, *command[1:]]
    if command[0] == "pairsift":
        return [sys.executable, "-m", "pairsift", *command[1:]]
    return list(command)
