"""Values of Arrow types as Python has them.

A value that Python cannot have (text that is not UTF-8, a date beyond its calendar) is replaced
alone: it costs neither the values beside it nor the row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pairsift.sources.fields import Step

_IMPOSSIBLE = (ValueError, OverflowError, KeyError, pa.ArrowException)


def plain(scalar: pa.Scalar, without: tuple[Step, ...] = ()) -> Any:
    """Return a value as Python has it.

    Args:
        without: steps to a part of it that is left out, such as the bytes of an image.

    Returns:
        the value. Invalid bytes of a text are in it as surrogates; another value that Python cannot
        have is None.
    """
    try:
        if not without or not scalar.is_valid:
            return scalar.as_py()
        first, *rest = without
        names = [field.name for field in scalar.type if rest or field.name != first]
        return {name: plain(scalar[name], tuple(rest) if name == first else ()) for name in names}
    except _IMPOSSIBLE:
        return _by_parts(scalar)


def rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield the rows of a batch; of two columns with the same name, the first."""
    columns = dict(zip(reversed(batch.schema.names), reversed(batch.columns), strict=True))
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    try:
        yield from batch.to_pylist()
    except _IMPOSSIBLE:
        for row in range(batch.num_rows):
            yield {name: plain(column[row]) for name, column in columns.items()}


def _by_parts(scalar: pa.Scalar) -> Any:
    """Return a value that has a part that Python cannot have."""
    if isinstance(scalar, pa.ExtensionScalar | pa.DictionaryScalar):
        return plain(scalar.value)
    if isinstance(scalar, pa.StringScalar):  # of all text types
        return scalar.as_buffer().to_pybytes().decode("utf-8", "surrogateescape")
    try:
        if isinstance(scalar, pa.ListScalar) and not isinstance(scalar, pa.MapScalar):
            return [plain(item) for item in scalar.values]
        if isinstance(scalar, pa.StructScalar):
            return {name: plain(scalar[name]) for name in scalar}
    except _IMPOSSIBLE:  # such as two fields with the same name
        return None
    return None
