"""Judgments are read and counted as the literature counts them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.evaluate.judgments import Preferences, Ratings
from pairsift.evaluate.protocols import Request, read_judgments

SHARED = Path(__file__).parents[2].parent / "shared" / "data"

TOKENS = (
    "a.jpg#0\tA dog runs .\na.jpg#1\tA brown dog .\n"
    "b.jpg#0\tTwo girls sing .\nb.jpg#1\tGirls on a stage .\n"
)
EXPERT = (
    "a.jpg\ta.jpg#1\t4\t4\t4\n"
    "a.jpg\tb.jpg#0\t1\t1\t2\n"
    "b.jpg\tb.jpg#1\t4\t3\t4\n"
    "b.jpg\ta.jpg#0\t1\t2\t1\n"
)


def _write(path: Path, text: str) -> str:
    path.write_text(text, "utf-8")
    return str(path)


def _ratings(protocol: str, request: Request) -> Ratings:
    _, judgments = read_judgments(protocol, request)
    assert isinstance(judgments, Ratings)
    return judgments


def test_expert_rows_are_not_averaged_and_own_captions_do_not_count(tmp_path: Path) -> None:
    request = Request(
        _write(tmp_path / "ExpertAnnotations.txt", EXPERT),
        _write(tmp_path / "Flickr8k.token.txt", TOKENS),
    )
    found = _ratings("flickr8k-expert", request)
    assert found.images == ["a.jpg"] * 3 + ["b.jpg"] * 3
    assert found.captions == ["Two girls sing ."] * 3 + ["A dog runs ."] * 3
    assert found.ratings.tolist() == [1, 1, 2, 1, 2, 1]
    assert found.left_out == {"the image's own caption": 6}


def test_captions_may_come_as_a_table(tmp_path: Path) -> None:
    expert = _write(tmp_path / "ExpertAnnotations.txt", EXPERT)
    tokens = _write(tmp_path / "Flickr8k.token.txt", TOKENS)
    numbered = tmp_path / "captions.parquet"
    pq.write_table(
        pa.table(
            {
                "image_file": ["b.jpg", "b.jpg", "a.jpg", "a.jpg"],
                "caption_number": [1, 0, 1, 0],
                "caption_english": [
                    "Girls on a stage .",
                    "Two girls sing .",
                    "A brown dog .",
                    "A dog runs .",
                ],
            }
        ),
        numbered,
    )
    in_order = _write(
        tmp_path / "captions.csv",
        "image,caption\na.jpg,A dog runs .\na.jpg,A brown dog .\n"
        'b.jpg,Two girls sing .\nb.jpg,"Girls on a stage ."\n',
    )
    expected = _ratings("flickr8k-expert", Request(expert, tokens)).captions
    for captions in (str(numbered), in_order):
        assert _ratings("flickr8k-expert", Request(expert, captions)).captions == expected


def test_expert_as_json_of_the_captioning_papers(tmp_path: Path) -> None:
    document = {
        "1": {
            "image_path": "Flicker8k_Dataset/a.jpg",
            "ground_truth": ["A dog runs ."],
            "human_judgement": [
                {"image_path": "Flicker8k_Dataset/a.jpg", "caption": "Two girls", "rating": 0.0},
                {"image_path": "Flicker8k_Dataset/a.jpg", "caption": "A  dog", "rating": 1.0},
                {"caption": "A cat", "rating": float("nan")},
            ],
        }
    }
    path = _write(tmp_path / "flickr8k.json", json.dumps(document))
    for protocol in ("flickr8k-expert", "flickr8k-cf", "composite"):
        found = _ratings(protocol, Request(path))
        assert found.captions == ["Two girls", "A dog"]
        assert found.left_out == {"no rating": 1}


def test_crowdflower_keeps_every_row_in_both_forms(tmp_path: Path) -> None:
    text = _write(tmp_path / "CrowdFlowerAnnotations.txt", "a.jpg\ta.jpg#1\t0.667\t2\t1\n")
    tokens = _write(tmp_path / "Flickr8k.token.txt", TOKENS)
    original = _ratings("flickr8k-cf", Request(text, tokens))
    table = tmp_path / "cf.csv.gz"
    table.write_bytes(
        gzip.compress(b'image_file,caption,yes_fraction\na.jpg,"A brown dog .",0.667\n')
    )
    again = _ratings("flickr8k-cf", Request(str(table)))
    assert (original.images, original.captions) == (again.images, again.captions)
    assert original.ratings.tolist() == again.ratings.tolist() == [0.667]


def test_pascal_from_a_table(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "pascal.csv",
        "image,caption_a,caption_b,votes_a,votes_b,category\n"
        "x.jpg,one,two,0,48,HC\nx.jpg,red,blue,30,18,HI\ny.jpg,up,down,,,MM\n",
    )
    _, found = read_judgments("pascal-50s", Request(path))
    assert isinstance(found, Preferences)
    assert found.preferred.tolist() == [0, 1]
    assert found.left_out == {"no rating": 1}


def test_csv_with_its_own_names_and_scores(tmp_path: Path) -> None:
    path = _write(tmp_path / "mine.csv", "file,text,human,clip\n1.png,a cat,3,0.2\n2.png,x,,0.1\n")
    request = Request(path, given=["clip"], columns=("file", "text", "human"))
    found = _ratings("csv", request)
    assert found.ratings.tolist() == [3]
    assert found.given["clip"].tolist() == [0.2]


@pytest.mark.parametrize(
    ("protocol", "name", "text", "says"),
    [
        ("nonsense", "x.csv", "image,caption,score\n", "choose from"),
        ("csv", "x.csv", "image,caption\na,b\n", "no column 'score'"),
        ("csv", "x.csv", "image,caption,score\na,b,good\n", "'good' is not a number"),
        ("csv", "x.csv", "image,caption,score\n", "holds no judgment"),
        ("flickr8k-expert", "x.txt", "a.jpg\tb.jpg#0\t1\n", "line 1: expected image"),
        ("flickr8k-expert", "x.txt", "a.jpg\tb.jpg\t1\t1\t1\n", "not of the form"),
        ("flickr8k-expert", "x.txt", "a.jpg\tz.jpg#0\t1\t1\t1\n", "has no z.jpg#0"),
        ("composite", "x.json", "[1]", "expected an object of entries"),
        ("composite", "x.json", "{", "is not JSON"),
        ("pascal-50s", "x", "", "pair_pascal.mat"),
    ],
)
def test_files_that_are_no_judgments_are_refused(
    tmp_path: Path, protocol: str, name: str, text: str, says: str
) -> None:
    pytest.importorskip("scipy")
    tokens = _write(tmp_path / "Flickr8k.token.txt", TOKENS)
    with pytest.raises(PairsiftError, match=says):
        read_judgments(protocol, Request(_write(tmp_path / name, text), tokens))


def test_missing_captions_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match="--captions"):
        read_judgments("flickr8k-expert", Request(_write(tmp_path / "x.txt", EXPERT)))


def test_the_published_crowdflower_file_is_read_whole() -> None:
    path = SHARED / "flickr8k" / "human_judgments_crowdflower.csv.gz"
    if not path.exists():
        pytest.skip("needs ../shared/data")
    found = _ratings("flickr8k-cf", Request(str(path)))
    assert len(found) == 47_288
    assert len(set(found.images)) == 991
    assert found.ratings.min() == 0
    assert found.ratings.max() == 1
