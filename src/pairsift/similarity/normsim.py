"""NormSim: the similarity of an image to the images of a target set.

For an image's unit embedding v and the unit embeddings t of a target set,
``NormSim_p = (sum over t of |v . t|^p)^(1/p)``, for p = infinity the largest ``|v . t|`` (Wang et
al., "CLIPLoss and Norm-Based Data Selection Methods for Multimodal Contrastive Learning", arXiv
2405.19547). For p = 2 it is ``sqrt(v' G v)`` with ``G = sum of t t'``, so its cost does not grow
with the set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np

from pairsift.embeddings import IMAGE
from pairsift.errors import PairsiftError
from pairsift.progress import Listener, NullListener
from pairsift.similarity.output import Values, write_values
from pairsift.similarity.vectors import EmbeddedTable, SameModel, as_float32, each, embedded_tables

COLUMN = "normsim"
NORMS = ("2", "inf")
_ROWS = 4096


def normsim(
    scores: str | Sequence[str],
    target: str | Sequence[str],
    out: str | os.PathLike[str],
    *,
    norm: str = "2",
    listener: Listener | None = None,
) -> Values:
    """Compare each image with those of a target set, such as the training images of a task.

    Args:
        scores: score folders with embeddings.
        target: score folders with embeddings of the target set, by the same scorer. For the norm
            ``inf`` it is in memory, as float32.
        out: parquet file to write: shard, key, uid and ``normsim``.
        norm: ``2`` or ``inf``.
        listener: receives the progress; None for nobody.

    Returns:
        what was written.

    Raises:
        PairsiftError: a folder has no embeddings, or the two are of different scorers; an unknown
            norm; `out` is a file of another kind.
    """
    listener = listener or NullListener()
    check_normsim(target, norm)
    places = [target] if isinstance(target, str) else list(target)
    same = SameModel()
    gram: np.ndarray | None = None
    kept: list[np.ndarray] = []
    found = 0
    for _, made in each(embedded_tables(target), same):
        vectors = as_float32(made.vectors[IMAGE][made.ok])
        found += len(vectors)
        if norm == "2":
            product = vectors.astype(np.float64).T @ vectors.astype(np.float64)
            gram = product if gram is None else gram + product
        else:
            kept.append(vectors)
    if not found:
        raise PairsiftError(
            f"--target {' '.join(places)}: no row of it has an embedding; give a folder whose rows "
            "were scored with --embeddings"
        )
    largest = np.concatenate(kept) if kept else None
    tables = embedded_tables(scores)

    def values() -> Iterator[tuple[EmbeddedTable, np.ndarray]]:
        for done, (table, made) in enumerate(each(tables, same)):
            listener.progress("NormSim", done, len(tables), unit="tables")
            found = np.full(len(made.ok), np.nan)
            vectors = as_float32(made.vectors[IMAGE][made.ok])
            parts = [_of(vectors[at : at + _ROWS], gram, largest)
                     for at in range(0, len(vectors), _ROWS)]  # fmt: skip
            found[made.ok] = np.concatenate(parts) if parts else []
            yield table, found

    return write_values(out, COLUMN, values(), {"norm": norm, "target": places})


def check_normsim(target: str | Sequence[str], norm: str) -> None:
    """Check the arguments of :func:`normsim` before the score tables exist.

    Raises:
        PairsiftError: an unknown norm; the target set has no scores.
    """
    if norm not in NORMS:
        raise PairsiftError(f"--norm {norm!r}: choose {' or '.join(NORMS)}")
    embedded_tables(target)


def _of(vectors: np.ndarray, gram: np.ndarray | None, target: np.ndarray | None) -> np.ndarray:
    if target is not None:
        best = np.zeros(len(vectors))
        for at in range(0, len(target), _ROWS):
            best = np.maximum(best, np.abs(vectors @ target[at : at + _ROWS].T).max(axis=1))
        return best
    assert gram is not None
    wide = vectors.astype(np.float64)
    squares: np.ndarray = np.einsum("nd,nd->n", wide @ gram, wide)
    lengths: np.ndarray = np.sqrt(np.maximum(squares, 0))
    return lengths
