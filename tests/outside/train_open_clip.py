"""Train a tiny CLIP with open_clip for one epoch on what ``pairsift write`` wrote.

    .venv-outside-open_clip/bin/python -m tests.outside.train_open_clip build/outside

First on the kept shards, then on the score buckets with upsampling factors. open_clip evaluates on
the kept shards afterwards; its evaluation reads every sample once, so it counts them.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.outside.pool import Made, versions

BATCH = 8
LAYERS = {"width": 64, "layers": 2}
MODEL = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "patch_size": 16, "head_width": 32, **LAYERS},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "heads": 2, **LAYERS},
}


def train(model: Path, made: Made, *options: str) -> tuple[str, int]:
    """Train for one epoch and evaluate; return the log and the number of samples evaluated."""
    with tempfile.TemporaryDirectory() as logs:
        kept = made.told["webdataset"]
        command = [
            sys.executable, "-m", "open_clip_train.main", "--model", f"local-dir:{model}",
            "--val-data", shards_of(kept), "--val-num-samples", str(kept["samples"]),
            "--epochs", "1", "--batch-size", str(BATCH), "--workers", "1", "--warmup", "1",
            "--device", "cpu", "--precision", "fp32", "--log-every-n-steps", "1",
            "--dataset-type", "webdataset", "--logs", logs, "--name", "run", *options,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"open_clip ended with {done.returncode}: {done.stderr[-3000:]}")
        assert (Path(logs) / "run/checkpoints/epoch_1.pt").exists()
        results = (Path(logs) / "run/checkpoints/results.jsonl").read_text().splitlines()
        return done.stderr, json.loads(results[-1])["num_samples"]


def shards_of(folder: dict[str, object]) -> str:
    """Return a folder of shards as ``--train-data`` names it."""
    last = int(str(folder["shards"])) - 1
    return f"{folder['path']}/{{{0:08d}..{last:08d}}}.tar"


def losses(log: str) -> list[float]:
    """Return the loss of each step of the training."""
    found = [float(loss) for loss in re.findall(r"Train Epoch: 0 .*?Loss: ([\d.naif]+)", log)]
    assert all(map(math.isfinite, found)), log
    return found


def main(folder: str) -> None:
    """Train twice and check what open_clip read."""
    made = Made(Path(folder).absolute())
    kept = made.told["webdataset"]
    with tempfile.TemporaryDirectory() as name:
        model = Path(name)
        config = {"model_cfg": MODEL, "preprocess_cfg": {}}
        (model / "open_clip_config.json").write_text(json.dumps(config))
        # sizes.json tells it how many samples there are.
        log, seen = train(model, made, "--train-data", shards_of(kept))
        assert seen == kept["samples"], (seen, kept)
        steps = losses(log)
        assert len(steps) == math.ceil(kept["samples"] / BATCH), steps
        print(f"kept shards: {len(steps)} steps, {seen} of {kept['samples']} samples evaluated")
        buckets = [bucket["folder"] for bucket in made.told["buckets"]["buckets"]]
        factors = [str(2**place) for place in range(len(buckets))]
        log, seen = train(
            model, made, "--train-data", "::".join(map(shards_of, buckets)),
            "--dataset-resampled", "--train-data-upsampling-factors", "::".join(factors),
            "--train-num-samples", "64",
        )  # fmt: skip
        assert seen == kept["samples"], (seen, kept)
        steps = losses(log)
        assert len(steps) == 64 // BATCH, steps
        print(f"{len(buckets)} buckets with factors {'::'.join(factors)}: {len(steps)} steps")
    print(versions("open_clip_torch", "webdataset", "torch", "torchvision"))


if __name__ == "__main__":
    main(sys.argv[1])
