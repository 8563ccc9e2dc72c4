"""A process for each scorer."""

from __future__ import annotations

import pytest

from pairsift.errors import PairsiftError
from pairsift.evaluate.cost.process import ScorerProcess
from tests.evaluate.cost.subjects import Killed


def test_a_process_that_ends_is_an_error_in_words() -> None:
    process = ScorerProcess(Killed(), threads=1, batch_size=None)
    try:
        with pytest.raises(PairsiftError, match="the process of killed ended"):
            process.loaded()
    finally:
        process.close()
