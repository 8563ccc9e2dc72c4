"""datatrove: a filter for documents that are image-text pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from datatrove.data import Document, MediaType
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers.disk_base import DiskWriter

from pairsift.expressions.parsing import split_conditions
from pairsift.expressions.rows import RowFilter
from pairsift.integrations.scorers import BatchScorer, make_pair
from pairsift.pair import Fault, Pair, Status


class PairsiftFilter(BaseFilter):  # type: ignore[misc]
    """Keep the documents whose image and text meet a condition over quality scores.

    A document is a pair: its text, and its only image in ``media``, as ``media_bytes`` or as a file
    at ``path``. The scores of every document, dropped ones too, are added to its metadata:
    ``pairsift_itm`` and so on, and ``pairsift_status`` (``ok``, or why there are no scores).

    The reason of a drop, which datatrove counts and its exclusion writer stores, is the status, or
    the first condition that the pair does not meet: of ``itm >= 66 and odf >= 20``, ``itm >= 66``
    or ``odf >= 20``.

    Args:
        where: condition over the score columns, as for `pairsift select --where`; documents without
            scores never pass.
        scorer: name of a scorer, or the folder of a checkpoint.
        scorer_options: options of the scorer, such as ``metrics``, ``model`` or ``device``.
        prefix: text before the names in the metadata.
        batch_size: documents that are scored together.
        exclusion_writer: a datatrove writer for the documents that are dropped.

    Raises:
        PairsiftError: there is no such scorer or option, or the condition names an unknown column.

    Examples:
        >>> from datatrove.data import Document, Media, MediaType
        >>> square = Media("a", MediaType.IMAGE, url="", path="pool/a.png")
        >>> pair = Document("a red square on a white wall", "a", media=[square])
        >>> checked = PairsiftFilter("caption_words > 2 and smaller_side > 500", "heuristics")
        >>> checked.filter(pair), pair.metadata["pairsift_smaller_side"]
        ((False, 'smaller_side > 500'), 300)
    """

    name = "Pairsift"

    def __init__(
        self,
        where: str = "itm >= 66",
        scorer: str = "pairsift-tiny",
        scorer_options: Mapping[str, Any] | None = None,
        prefix: str = "pairsift_",
        batch_size: int = 32,
        exclusion_writer: DiskWriter | None = None,
    ) -> None:
        super().__init__(exclusion_writer, batch_size)
        self.prefix = prefix
        self.scorer = BatchScorer(scorer, dict(scorer_options or {}), where=where)
        schema = pa.schema(self.scorer.fields)
        self.conditions = [RowFilter(condition, schema) for condition in split_conditions(where)]

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Return True, or False and the reason."""
        return self.filter_batch([doc])[0]

    def filter_batch(self, batch: Sequence[Document]) -> list[bool | tuple[bool, str]]:
        """Score the documents, and return for each True, or False and the reason."""
        table = self.scorer.score(_pair(doc, str(place)) for place, doc in enumerate(batch))
        passes = self.scorer.passes(table)
        parts = [condition(table) for condition in self.conditions]
        results: list[bool | tuple[bool, str]] = []
        for place, (doc, row) in enumerate(zip(batch, table.to_pylist(), strict=True)):
            doc.metadata |= {self.prefix + name: value for name, value in row.items()}
            if passes[place]:
                results.append(True)
            elif row["status"] != Status.OK.value:
                results.append((False, row["status"]))
            else:
                failed = (c.where for c, part in zip(self.conditions, parts, strict=True)
                          if not part[place])  # fmt: skip
                results.append((False, next(failed)))
        return results


def _pair(doc: Document, key: str) -> Pair:
    images = [media for media in doc.media if media.type == MediaType.IMAGE]
    if len(images) > 1:
        words = f"{len(images)} images, but a pair has one: split the document first"
        return Pair(key, None, doc.text, fault=Fault(Status.MODEL_ERROR, words))
    image = next(((media.media_bytes or media.path) for media in images), None)
    return make_pair(image, doc.text, key)
