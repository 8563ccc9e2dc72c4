"""One file chains the steps, and a second run repeats nothing that is finished."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from pairsift import PairsiftError
from pairsift.cli import main
from pairsift.config import read_config
from pairsift.pipeline import PipelineResult, run_pipeline
from tests.samples import good_samples, write_tar

CONFIG = """
out = "out"
[score]
shards = "pool/*.tar"
scorer = "heuristics"
[select]
where = "smaller_side >= 200"
top = 0.5
by = "caption_characters"
[write]
datacomp = true
webdataset = true
samples_per_shard = 4
add_scores = ["caption_words"]
[report]
title = "A test"
gallery_size = 2
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pool of 20 pairs and a configuration; the current one."""
    (tmp_path / "pool").mkdir()
    for shard in range(2):
        samples = good_samples(10, prefix=f"s{shard}-")
        for index, members in enumerate(samples.values()):
            members["json"] = json.dumps({"uid": f"{shard * 10 + index:032x}"})
        write_tar(tmp_path / "pool" / f"{shard:05d}.tar", samples)
    (tmp_path / "run.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_steps_leave_their_files(place: Path) -> None:
    result = run_pipeline(read_config("run.toml"))
    assert (result.score.rows, result.score.failures) == (20, 0)
    assert result.selection is not None
    assert result.selection.kept == 10
    assert len(np.load("out/subset.npy")) == 10
    assert json.loads(Path("out/shards/sizes.json").read_text()) == {
        "00000000.tar": 4,
        "00000001.tar": 4,
        "00000002.tar": 2,
    }
    with tarfile.open("out/shards/00000000.tar") as tar:
        [name, *_] = [name for name in tar.getnames() if name.endswith(".json")]
        member = tar.extractfile(name)
        assert member is not None
        assert "caption_words" in member.read().decode()
    page = Path("out/report.html").read_text()
    assert "<title>A test" in page


@pytest.mark.slow
def test_second_run_scores_nothing(place: Path) -> None:
    run_pipeline(read_config("run.toml"))
    files = {path: path.read_bytes() for path in Path("out/shards").iterdir()}
    again = run_pipeline(read_config("run.toml"))
    assert (again.score.skipped, again.score.rows) == (2, 0)
    assert {path: path.read_bytes() for path in Path("out/shards").iterdir()} == files


@pytest.mark.slow
def test_command_prints_json(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["pairsift", "run", "run.toml", "--json"])
    main()
    result = json.loads(capsys.readouterr().out)
    assert result["score"]["rows"] == 20
    assert result["select"]["kept"] == 10
    assert result["webdataset"]["shards"] == 3


def test_write_without_select_is_refused(place: Path) -> None:
    Path("run.toml").write_text('out = "o"\n[score]\nshards = "pool"\n[write]\ndatacomp = true\n')
    with pytest.raises(PairsiftError, match=r"\[write\] needs a \[select\]"):
        read_config("run.toml")


def _contents(folder: str) -> dict[str, bytes]:
    """Every file of an `out` but the scores, the report and what names its own place."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.parent.name != "scores" and path.name != "report.html"
    }


