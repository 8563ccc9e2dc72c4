"""A run's configuration: the same from TOML and YAML, and nothing wrong slips through."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairsift.config import Config, read_config
from pairsift.errors import PairsiftError
from pairsift.options import ReportOptions, ScoreOptions, SelectOptions

TOML = """
out = "out"
[score]
shards = "pool/{00000..00009}.tar"
[select]
top = 0.3
by = "itm"
[report]
"""
YAML = """
out: out
score:
  shards: ["pool/{00000..00009}.tar"]
select: {top: 0.3, by: itm}
report:
"""


def _read(tmp_path: Path, text: str, name: str = "run.toml") -> Config:
    path = tmp_path / name
    path.write_text(text)
    return read_config(path)


def test_toml_is_read(tmp_path: Path) -> None:
    assert _read(tmp_path, TOML) == Config(
        out="out",
        score=ScoreOptions(shards=("pool/{00000..00009}.tar",)),
        select=SelectOptions(top=0.3, by="itm"),
        report=ReportOptions(),
    )


@pytest.mark.parametrize("carry", ["'url,domain'", "'url, domain'", "['url', 'domain']"])
def test_lists_may_be_written_as_on_the_command_line(tmp_path: Path, carry: str) -> None:
    config = _read(tmp_path, f"out = 'o'\n[score]\nshards = 'a,b'\ncarry = {carry}\n")
    assert config.score == ScoreOptions(shards=("a,b",), carry=("url", "domain"))


def test_an_empty_yaml_section_is_no_section(tmp_path: Path) -> None:
    config = _read(tmp_path, YAML, "run.yaml")
    assert config.select == SelectOptions(top=0.3, by="itm")
    assert config.report is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("out = 'o'\n[scoer]\n", "unknown key 'scoer'; did you mean 'score'"),
        ("out = 'o'\n[score]\nshard = 'x'\n", "score: unknown key 'shard'; did you mean 'shards'"),
        ("out = 'o'\n", "'score' is missing"),
        ("out = 'o'\n[score]\n", "score: 'shards' is missing"),
        ("out = 'o'\nscore = 3\n", "score: a section with keys is needed, not 3"),
        ("out = 'o'\n[score]\nshards = [1]\n", "shards = (1,): input should be a valid string"),
        (
            "out = 'o'\n[score]\nshards = 'x'\nworkers = 'two'\n",
            "workers = 'two': input should be a valid integer",
        ),
        (
            "out = 'o'\n[score]\nshards = 'x'\nworkers = true\n",
            "workers = True: input should be a valid integer",
        ),
        ("out = 'o'\n[score]\nshards = 'x'\nworkers = -1\n", "should be greater than or equal"),
        ("out = 'o'\n[score]\nshards = 'x'\n[select]\ntop = 2\n", "should be less than or equal"),
        ("out = 'o'\n[score]\nshards = 'x'\n[write]\ndataset = 'd'\n", "dataset = 'd': give true"),
        ("out = 'o", "not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PairsiftError, match="run.toml") as caught:
        _read(tmp_path, text)
    assert message in str(caught.value)


def test_missing_file_and_foreign_name(tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match=r"cannot read .*none\.toml: No such file"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(PairsiftError, match=r"must end in \.toml"):
        _read(tmp_path, "", "run.ini")


def test_scorer_options_of_older_files_are_keys_of_score(tmp_path: Path) -> None:
    text = "out = 'o'\n[score]\nshards = 'x'\n[score.options]\nmetrics = 'itm'\nscale = 2\n"
    score = _read(tmp_path, text).score
    assert score.metrics == "itm"
    assert score.scorer_option == {"scale": 2}
