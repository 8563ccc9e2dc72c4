"""A step's options are the same from the command line, a run's file and Python."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from annotated_types import Ge, Le
from click.testing import Result
from typer.testing import CliRunner
from typing_extensions import Doc

from pairsift import PairsiftError
from pairsift.cli import app
from pairsift.cli.options import with_options
from pairsift.config import read_config
from pairsift.options import (
    Argument,
    Commas,
    DedupOptions,
    NegClipLossOptions,
    NormSimOptions,
    Pairs,
    ReportOptions,
    ScoreOptions,
    SelectOptions,
    SemanticDuplicatesOptions,
    WriteOptions,
)
from tests.samples import jpeg, write_tar

STEPS = {
    "score": ScoreOptions,
    "dedup": DedupOptions,
    "normsim": NormSimOptions,
    "neg_clip_loss": NegClipLossOptions,
    "semantic_duplicates": SemanticDuplicatesOptions,
    "select": SelectOptions,
    "write": WriteOptions,
    "report": ReportOptions,
}
NEEDED: dict[str, dict[str, Any]] = {
    "score": {"shards": ["pool"]},
    "normsim": {"target": ["near"]},
}
FIELDS = [(step, field) for step, model in STEPS.items() for field in dataclasses.fields(model)]
# Outputs of [write] are true in a run's file and a path on the command line.
OUTPUTS = {
    "datacomp": "subset.npy",
    "webdataset": "shards",
    "parquet": "kept.parquet",
    "dataset": "dataset",
    "buckets": "buckets",
}


def notes_of(step: str, name: str) -> tuple[Any, ...]:
    return get_args(get_type_hints(STEPS[step], include_extras=True)[name])


def has(step: str, name: str, kind: type) -> bool:
    return any(isinstance(note, kind) for note in notes_of(step, name))


def as_arguments(step: str, name: str, value: Any) -> list[str]:
    """What a user writes on the command line for a value of a run's file."""
    flag = f"--{name.replace('_', '-')}"
    if value is True:
        return [flag]
    if has(step, name, Argument):
        return list(value)
    if has(step, name, Commas):
        return [flag, ",".join(map(str, value))]
    if has(step, name, Pairs):
        return [part for key, text in value.items() for part in (flag, f"{key}={text}")]
    if isinstance(value, list):
        return [part for item in value for part in (flag, str(item))]
    return [flag, str(value)]


def another(step: str, field: dataclasses.Field[Any]) -> Any:
    """A value of the field's kind that is not its default, as a run's file has it."""
    kind = notes_of(step, field.name)[0]
    if has(step, field.name, Pairs):
        return {"first": "1", "second": "2"}
    if kind == tuple[float, ...]:
        return [1.5, 2.0]
    if kind == tuple[str, ...]:
        return ["a", "b"]
    for known, value in ((bool, True), (float, 0.25), (int, 3), (str, "words")):
        if kind is known or known in get_args(kind):
            return value
    raise AssertionError(f"{step}.{field.name} is of a kind that no test knows: {kind}")


def invoke(step: str, arguments: list[str]) -> tuple[list[Any], Result]:
    """What a command with these options gets, and how it ends."""
    taken: list[Any] = []
    only = typer.Typer()

    @only.command()
    @with_options(options=STEPS[step])
    def command(options: Any) -> None:
        taken.append(options)

    return taken, CliRunner().invoke(only, arguments)


def from_command_line(step: str, arguments: list[str]) -> Any:
    taken, done = invoke(step, arguments)
    assert done.exit_code == 0, done.output
    return taken[0]


def from_file(tmp_path: Path, sections: dict[str, dict[str, Any]]) -> Any:
    path = tmp_path / "run.yaml"  # of which JSON is a part
    path.write_text(json.dumps({"out": "out", **sections}))
    return read_config(path)


@pytest.mark.parametrize(
    ("step", "field"), FIELDS, ids=[f"{step}-{field.name}" for step, field in FIELDS]
)
def test_every_option_is_the_same_from_everywhere(
    tmp_path: Path, step: str, field: dataclasses.Field[Any]
) -> None:
    value = another(step, field)
    sections: dict[str, dict[str, Any]] = {"score": {"shards": ["pool"]}, "select": {}}
    given = NEEDED.get(step, {})
    sections[step] = {**given, field.name: value}
    arguments = {**given, field.name: value}
    if step == "write" and field.name in OUTPUTS:
        sections[step][field.name] = True
        arguments[field.name] = OUTPUTS[field.name]
    read = getattr(from_file(tmp_path, sections), step)
    command = [part for name, one in arguments.items() for part in as_arguments(step, name, one)]
    assert from_command_line(step, command) == read
    assert getattr(read, field.name) != field.default


LIMITS = [
    (step, field, limit)
    for step, field in FIELDS
    for limit in notes_of(step, field.name)
    if isinstance(limit, (Ge, Le))
]


@pytest.mark.parametrize(
    ("step", "field", "limit"),
    LIMITS,
    ids=[f"{step}-{field.name}-{limit}" for step, field, limit in LIMITS],
)
def test_limits_hold_everywhere(
    tmp_path: Path, step: str, field: dataclasses.Field[Any], limit: Ge | Le
) -> None:
    beyond: Any = limit.ge - 1 if isinstance(limit, Ge) else limit.le + 1
    given = NEEDED.get(step, {})
    sections: dict[str, dict[str, Any]] = {"score": {"shards": ["pool"]}, "select": {}}
    sections[step] = {**given, field.name: beyond}
    with pytest.raises(PairsiftError, match=f"{step}: {field.name} = "):
        from_file(tmp_path, sections)
    arguments = as_arguments(step, field.name, beyond)
    done = invoke(step, [*given.get("shards", ()), arguments[0] + "=" + arguments[1]])[1]
    assert done.exit_code == 2
    assert arguments[0] in done.output


