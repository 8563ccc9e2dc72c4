"""DataComp's own training and evaluation, driven for a selection.

Four steps, each a command that a user could type (see https://github.com/mlfoundations/datacomp).
A step whose result exists is skipped:

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
from dataclasses import dataclass
from pathlib import Path

from pairsift.errors import PairsiftError
from pairsift.progress import Listener

SUBSET = "subset.npy"
SHARDS = "shards"
RESHARDED = "sample_ids.npy"
"""A copy, beside the new shards, of the subset that they hold."""
TRAINING = "training"
RESULTS = "eval_results.jsonl"


@dataclass(frozen=True, slots=True)
class Scale:
    """A scale of the benchmark, with the values of its `scale_configs.py`."""

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
    """The settings of a run.

    Attributes:
        scale: one of :data:`SCALES`.
        selection: folder that `pairsift select` wrote, over the scores of the pool in `data`.
        data: the folder that `download_upstream.py` made; its shards are in `data`/shards.
        code: a checkout of mlfoundations/datacomp.
        out: folder for subset, shards, checkpoints and results.
        gpus: number of `torchrun` processes on this machine.
        name: name of the run, as DataComp's `--exp_name`.
        evalsets: folder of the data that `download_evalsets.py` fetched; None streams it.
        accumulate: micro-batches per step, for fewer or smaller GPUs; the global batch size does
            not change.
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
        """The file that the evaluation writes."""
        return Path(self.out) / TRAINING / self.name / RESULTS


@dataclass(frozen=True, slots=True)
class Step:
    """One command.

    Attributes:
        done: a file that exists when the step is finished; None for a step that finds out itself
            what is left to do.
        cwd: folder to run in; None for the current folder.
    """

    name: str
    command: tuple[str, ...]
    done: Path | None = None
    cwd: Path | None = None

    def text(self) -> str:
        """Return the command as typed into a shell."""
        words = shlex.join(self.command)
        return f"(cd {shlex.quote(str(self.cwd))} && {words})" if self.cwd else words


def steps(run: DatacompRun) -> list[Step]:
    """Return the commands of a run, in order, with absolute paths."""
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
        # It needs an existing folder; it overwrites what a killed run left there.
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
        # It resumes from the latest checkpoint itself, and writes info.pkl at the end.
        Step("train", tuple(train), training / run.name / "info.pkl", code),
        # It skips data sets that already have results.
        Step("evaluate", tuple(evaluate), None, code),
    ]


def missing(run: DatacompRun) -> list[str]:
    """Return sentences on what the commands need and do not find; empty if they can run."""
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
        problems.append(f"{run.selection} is not a selection: give what `pairsift select` wrote")
    import torch

    gpus = torch.cuda.device_count()
    if gpus < run.gpus:
        problems.append(f"{gpus} GPUs are here and --gpus {run.gpus} are asked for")
    return problems


def drive(run: DatacompRun, listener: Listener) -> Path:
    """Run the steps that are not finished yet.

    Args:
        listener: receives each command before it runs.

    Returns:
        the file with the results.

    Raises:
        PairsiftError: something is missing, or a step fails (see :func:`run_steps`).
    """
    problems = missing(run)
    if problems:
        raise PairsiftError(
            f"DataComp at scale {run.scale} cannot run here: {'; '.join(problems)}. --dry-run "
            "prints the commands, to be run where all this is"
        )
    return run_steps(run, listener)


def run_steps(run: DatacompRun, listener: Listener) -> Path:
    """Do the same as :func:`drive`, without checking first that everything is there.

    Raises:
        PairsiftError: a command fails, or the subset is not the one that was resharded before.
    """
    Path(run.out).mkdir(parents=True, exist_ok=True)
    for step in steps(run):
        if step.done is not None and step.done.is_file():
            listener.message(f"# {step.name}: already done")
            continue
        listener.message(step.text())
        if step.name == "folder":
            _refuse_another_subset(Path(run.out))
        code = subprocess.run(_here(step.command), cwd=step.cwd, check=False).returncode
        if code:
            raise PairsiftError(
                f"the step {step.name} ended with exit code {code}: {step.text()}. Fix the error "
                "that it prints and run the same command again to continue from there"
            )
    return run.results


def _refuse_another_subset(out: Path) -> None:
    """Refuse to continue if the shards of an earlier selection are in the folder."""
    copy = out / SHARDS / RESHARDED
    if copy.is_file() and not filecmp.cmp(copy, out / SUBSET, shallow=False):
        raise PairsiftError(
            f"{out / SHARDS} holds the samples of another selection; choose another --out"
        )


def _here(command: tuple[str, ...]) -> list[str]:
    """Return the command with this interpreter instead of the `python` and `pairsift` on PATH."""
    if command[0] == "python":
        return [sys.executable, *command[1:]]
    if command[0] == "pairsift":
        return [sys.executable, "-m", "pairsift", *command[1:]]
    return list(command)
