"""Agreement of a scorer with the teacher, and the number that chooses a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from pairsift.errors import PairsiftError
from pairsift.pair import Pair
from pairsift.scorers.base import Preparer, Scorer
from pairsift.train.dev import decisive, measure
from pairsift.train.examples import Example
from tests.samples import jpeg

IMAGE = jpeg(40, 30)
METRICS = ("itm", "odf")


class Lengths(Scorer):
    """Scores a caption by its length."""

    name: ClassVar[str] = "lengths"
    columns = tuple(pa.field(name, pa.float32()) for name in ("itm", "itm_std", "odf", "odf_std"))

    def __init__(self) -> None:
        self.preparer = Preparer(lambda image, caption: len(caption))

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"scorer": self.name}

    def score_batch(self, inputs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        length = np.array(inputs, float)
        return {"itm": length, "itm_std": 0 * length + 2, "odf": -length, "odf_std": length}


def found(*examples: tuple[str, dict[str, float]], metrics: tuple[str, ...] = METRICS) -> Any:
    given = [Example(0, f"{n}.jpg", *example) for n, example in enumerate(examples)]
    return measure(
        Lengths(), given, lambda e: Pair(e.image, IMAGE, e.caption), metrics, batch_size=2
    )


def test_each_metric_is_measured_on_the_pairs_that_have_it() -> None:
    measured = found(
        ("a", {"itm": 3, "odf": 1}), ("ab", {"itm": 4}), ("abc", {"itm": 5, "odf": 2}),
        ("abcde", {"itm": 9}),
    )  # fmt: skip
    assert measured["tau_itm"] == pytest.approx(1)
    assert measured["tau_odf"] == pytest.approx(-1)
    assert measured["tau"] == pytest.approx(0)
    assert measured["mae_itm"] == pytest.approx((2 + 2 + 2 + 4) / 4)
    assert measured["mae_odf"] == pytest.approx((2 + 5) / 2)
    assert measured["mae"] == pytest.approx((2.5 + 3.5) / 2)
    assert (measured["std_itm"], measured["std_odf"]) == (2, 2)


def test_an_undefined_tau_is_none_and_counts_as_nothing_in_the_mean() -> None:
    measured = found(("a", {"itm": 3, "odf": 3}), ("ab", {"itm": 3, "odf": 2}))
    assert measured["tau_itm"] is None
    assert measured["tau"] == pytest.approx(0.5)


def test_a_metric_that_no_pair_has_is_left_out() -> None:
    assert not [name for name in found(("a", {"itm": 3})) if name.endswith("odf")]


def test_a_pair_that_cannot_be_scored_is_named() -> None:
    with pytest.raises(PairsiftError, match=r"dev pair 1\.jpg: caption_empty"):
        found(("a", {"itm": 3}), ("", {"itm": 3}))


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"tau_itm": 0.5, "mae_itm": 50}, {"tau_itm": 0.4, "mae_itm": 1}),
        ({"tau_itm": 0.5, "mae_itm": 1}, {"tau_itm": 0.5, "mae_itm": 2}),
        ({"tau_itm": -0.9, "mae_itm": 99}, {"tau_itm": None, "mae_itm": 1}),
        ({"tau_itm": None, "mae_itm": 1}, {"tau_itm": None, "mae_itm": 2}),
    ],
)
def test_the_better_tau_decides_then_the_smaller_error(better: Any, worse: Any) -> None:
    assert decisive(better, "itm") > decisive(worse, "itm")


def test_the_mean_decides_if_it_is_asked_for() -> None:
    measured = {"tau": 0.5, "mae": 0.0, "tau_itm": -1.0, "mae_itm": 0.0}
    assert decisive(measured, "mean") == 0.5
    assert decisive(measured, "itm") == -1.0
