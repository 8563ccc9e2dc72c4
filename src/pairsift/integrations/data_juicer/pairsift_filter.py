"""The Data-Juicer operator. Data-Juicer loads this file by its path, or imports it as a module.

The operator never raises an error for a sample: with ``skip_op_error``, Data-Juicer's default, an
exception would drop the whole batch with only a line in the log.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from data_juicer.ops.base_op import OPERATORS, Filter
from data_juicer.utils.constant import Fields
from data_juicer.utils.mm_utils import SpecialTokens, remove_special_tokens
from data_juicer.utils.process_utils import setup_worker_threads
from loguru import logger

from pairsift.expressions.rows import RowFilter
from pairsift.integrations.scorers import (
    LazyScorer,
    known_fields,
    lazy_scorer,
    make_pair,
    outcomes,
    takes_option,
)
from pairsift.pair import Fault, Pair, Status


@OPERATORS.register_module("pairsift_filter")
class PairsiftFilter(Filter):  # type: ignore[misc]
    """Keep the image-text pairs that meet a condition over quality scores.

    The scores of every pair are added to its stats with `stats_prefix`: ``pairsift_itm`` and so on,
    and ``pairsift_status`` (``ok``, or why there are no scores). Pairs without scores never pass.
    """

    _accelerator = "cuda"
    _batched_op = True

    def __init__(
        self,
        where: str = "itm >= 66",
        scorer: str = "pairsift-tiny",
        scorer_options: dict[str, Any] | None = None,
        stats_prefix: str = "pairsift_",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Make the operator.

        :param where: condition over the score columns, as for `pairsift select --where`, for
            example "itm >= 66 and odf >= 20".
        :param scorer: name of a scorer, or the folder of a checkpoint.
        :param scorer_options: options of the scorer, such as metrics, model or dtype.
        :param stats_prefix: text before the names of the stats; if a recipe has several scorers,
            each needs another one.
        :param args: extra args
        :param kwargs: extra args
        """
        kwargs["memory"] = kwargs.get("memory") or "1500MB"
        # The scorers' usual batch size, on any device.
        kwargs.setdefault("batch_size", 32)
        super().__init__(*args, **kwargs)
        self.scorer = scorer
        self.scorer_options = dict(scorer_options or {})
        self.stats_prefix = stats_prefix
        # Checked here, because errors raised in a batch are only logged.
        self.fields = known_fields(scorer, self.scorer_options)
        self.passes = RowFilter(where, pa.schema(self.fields))

    def compute_stats_batched(
        self, samples: dict[str, Any], rank: int | None = None, **_: Any
    ) -> dict[str, Any]:
        """Score the samples that have no scores yet."""
        stats = samples[Fields.stats]
        todo = [place for place, held in enumerate(stats) if not self._has_scores(held)]
        if not todo:
            return samples
        reference = self._reference(rank)
        pairs = [self._pair(samples, place) for place in todo]
        try:
            table = reference.load().score(pairs, self.batch_size)
            found = outcomes(table, self.fields).to_pylist()
        except Exception as error:  # for example out of memory: the samples fail, but are not lost
            words = f"{type(error).__name__}: {error}"
            logger.error(f"{len(todo)} samples have no scores: {words}")
            failed = {"status": Status.MODEL_ERROR.value, "error": words}
            found = [{field.name: failed.get(field.name) for field in self.fields}] * len(todo)
        for place, row in zip(todo, found, strict=True):
            own = {self.stats_prefix + field.name: _stat(row[field.name], field.type)
                   for field in self.fields}  # fmt: skip
            stats[place] = {**stats[place], **own}
        return samples

    def process_batched(self, samples: dict[str, Any]) -> list[bool]:
        """Return whether each sample passes."""
        rows = samples[Fields.stats]
        columns = [
            pa.array([_value(row[self.stats_prefix + field.name], field.type) for row in rows],
                     field.type)
            for field in self.fields
        ]  # fmt: skip
        kept: list[bool] = self.passes(pa.table(columns, schema=pa.schema(self.fields))).tolist()
        return kept

    def process_single(self, sample: dict[str, Any]) -> bool:
        """Return whether one sample passes."""
        return self.process_batched({Fields.stats: [sample[Fields.stats]]})[0]

    def _reference(self, rank: int | None) -> LazyScorer:
        options = dict(self.scorer_options)
        if rank is not None and self.use_cuda() and takes_option(self.scorer, "device"):
            import torch

            options.setdefault("device", f"cuda:{rank % torch.cuda.device_count()}")
        elif _in_worker():
            setup_worker_threads(num_threads=1)
        reference = lazy_scorer(self.scorer, **options)
        assert isinstance(reference, LazyScorer)
        return reference

    def _has_scores(self, stats: Mapping[str, Any]) -> bool:
        names = [self.stats_prefix + field.name for field in self.fields]
        return all(name in stats for name in names) and bool(stats[f"{self.stats_prefix}status"])

    def _pair(self, samples: Mapping[str, Any], place: int) -> Pair:
        """Return the sample as a pair: its only image, and its text without image tokens."""
        images = _held(samples, self.image_key, place)
        encoded = _held(samples, self.image_bytes_key, place)
        count = max(len(images), len(encoded))
        text = samples[self.text_key][place] if self.text_key in samples else None
        if isinstance(text, str) and any(
            token in text for token in (SpecialTokens.image, SpecialTokens.eoc)
        ):
            text = remove_special_tokens(text)
        if count > 1:
            words = f"{count} images, but a pair has one: split the sample first"
            return Pair(str(place), None, text, fault=Fault(Status.MODEL_ERROR, words))
        image = next((value for value in (*encoded, *images) if value is not None), None)
        return make_pair(image, text, str(place))


def _held(samples: Mapping[str, Any], column: str, place: int) -> Sequence[Any]:
    return (samples[column][place] or []) if column in samples else []


def _stat(value: Any, kind: pa.DataType) -> float | str:
    """Return a value in the form of stats: never None, because the first batch decides the type."""
    if pa.types.is_string(kind):
        return "" if value is None else str(value)
    return math.nan if value is None else float(value)


def _value(stat: Any, kind: pa.DataType) -> Any:
    """Return the value that :func:`_stat` was given; None for null."""
    if pa.types.is_string(kind):
        return stat or None
    if stat is None or math.isnan(stat):
        return None
    if pa.types.is_boolean(kind):
        return bool(stat)
    return int(stat) if pa.types.is_integer(kind) else stat


def _in_worker() -> bool:
    from multiprocess import current_process

    return str(current_process().name) != "MainProcess"
