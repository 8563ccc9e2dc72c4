"""Hugging Face datasets: add score columns to a dataset, and filter it by them.

Works on datasets in memory and on disk, streaming datasets, and dictionaries of splits.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from pairsift.errors import PairsiftError
from pairsift.expressions.rows import RowFilter, columns_used
from pairsift.integrations.scorers import (
    LazyScorer,
    LoadedScorer,
    ScorerLike,
    lazy_scorer,
    outcome_columns,
    outcomes,
    score_values,
)
from pairsift.pair import Status
from pairsift.scorers.base import Scorer
from pairsift.scores import ScoreFolder, status_array
from pairsift.select import select

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

    AnyDataset = TypeVar(
        "AnyDataset", Dataset, IterableDataset, DatasetDict, IterableDatasetDict
    )  # fmt: skip
else:
    AnyDataset = TypeVar("AnyDataset")

_CAPTIONS = ("caption", "text", "txt")
# Rows per step of the streaming filter; few, because they are in memory with their images.
_FILTER_ROWS = 256


def score_dataset(
    dataset: AnyDataset,
    scorer: ScorerLike = "pairsift-tiny",
    *,
    image: str | None = None,
    caption: str | None = None,
    prefix: str = "",
    batch_size: int | None = None,
    **options: Any,
) -> AnyDataset:
    """Score the pairs of a Hugging Face dataset and add the scores as columns.

    The new columns are ``status`` (``ok``, or why there are no scores), ``error``, ``width`` and
    ``height`` (pixels), ``caption_length`` (characters) and the scorer's own. They have the types
    of a score table. A broken image becomes a status, never an exception.

    A streaming dataset is scored while it is read, one batch at a time. Other datasets are scored
    at once; `datasets` caches the result, so the same call reads it back. Only the new columns are
    written: images are not copied.

    Args:
        dataset: a dataset of one split, or a dictionary of splits.
        scorer: name of a scorer, folder of a checkpoint, or a loaded scorer.
        image: column of the images: the feature ``Image``, encoded bytes, or paths. None takes the
            only ``Image`` column.
        caption: column of the captions; ``json.caption`` is a field of the column ``json``. None
            takes ``caption``, ``text`` or ``txt``.
        prefix: text to put before the names of the new columns; none by default.
        batch_size: pairs per forward pass; None for the scorer's default.
        options: options of the scorer, as for :func:`pairsift.load_scorer`.

    Returns:
        a dataset of the same kind with the new columns.

    Raises:
        PairsiftError: there is no such column or scorer; the dataset already has a column of a new
            name; or a streaming dataset does not know its columns.

    Examples:
        >>> from datasets import Dataset, Image
        >>> pairs = {"image": ["pool/a.png", "pool/b.png"], "text": ["a red square", "a square"]}
        >>> dataset = Dataset.from_dict(pairs).cast_column("image", Image())
        >>> scored = score_dataset(dataset, "heuristics")
        >>> list(scored["status"]), list(scored["smaller_side"])
        (['ok', 'ok'], [300, 100])
    """
    if isinstance(dataset, Mapping):
        return _of_splits(
            dataset,
            lambda split: score_dataset(
                split, scorer, image=image, caption=caption, prefix=prefix,
                batch_size=batch_size, **options,
            ),
        )  # fmt: skip
    datasets = _import_datasets()
    features = _known_features(dataset)
    reference = lazy_scorer(scorer, **options)
    loaded = reference.load()
    fields = outcome_columns(loaded)
    new = {f"{prefix}{field.name}": field for field in fields}
    if taken := [name for name in new if name in features]:
        raise PairsiftError(
            f"the dataset already has a column {taken[0]!r}; give a prefix for the new columns, "
            'for example prefix="pairsift_"'
        )
    image = _image_column(features, image)
    caption = _caption_column(features, caption)
    batch_size = batch_size or loaded.batch_size
    function = ScoreBatch(reference, image, caption, prefix, batch_size)
    added = datasets.Features.from_arrow_schema(
        pa.schema([pa.field(name, field.type) for name, field in new.items()])
    )
    if isinstance(dataset, datasets.IterableDataset):
        stream, format_type = _undecoded_stream(dataset)
        scored = stream.map(function, batched=True, batch_size=batch_size)
        return _as_it_was(scored, datasets.Features({**features, **added}), format_type)
    columns = sorted({image, caption.split(".")[0]})
    narrow = dataset.with_format(None).select_columns(columns)
    for name, feature in features.items():
        if name in columns and getattr(feature, "decode", False):
            narrow = narrow.cast_column(name, type(feature)(decode=False))
    scores = narrow.map(
        function,
        batched=True,
        batch_size=batch_size,
        remove_columns=columns,
        features=added,
        new_fingerprint=_fingerprint(dataset, loaded, image, caption, prefix),
        desc="Scoring pairs",
    )
    return _beside(datasets, dataset, scores, added)


def filter_dataset(
    dataset: AnyDataset,
    where: str | None = None,
    *,
    top: float | None = None,
    count: int | None = None,
    by: str | None = None,
    per: str | None = None,
    seed: int = 0,
    prefix: str = "",
) -> AnyDataset:
    """Keep the rows of a scored dataset that `pairsift select` would keep.

    Only the columns that the expressions name are read; no image is decoded, and images of a
    dataset that is not streaming are not copied. Rows whose status is not ok are dropped.

    Args:
        dataset: the result of :func:`score_dataset`, or any dataset with a status and scores.
        where: condition that rows must pass, e.g. ``itm >= 40 and ctq >= 50``.
        top, count, by, per, seed: an exact cut, as for :func:`pairsift.select.select`. Which of
            equal rows at the cut are kept is decided by their ``uid`` (or ``shard`` and ``key``)
            if the dataset has them, else by their place. Not for streaming datasets, where not
            all rows are known.
        prefix: as given to :func:`score_dataset`; expressions name the columns with it.

    Returns:
        a dataset of the same kind with the kept rows.

    Raises:
        PairsiftError: the dataset is not scored, an expression names a column that does not exist,
            or a cut is requested for a streaming dataset.

    Examples:
        >>> from datasets import Dataset
        >>> scored = Dataset.from_dict({"status": ["ok", "ok", "image_corrupt"],
        ...                             "itm": [80.0, 20.0, None]})
        >>> list(filter_dataset(scored, "itm >= 40")["itm"])
        [80.0]
    """
    if isinstance(dataset, Mapping):
        return _of_splits(
            dataset,
            lambda split: filter_dataset(
                split, where, top=top, count=count, by=by, per=per, seed=seed, prefix=prefix
            ),
        )
    datasets = _import_datasets()
    features = _known_features(dataset)
    status = f"{prefix}status"
    if status not in features:
        raise PairsiftError(
            f"the dataset has no column {status!r}; score it first, with score_dataset()"
        )
    if isinstance(dataset, datasets.IterableDataset):
        if where is None or (top, count, by, per) != (None, None, None, None):
            raise PairsiftError(
                "a streaming dataset supports only a condition (where), because a cut (top, count) "
                "needs all rows. Find the threshold on a sample, or download the dataset"
            )
        passes = _FilterBatch(RowFilter(where, features.arrow_schema, status=status))
        stream, format_type = _undecoded_stream(dataset)
        # Not `filter`: after it, the library does not decode images any more.
        kept = stream.map(passes, batched=True, batch_size=_FILTER_ROWS)
        return _as_it_was(kept, features, format_type)
    query = {"where": where, "top": top, "count": count, "by": by, "per": per, "seed": seed}
    places = _select_places(dataset, features, status, (where, by, per), **query)
    return dataset.select(places)


@dataclass(frozen=True, slots=True)
class ScoreBatch:
    """The function for `map`; a scorer that was given by name is pickled as its name."""

    scorer: LazyScorer | LoadedScorer
    image: str
    caption: str
    prefix: str
    batch_size: int

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        scorer = self.scorer.load()
        column, *path = self.caption.split(".")
        captions = [_dig(value, path) for value in batch[column]]
        table = score_values(scorer, batch[self.image], captions, self.batch_size)
        found = outcomes(table, outcome_columns(scorer)).to_pydict()
        return {f"{self.prefix}{name}": values for name, values in found.items()}


@dataclass(frozen=True, slots=True)
class _FilterBatch:
    """The function for `map` on a stream: returns the rows of a batch that pass."""

    rows: RowFilter

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        looked_at = [pa.array(batch[field.name], field.type) for field in self.rows.schema]
        passes = self.rows(pa.table(looked_at, schema=self.rows.schema))
        places = np.flatnonzero(passes).tolist()
        return {name: [values[place] for place in places] for name, values in batch.items()}


def _select_places(
    dataset: Any, features: Any, status: str, expressions: Sequence[str | None], **query: Any
) -> np.ndarray:
    """Return the positions of the rows that `select` keeps, by a table of needed columns."""
    schema = features.arrow_schema
    used = columns_used([text for text in expressions if text is not None], schema)
    identity = [
        name for name in ("shard", "key", "uid") if name in schema.names and _is_text(schema, name)
    ]
    wanted = sorted({status, *used, *identity})
    found = dataset.with_format("arrow").select_columns(wanted)[:]
    rows = found.num_rows
    known = {value.value: value for value in Status}
    columns: dict[str, Any] = {
        "shard": pa.array([""] * rows, pa.string()),
        "key": pa.array([str(place) for place in range(rows)], pa.string()),
        "uid": pa.nulls(rows, pa.string()),
        **{name: found[name] for name in wanted},
        "status": status_array(
            [known.get(value, Status.MODEL_ERROR) for value in found[status].to_pylist()]
        ),
    }
    with tempfile.TemporaryDirectory(prefix="pairsift-filter-") as folder:
        scores = ScoreFolder(f"{folder}/scores", {"scorer": "dataset"}, "")
        scores.commit("dataset", pa.table(columns), {})
        kept = select(f"{folder}/scores", out=f"{folder}/kept", **query)
        parts = [shard.rows for shard in kept.shards()]
    return np.concatenate(parts) if parts else np.array([], dtype=np.int32)


def _of_splits(splits: Any, function: Callable[[Any], Any]) -> Any:
    return type(splits)({name: function(split) for name, split in splits.items()})


def _known_features(dataset: Any) -> Any:
    if dataset.features is None:
        raise PairsiftError(
            "the columns of this streaming dataset are unknown; declare them first, for example "
            'dataset.cast(Features({"image": Image(), "caption": Value("string")}))'
        )
    return dataset.features


def _undecoded_stream(dataset: Any) -> tuple[Any, str | None]:
    """Return a streaming dataset whose images stay bytes, in plain Python, and the format that it
    had.

    `load_dataset` adds threads to streams that decode ahead; these are removed too.
    """
    formatting = getattr(dataset, "_formatting", None)  # streams have no public name for it
    format_type = formatting.format_type if formatting else None
    stream = dataset.with_format(None) if format_type else dataset
    return stream.decode(False), format_type


def _as_it_was(stream: Any, features: Any, format_type: str | None) -> Any:
    """Restore the decoding and format of the user's dataset on a stream made from it."""
    stream = stream.cast(features)
    return stream.with_format(format_type) if format_type else stream


