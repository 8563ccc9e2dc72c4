"""One file chains the steps, and a second run repeats nothing that is finished."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from pairsift import PairsiftError
from pairsift.cli import main
from pairsift.config import read_config
from pairsift.pipeline import run_pipeline
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


def test_second_run_scores_nothing(place: Path) -> None:
    run_pipeline(read_config("run.toml"))
    files = {path: path.read_bytes() for path in Path("out/shards").iterdir()}
    again = run_pipeline(read_config("run.toml"))
    assert (again.score.skipped, again.score.rows) == (2, 0)
    assert {path: path.read_bytes() for path in Path("out/shards").iterdir()} == files


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
