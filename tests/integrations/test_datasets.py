"""Hugging Face datasets, by the real library: scores, what is kept, what is never decoded."""

from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pairsift.engines.local import score_shards
from pairsift.errors import PairsiftError
from pairsift.integrations.scorers import lazy_scorer
from pairsift.pair import Status
from pairsift.scorers.heuristics import HeuristicsScorer
from pairsift.select import select
from pairsift.sources import find_shards
from tests.integrations.hurt import samples, statuses, write_shard

datasets = pytest.importorskip("datasets", reason="needs the extra datasets")

from pairsift.integrations.datasets import (  # noqa: E402
    ScoreBatch,
    filter_dataset,
    score_dataset,
)

datasets.disable_progress_bars()

FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "caption": datasets.Value("string"),
        "key": datasets.Value("string"),
        "shard": datasets.Value("string"),
    }
)
PAIRS = samples()
WHERE = "caption_words >= 4 and smaller_side > 240"


def _dataset(pairs: list[tuple[str, bytes, str]] = PAIRS) -> Any:
    rows = [
        {"image": {"bytes": image, "path": None}, "caption": caption, "key": key, "shard": "0"}
        for key, image, caption in pairs
    ]
    return datasets.Dataset.from_list(rows, features=FEATURES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pairsift score` makes of the same pairs."""
    path = tmp_path_factory.mktemp("scores")
    write_shard(path / "0.tar", PAIRS)
    out = str(path / "scores")
    score_shards(
        find_shards([str(path / "0.tar")]), HeuristicsScorer(), out, workers=0, max_failure_rate=1
    )
    return path


def _kept(folder: Path, **query: Any) -> list[str]:
    selection = select(str(folder / "scores"), out=folder / "kept", **query)
    (shard,) = selection.shards()
    return [PAIRS[row][0] for row in shard.rows]


def test_scores_are_those_of_the_command(folder: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "scores" / "0.parquet")
    dataset = _dataset()
    scored = score_dataset(dataset, "heuristics")
    streamed = score_dataset(dataset.to_iterable_dataset(num_shards=3), "heuristics")
    for result in (scored, streamed):
        assert list(result.features)[:4] == list(FEATURES)
        assert result.features["image"] == datasets.Image()
        assert result.features["datacomp_basic"].dtype == "bool"
    assert scored["status"][:] == statuses()
    shown = set(scored.features) - set(FEATURES)
    for name in sorted(shown):
        expected = table[name].cast(pa.string()) if name == "status" else table[name]
        assert scored[name][:] == expected.to_pylist()
        assert str(scored.features.arrow_schema.field(name).type) == str(expected.type)
    rows = list(streamed.cast_column("image", datasets.Image(decode=False)))
    assert [{name: row[name] for name in shown} for row in rows] == [
        {name: scored[name][place] for name in shown} for place in range(len(PAIRS))
    ]
    assert rows[5]["image"]["bytes"] == PAIRS[5][1]
    assert scored[5]["image"].size == (235, 260)


@pytest.mark.parametrize("threads", [0, 2])
def test_types_do_not_hang_on_the_first_rows(threads: int) -> None:
    decode = inspect.signature(datasets.IterableDataset.decode)
    if threads and decode.parameters["num_threads"].default == 0:
        pytest.skip("this version of datasets cannot take threads off a stream again")
    broken = [(f"b{place}", b"nothing", "a dog on a beach") for place in range(8)]
    dataset = _dataset([*broken, *PAIRS[:2]]).to_iterable_dataset()
    # As load_dataset does to streams of remote files: the library decodes ahead, in threads.
    dataset = dataset.decode(num_threads=threads)
    scored = score_dataset(dataset, "heuristics", batch_size=4)
    undecoded = scored.cast_column("image", datasets.Image(decode=False))
    found = list(undecoded)
    assert [row["status"] for row in found] == ["image_corrupt"] * 8 + ["ok"] * 2
    assert found[9]["smaller_side"] == 215
    table = pa.Table.from_pylist(found[:4], schema=undecoded.features.arrow_schema)
    assert table["language"].type == pa.string()


@pytest.mark.slow
def test_what_is_kept_is_what_select_keeps(folder: Path) -> None:
    scored = score_dataset(_dataset(), "heuristics")
    streamed = score_dataset(_dataset().to_iterable_dataset(num_shards=2), "heuristics")
    expected = _kept(folder, where=WHERE)
    assert 3 < len(expected) < 12
    assert filter_dataset(scored, WHERE)["key"][:] == expected
    kept = list(filter_dataset(streamed, WHERE))
    assert [row["key"] for row in kept] == expected
    assert kept[0]["image"].width == kept[0]["width"]
    for query in (
        {"top": 0.4, "by": "caption_words"},  # with ties, told apart by shard and key
        {"count": 5, "by": "smaller_side - caption_words", "where": "caption_words > 2"},
        {"top": 0.5, "by": "caption_words", "per": "language"},
        {"where": "caption_words > p40(caption_words)"},
    ):
        assert filter_dataset(scored, **query)["key"][:] == _kept(folder, **query)
    assert len(filter_dataset(scored, "caption_words > 99")) == 0
    assert list(filter_dataset(streamed, "caption_words > 99")) == []


def test_filtering_touches_no_pixels() -> None:
    """Images that nobody could decode, under the status ok."""
    scored = score_dataset(_dataset(), "heuristics")
    rows = [{**row, "image": {"bytes": b"\xff\xd8\xff", "path": None}, "status": "ok"}
            for row in scored.cast_column("image", datasets.Image(decode=False))]  # fmt: skip
    hollow = datasets.Dataset.from_list(rows, features=scored.features)
    with pytest.raises(Exception, match="cannot identify"):
        hollow[0]
    kept = filter_dataset(hollow, "caption_words >= 4")
    assert kept["key"][:] == [row["key"] for row in rows if (row["caption_words"] or 0) >= 4]
    assert kept.features["image"] == datasets.Image()
    stream = filter_dataset(hollow.to_iterable_dataset(), "caption_words >= 4")
    assert [row["key"] for row in stream.decode(False)] == kept["key"][:]


def test_splits_formats_and_names() -> None:
    dataset = _dataset(PAIRS[:6]).rename_columns({"caption": "words", "image": "picture"})
    splits = datasets.DatasetDict({"a": dataset.with_format("numpy"), "b": dataset.take(2)})
    scored = score_dataset(splits, "heuristics", image="picture", caption="words", prefix="q_")
    assert scored["a"].format["type"] == "numpy"
    assert scored["a"][2]["q_smaller_side"] == np.int32(220)
    kept = filter_dataset(scored, "q_caption_words >= 3", prefix="q_")
    assert {name: len(split) for name, split in kept.items()} == {"a": 4, "b": 1}
    stream = dataset.to_iterable_dataset().with_format("torch")
    first = next(iter(score_dataset(stream, "heuristics", caption="words").decode(False)))
    assert first["smaller_side"].item() == 210


def test_captions_inside_a_column_and_images_as_paths(tmp_path: Path) -> None:
    rows = []
    for key, image, caption in PAIRS[:5]:
        (tmp_path / key).write_bytes(image)
        rows.append({"file": str(tmp_path / key), "json": {"url": "u", "caption": caption}})
    rows.append({"file": str(tmp_path / "gone"), "json": {"url": "u", "caption": "a dog"}})
    scored = score_dataset(
        datasets.Dataset.from_list(rows), "heuristics", image="file", caption="json.caption"
    )
    assert scored["status"][:] == [*statuses(5), "image_missing"]
    assert scored["caption_words"][:3] == [2, 3, 4]


class _Counting(HeuristicsScorer):
    calls = 0

    def score_batch(self, inputs: Any) -> Any:
        type(self).calls += 1
        return super().score_batch(inputs)


def test_the_library_caches_scores_by_fingerprint(tmp_path: Path) -> None:
    _dataset(PAIRS[:4]).to_parquet(tmp_path / "pairs.parquet")

    def load() -> Any:
        return datasets.Dataset.from_parquet(
            str(tmp_path / "pairs.parquet"), cache_dir=str(tmp_path / "cache")
        )

    first = score_dataset(load(), _Counting(), batch_size=2)
    assert _Counting.calls == 2
    second = score_dataset(load(), _Counting(), batch_size=3)
    assert _Counting.calls == 2
    assert second["caption_words"][:] == first["caption_words"][:]
    score_dataset(load(), _Counting(), caption="key")
    assert _Counting.calls == 3
    # Scores lie beside the dataset: no image was written again.
    written = {file["filename"] for file in first.cache_files}
    assert sum(Path(name).stat().st_size for name in written if "cache-" in name) < 10_000


def test_a_worker_gets_a_name_not_a_model() -> None:
    function = ScoreBatch(lazy_scorer("pairsift-tiny", metrics="itm"), "image", "caption", "", 8)
    assert len(pickle.dumps(function)) < 1000


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda d: score_dataset(d.remove_columns("caption"), "heuristics"), "name the captions"),
        (lambda d: score_dataset(d.remove_columns("image"), "heuristics"), "no image column"),
        (lambda d: score_dataset(d, "heuristics", image="picture"), "no column 'picture'"),
        (lambda d: score_dataset(d, "heuristics", caption="image"), "'image' is not text"),
        (lambda d: score_dataset(d.rename_column("key", "width"), "heuristics"), "give a prefix"),
        (lambda d: score_dataset(d, HeuristicsScorer(), device="cpu"), "loaded, so device"),
        (lambda d: score_dataset(d, "heuristix"), "did you mean 'heuristics'"),
        (lambda d: filter_dataset(d, "itm > 3"), "no column 'status'"),
        (lambda d: filter_dataset(score_dataset(d, "heuristics"), "words > 3"), "'words'"),
        (lambda d: filter_dataset(score_dataset(d, "heuristics"), top=0.3), "needs --by"),
        (
            lambda d: filter_dataset(
                score_dataset(d.to_iterable_dataset(), "heuristics"), top=0.3, by="width"
            ),
            "needs all rows",
        ),
        (
            lambda d: score_dataset(d.to_iterable_dataset().map(lambda row: row), "heuristics"),
            "declare them first",
        ),
    ],
)
def test_mistakes_are_named(call: Any, says: str) -> None:
    with pytest.raises(PairsiftError, match=says):
        call(_dataset(PAIRS[:2]))


_STREAM = """
import json, sys
import datasets, psutil
from pairsift.integrations.datasets import filter_dataset, score_dataset
stream = datasets.load_dataset(
    "parquet", data_files=sys.argv[1], split="train", streaming=True, cache_dir=sys.argv[2]
)
scored = filter_dataset(score_dataset(stream, "heuristics", batch_size=16), "width > 0")
used, seen, process = [], 0, psutil.Process()
for row in scored:
    seen += 1
    used.append(process.memory_info().rss)
print(json.dumps([seen, max(used[20:60]), max(used)]))
"""


@pytest.mark.slow
def test_streaming_holds_no_more_than_a_few_batches(tmp_path: Path) -> None:
    pytest.importorskip("psutil", reason="needs the extra dev")
    import pyarrow.parquet as pq

    # A megabyte each, most of it behind the image's end, where no decoder looks.
    rng, path = np.random.default_rng(0), tmp_path / "pairs.parquet"
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    known = {"image": {"_type": "Image"}, "caption": {"_type": "Value", "dtype": "string"}}
    schema = pa.schema(
        {"image": image, "caption": pa.string()},
        metadata={"huggingface": json.dumps({"info": {"features": known}})},
    )
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(10):
            rows = [
                {"image": {"bytes": PAIRS[1][1] + rng.bytes(1_000_000)}, "caption": "a dog"}
                for _ in range(20)
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema))
    ended = subprocess.run(
        [sys.executable, "-c", _STREAM, str(path), str(tmp_path / "cache")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    seen, early, most = json.loads(ended.stdout.splitlines()[-1])
    assert seen == 200
    assert most - early < 100 * 2**20  # of 200 MB that went by


def test_every_status_there_is_can_be_filtered() -> None:
    rows = [{"status": status.value, "itm": 50.0} for status in Status]
    kept = filter_dataset(datasets.Dataset.from_list(rows), "itm > 3")
    assert kept["status"][:] == ["ok"]


@pytest.mark.parametrize("form", [None, "numpy", "arrow"])
def test_a_dataset_without_rows_gets_the_columns(form: str | None) -> None:
    empty = {name: [] for name in FEATURES}
    dataset = datasets.Dataset.from_dict(empty, features=FEATURES).with_format(form)
    scored = score_dataset(dataset, "heuristics")
    assert scored.features == score_dataset(_dataset(PAIRS[:1]), "heuristics").features
    assert (len(scored), scored.format["type"]) == (0, form)
    for asked in ({"where": WHERE}, {"top": 0.5, "by": "caption_words"},
                  {"where": "caption_words >= p50(caption_words)"}):  # fmt: skip
        assert len(filter_dataset(scored, **asked)) == 0


def test_a_stream_without_rows_stays_one() -> None:
    stream = datasets.IterableDataset.from_generator(lambda: iter(()), features=FEATURES)
    assert list(filter_dataset(score_dataset(stream, "heuristics"), WHERE)) == []
