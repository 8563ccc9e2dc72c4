"""What runs on a Ray cluster, without one: the board, jobs as text, and the claim of a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pairsift.engines.base import FIRST_FAILURES, Job
from pairsift.engines.ray_actors import Board, claim_folder, job_to_json
from pairsift.engines.settings import ScorerSpec, WorkerSettings
from pairsift.sources import Shard


def test_the_board_counts_how_often_each_shard_was_started() -> None:
    board = Board()
    for name in ("a", "b", "a"):
        board.begin(name)
    assert board.starts(["a", "c", "b"]) == [2, 0, 1]
    assert board.starts([]) == []


def test_the_board_hands_over_the_progress_since_the_last_time() -> None:
    board = Board()
    assert board.drain() == (False, {}, [])
    board.begun()
    assert board.tell({"ok": 3, "image_missing": 1}, ["a/1: image_missing"])
    assert board.tell({"ok": 2}, [])
    assert board.drain() == (True, {"ok": 5, "image_missing": 1}, ["a/1: image_missing"])
    assert board.drain() == (True, {}, [])


def test_the_board_keeps_the_first_failures_only() -> None:
    board = Board()
    for number in range(FIRST_FAILURES):
        board.tell({}, [f"{number}", f"{number} again"])
    _, _, failures = board.drain()
    assert failures == ["0", "0 again", "1", "1 again", "2"]


def test_a_stopped_board_tells_scorers_to_stop() -> None:
    board = Board()
    board.stop()
    assert not board.tell({"ok": 1}, [])
    assert board.drain()[1] == {"ok": 1}


def test_a_job_is_plain_json() -> None:
    shard = Shard("00000", "s3://pool/é.tar", "webdataset", 7, (("caption", "json.alt"),), "v1")
    assert json.loads(job_to_json(Job(shard, retry=True, noted=True))) == {
        "shard": {
            "name": "00000", "url": "s3://pool/é.tar", "kind": "webdataset", "size": 7,
            "options": [["caption", "json.alt"]], "version": "v1",
        },
        "retry": True, "rescore": False, "noted": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scorer", "refused"),
    [("heuristics", None), ("nosuch", "no scorer 'nosuch'")],
)
def test_a_folder_is_claimed_or_the_reason_told(
    tmp_path: Path, scorer: str, refused: str | None
) -> None:
    out = tmp_path / "out"
    told = claim_folder(WorkerSettings(ScorerSpec(scorer), str(out), "/pool", None, 0, "run"))
    assert (told or "").startswith(refused or "")
    assert (told is None) == (refused is None) == (out / "_run.json").exists()


def test_a_folder_of_other_scores_is_not_claimed(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert claim_folder(WorkerSettings(ScorerSpec("heuristics"), out, "/a", None, 0, "run")) is None
    told = claim_folder(WorkerSettings(ScorerSpec("hashes"), out, "/a", None, 0, "run"))
    assert told is not None
    assert "heuristics" in told