@pytest.mark.parametrize("step", sorted(STEPS))
def test_defaults_are_the_same_from_everywhere(tmp_path: Path, step: str) -> None:
    given = NEEDED.get(step, {})
    sections: dict[str, dict[str, Any]] = {"score": {"shards": ["pool"]}, "select": {}, step: given}
    arguments = [part for name, one in given.items() for part in as_arguments(step, name, one)]
    made = STEPS[step](**{name: tuple(one) for name, one in given.items()})
    assert (
        from_command_line(step, arguments) == getattr(from_file(tmp_path, sections), step) == made
    )


@pytest.mark.parametrize(
    ("step", "field"), FIELDS, ids=[f"{step}-{field.name}" for step, field in FIELDS]
)
def test_help_is_a_sentence(step: str, field: dataclasses.Field[Any]) -> None:
    (told,) = [note.documentation for note in notes_of(step, field.name) if isinstance(note, Doc)]
    assert told[0].isupper() or told.split()[0] in ("changed:", "failed:", "i/n:")
    assert told.endswith(".")
    assert not told.startswith("Of ")


RUNS = {
    "quotas, uids once, lists and scores added": {
        "score": {"shards": "pool/*.tar", "scorer": "heuristics", "workers": 0, "batch_size": 3},
        "select": {
            "where": "caption_words >= 2", "top": 0.5, "by": "caption_characters",
            "per": "language", "unique": True, "exclude": ["unwanted.txt"], "seed": 4,
            "join": ["other=others.csv@uid"],
        },
        "write": {
            "datacomp": True, "webdataset": True, "parquet": True, "dataset": True,
            "samples_per_shard": 3, "add_scores": ["caption_words"], "workers": 1,
        },
    },
    "another caption, buckets and a joined column": {
        "score": {
            "shards": "pool/*.tar", "scorer": "heuristics", "caption_field": "json.title",
            "max_failure_rate": 1,
        },
        "select": {
            "count": 9, "by": "other.rank", "join": ["other=others.csv@uid"],
            "memory_limit": "1GB",
        },
        "write": {
            "buckets": True, "bucket_by": "caption_characters", "bucket_edges": [10, 14],
            "datacomp": True, "keep_duplicates": True,
        },
        "report": {"title": "Mine", "gallery_size": 2, "seed": 3},
    },
}  # fmt: skip


def make_pool(folder: Path) -> None:
    (folder / "pool").mkdir(parents=True)
    uids = [f"{number % 20:032x}" for number in range(24)]
    for shard in range(3):
        samples = []
        for row in range(8):
            number = 8 * shard + row
            fields = {"uid": uids[number], "title": f"title number {number * number}"}
            caption = f"a caption of {number} words" + " more" * (number % 5)
            samples.append(
                (f"{number:04d}", {"jpg": jpeg(seed=number), "txt": caption,
                                   "json": json.dumps(fields)})
            )  # fmt: skip
        write_tar(folder / "pool" / f"{shard}.tar", samples)
    (folder / "unwanted.txt").write_text("\n".join(uids[3:6]))
    rows = [f"{uid},{number * 7 % 20}" for number, uid in enumerate(uids[:20])]
    (folder / "others.csv").write_text("\n".join(["uid,rank", *rows]))


def run(*arguments: str) -> None:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, f"{arguments}\n{done.output}\n{done.exception}"


def contents(folder: Path) -> dict[str, Any]:
    """What each output holds, apart from the places and times in its metadata."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if path.suffix == ".parquet":
            found[name] = pq.read_table(path).to_pydict()
        elif path.suffix == ".npy":
            found[name] = np.load(path).tolist()
        elif path.suffix == ".tar" or path.name == "sizes.json":
            found[name] = path.read_bytes()
        elif path.suffix == ".html":
            found[name] = path.read_text().count("<figure"), "<h1>Mine" in path.read_text()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RUNS))
def test_a_run_makes_what_the_commands_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sections: dict[str, dict[str, Any]] = RUNS[name]  # type: ignore[assignment]
    for place in ("file", "commands"):
        make_pool(tmp_path / place)
    monkeypatch.chdir(tmp_path / "file")
    from_file(tmp_path / "file", sections)
    run("run", "run.yaml")
    monkeypatch.chdir(tmp_path / "commands")

    def options(step: str) -> list[str]:
        given = dict(sections[step])
        if step == "write":
            given |= {output: f"out/{file}" for output, file in OUTPUTS.items() if output in given}
        values = {key: [one] if key == "shards" else one for key, one in given.items()}
        return [part for key, one in values.items() for part in as_arguments(step, key, one)]

    run("score", *options("score"), "--out", "out/scores")
    run("select", "out/scores", *options("select"), "--out", "out/selection")
    run("write", "out/selection", *options("write"))
    if "report" in sections:
        arguments = ["--selection", "out/selection", "--out", "out/report.html"]
        run("report", "out/scores", *options("report"), *arguments)
    made = contents(tmp_path / "file" / "out")
    assert made == contents(tmp_path / "commands" / "out")
    assert len(made) >= 8
