"""What trackers get is what metrics.jsonl has, read back from their own files."""

from __future__ import annotations

import contextlib
import importlib
import json
import sqlite3
import struct
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pairsift.errors import PairsiftError
from pairsift.progress import NullListener
from pairsift.sources.labels import LABELS
from pairsift.train.log import MetricsLog
from pairsift.train.run import train
from pairsift.train.settings import Settings, parse_stages
from pairsift.train.trackers import check_trackers, open_trackers
from tests.scorers.mlm.checkpoints import save_checkpoint
from tests.train.toy import COLOURS, TEMPLATES, png, write_toy

Series = dict[tuple[str, str], list[tuple[int, float]]]


def tensorboard(folder: Path) -> Series:
    """Steps and values by run and name, as TensorBoard reads them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found: Series = {}
    for run in sorted(folder.iterdir()):
        events = accumulator.EventAccumulator(str(run)).Reload()
        for name in events.Tags()["scalars"]:
            found[run.name, name] = [(e.step, e.value) for e in events.Scalars(name)]
    return found


def recorded(file: Path) -> Series:
    """The same from metrics.jsonl."""
    found: Series = defaultdict(list)
    for row in map(json.loads, file.read_text().splitlines()):
        stage, step = row.pop("stage"), row.pop("step")
        for name, value in row.items():
            if value is not None:
                found[f"stage-{stage}", name].append((step, value))
    return dict(found)


def same(one: Series, other: Series) -> None:
    assert one.keys() == other.keys()
    for key, values in one.items():
        assert [step for step, _ in values] == [step for step, _ in other[key]], key
        assert [v for _, v in values] == pytest.approx([v for _, v in other[key]], rel=1e-6)


def test_event_files_of_a_run_that_was_killed_and_resumed(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    path = tmp_path / "metrics.jsonl"
    for begin, end in ((1, 8), (5, 12)):  # killed after step 8; its last checkpoint was 5
        with open_trackers(["tensorboard"], tmp_path, "out", {}) as trackers:
            log = MetricsLog(path, NullListener(), trackers)
            log.rewind(1, begin)
            for step in range(begin + 1, end + 1):
                log.training(1, step, 12, {"loss": begin + step / 10, "ranking": None})
            log.measured(2, 0, {"tau_itm": 0.5})
    found = tensorboard(tmp_path / "tensorboard")
    assert [step for step, _ in found["stage-1", "loss"]] == list(range(2, 13))
    same(found | {("stage-2", "dev_tau_itm"): [(0, 0.5)]}, recorded(path))


@pytest.mark.parametrize("names", ["tensorboard,nosuch", "w&b"])
def test_unknown_trackers_are_refused(names: str) -> None:
    with pytest.raises(PairsiftError, match="choose from tensorboard, wandb, trackio"):
        check_trackers(names)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # what an import of a missing package meets
    with pytest.raises(PairsiftError, match=f"--log {name} needs a package .*pip install") as told:
        check_trackers(name)
    assert "\n" not in str(told.value)


@pytest.mark.slow
def test_wandb_offline_has_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    path = tmp_path / "metrics.jsonl"
    with open_trackers(["wandb"], tmp_path, "out", {"seed": 7}) as trackers:
        log = MetricsLog(path, NullListener(), trackers)
        log.training(1, 10, 20, {"loss": 0.5})
        log.measured(1, 10, {"tau_itm": 0.25})
    wandb.teardown()  # its process ends, so the file is whole
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    rows = _wandb_history(file)
    assert rows == [
        {"stage-1/step": 10, "stage-1/loss": 0.5},
        {"stage-1/step": 10, "stage-1/dev_tau_itm": 0.25},
    ]
    # Resumed: the same run.
    with open_trackers(["wandb"], tmp_path, "out", {}) as trackers:
        trackers[0].log(1, 20, {"loss": 0.25})
    ids = {run.name.rsplit("-", 2)[-1] for run in tmp_path.glob("wandb/offline-run-*")}
    assert len(ids) == 1


def _wandb_history(file: Path) -> list[dict[str, Any]]:
    """The rows of a run, from the file that `wandb sync` sends."""
    messages = importlib.import_module("wandb.proto.wandb_internal_pb2")
    rows = []
    for data in _wandb_records(file.read_bytes()):
        record = messages.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            rows.append({name: v for name, v in items.items() if not name.startswith("_")})
    return rows


def _wandb_records(content: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's form: blocks of 32 KiB, behind a header of 7 bytes."""
    at, parts = 7, b""
    while at + 7 <= len(content):
        size, kind = struct.unpack_from("<HB", content, at + 4)
        if kind:  # 1 whole, 2 first, 3 middle, 4 last; 0 is the rest of a block
            parts += content[at + 7 : at + 7 + size]
            if kind in (1, 4):
                yield parts
                parts = b""
        at += 7 + size
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768


def test_trackio_has_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio")
    with open_trackers(["trackio"], tmp_path, "out", {"seed": 7}) as trackers:
        log = MetricsLog(tmp_path / "metrics.jsonl", NullListener(), trackers)
        log.training(1, 10, 20, {"loss": 0.5})
        log.measured(1, 10, {"tau_itm": 0.25})
    (run,) = trackio.Api().runs("pairsift")
    assert run.name.startswith("out-")
    with contextlib.closing(sqlite3.connect(tmp_path / "trackio" / "pairsift.db")) as database:
        rows = [json.loads(text) for (text,) in database.execute("SELECT metrics FROM metrics")]
    assert rows == [
        {"stage-1/step": 10, "stage-1/loss": 0.5},
        {"stage-1/step": 10, "stage-1/dev_tau_itm": 0.25},
    ]


@pytest.mark.slow
def test_training_on_labels_is_logged(tmp_path: Path) -> None:
    """From labels of `explore` to a filter, with its event files."""
    for module in ("accelerate", "scipy", "tensorboard"):
        pytest.importorskip(module)
    toy = write_toy(tmp_path / "toy", 24)
    base = save_checkpoint(tmp_path / "base", "llava")
    labels = tmp_path / "labels.jsonl"
    with labels.open("w") as file:
        for number in range(24):
            colour = list(COLOURS)[number % 2]
            named = list(COLOURS)[number // 2 % 2]
            caption = TEMPLATES[number % 4].format(named)
            label = "unsure" if number % 8 == 7 else "good" if named == colour else "bad"
            assert label in LABELS
            assert (toy / "images" / f"{number}.png").read_bytes() == png(colour, number)
            line = {"shard": "images", "key": str(number), "caption_index": 0, "caption": caption}
            line |= {"label": label, "by": "anna", "at": "", "scores": {}}
            file.write(json.dumps(line) + "\n")
    out = tmp_path / "out"
    summary = train(
        Settings(
            data=(str(labels),), images=(str(toy / "images"),), model=str(base), out=str(out),
            stages=parse_stages("projector,all", steps="2,4", learning_rates="3e-3"),
            prompts="compact", batch_size=4, accumulate=1, save_every=2, log_every=1,
            dev_fraction=0.25, log="tensorboard",
        ),
        NullListener(),
    )  # fmt: skip
    assert (summary.train, summary.dev_pairs) == (16, 5)
    assert set(summary.dev) >= {"tau_itm", "mae_itm"}
    found = tensorboard(out / "training" / "tensorboard")
    same(found, recorded(out / "training" / "metrics.jsonl"))
    assert [step for step, _ in found["stage-2", "loss"]] == [1, 2, 3, 4]
