"""Labels over HTTP: of which row each is, and what is refused."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pairsift.explore import running_server
from pairsift.explore.labels import LabelFile
from tests.explore.conftest import Served, snapshot
from tests.explore.test_labels import FACTS, lines, writer
from tests.explore.test_server import ask, rows
from tests.score_folders import score_folder, score_table, write_tar


def post(url: str, body: Any, **headers: str) -> tuple[int, Any]:
    """Status and answer of a request for a label."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **headers}
    connection.request("POST", f"{parts.path}api/label", content, sent)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    is_json = response.headers.get_content_type() == "application/json"
    return response.status, json.loads(answer) if is_json else answer.decode()


@pytest.fixture
def labelled(served: Served, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server that takes labels, and their file."""
    file = tmp_path / "labels.jsonl"
    with running_server(
        served.scored.scores, cache=str(tmp_path), labels=str(file), reader="anna"
    ) as url:
        yield url, file


def test_a_label_has_the_pair_its_caption_and_its_scores(
    served: Served, labelled: tuple[str, Path]
) -> None:
    url, file = labelled
    row = rows(url, fate="ok", size="30")["rows"][8]
    status, answer = post(url, {"pos": row["pos"], "label": "good"})
    assert (status, answer["before"]) == (200, None)
    assert answer["labels"] == {"good": 1, "of": 81}
    (line,) = lines(file)
    assert (line["shard"], line["key"], line["caption_index"]) == (row["shard"], row["key"], 0)
    assert (line["label"], line["by"]) == ("good", "anna")
    assert line["caption"] == served.scored.captions[row["key"]]
    assert line["scores"]["itm"] == served.scored.itm[row["key"]]
    assert snapshot(served.folder) == served.before


def test_the_last_label_counts_and_undo_brings_the_one_before_back(
    labelled: tuple[str, Path],
) -> None:
    url, file = labelled
    pos = rows(url, fate="ok")["rows"][0]["pos"]
    first = post(url, {"pos": pos, "label": "good"})[1]["label"]["number"]
    status, answer = post(url, {"pos": pos, "label": "bad"})
    assert (status, answer["before"]["label"], answer["before"]["by"]) == (200, "good", "anna")
    assert answer["labels"] == {"bad": 1, "of": 81}
    second = answer["label"]["number"]
    # Another window cannot take back what does not count any more.
    assert post(url, {"pos": pos, "undo": first})[0] == 400
    assert post(url, {"pos": pos, "undo": second})[1]["label"]["label"] == "good"
    assert post(url, {"pos": pos, "undo": first})[1]["label"] is None
    assert [line["label"] for line in lines(file)] == ["good", "bad", "good", None]
    assert rows(url, label="labelled")["total"] == 0


def test_filter_by_label(labelled: tuple[str, Path]) -> None:
    url, _ = labelled
    shown = rows(url, fate="ok", size="40")["rows"]
    for number, row in enumerate(shown[:6]):
        post(url, {"pos": row["pos"], "label": ("good", "bad", "unsure")[number % 3]})
    left = rows(url, label="unlabelled", size="200")
    assert left["total"] == 75
    assert left["labels"] == {"good": 2, "bad": 2, "unsure": 2, "of": 81}
    assert not {row["pos"] for row in left["rows"]} & {row["pos"] for row in shown[:6]}
    assert rows(url, label="labelled")["total"] == 6
    bad = rows(url, label="bad", where="itm >= 0")["rows"]
    assert [row["label"]["label"] for row in bad] == ["bad", "bad"]
    assert ask(url, "api/rows?label=nosuch")[0] == 400


def test_labels_outlive_the_server_and_hold_for_other_scores_of_the_pool(
    served: Served, labelled: tuple[str, Path], tmp_path: Path
) -> None:
    url, file = labelled
    row = rows(url, fate="ok")["rows"][3]
    post(url, {"pos": row["pos"], "label": "bad"})
    with running_server(served.scored.scores, cache=str(tmp_path), labels=str(file)) as other:
        (found,) = rows(other, label="labelled")["rows"]
        assert (found["key"], found["label"]["by"]) == (row["key"], "anna")


def test_several_captions_of_one_sample_have_labels_of_their_own(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("1.txt", b"one")])
    table = score_table("a", ["1", "1"], {"itm": [1.0, 2.0], "caption_index": [0, 1]})
    scores = score_folder(tmp_path / "scores", {"a": table}, root=tmp_path)
    file = tmp_path / "labels.jsonl"
    facts = {**FACTS, "caption": "two"}
    LabelFile(str(file), "anna").add(("a", "1", 1), "good", facts)
    with running_server(scores, cache=str(tmp_path), labels=str(file)) as url:
        (row,) = rows(url, label="good")["rows"]
        assert row["itm"] == 2.0


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"pos": "0", "label": "fine"}, {}, 400),
        ({"pos": 0, "label": "good"}, {}, 400),
        ({"pos": "-1", "label": "good"}, {}, 400),
        ({"label": "good"}, {}, 400),
        ([], {}, 400),
        (b"{", {}, 404),
        (b"[" * 4000, {}, 404),
        (b" " * 5000, {}, 413),
        ({"pos": str(99 << 32), "label": "good"}, {}, 404),
        ({"pos": "9", "label": "good"}, {}, 404),  # a corrupt image
        ({"pos": "0", "label": "good"}, {"Content-Type": "text/plain"}, 415),
        ({"pos": "0", "label": "good"}, {"Origin": "http://evil.example"}, 403),
        ({"pos": "0", "label": "good"}, {"Host": "evil.example"}, 403),
        ({"pos": "0", "undo": 7}, {}, 400),
    ],
)
def test_a_request_that_is_no_label_is_refused(
    labelled: tuple[str, Path], body: Any, headers: dict[str, str], status: int
) -> None:
    url, file = labelled
    assert post(url, body, **headers)[0] == status
    assert file.read_bytes() == b""
    assert rows(url)["total"] == 90


def test_without_labels_nothing_is_written(served: Served) -> None:
    status, why = post(served.url, {"pos": "0", "label": "good"})
    assert status == 501
    assert "--labels" in why
    assert rows(served.url)["labels"] is None


@pytest.mark.slow
def test_labels_written_at_the_same_time_are_all_kept(
    labelled: tuple[str, Path], served: Served
) -> None:
    """Two other processes write, while two windows of this server do."""
    url, file = labelled
    others = [writer(file, who, 60) for who in ("ben", "cleo")]
    found = [row["pos"] for row in rows(url, fate="ok", size="60")["rows"]]
    statuses: list[int] = []

    def window(mine: list[str]) -> None:
        statuses.extend(post(url, {"pos": pos, "label": "bad"})[0] for pos in mine)

    windows = [threading.Thread(target=window, args=(found[part::2],)) for part in range(2)]
    for thread in windows:
        thread.start()
    for thread in windows:
        thread.join()
    told = [process.communicate(timeout=60)[0].split("\n")[:-1] for process in others]
    assert statuses == [200] * 60
    assert [len(numbers) for numbers in told] == [60, 60]
    written = lines(file)
    assert len(written) == len({(line["by"], line["key"]) for line in written}) == 180
    # Each was told the number of its own line.
    for who, numbers in zip(("ben", "cleo"), told, strict=True):
        for text in numbers:
            number, line = map(int, text.split())
            assert written[line - 1]["key"] == f"{who}-{number}"
