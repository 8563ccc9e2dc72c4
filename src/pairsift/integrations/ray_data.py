"""Ray Data: score columns for the pairs of a dataset, in a pipeline of the user's own.

`pairsift score --engine ray` needs no pipeline: it scores a pool and can be resumed.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.integrations.scorers import BatchScorer, ScorerLike, make_pairs


class PairScorer:
    """Add score columns to batches of image-text pairs, for `ray.data.Dataset.map_batches`.

    The new columns are ``status`` (``ok``, or why there are no scores), ``error``, ``width`` and
    ``height`` (pixels), ``caption_length`` (characters) and the scorer's own. They have the types
    of a score table in every batch. A broken image becomes a status, never an exception.

    Give `map_batches` the class, its arguments as ``fn_constructor_kwargs``, and
    ``batch_format="pyarrow"``. Each worker loads the model once, with its first batch.

    Args:
        scorer: name of a scorer, or the folder of a checkpoint.
        image: column of the images: encoded bytes, paths or URLs, ``{"bytes", "path"}`` as in
            Hugging Face's parquet files, or uint8 pixels as `ray.data.read_images` gives them.
        caption: column of the captions.
        where: condition over the score columns, as for `pairsift select --where`; pairs without
            scores never pass. None keeps all rows.
        prefix: text before the names of the new columns.
        batch_size: pairs per forward pass; None for the scorer's default. The rows of a batch,
            `map_batches(batch_size=...)`, should be a multiple of it.
        options: options of the scorer, as for :func:`pairsift.load_scorer`.

    Raises:
        PairsiftError: there is no such scorer or option, or the condition names an unknown column.
            Make one outside of `map_batches` to find mistakes before workers start.

    Examples:
        >>> import pyarrow as pa
        >>> pairs = pa.table({"image": ["pool/a.png", "pool/b.png"], "text": ["a red house", "a"]})
        >>> options = {"scorer": "heuristics", "caption": "text", "where": "caption_words > 1"}
        >>> PairScorer(**options)(pairs).select(["text", "status", "smaller_side"]).to_pylist()
        [{'text': 'a red house', 'status': 'ok', 'smaller_side': 300}]
    """

    def __init__(
        self,
        scorer: ScorerLike = "pairsift-tiny",
        *,
        image: str = "image",
        caption: str = "caption",
        where: str | None = None,
        prefix: str = "",
        batch_size: int | None = None,
        **options: Any,
    ) -> None:
        self._scorer = BatchScorer(scorer, options, where=where, batch_size=batch_size)
        self._image, self._caption, self._prefix = image, caption, prefix

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the rows that are kept, with their scores.

        Raises:
            PairsiftError: the batch is not an Arrow table, has no column of that name, or already
                has a column with the name of a new one.
        """
        self._check(batch)
        images, captions = _values(batch[self._image]), _values(batch[self._caption])
        scores = self._scorer.score(make_pairs(images, captions))
        kept = pa.array(self._scorer.passes(scores))
        for field, column in zip(scores.schema, scores.columns, strict=True):
            batch = batch.append_column(field.with_name(self._prefix + field.name), column)
        return batch.filter(kept)

    def _check(self, batch: Any) -> None:
        if not isinstance(batch, pa.Table):
            raise PairsiftError(
                f"a batch is a {type(batch).__name__}, but an Arrow table is needed: give "
                'map_batches(..., batch_format="pyarrow")'
            )
        for option, name in (("image", self._image), ("caption", self._caption)):
            if name not in batch.column_names:
                raise PairsiftError(
                    f"the dataset has no column {name!r}; {option}=... is one of "
                    f"{', '.join(batch.column_names)}"
                )
        new = {self._prefix + field.name for field in self._scorer.fields}
        if taken := sorted(new.intersection(batch.column_names)):
            raise PairsiftError(
                f"the dataset already has a column {taken[0]!r}; give a prefix for the new "
                'columns, for example prefix="pairsift_"'
            )


def _values(column: pa.ChunkedArray) -> list[Any]:
    if isinstance(column.type, pa.BaseExtensionType):  # Ray's tensors and Python objects
        return [value for chunk in column.chunks for value in chunk.to_numpy(zero_copy_only=False)]
    return list(column.to_pylist())
