"""One column of a parquet file, by row."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pairsift.sources import files

if TYPE_CHECKING:
    import pyarrow.parquet as pq


class ParquetColumn:
    """Values of a column by row group and row; the last row group is kept in memory.

    Picklable; works in a process and in its forks, and each of them opens the file itself.
    """

    def __init__(self, url: str, column: str) -> None:
        self.url, self.column = url, column
        self._opened: tuple[int, pq.ParquetFile] | None = None
        self._group: tuple[int, Any] = (-1, None)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None, "_group": (-1, None)}

    @property
    def file(self) -> pq.ParquetFile:
        """The open file of this process."""
        import pyarrow.parquet as pq

        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), pq.ParquetFile(files.open_file(self.url)))
            self._group = (-1, None)
        return self._opened[1]

    def __getitem__(self, place: tuple[int, int]) -> Any:
        group, row = place
        file = self.file  # first, because a fork has no row group yet
        if self._group[0] != group:
            column = file.read_row_group(group, columns=[self.column])[self.column]
            self._group = (group, column)
        return self._group[1][row].as_py()
