"""Hashes as columns: alone, beside a scorer, by command and in a run's file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift import Pair, PairsiftError, load_scorer
from pairsift.config import read_config
from pairsift.engines.local import score_shards
from pairsift.hashing import HASH_COLUMNS, hash_bytes, hash_caption, perceptual_hash
from pairsift.images import ImageLimits, decode_image
from pairsift.pair import Status
from pairsift.pipeline import run_pipeline
from pairsift.report import write_report
from pairsift.scorers.base import Prepared, Scorer
from pairsift.scorers.hashes import HashMarker
from pairsift.scorers.marking import ScopeMarker
from pairsift.scorers.registry import known_columns
from pairsift.select import select
from pairsift.sources import find_shards
from tests.samples import jpeg, write_tar

CAPTION = "a small dog runs over the grass"


def pair(image: bytes, caption: str | None = CAPTION) -> Pair:
    return Pair("a", image, caption)


def expected(image: bytes, caption: str = CAPTION) -> list[str | None]:
    pixels, _ = decode_image(image)
    return [hash_bytes(image), perceptual_hash(pixels), hash_caption(caption)]


def hashes(table: pa.Table, row: int = 0) -> list[str | None]:
    return [table[name][row].as_py() for name in HASH_COLUMNS]


def test_alone_and_beside_a_scorer_they_are_the_same() -> None:
    image = jpeg()
    assert hashes(load_scorer("hashes").score([pair(image)])) == expected(image)
    beside = load_scorer("heuristics", hashes=True).score([pair(image)])
    assert hashes(beside) == expected(image)
    plain = load_scorer("heuristics").score([pair(image)])
    assert beside.select(plain.schema.names).equals(plain)


def test_failed_rows_have_none() -> None:
    table = load_scorer("hashes").score([pair(b"no image"), pair(jpeg(), None), pair(jpeg())])
    assert [hashes(table, row) for row in (0, 1)] == [[None] * 3] * 2
    assert None not in hashes(table, 2)


class OwnPreparer(Scorer):
    """A scorer of another package, whose preparer is a function."""

    name: ClassVar[str] = "own"
    columns = (pa.field("size", pa.int32()),)

    def __init__(self) -> None:
        self.preparer = _prepare

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"scorer": self.name}

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        return {"size": np.array(inputs)}


def _prepare(one: Pair) -> Prepared:
    return Prepared(one.shard, one.key, one.uid, inputs=len(one.image or b""))


def test_beside_a_scorer_with_a_preparer_of_its_own() -> None:
    image = jpeg()
    table = HashMarker(OwnPreparer()).score([pair(image)])
    assert hashes(table) == expected(image)
    assert table["size"].to_pylist() == [len(image)]
    # An image that only the scorer reads has no perceptual hash.
    table = HashMarker(OwnPreparer()).score([pair(b"its own format")])
    assert hashes(table)[1] is None
    assert table["status"].to_pylist() == ["ok"]


def test_it_goes_inside_a_scope_marker_and_keeps_limits() -> None:
    scorer = ScopeMarker(HashMarker(OwnPreparer()), ["en"])
    table = scorer.score([pair(jpeg())])
    assert hashes(table) == expected(jpeg())
    assert table["out_of_scope"].to_pylist() == [None]
    prepare: Any = pickle.loads(pickle.dumps(load_scorer("hashes").preparer))
    assert prepare.limited(ImageLimits(max_pixels=10))(pair(jpeg())).status is (
        Status.IMAGE_TOO_LARGE
    )


def test_a_scorer_that_has_them_is_refused() -> None:
    with pytest.raises(PairsiftError, match="leave out --hashes"):
        load_scorer("hashes", hashes=True)


def test_columns_are_known_before() -> None:
    known = known_columns("pairsift-tiny", hashes=True)
    assert known is not None
    assert [field.name for field in known[-3:]] == list(HASH_COLUMNS)


def test_a_folder_begun_without_them_is_read_and_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    for name in ("a", "b"):
        write_tar(tmp_path / f"pool/{name}.tar", [("x", {"jpg": jpeg(), "txt": CAPTION})])
    out = str(tmp_path / "scores")
    plain = load_scorer("heuristics")
    score_shards(find_shards([str(tmp_path / "pool/a.tar")]), plain, out, workers=0)
    with pytest.raises(PairsiftError, match="hashes"):
        score_shards(find_shards([str(tmp_path / "pool")]), HashMarker(plain), out, workers=0)


@pytest.mark.slow
def test_from_a_runs_file_and_in_a_report(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool/a.tar", [("x", {"jpg": jpeg(), "txt": CAPTION})])
    (tmp_path / "run.toml").write_text(
        f'out = "{tmp_path}/out"\n[score]\nshards = ["{tmp_path}/pool/a.tar"]\n'
        'scorer = "heuristics"\nhashes = true\nworkers = 0\n[report]\n'
    )
    run_pipeline(read_config(tmp_path / "run.toml"))
    table = pq.read_table(tmp_path / "out/scores/a.parquet")
    assert hashes(table) == expected(jpeg())
    page = (tmp_path / "out/report.html").read_text("utf-8")
    assert "Image sha256" not in page  # neither a score nor a slice
    assert "image_phash" not in page
    digest = hash_bytes(jpeg())
    kept = select(str(tmp_path / "out/scores"), where=f'image_sha256 = "{digest}"').kept
    assert kept == 1
    assert write_report(str(tmp_path / "out/scores"), None, str(tmp_path / "r.html")).rows == 1
