"""A scorer's two halves: order, isolation of what fails, bounded windows."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image

from pairsift import Fault, Pair, Status
from pairsift.scorers.base import Preparer, Scorer


def _png(width: int = 8, height: int = 6) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def _length(image: Image.Image, caption: str) -> int:
    if caption == "raise in prepare":
        raise ValueError("no such luck")
    return len(caption)


class LengthScorer(Scorer):
    """Scores a caption by its length; refuses whole batches that hold length 13."""

    name: ClassVar[str] = "length"
    batch_size = 4

    def __init__(self) -> None:
        self.columns = (pa.field("length", pa.float32()), pa.field("half", pa.int16()))
        self.preparer = Preparer(_length)
        self.batches: list[list[int]] = []

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"scorer": self.name}

    def cost(self, inputs: Any) -> int:
        return int(inputs)

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        self.batches.append(list(inputs))
        if 13 in inputs:
            raise RuntimeError("unlucky")
        values = np.array(inputs, dtype=np.float64)
        return {"length": values, "half": values // 2}


def test_rows_keep_the_order_of_the_pairs() -> None:
    lengths = [9, 1, 5, 3, 7, 2, 8]
    pairs = [Pair(str(n), _png(), "x" * n, shard="s", uid=f"{n:032x}") for n in lengths]
    table = LengthScorer().score(pairs)
    assert table["key"].to_pylist() == [str(n) for n in lengths]
    assert table["length"].to_pylist() == lengths
    assert table["half"].to_pylist() == [n // 2 for n in lengths]
    assert table["uid"].to_pylist() == [f"{n:032x}" for n in lengths]
    assert table["width"].to_pylist() == [8] * 7
    assert table["height"].to_pylist() == [6] * 7
    assert table["caption_length"].to_pylist() == lengths


def test_pairs_of_like_cost_share_a_batch() -> None:
    scorer = LengthScorer()
    scorer.score([Pair(str(n), _png(), "x" * n) for n in (9, 1, 8, 2, 7, 3)])
    assert scorer.batches == [[1, 2, 3, 7], [8, 9]]


def test_failing_pairs_cost_one_row_each() -> None:
    pairs = [
        Pair("good", _png(), "four"),
        Pair("no image", None, "four"),
        Pair("no caption", _png(), None),
        Pair("empty", _png(), " \n\0"),
        Pair("garbage", b"not an image", "four"),
        Pair("prepare", _png(), "raise in prepare"),
        Pair("model", _png(), "x" * 13),
        Pair("source", _png(), "four", fault=Fault(Status.DUPLICATE_KEY, "twice")),
        Pair("last", _png(), "five!"),
    ]
    table = LengthScorer().score(pairs)
    assert table["status"].to_pylist() == [
        "ok",
        "image_missing",
        "caption_missing",
        "caption_empty",
        "image_corrupt",
        "model_error",
        "model_error",
        "duplicate_key",
        "ok",
    ]
    assert table["length"].to_pylist() == [4, *[None] * 7, 5]
    errors = table["error"].to_pylist()
    assert errors[0] is None
    assert errors[5:8] == ["ValueError: no such luck", "RuntimeError: unlucky", "twice"]


def test_no_pairs_give_an_empty_table_with_the_schema() -> None:
    table = LengthScorer().score([])
    assert table.num_rows == 0
    assert table.column_names[-2:] == ["length", "half"]


def test_preparer_can_go_to_a_worker_process() -> None:
    preparer = pickle.loads(pickle.dumps(Preparer(_length)))
    assert preparer(Pair("k", _png(), "abc")).inputs == 3
