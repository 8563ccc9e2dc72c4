"""negCLIPLoss: a pair's CLIP score, compared with those of other pairs in a batch.

For the pair i of a batch, with unit embeddings v (image) and l (caption) and the temperature tau:

    negCLIPLoss_i = v_i . l_i - tau/2 * (log sum_j exp(v_i . l_j / tau)
                                         + log sum_j exp(v_j . l_i / tau))

averaged over several divisions of the pool into batches (Wang et al., "CLIPLoss and Norm-Based
Data Selection Methods for Multimodal Contrastive Learning", arXiv 2405.19547). A caption that fits
every image gets no advantage from its high cosine.

The division is random, with bounded memory: the tables are put in a random order, tables with about
`chunk` rows are read at a time, and their rows are divided into batches.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence

import numpy as np

from pairsift.embeddings import IMAGE, TEXT
from pairsift.errors import PairsiftError
from pairsift.progress import Listener, NullListener
from pairsift.similarity.output import Values, write_values
from pairsift.similarity.vectors import EmbeddedTable, SameModel, as_float32, embedded_tables

COLUMN = "neg_clip_loss"
_ROWS = 1024


def neg_clip_loss(
    scores: str | Sequence[str],
    out: str | os.PathLike[str],
    *,
    batch: int = 32_768,
    rounds: int = 10,
    temperature: float = 0.01,
    seed: int = 0,
    chunk: int = 1_000_000,
    listener: Listener | None = None,
) -> Values:
    """Compare each pair's cosine with those of its image and caption with others in a batch.

    Args:
        scores: score folders with embeddings.
        out: parquet file to write: shard, key, uid and ``neg_clip_loss``.
        batch: approximate number of pairs per batch.
        rounds: number of random divisions into batches, over which the result is averaged.
        temperature: tau of the model's training; 0.01 for OpenAI's CLIP.
        seed: of the divisions.
        chunk: rows in memory at a time; batches are drawn from them.
        listener: receives the progress; None for nobody.

    Returns:
        what was written.

    Raises:
        PairsiftError: a folder has no embeddings, or they are of different scorers; a number is not
            positive; `out` is a file of another kind.
    """
    listener = listener or NullListener()
    check_neg_clip_loss(batch, rounds, temperature, seed, chunk)
    tables = embedded_tables(scores)
    same = SameModel()
    sums: dict[int, np.ndarray] = {}
    for turn in range(rounds):
        rng = np.random.default_rng([seed, turn])
        done = 0
        for places, image, text, rows in _chunks(tables, rng.permutation(len(tables)), chunk, same):
            listener.progress("negCLIPLoss", turn * len(tables) + done, rounds * len(tables),
                              unit="tables")  # fmt: skip
            found = np.empty(len(image))
            order = rng.permutation(len(image))
            for members in np.array_split(order, max(1, round(len(order) / batch))):
                found[members] = of_batch(image[members], text[members], temperature)
            begin = 0
            for place, ok in zip(places, rows, strict=True):
                whole = np.full(len(ok), np.nan)
                whole[ok] = found[begin : begin + int(ok.sum())]
                begin += int(ok.sum())
                sums[place] = sums.get(place, 0) + whole / rounds
            done += len(places)
    record = {"batch": batch, "rounds": rounds, "temperature": temperature, "seed": seed}
    values = ((table, sums[place]) for place, table in enumerate(tables))
    return write_values(out, COLUMN, values, record)


def check_neg_clip_loss(batch: int, rounds: int, temperature: float, seed: int, chunk: int) -> None:
    """Check the arguments of :func:`neg_clip_loss` before the score tables exist.

    Raises:
        PairsiftError: a number is out of its range.
    """
    if min(batch, rounds, chunk) < 1 or not 0 < temperature < math.inf:
        raise PairsiftError("--batch, --rounds, --chunk and --temperature must be above 0")
    if seed < 0:
        raise PairsiftError(f"--seed {seed}: give a whole number of at least 0")


def of_batch(image: np.ndarray, text: np.ndarray, temperature: float) -> np.ndarray:
    """Return negCLIPLoss of one batch: unit embeddings (pairs, dimension) to (pairs,) float64."""
    own = np.einsum("nd,nd->n", image.astype(np.float64), text.astype(np.float64))
    rows = _log_sums(image, text, temperature)
    columns = _log_sums(text, image, temperature)
    loss: np.ndarray = own - temperature / 2 * (rows + columns)
    return loss


def _log_sums(one: np.ndarray, other: np.ndarray, temperature: float) -> np.ndarray:
    """Return, per row of `one`, log sum exp of its products with all of `other` / temperature."""
    found = np.empty(len(one))
    for at in range(0, len(one), _ROWS):
        products = (one[at : at + _ROWS] @ other.T).astype(np.float64) / temperature
        top = products.max(axis=1, keepdims=True)
        found[at : at + _ROWS] = top[:, 0] + np.log(np.exp(products - top).sum(axis=1))
    return found


def _chunks(
    tables: Sequence[EmbeddedTable], order: np.ndarray, size: int, same: SameModel
) -> Iterator[tuple[list[int], np.ndarray, np.ndarray, list[np.ndarray]]]:
    """Tables in this order, as many together as hold `size` rows: places, embeddings, ok rows."""
    places: list[int] = []
    images: list[np.ndarray] = []
    texts: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    for place in order.tolist():
        made = same.check(tables[place], tables[place].read())
        places.append(place)
        images.append(as_float32(made.vectors[IMAGE][made.ok]))
        texts.append(as_float32(made.vectors[TEXT][made.ok]))
        rows.append(made.ok)
        if sum(map(len, images)) >= size:
            yield places, np.concatenate(images), np.concatenate(texts), rows
            places, images, texts, rows = [], [], [], []
    if places:
        yield places, np.concatenate(images), np.concatenate(texts), rows
