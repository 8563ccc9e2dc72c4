"""The usual names of columns, for all commands, and how a column is found by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pairsift.errors import PairsiftError

IMAGE_NAME_COLUMNS = (
    "file_name", "image", "image_file", "filename", "file", "path", "filepath", "file_path",
    "image_path", "image_name", "img", "img_path", "image_id", "key",
)  # fmt: skip
"""Columns that name an image: a path, a file name or a key."""

CAPTION_COLUMNS = (
    "caption", "text", "txt", "caption_english", "captions", "alt_text", "alt", "title",
    "description", "comment",
)  # fmt: skip
"""Columns that hold a caption."""

IMAGE_BYTES_COLUMNS = (
    "jpg", "image", "image_bytes", "image_jpeg", "png", "webp", "jpeg", "img", "bytes",
)  # fmt: skip
"""Columns that hold the bytes of an image."""

POOL_CAPTION_COLUMNS = ("caption", "text", "txt", "alt_text", "alt", "TEXT")
"""The same for the parquet files of pools, whose other columns may be a page's title or comment."""

KEY_COLUMNS = ("key", "__key__")
"""Columns that hold a sample's key."""

CAPTION_NUMBER_COLUMNS = ("caption_number", "comment_number")
"""Columns that number the captions of an image."""


def match_column(columns: Sequence[str], names: Iterable[str], url: str) -> str | None:
    """Return the table's spelling of the first of `names` that it has; None if it has none.

    Case and surrounding spaces are ignored, but a column with the exact spelling comes first.

    Raises:
        PairsiftError: two columns of the table match one name.
    """
    for name in names:
        fitting = [column for column in columns if column == name]
        fitting = fitting or [column for column in columns if _plain(column) == _plain(name)]
        if len(fitting) > 1:
            raise PairsiftError(
                f"{url} has {len(fitting)} columns named {name!r}; rename all but one"
            )
        if fitting:
            return fitting[0]
    return None


def find_column(
    columns: Sequence[str],
    usual: Sequence[str],
    url: str,
    what: str,
    wanted: str | None = None,
    option: str | None = None,
) -> str:
    """Return the column that the user named, or else the first of the usual ones.

    Args:
        what: what the column holds, for messages: ``image``, ``caption``.
        wanted: the column that the user named.
        option: the command line's option that names the column.

    Raises:
        PairsiftError: there is no such column, or two columns match one name.
    """
    found = match_column(columns, (wanted,) if wanted else usual, url)
    if found is not None:
        return found
    expected = repr(wanted) if wanted else f"such as {', '.join(usual[:6])}"
    advice = f"; name the right one with {option}" if option and columns else ""
    if any("." in column[-6:] for column in columns):
        advice = "; the first line must name the columns, and this one looks like a row"
    raise PairsiftError(
        f"{url} has no {what} column {expected}; its columns are: "
        f"{', '.join(columns[:20]) or 'none'}{advice}"
    )


def _plain(name: str) -> str:
    return name.strip().casefold()
