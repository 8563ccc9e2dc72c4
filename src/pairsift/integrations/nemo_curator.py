"""NeMo Curator: a reader that keeps captions, a scoring stage, and a writer that copies bytes.

Curator's own image reader takes only the JPEGs out of a tar, without captions and keys, and its
writer encodes the images again. The stages here keep everything. They use Curator's ``ImageBatch``,
so Curator's stages can be put between them.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from nemo_curator.stages.base import ProcessingStage
from nemo_curator.stages.resources import Resources
from nemo_curator.tasks import FileGroupTask, ImageBatch, ImageObject

from pairsift.engines.reading import PatientReader
from pairsift.images import ImageFaultError, decode_image
from pairsift.integrations.scorers import BatchScorer, make_pair, takes_option
from pairsift.pair import Fault, Pair
from pairsift.sources import find_shards
from pairsift.storage import Folder
from pairsift.writers.pairs import pair_members

CAPTION = "caption"


@dataclass
class PairObject(ImageObject):  # type: ignore[misc]
    """An image with its caption, as in the shard.

    ``metadata`` has the caption under `CAPTION` (none if there is none), ``key``, ``uid``,
    ``shard`` (path of the file), and the sample's other fields.

    Attributes:
        encoded: bytes of the image as stored; None if the sample has none.
        fault: why the sample cannot be scored, if its source says so.
    """

    encoded: bytes | None = None
    fault: Fault | None = None


@dataclass
class PairReaderStage(ProcessingStage[FileGroupTask, ImageBatch]):  # type: ignore[misc]
    """Read webdataset tars (or parquet files with images) as pairs, broken ones included.

    Put it after Curator's ``FilePartitioningStage`` with ``file_extensions=[".tar"]``.

    Args:
        pairs_per_batch: pairs in each ``ImageBatch`` that the stage returns.
        decode: whether to fill ``image_data``, for Curator's own stages; it is None for broken
            images. Scoring does not need it.
        source_options: as for :func:`pairsift.sources.find_shards`, such as ``caption``.
    """

    pairs_per_batch: int = 256
    decode: bool = False
    source_options: dict[str, Any] = field(default_factory=dict)
    name: str = "pairsift_reader"

    def inputs(self) -> tuple[list[str], list[str]]:
        """Return what the stage needs: files."""
        return ["data"], []

    def outputs(self) -> tuple[list[str], list[str]]:
        """Return what the stage adds: images, decoded only if requested."""
        return ["data"], ["image_path", "image_id", "metadata"]

    def process(self, task: FileGroupTask) -> list[ImageBatch]:
        """Return the batches in the order of the files.

        Raises:
            PairsiftError: a file cannot be opened.
        """
        batches = []
        waiting: list[ImageObject] = []
        for pair_object in self._read(task):
            waiting.append(pair_object)
            if len(waiting) == self.pairs_per_batch:
                batches.append(self._batch(task, waiting))
                waiting = []
        if waiting:
            batches.append(self._batch(task, waiting))
        return batches

    def _read(self, task: FileGroupTask) -> Iterator[PairObject]:
        for path in task.data:
            for shard in find_shards(path, **self.source_options).shards:
                for pair in PatientReader(shard):
                    yield self._object(pair, path)

    def _object(self, pair: Pair, path: str) -> PairObject:
        pixels = None
        if self.decode:
            try:
                pixels = np.asarray(decode_image(pair.image)[0])
            except ImageFaultError:  # scoring will report the fault
                pixels = None
        own = {"key": pair.key, "uid": pair.uid, "shard": path, CAPTION: pair.caption}
        return PairObject(
            image_path=f"{path}/{pair.key}",
            image_id=pair.key,
            metadata={**pair.metadata, **own},
            image_data=pixels,
            encoded=pair.image,
            fault=pair.fault,
        )

    def _batch(self, task: FileGroupTask, data: list[ImageObject]) -> ImageBatch:
        return ImageBatch(
            dataset_name=task.dataset_name,
            data=data,
            _metadata=task._metadata,
            _stage_perf=task._stage_perf,
        )


@dataclass
class PairsiftStage(ProcessingStage[ImageBatch, ImageBatch]):  # type: ignore[misc]
    """Score the pairs of a batch, and keep those that meet a condition.

    The scores are added to each image's metadata: ``pairsift_itm`` and so on, and
    ``pairsift_status`` (``ok``, or why there are no scores). The stored bytes are scored if
    :class:`PairReaderStage` read them, else ``image_data``.

    Args:
        where: condition over the score columns, as for `pairsift select --where`, such as ``itm >=
            66 and odf >= 20``; pairs without scores never pass. None keeps all.
        scorer: name of a scorer, or the folder of a checkpoint.
        scorer_options: options of the scorer, such as ``metrics``, ``model`` or ``dtype``.
        prefix: text before the names in the metadata.
        model_batch_size: number of pairs in one forward pass; None for the scorer's default.
        gpus: GPUs of each worker; 0 scores on the CPU.

    Raises:
        PairsiftError: there is no such scorer or option, or the condition names an unknown column.
    """

    where: str | None = None
    scorer: str = "pairsift-tiny"
    scorer_options: dict[str, Any] = field(default_factory=dict)
    prefix: str = "pairsift_"
    model_batch_size: int | None = None
    gpus: float = 0.0
    name: str = "pairsift"

    def __post_init__(self) -> None:
        self.resources = Resources(cpus=1.0, gpus=self.gpus)
        # A worker with a GPU sees only that GPU.
        options = dict(self.scorer_options)
        if takes_option(self.scorer, "device"):
            options.setdefault("device", "cuda" if self.gpus else "cpu")
        self._scorer = BatchScorer(
            self.scorer, options, where=self.where, batch_size=self.model_batch_size
        )

    def inputs(self) -> tuple[list[str], list[str]]:
        """Return what the stage needs: images with their captions."""
        return ["data"], []

    def outputs(self) -> tuple[list[str], list[str]]:
        """Return what the stage adds: scores in the metadata."""
        return ["data"], ["metadata"]

    def setup(self, worker_metadata: Any = None) -> None:
        """Load the model, once per worker."""
        self._scorer.load()

    def process(self, task: ImageBatch) -> ImageBatch | None:
        """Add scores to the metadata; return None if no pair of the batch is kept."""
        table = self._scorer.score(
            _pair(image, str(place)) for place, image in enumerate(task.data)
        )
        for image, row in zip(task.data, table.to_pylist(), strict=True):
            image.metadata |= {f"{self.prefix}{name}": value for name, value in row.items()}
        kept = self._scorer.passes(table)
        task.data = [image for image, keep in zip(task.data, kept, strict=True) if keep]
        return task if task.data else None


@dataclass
class PairWriterStage(ProcessingStage[ImageBatch, FileGroupTask]):  # type: ignore[misc]
    """Write each batch as a webdataset shard: the stored bytes, the caption, metadata as json.

    Args:
        output_dir: folder or fsspec URL.
    """

    output_dir: str = ""
    name: str = "pairsift_writer"

    def inputs(self) -> tuple[list[str], list[str]]:
        """Return what the stage needs: pairs as :class:`PairReaderStage` reads them."""
        return ["data"], []

    def outputs(self) -> tuple[list[str], list[str]]:
        """Return what the stage adds: files."""
        return ["data"], []

    def process(self, task: ImageBatch) -> FileGroupTask:
        """Write one tar per batch, named after the task; it is written whole or not at all."""
        folder = Folder(self.output_dir)
        folder.create()
        name = f"{task.task_id or 'pairs'}.tar"
        with folder.atomic(name) as file, tarfile.open(fileobj=file, mode="w") as tar:
            for image in task.data:
                for member, content in _members(image):
                    header = tarfile.TarInfo(member)
                    header.size = len(content)
                    tar.addfile(header, BytesIO(content))
        return FileGroupTask(
            dataset_name=task.dataset_name,
            data=[folder.file(name)],
            _metadata={**task._metadata, "pairs": len(task.data)},
            _stage_perf=task._stage_perf,
        )


def _pair(image: ImageObject, key: str) -> Pair:
    caption = image.metadata.get(CAPTION)
    if isinstance(image, PairObject):
        return Pair(key, image.encoded, caption, fault=image.fault)
    return make_pair(image.image_data, caption, key)


def _members(image: ImageObject) -> list[tuple[str, bytes]]:
    pair = _pair(image, image.image_id)
    own = ("key", "uid", CAPTION)
    fields = {name: value for name, value in image.metadata.items() if name not in own}
    return pair_members(
        Pair(pair.key, pair.image, pair.caption, uid=image.metadata.get("uid"), metadata=fields)
    )
