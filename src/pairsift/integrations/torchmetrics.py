"""Pairsift's scores as a torchmetrics metric, with the interface of its CLIPScore.

``pairsift_score`` can replace ``clip_score(images, texts, model_name_or_path=...)``, with another
model name, and :class:`PairsiftScore` can replace ``CLIPScore``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import torch

from pairsift.errors import PairsiftError
from pairsift.integrations.scorers import (
    ScorerLike,
    lazy_scorer,
    number_columns,
    score_values,
    takes_option,
)
from pairsift.metrics import Metric
from pairsift.pair import Status
from pairsift.scorers.base import Scorer
from pairsift.scorers.registry import known_columns
from pairsift.scores import schema_metrics

try:
    from torchmetrics import Metric as TorchMetric
    from torchmetrics.utilities import dim_zero_cat
except ImportError as error:
    raise PairsiftError(
        "this needs the torchmetrics package: pip install 'pairsift[torchmetrics]'"
    ) from error

if TYPE_CHECKING:
    from torchmetrics.utilities.plot import _AX_TYPE, _PLOT_OUT_TYPE

_HIGHER = {"higher": True, "lower": False, "neither": None}

Images = torch.Tensor | list[torch.Tensor]
Texts = str | list[str]
Reduction = Literal["mean", "none"]
NanStrategy = Literal["warn", "error", "ignore"]
Score = torch.Tensor | dict[str, torch.Tensor]
Scores = Sequence[torch.Tensor] | Sequence[dict[str, torch.Tensor]]


def pairsift_score(
    source: Images | Texts,
    target: Images | Texts,
    model_name_or_path: ScorerLike = "pairsift-tiny",
    *,
    metrics: str | Sequence[str] = "itm",
    reduction: Reduction = "mean",
    nan_strategy: NanStrategy = "warn",
    batch_size: int | None = None,
    scorer_options: Mapping[str, Any] | None = None,
) -> Score:
    """Score pairs of images and captions; the default metrics go from 0 (worst) to 100 (best).

    Args:
        source, target: images and captions, in either order. Images: (N, C, H, W), (C, H, W), or
            a list of (C, H, W); integers 0 to 255; C is 3 or 1. Captions: a string or a list.
        model_name_or_path: name of a scorer, folder of a checkpoint, or a loaded scorer. Scorers
            given by name stay in memory between calls.
        metrics: a metric of the scorer's prompt pack (``itm``, ``odf``, ``ctq`` or ``su`` of the
            default one) or another score column; several give a dictionary.
        reduction: ``mean``, or ``none`` for a score per pair, NaN if a pair has none.
        nan_strategy: what to do about pairs that cannot be scored, such as empty captions:
            ``warn``, ``ignore`` or ``error``. The mean leaves them out.
        batch_size: pairs in a batch; None for the scorer's own.
        scorer_options: options for :func:`pairsift.load_scorer`. If ``device`` is not among them
            and the images are on a GPU, the scorer runs there.

    Returns:
        a scalar, or (N,) with ``reduction="none"``, float32, on the images' device; NaN if no
        pair has a score. A dictionary of these for several metrics.

    Raises:
        ValueError: images, captions or their numbers are not as above; or, with
            ``nan_strategy="error"``, a pair has no score.
        PairsiftError: there is no such scorer or column.

    Examples:
        >>> import torch
        >>> images = torch.zeros(2, 3, 300, 400, dtype=torch.uint8)
        >>> captions = ["a red square", "a square"]
        >>> pairsift_score(images, captions, "heuristics", metrics="caption_words")
        tensor(2.5000)
    """
    names = _names(metrics)
    _check_choices(reduction, nan_strategy)
    scores = _score(
        source, target, model_name_or_path, names, nan_strategy, batch_size, scorer_options
    )
    values = scores if reduction == "none" else scores.double().nanmean(0).float()
    return _by_name(values, metrics, names)


class PairsiftScore(TorchMetric):
    """Mean score of images and captions over all batches and processes, as a torchmetrics metric.

    It can replace ``torchmetrics.multimodal.CLIPScore``. The default scorer reads image and
    caption together; its metrics go from 0 (worst) to 100 (best).

    Args:
        model_name_or_path, metrics, nan_strategy, batch_size, scorer_options: as for
            :func:`pairsift_score`.
        reduction: ``mean``; with ``none``, ``compute`` returns the scores of all pairs, (N,), in
            the order of processes, NaN if a pair has none. They are kept in memory.
        kwargs: options of :class:`torchmetrics.Metric`.

    Raises:
        PairsiftError: there is no such scorer or column.

    Examples:
        >>> import torch
        >>> metric = PairsiftScore("heuristics", metrics="caption_words")
        >>> image = torch.zeros(3, 300, 400, dtype=torch.uint8)
        >>> metric.update(image, "a red square")
        >>> metric.update([image, image], ["a square", "square"])
        >>> metric.compute()
        tensor(2.)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound: float | None = 0.0
    plot_upper_bound: float | None = 100.0

    score: torch.Tensor
    n_samples: torch.Tensor
    scores: list[torch.Tensor]

    def __init__(
        self,
        model_name_or_path: ScorerLike = "pairsift-tiny",
        *,
        metrics: str | Sequence[str] = "itm",
        reduction: Reduction = "mean",
        nan_strategy: NanStrategy = "warn",
        batch_size: int | None = None,
        scorer_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_choices(reduction, nan_strategy)
        self.model_name_or_path = model_name_or_path
        self.metrics = metrics
        self.reduction = reduction
        self.nan_strategy: NanStrategy = nan_strategy
        self.batch_size = batch_size
        self.scorer_options = dict(scorer_options or {})
        self._names = _names(metrics)
        self._describe()
        if reduction == "none":
            self.add_state("scores", default=[], dist_reduce_fx="cat")
        else:
            self.add_state("score", torch.zeros(len(self._names)), dist_reduce_fx="sum")
            self.add_state("n_samples", torch.tensor(0), dist_reduce_fx="sum")

    def _describe(self) -> None:
        """Take bounds and direction from the metrics; None where they differ in them."""
        described = _described(self.model_name_or_path, self.scorer_options)
        asked = [described[name] for name in self._names if name in described]
        if not asked:
            return
        facts: dict[str, set[Any]] = {
            "plot_lower_bound": {metric.scale.low for metric in asked},
            "plot_upper_bound": {metric.scale.high for metric in asked},
            "higher_is_better": {_HIGHER[metric.better] for metric in asked},
        }
        for name, values in facts.items():
            # torchmetrics takes these for constants of the class.
            object.__setattr__(self, name, values.pop() if len(values) == 1 else None)

    def update(self, source: Images | Texts, target: Images | Texts) -> None:
        """Score a batch of pairs, given as for :func:`pairsift_score`.

        Raises:
            ValueError: as :func:`pairsift_score` raises it.
        """
        scores = _score(
            source, target, self.model_name_or_path, self._names, self.nan_strategy,
            self.batch_size, self.scorer_options,
        ).to(self.device)  # fmt: skip
        if self.reduction == "none":
            self.scores.append(scores)
            return
        scored = scores[~scores.isnan().any(1)]
        self.score += scored.sum(0)
        self.n_samples += len(scored)

    def compute(self) -> Score:
        """Return the mean score, or with ``reduction="none"`` all of them."""
        if self.reduction == "none":
            held = self.scores
            found = dim_zero_cat(held) if len(held) else torch.empty(0, len(self._names))
        else:
            found = self.score / self.n_samples
        return _by_name(found, self.metrics, self._names)

    def plot(self, val: Score | Scores | None = None, ax: _AX_TYPE | None = None) -> _PLOT_OUT_TYPE:
        """Plot one value, or several over time.

        Args:
            val: result of ``forward`` or ``compute``, or a list of these; None for ``compute()``.
            ax: matplotlib axes to draw into.

        Returns:
            figure and axes.
        """
        return self._plot(val, ax)


def _score(
    source: Images | Texts,
    target: Images | Texts,
    model: ScorerLike,
    names: Sequence[str],
    nan_strategy: NanStrategy,
    batch_size: int | None,
    options: Mapping[str, Any] | None,
) -> torch.Tensor:
    """Return (pairs, names) float32 on the images' device, NaN for pairs without scores."""
    images, texts = _sides(source, target)
    device = images[0].device
    scorer = _load(model, names, device, options or {})
    number_columns(scorer, names)
    table = score_values(scorer, map(_pixels, images), texts, batch_size)
    _tell_failures(table, nan_strategy)
    columns = [table[name].cast(pa.float32()).to_numpy() for name in names]
    return torch.from_numpy(np.stack(columns, axis=1)).to(device)


def _load(
    model: ScorerLike, names: Sequence[str], device: torch.device, options: Mapping[str, Any]
) -> Scorer:
    if isinstance(model, Scorer):
        return lazy_scorer(model, **options).load()
    wanted = dict(options)
    if device.type != "cpu" and takes_option(model, "device"):
        wanted.setdefault("device", str(device))
    # A metric that is not asked for need not be computed.
    asked = [name for name in _described(model, wanted) if name in names]
    if asked and takes_option(model, "metrics"):
        wanted.setdefault("metrics", ",".join(asked))
    return lazy_scorer(model, **wanted).load()


def _described(model: ScorerLike, options: Mapping[str, Any]) -> dict[str, Metric]:
    """The metrics that a scorer has columns of, by name; none if only the model could tell."""
    if isinstance(model, Scorer):
        return model.described
    return schema_metrics(pa.schema(known_columns(model, **options) or ()))


def _sides(source: Images | Texts, target: Images | Texts) -> tuple[list[torch.Tensor], list[str]]:
    """Return images and captions, in whichever order they were given."""
    sides = _as_list(source), _as_list(target)
    kinds = [{_kind(value) for value in side} for side in sides]
    if kinds == [{"text"}, {"image"}]:
        sides, kinds = (sides[1], sides[0]), [kinds[1], kinds[0]]
    if kinds != [{"image"}, {"text"}]:
        raise ValueError(
            "a pair is an image and a caption: expected one of the two arguments to hold images "
            "(tensors) and the other captions (str), and neither to be empty"
        )
    images, texts = sides
    if len(images) != len(texts):
        raise ValueError(
            "Expected the number of images and captions to be the same but got "
            f"{len(images)} and {len(texts)}"
        )
    return images, texts


def _as_list(side: Any) -> list[Any]:
    if isinstance(side, torch.Tensor):
        return [side] if side.ndim == 3 else list(side)
    return [side] if isinstance(side, str) else list(side)


def _kind(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return "image"
    return "text" if isinstance(value, str) else "neither"


def _pixels(image: torch.Tensor) -> np.ndarray:
    """Return (C, H, W) integers as (H, W, 3) or (H, W) uint8."""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(
            f"Expected all images to be (C, H, W) with 3 channels or 1, but got "
            f"{tuple(image.shape)}"
        )
    if image.is_floating_point() or image.dtype == torch.bool:
        raise ValueError(
            f"Expected images of integers from 0 to 255 but got {image.dtype}; for values from 0 "
            "to 1 pass (255 * images).round().to(torch.uint8)"
        )
    if image.dtype != torch.uint8 and image.numel() and not 0 <= image.min() <= image.max() <= 255:
        raise ValueError(
            f"Expected images of integers from 0 to 255 but got {image.min()} to {image.max()}"
        )
    pixels: np.ndarray = image.detach().to("cpu", torch.uint8).permute(1, 2, 0).numpy()
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _tell_failures(table: pa.Table, nan_strategy: NanStrategy) -> None:
    statuses = table["status"].cast(pa.string()).to_pylist()
    failed = [place for place, status in enumerate(statuses) if status != Status.OK.value]
    if not failed or nan_strategy == "ignore":
        return
    first = failed[0]
    words = (
        f"{len(failed)} of {len(statuses)} pairs have no score, the first is number {first}: "
        f"{statuses[first]}: {table['error'][first]}"
    )
    if nan_strategy == "error":
        raise ValueError(words)
    warnings.warn(f"{words}. The mean leaves them out", UserWarning, stacklevel=4)


def _names(metrics: str | Sequence[str]) -> tuple[str, ...]:
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    if not names:
        raise PairsiftError("no metric given; name score columns, such as itm")
    return names


def _by_name(values: torch.Tensor, metrics: str | Sequence[str], names: Sequence[str]) -> Score:
    """Return a dictionary by name, or a single value if one metric was requested by name."""
    if isinstance(metrics, str):
        return values[..., 0]
    return {name: values[..., place] for place, name in enumerate(names)}


def _check_choices(reduction: str, nan_strategy: str) -> None:
    for value, choices, what in (
        (reduction, ("mean", "none"), "reduction"),
        (nan_strategy, ("warn", "error", "ignore"), "nan_strategy"),
    ):
        if value not in choices:
            raise ValueError(f"Expected {what} to be one of {', '.join(choices)}, got {value!r}")
