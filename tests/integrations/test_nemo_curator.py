"""The NeMo Curator stages, in real pipelines on each of its executors.

NeMo Curator is too heavy for `make test`; `make test-integrations` installs it and runs this file.
"""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairsift.errors import PairsiftError
from pairsift.sources import find_shards, open_shard
from tests.integrations.hurt import samples, statuses, write_shard
from tests.integrations.scored import between, own_pack, score_folder_of, selected_keys
from tests.support.pages import run_python

pytest.importorskip("nemo_curator", reason="needs NeMo Curator: make test-integrations")

from nemo_curator.backends.ray_actor_pool import RayActorPoolExecutor
from nemo_curator.backends.ray_data import RayDataExecutor
from nemo_curator.backends.xenna import XennaExecutor
from nemo_curator.pipeline import Pipeline
from nemo_curator.stages.file_partitioning import FilePartitioningStage
from nemo_curator.tasks import FileGroupTask, ImageBatch, ImageObject

from pairsift.integrations.nemo_curator import (
    PairReaderStage,
    PairsiftStage,
    PairWriterStage,
)

PAIRS = samples()
WHERE = "caption_words >= 4 and smaller_side > 240 and language = 'en'"


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ray with a CPU for every stage, however few this machine has."""
    import ray

    # Xenna asks it for the cluster's actors.
    dashboard = "XennaExecutor" in request.node.name
    for attempts_left in (2, 1, 0):
        try:
            ray.init(num_cpus=5, include_dashboard=dashboard, logging_level="ERROR")
            break
        except Exception:  # Ray gives its processes 20 s to come up, however busy the machine is
            ray.shutdown()
            if not attempts_left:
                raise
    yield
    ray.shutdown()


def _run(shards: Path, *stages: Any, executor: Any = RayDataExecutor) -> list[Any]:
    pipeline = Pipeline(
        name="test",
        stages=[
            FilePartitioningStage(
                file_paths=str(shards), files_per_partition=1, file_extensions=[".tar"]
            ),
            *stages,
        ],
    )
    return pipeline.run(executor()) or []


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("executor", [RayDataExecutor, RayActorPoolExecutor, XennaExecutor])
def test_a_pipeline_keeps_what_select_keeps(tmp_path: Path, executor: Any) -> None:
    scores = score_folder_of(tmp_path / "ours", PAIRS, "heuristics")
    expected = selected_keys(scores, tmp_path, PAIRS, where=WHERE)
    assert 3 < len(expected) < 12
    (tmp_path / "shards").mkdir()
    write_shard(tmp_path / "shards" / "a.tar", PAIRS[:9])
    write_shard(tmp_path / "shards" / "b.tar", PAIRS[9:])
    written = _run(
        tmp_path / "shards",
        PairReaderStage(pairs_per_batch=4),
        PairsiftStage(where=WHERE, scorer="heuristics"),
        PairWriterStage(output_dir=str(tmp_path / "kept")),
        executor=executor,
    )
    files = sorted(path for task in written for path in task.data)
    assert sorted(map(str, (tmp_path / "kept").glob("*.tar"))) == files
    found = {}
    for shard in find_shards(files).shards:
        for pair in open_shard(shard):
            found[pair.key] = pair
    assert sorted(found) == expected
    for key, image, caption in PAIRS:
        if key in found:  # not encoded anew
            assert (found[key].image, found[key].caption) == (image, caption)
            assert found[key].metadata["pairsift_status"] == "ok"
            assert found[key].metadata["pairsift_caption_words"] == len(caption.split())


@pytest.mark.usefixtures("cluster")
def test_the_default_scorer_keeps_what_select_keeps(tmp_path: Path) -> None:
    pairs = PAIRS[:8]
    scores = score_folder_of(tmp_path / "ours", pairs, "pairsift-tiny")
    where = f"itm >= {between(scores, 'itm', 3)}"
    expected = selected_keys(scores, tmp_path, pairs, where=where)
    assert len(expected) == 3
    (tmp_path / "shards").mkdir()
    write_shard(tmp_path / "shards" / "a.tar", pairs)
    kept = _run(tmp_path / "shards", PairReaderStage(), PairsiftStage(where=where))
    assert [image.image_id for task in kept for image in task.data] == expected


@pytest.mark.usefixtures("cluster")
def test_metrics_of_ones_own_keep_what_select_keeps(tmp_path: Path) -> None:
    model = str(own_pack(tmp_path / "model"))
    scores = score_folder_of(tmp_path / "ours", PAIRS, "mlm", model=model)
    where = f"match >= {between(scores, 'match', 5)} and grade_std >= 0"
    expected = selected_keys(scores, tmp_path, PAIRS, where=where)
    assert len(expected) == 5
    (tmp_path / "shards").mkdir()
    write_shard(tmp_path / "shards" / "a.tar", PAIRS)
    stage = PairsiftStage(where=where, scorer="mlm", scorer_options={"model": model})
    kept = _run(tmp_path / "shards", PairReaderStage(), stage)
    images = [image for task in kept for image in task.data]
    assert [image.image_id for image in images] == expected
    assert 1 <= images[0].metadata["pairsift_useful"] <= 5


def _read(path: Path, **options: Any) -> list[Any]:
    task = FileGroupTask(dataset_name="d", data=[str(write_shard(path / "a.tar", PAIRS))])
    return PairReaderStage(**options).process(task)


def test_the_reader_keeps_captions_keys_and_broken_samples(tmp_path: Path) -> None:
    batches = _read(tmp_path, pairs_per_batch=8, decode=True)
    assert [batch.num_items for batch in batches] == [8, 8, 4]
    images = [image for batch in batches for image in batch.data]
    assert [image.image_id for image in images] == [key for key, _, _ in PAIRS]
    assert [image.metadata["caption"] for image in images] == [caption for *_, caption in PAIRS]
    broken = {place for place, status in enumerate(statuses()) if status == "image_corrupt"}
    assert {place for place, image in enumerate(images) if image.image_data is None} == broken
    assert images[5].image_data.shape == (260, 235, 3)
    assert images[5].image_data.dtype == np.uint8
    assert _read(tmp_path)[0].data[5].image_data is None


def test_scores_and_statuses_are_in_the_metadata(tmp_path: Path) -> None:
    (batch,) = _read(tmp_path)
    stage = pickle.loads(pickle.dumps(PairsiftStage(scorer="heuristics", prefix="q_")))
    stage.setup()
    found = stage.process(batch)
    assert [image.metadata["q_status"] for image in found.data] == statuses()
    assert found.data[8].metadata["q_caption_words"] == len(PAIRS[8][2].split())
    assert PairsiftStage(where="caption_words > 99", scorer="heuristics").process(batch) is None


def test_images_of_curators_own_reader_are_scored_too() -> None:
    """Pixels without the file they came from, and captions that somebody put there."""
    pixels = np.asarray(Image.open(io.BytesIO(PAIRS[8][1])).convert("RGB"))
    images = [ImageObject(image_id="a", image_data=pixels, metadata={"caption": PAIRS[8][2]}),
              ImageObject(image_id="b", metadata={"caption": "a dog"})]  # fmt: skip
    batch = ImageBatch(dataset_name="d", data=images)
    found = PairsiftStage(scorer="heuristics").process(batch)
    assert found is not None
    assert [image.metadata["pairsift_status"] for image in found.data] == ["ok", "image_missing"]
    assert found.data[0].metadata["pairsift_smaller_side"] == 250


def test_the_guides_example_runs(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    write_shard(tmp_path / "pool" / "a.tar", PAIRS[:8])
    # It starts Ray itself: with a CPU for every stage, however few this machine has.
    start = "import ray; ray.init(num_cpus=5, include_dashboard=False)\nfrom nemo_curator.pipeline"
    changes = {
        "/data/": f"{tmp_path}/", "gpus=1.0": "gpus=0", "from nemo_curator.pipeline": start,
        "itm >= 20": "itm >= 0",  # the pictures are noise
    }  # fmt: skip
    run_python("nemo-curator.md", tmp_path, changes)
    shards = find_shards([str(path) for path in (tmp_path / "kept").glob("*.tar")]).shards
    kept = [pair for shard in shards for pair in open_shard(shard)]
    assert len(kept) == statuses(8).count("ok") == 6
    assert min(pair.metadata["pairsift_itm"] for pair in kept) >= 0


def test_mistakes_are_named_before_a_pipeline_runs(tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match="no column 'itmm' .did you mean itm"):
        PairsiftStage(where="itmm > 3")
    with pytest.raises(PairsiftError, match="did you mean 'pairsift-tiny'"):
        PairsiftStage(scorer="pairsift-tinny")
    with pytest.raises(PairsiftError, match="takes no option 'metric'"):
        PairsiftStage(scorer_options={"metric": "itm"})
    task = FileGroupTask(dataset_name="d", data=[str(tmp_path / "gone.tar")])
    with pytest.raises(PairsiftError, match="gone"):
        PairReaderStage().process(task)


def test_a_batch_is_written_whole(tmp_path: Path) -> None:
    (batch,) = _read(tmp_path)
    task = PairWriterStage(output_dir=str(tmp_path / "out")).process(batch)
    with tarfile.open(task.data[0]) as tar:
        names = tar.getnames()
    assert len(names) == 3 * len(PAIRS)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["pairs.tar"]
