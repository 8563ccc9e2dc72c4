"""Find the largest batch that fits into the device's memory, by trying."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Collated = TypeVar("Collated")


class FittingBatches:
    """Runs a function on batches; halves a batch that does not fit, and remembers the size."""

    def __init__(self) -> None:
        self.largest: int | None = None

    def run(
        self, function: Callable[[Sequence[Any]], np.ndarray], inputs: Sequence[Any]
    ) -> np.ndarray:
        """Return the results of all inputs, joined along the first axis.

        Raises:
            RuntimeError: the function's error; out of memory only if a single input is too large.
        """
        return np.concatenate(self.parts(function, inputs))

    def parts(
        self, function: Callable[[Sequence[Any]], Result], inputs: Sequence[Any]
    ) -> list[Result]:
        """Return the results of the batches that were run, in order.

        Raises:
            RuntimeError: as for :meth:`run`.
        """
        results: list[Result] = []
        start = 0
        while start < len(inputs):
            batch = self._split(inputs[start:] if start else inputs)[0]
            result = None
            try:
                result = function(batch)
            except RuntimeError as error:
                if not _out_of_memory(error) or len(batch) == 1:
                    raise
            if result is None:  # outside the handler, which keeps the failed batch's tensors alive
                self.largest = (len(batch) + 1) // 2
                logger.warning("out of memory; batches of %d from now on", self.largest)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            results.append(result)
            start += len(batch)
        return results

    def collate(
        self, function: Callable[[Sequence[Any]], Collated], inputs: Sequence[Any]
    ) -> list[tuple[Sequence[Any], Collated]]:
        """Collate a batch in parts that fit, for :meth:`start`."""
        return [(part, function(part)) for part in self._split(inputs)]

    def start(
        self,
        function: Callable[[Collated], Result],
        collated: Sequence[tuple[Sequence[Any], Collated]],
        collate: Callable[[Sequence[Any]], Collated],
    ) -> list[Result]:
        """Run a function on what :meth:`collate` returned; collate what does not fit again.

        Raises:
            RuntimeError: as for :meth:`run`.
        """
        results: list[Result] = []
        for inputs, ready in collated:

            def run(part: Sequence[Any], inputs: Any = inputs, ready: Any = ready) -> Result:
                return function(ready if part is inputs else collate(part))

            results += self.parts(run, inputs)
        return results

    def _split(self, inputs: Sequence[Any]) -> list[Sequence[Any]]:
        """Parts that fit, as far as is known; the inputs themselves if all do."""
        size = self.largest or len(inputs)
        if len(inputs) <= size:
            return [inputs] if inputs else []
        return [inputs[start : start + size] for start in range(0, len(inputs), size)]


def _out_of_memory(error: RuntimeError) -> bool:
    message = str(error).lower()  # the CPU's allocator raises a plain RuntimeError
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in message for words in ("not enough memory", "out of memory")
    )