CHANGES = {
    "where": [('where = "smaller_side >= 200"', 'where = "caption_words > 1"')],
    "top": [("top = 0.5", "top = 0.25")],
    "nothing kept": [("top = 0.5", "top = 0.0")],
    "samples a shard": [("samples_per_shard = 4", "samples_per_shard = 3")],
    "columns": [('["caption_words"]', '["caption_characters"]')],
    "only a list": [("webdataset = true", "webdataset = false"), ("top = 0.5", "top = 0.2")],
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_outputs_of_a_changed_run_are_those_of_a_fresh_one(place: Path, change: str) -> None:
    run_pipeline(read_config("run.toml"))
    changed = CONFIG
    for old, new in CHANGES[change]:
        changed = changed.replace(old, new)
    Path("run.toml").write_text(changed)
    again = run_pipeline(read_config("run.toml"))
    assert (again.score.rows, again.score.skipped) == (0, 2)
    found = _contents("out")
    shutil.move("out/scores", "scores")
    shutil.rmtree("out")
    Path("out").mkdir()
    shutil.move("scores", "out/scores")
    run_pipeline(read_config("run.toml"))
    assert _contents("out") == found
    assert not Path("out/next").exists()


_KILLED_AT = """
import os, signal, sys
out, at = os.path.abspath("out"), int(sys.argv[1])
from pairsift.config import read_config
from pairsift.pipeline import PipelineResult, run_pipeline
config = read_config("run.toml")
count = 0

def kill(name, args):
    global count
    changes = ("os.rename", "os.remove", "shutil.rmtree", "os.rmdir")
    if name in changes and str(args[0]).startswith((out, "out")):
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
run_pipeline(config)
print(count)
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", [4, 8, 12, 13, 14, 15, 16, 17, 18, 20])
def test_killed_while_outputs_change_it_goes_on(place: Path, at: int) -> None:
    run_pipeline(read_config("run.toml"))
    Path("run.toml").write_text(CONFIG.replace("top = 0.5", "top = 0.25"))
    killed = subprocess.run([sys.executable, "-c", _KILLED_AT, str(at)], capture_output=True)
    assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr
    result = run_pipeline(read_config("run.toml"))
    assert result.selection is not None
    assert result.selection.kept == 5
    assert len(np.load("out/subset.npy")) == 5
    assert json.loads(Path("out/shards/sizes.json").read_text()) == {
        "00000000.tar": 4, "00000001.tar": 1,
    }  # fmt: skip
    assert sorted(os.listdir("out")) == [
        "_outputs.json", "report.html", "scores", "selection", "shards", "subset.npy",
    ]  # fmt: skip


@pytest.mark.slow
def test_without_write_the_outputs_of_the_same_selection_stay(place: Path) -> None:
    run_pipeline(read_config("run.toml"))
    without = re.sub(r"\[write\].*\[report\]", "[report]", CONFIG, flags=re.DOTALL)
    Path("run.toml").write_text(without)
    run_pipeline(read_config("run.toml"))
    assert Path("out/shards/sizes.json").exists()
    Path("run.toml").write_text(without.replace("top = 0.5", "top = 0.4"))
    run_pipeline(read_config("run.toml"))
    assert sorted(os.listdir("out")) == ["_outputs.json", "report.html", "scores", "selection"]


@pytest.mark.slow
def test_behind_a_url_outputs_change_together(place: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    url = "memory://test-pipeline"
    Path("run.toml").write_text(CONFIG.replace('out = "out"', f'out = "{url}"'))
    run_pipeline(read_config("run.toml"))
    Path("run.toml").write_text(Path("run.toml").read_text().replace("top = 0.5", "top = 0.25"))
    result = run_pipeline(read_config("run.toml"))
    assert result.written["webdataset"].samples == 5
    names = {name.removeprefix("/test-pipeline/") for name in memory.find("/test-pipeline")}
    assert {name for name in names if not name.startswith("scores/")} == {
        "_outputs.json", "report.html", "subset.npy", "selection/kept.parquet",
        "selection/selection.json", "shards/00000000.tar", "shards/00000001.tar",
        "shards/sizes.json", "shards/_pairsift.manifest",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("smaller_side >= 200", "smallest_side >= 200", "no column 'smallest_side'"),
        ("smaller_side >= 200", "smaller_side >= and", "is not an expression"),
        ("smaller_side >= 200", "smaller_side", "a condition is needed"),
        ('by = "caption_characters"', 'by = "language"', "a number is needed"),
        ('by = "caption_characters"', "", "needs --by"),
        ("top = 0.5", "top = 5.0", "top = 5.0: input should be less than or equal to 1"),
        ("top = 0.5", 'top = 0.5\nper = "domain"', "no column 'domain'"),
        ("top = 0.5", "count = -1", "count = -1: input should be greater"),
        ('["caption_words"]', '["itm"]', "add_scores.*no column 'itm'"),
        ("samples_per_shard = 4", "samples_per_shard = 0", "samples_per_shard = 0"),
        ("gallery_size = 2", "gallery_size = -2", "gallery_size = -2"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_scored(
    place: Path, old: str, new: str, told: str
) -> None:
    assert old in CONFIG
    Path("run.toml").write_text(CONFIG.replace(old, new))
    with pytest.raises(PairsiftError, match=told):
        run_pipeline(read_config("run.toml"))
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["report.html", "subset.npy", "shards", "selection"])
def test_what_is_not_ours_is_not_replaced(place: Path, name: str) -> None:
    mine = Path("out") / name
    mine.mkdir(parents=True)
    (mine / "mine.txt").write_text("mine")
    with pytest.raises(PairsiftError, match=re.escape(name)):
        run_pipeline(read_config("run.toml"))
    assert (mine / "mine.txt").read_text() == "mine"
    assert not Path("out/scores").exists()


def test_out_that_is_a_file_is_told(place: Path) -> None:
    Path("out").write_text("mine")
    with pytest.raises(PairsiftError, match="is a file, but a folder is expected"):
        run_pipeline(read_config("run.toml"))
    assert Path("out").read_text() == "mine"


@pytest.mark.slow
def test_with_parts_the_last_one_selects_and_writes(place: Path) -> None:
    def run(part: str) -> PipelineResult:
        text = CONFIG.replace("[select]", f'part = "{part}"\n[select]')
        Path("run.toml").write_text(text)
        return run_pipeline(read_config("run.toml"))

    first = run("1/2")
    assert any("1 shards of other parts have no scores yet" in note for note in first.notes)
    assert first.selection is None
    assert sorted(os.listdir("out")) == ["scores"]
    last = run("2/2")
    assert last.selection is not None
    assert last.selection.record.rows == 20
    assert {"selection", "shards", "report.html"} <= set(os.listdir("out"))


def test_an_output_that_no_writer_makes_is_told(place: Path) -> None:
    Path("run.toml").write_text(CONFIG + '[write.to]\nnothing = "x"\n')
    with pytest.raises(PairsiftError, match="no such writer; there are datacomp, webdataset"):
        run_pipeline(read_config("run.toml"))
    assert not Path("out").exists()