def _beside(datasets: Any, dataset: Any, scores: Any, added: Any) -> Any:
    """Join the columns of two datasets, in the first one's format."""
    if len(dataset):
        both = datasets.concatenate_datasets([dataset.with_format(None), scores], axis=1)
    else:  # without rows, the library leaves out the columns too
        features = datasets.Features({**dataset.features, **added})
        both = datasets.Dataset.from_dict({name: [] for name in features}, features=features)
    shown = dataset.format
    if shown["type"] is None:
        return both
    columns = [*shown["columns"], *added]
    return both.with_format(shown["type"], columns=columns, **shown["format_kwargs"])


def _image_column(features: Any, name: str | None) -> str:
    if name is None:
        images = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
        if len(images) != 1:
            what = f"several image columns ({', '.join(images)})" if images else "no image column"
            raise PairsiftError(
                f"the dataset has {what}; name one, image=..., of {', '.join(features)}"
            )
        return str(images[0])
    return _existing(features, name, "image")


def _caption_column(features: Any, name: str | None) -> str:
    if name is None:
        found = [name for name in _CAPTIONS if name in features]
        if not found:
            raise PairsiftError(
                f"the dataset has no column {' or '.join(_CAPTIONS)}; name the captions, "
                f"caption=..., of {', '.join(features)}"
            )
        name = found[0]
    column, *path = name.split(".")
    feature: Any = features[_existing(features, column, "caption")]
    for part in path:
        feature = feature.get(part) if isinstance(feature, Mapping) else None
    if feature is not None and getattr(feature, "dtype", None) not in ("string", "large_string"):
        raise PairsiftError(
            f"column {name!r} is not text; give one caption per row (datasets.Dataset.map with "
            "batched=True can put several into separate rows)"
        )
    return name


def _existing(features: Any, name: str, what: str) -> str:
    if name not in features:
        raise PairsiftError(
            f"the dataset has no column {name!r}; {what}=... is one of {', '.join(features)}"
        )
    return name


def _dig(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _is_text(schema: pa.Schema, name: str) -> bool:
    return bool(pa.types.is_string(schema.field(name).type))


def _fingerprint(dataset: Any, scorer: Scorer, *settings: str) -> str:
    """Return the name under which the library caches the scores: everything that decides them."""
    facts = [dataset._fingerprint, dict(scorer.fingerprint), *settings]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _import_datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise PairsiftError(
            "this needs the datasets package: pip install 'pairsift[datasets]'"
        ) from error
    return datasets
