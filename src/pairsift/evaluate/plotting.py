"""Code that all evaluation plots share: rows with names, panels side by side, one SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any


class RowFigure:
    """A figure with one row per name, the first at the top, and panels that share the rows.

    Attributes:
        panels: matplotlib's axes.

    Raises:
        ImportError: matplotlib is not installed.
    """

    def __init__(self, names: Sequence[str], panels: int, width: float) -> None:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        self._figure = Figure(figsize=(width, 1.2 + 0.36 * len(names)), layout="constrained")
        FigureCanvasSVG(self._figure)
        self.panels: Sequence[Any] = self._figure.subplots(1, panels, sharey=True, squeeze=False)[0]
        self.panels[0].set_yticks(range(len(names)), [plain(name) for name in names])
        self.panels[0].set_ylim(len(names) - 0.4, -0.8)
        for axes in self.panels:
            axes.grid(axis="x", color="#eeeeee")
            axes.set_axisbelow(True)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)

    def svg(self) -> bytes:
        """Return the picture; the same input gives the same bytes."""
        from matplotlib import rc_context

        picture = io.BytesIO()
        with rc_context({"svg.hashsalt": "pairsift"}):  # otherwise shapes get random names
            self._figure.savefig(picture, format="svg", metadata={"Date": None})
        return picture.getvalue()


def point(
    axes: Any,
    row: int,
    value: float,
    ends: tuple[float, float] | None,
    colour: str,
    words: str,
) -> None:
    """Draw a value with its interval, and its numbers above it."""
    axes.plot(value, row, "o", color=colour)
    if ends:
        axes.plot(list(ends), [row, row], color=colour, linewidth=2)
    axes.annotate(words, (value, row), (0, 6), textcoords="offset points", ha="center")


def plain(text: str) -> str:
    """Escape text for matplotlib, where a `$` in a name would start a formula."""
    return text.replace("$", r"\$")
