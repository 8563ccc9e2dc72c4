"""Daft: a function that gives the scores of image-text pairs as columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import daft
import pyarrow as pa
from daft import DataType, Expression, Series

from pairsift.integrations.scorers import BatchScorer, ScorerLike, make_pairs

PASSES = "passes"


def pair_scorer(
    scorer: ScorerLike = "pairsift-tiny",
    *,
    where: str | None = None,
    prefix: str = "",
    rows: int = 256,
    workers: int = 1,
    gpus: float = 0,
    batch_size: int | None = None,
    **options: Any,
) -> Callable[[Expression, Expression], Expression]:
    """Make a Daft function of an image and a caption, whose results are the columns of the scores.

    The columns are ``status`` (``ok``, or why there are no scores), ``error``, ``width`` and
    ``height`` (pixels), ``caption_length`` (characters), the scorer's own and, with `where`,
    ``passes``. A broken image becomes a status, never an exception.

    Args:
        scorer: name of a scorer, or the folder of a checkpoint.
        where: condition over the score columns, as for `pairsift select --where`; ``passes`` is
            true for the rows that meet it, and never for rows without scores.
        prefix: text before the names of the columns.
        rows: rows that are scored together, at most.
        workers: workers, each with its own copy of the model.
        gpus: GPUs of each worker; 0 for the CPU.
        batch_size: pairs per forward pass; None for the scorer's default.
        options: options of the scorer, as for :func:`pairsift.load_scorer`.

    Returns:
        a function of two expressions, for ``select``: the images (encoded bytes, paths or URLs, or
        Daft images of uint8) and the captions.

    Raises:
        PairsiftError: there is no such scorer or option, or the condition names an unknown column.

    Examples:
        >>> import daft
        >>> frame = daft.from_pydict({"image": ["pool/a.png", "pool/b.png"], "text": ["a dog", ""]})
        >>> scores = pair_scorer("heuristics", where="smaller_side > 200")
        >>> scored = frame.select("text", scores(frame["image"], frame["text"]))
        >>> scored.where("passes").select("text", "smaller_side").to_pylist()
        [{'text': 'a dog', 'smaller_side': 300}]
    """
    held = BatchScorer(scorer, options, where=where, batch_size=batch_size)
    fields = [*held.fields, *([] if where is None else [pa.field(PASSES, pa.bool_())])]
    types = {prefix + field.name: DataType.from_arrow_type(field.type) for field in fields}

    @daft.cls(max_concurrency=workers, gpus=gpus)
    class PairScorer:
        @daft.method.batch(  # type: ignore[untyped-decorator]
            return_dtype=DataType.struct(types), unnest=True, batch_size=rows
        )
        def score(self, images: Series, captions: Series) -> pa.Array:
            table = held.score(make_pairs(images.to_pylist(), captions.to_pylist()))
            if where is not None:
                table = table.append_column(PASSES, pa.array(held.passes(table)))
            columns = [column.combine_chunks() for column in table.columns]
            return pa.StructArray.from_arrays(columns, names=list(types))

    scored: Callable[[Expression, Expression], Expression] = PairScorer().score
    return scored
