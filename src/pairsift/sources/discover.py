"""Turn paths and patterns of the command line into a list of shards."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import braceexpand

from pairsift.errors import PairsiftError
from pairsift.image_formats import is_image_name
from pairsift.sources import files
from pairsift.sources.base import Shard, ShardSet, printable
from pairsift.sources.delimited import check_separator
from pairsift.sources.files import FileEntry
from pairsift.sources.lance_datasets import FRAGMENT, is_inside, lance_folders, list_fragments
from pairsift.sources.lance_datasets import KIND as LANCE
from pairsift.sources.left_out import CACHES, LANCES, SPECIAL, LeftOut
from pairsift.sources.outputs import OwnOutputs, is_own_file
from pairsift.sources.registry import extensions, readers
from pairsift.sources.saved_datasets import written_by_datasets
from pairsift.sources.score_rows import KIND as SCORES
from pairsift.sources.tables import holds_bytes, is_table
from pairsift.sources.text_files import check_encoding

# Extensions of texts beside images, and of tables that list images.
_TEXT_EXTENSIONS = frozenset({"txt", "csv", "tsv", "jsonl"})
_TABLES = ("metadata.", "captions.")
_TFRECORD = ".tfrecord"
_NO_TFRECORD = (
    "TFRecord files cannot be read; let img2dataset write tars: --output_format webdataset"
)
_MAGIC = re.compile(r"[*?[]")
_RANGE = re.compile(r"\{(-?\d{1,30})\.\.(-?\d{1,30})")
MAX_EXPANSION = 10_000_000


def find_shards(patterns: str | Sequence[str], kind: str | None = None, **options: Any) -> ShardSet:
    """Find the shards that paths and patterns name.

    A pattern is a path or fsspec URL of a file or folder. It may hold ``*``, ``?``, ``[...]``,
    brace lists (``{a,b}``) and ranges (``{00000..00099}``). A folder stands for all tars, all
    parquet or all Arrow files, at any depth below it; if it has none, for its images, or for its
    JSON lines. A ``.csv``, ``.tsv`` or ``.jsonl`` file stands for the images that it lists.

    Two kinds of files are left out: parquet files next to tars of the same names, which are
    img2dataset's metadata, and files that Pairsift wrote. The notes of the result name them.

    Args:
        patterns: one pattern or several; a shard that several of them name counts once.
        kind: ``webdataset``, ``parquet``, ``arrow``, ``folder``, or a format that an installed
            package reads; None detects it from the file extensions.
        options: options of the source; None means the default.
            ``caption``: where the caption is. Tars: the suffix of a member (default ``txt``) or
            ``json.PATH``. Parquet: a column or a path into it. Folders: a column of the table.
            ``image``: where the image is. Tars: the suffix of a member. Parquet: a column or a
            path into it. Folders: the column with the image's path.
            ``captions_file``, ``separator``, ``encoding``: the captions table of a folder.
            ``uid``, ``key``, ``shard``, ``columns``: of tables of scores (kind ``scores``).
            ``image_root``: the folder or URL below which the images are that a table names.
            ``max_image_bytes``: larger images, in bytes, are not read.

    Returns:
        the shards in natural order of their names, and their common folder.

    Raises:
        PairsiftError: nothing is found, more than one format is found, the kind, an extension or
            an option is unknown, or two shards would share a name.

    Examples:
        >>> shard_set = find_shards("pool")
        >>> [(shard.name, shard.kind) for shard in shard_set.shards]
        [('pool', 'folder')]
        >>> find_shards("pool/*.tar")
        Traceback (most recent call last):
        pairsift.errors.PairsiftError: no file matches pool/*.tar; check the path and the pattern
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    if not patterns:
        raise PairsiftError("no shards given; give files, folders or patterns such as data/*.tar")
    if kind is not None and kind not in readers():
        raise PairsiftError(f"unknown kind of source {kind!r}; choose from {', '.join(readers())}")
    options = {name: value for name, value in options.items() if value is not None}
    if "image_root" in options:
        options["image_root"] = _existing(options["image_root"])
    found: dict[tuple[str, tuple[tuple[str, Any], ...]], Shard] = {}
    bases = []
    own = OwnOutputs()
    left_out = LeftOut()
    for pattern in patterns:
        base, entries = _resolve(pattern, own)
        for shard in _shards(entries, kind, pattern, own, left_out):
            found[shard.url, shard.options] = shard
            if shard.url == base:  # a folder that is a shard, or a dataset of shards
                base = _parent(base)
        bases.append(base)
    kinds = sorted({shard.kind for shard in found.values()})
    if len(kinds) > 1:
        raise PairsiftError(
            f"{' '.join(patterns)} holds more than one kind of source ({', '.join(kinds)}); "
            "choose one with --kind, or give patterns that match only one"
        )
    _check_options(kinds[0], options)
    root = _common_root(bases)
    shards = [_with(shard, root, options) for shard in found.values()]
    _refuse_same_names(shards)
    shards.sort(key=lambda shard: (_natural(shard.name), shard.name))
    return ShardSet(
        root, tuple(shards), tuple(sorted(options.items())), own.notes() + left_out.notes()
    )


def _existing(image_root: str) -> str:
    """Return the folder of --image-root as it is recorded."""
    root = files.normalise(image_root)
    if not files.is_url(root) and not os.path.isdir(root):
        raise PairsiftError(f"--image-root {image_root}: there is no folder {root}")
    return root


def _resolve(pattern: str, own: OwnOutputs) -> tuple[str, list[FileEntry]]:
    """Return the existing files of a pattern, and the folder above its first wildcard."""
    literal = files.normalise(pattern)
    if not files.is_url(literal) and os.path.exists(literal):
        # Checked before wildcards, because names may contain brackets and braces.
        is_folder = os.path.isdir(literal)
        return literal if is_folder else _parent(literal), [files.local_entry(literal)]
    names = _expand(literal, pattern)
    wild = [name for name in names if _MAGIC.search(name)]
    entries = [entry for name in wild for entry in files.glob(name)]
    if wild and not entries:
        raise PairsiftError(f"no file matches {pattern}; check the path and the pattern")
    base = _static_base(literal)
    if wild:
        entries = own.leave_out(entries, base, all_below=False)
        if not entries:
            own.refuse_nothing_else(pattern)
    plain = [name for name in names if not _MAGIC.search(name)]
    plain_entries = list(_look_up(plain, pattern))
    if len(names) == 1 and plain_entries and plain_entries[0].is_folder:
        base = names[0]
    return base, entries + plain_entries


def _expand(literal: str, pattern: str) -> list[str]:
    if "{" not in literal:
        return [literal]
    names: list[str] = []
    too_many = PairsiftError(f"{pattern} stands for more than {MAX_EXPANSION:,} names")
    for first, last in _RANGE.findall(
        literal
    ):  # braceexpand builds the whole range in memory, so its length is checked first
        if abs(int(last) - int(first)) > MAX_EXPANSION:
            raise too_many
    try:
        # Backslashes are literal: they are rare in names, and nobody means them as escapes.
        for name in braceexpand.braceexpand(literal, escape=False):
            names.append(name)
            if len(names) > MAX_EXPANSION:
                raise too_many
    except ValueError as error:
        raise PairsiftError(f"{pattern} is not a valid brace list: {error}") from None
    return names


def _look_up(names: Iterable[str], pattern: str) -> Iterator[FileEntry]:
    """Return the entries of literal names with one listing per folder."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_folder[_parent(name)].append(name)
    missing: list[str] = []
    for folder, wanted in by_folder.items():
        if folder.startswith(
            ("http://", "https://")
        ):  # http servers cannot list folders in general
            yield from (FileEntry(name, None) for name in wanted)
            continue
        listing = {entry.url: entry for entry in _list(folder)}
        for name in wanted:
            if name in listing:
                yield listing[name]
            elif (entry := _top_level(name)) is not None:
                yield entry
            else:
                missing.append(name)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise PairsiftError(
            f"{missing[0]}{more} does not exist; "
            + (f"check the path {pattern}" if pattern in missing else f"{pattern} names it")
        )


def _list(folder: str) -> list[FileEntry]:
    return [] if folder.endswith(":/") else files.list_folder(folder)


def _top_level(name: str) -> FileEntry | None:
    """Return a bucket or similar, which no parent folder lists."""
    if not files.is_url(name):
        return None
    filesystem, path = files.file_system(name)
    try:
        info = files.ask(name, lambda: filesystem.info(path))
    except FileNotFoundError:
        return None
    return files.remote_entry(name, info)


def _shards(
    entries: list[FileEntry], kind: str | None, pattern: str, own: OwnOutputs, left_out: LeftOut
) -> Iterator[Shard]:
    """Return the shards, not yet named, of some files and folders."""
    versions: dict[str, str] = {}
    for entry in entries:
        if entry.is_folder:
            yield from _shards_of_folder(entry.url, kind, own, left_out, alone=len(entries) == 1)
            continue
        if entry.is_special:
            if len(entries) == 1:
                files.refuse_special(entry.url)
            left_out.add(entry.url, SPECIAL)
            continue
        told = kind or ("folder" if _lists_images(entry.url) else _kind_of(entry.url))
        if told is None:
            if len(entries) > 1:
                if not is_own_file(entry.url):  # a pattern such as DIR/* also matches sizes.json
                    left_out.add(entry.url)
                continue
            if entry.url.endswith(_TFRECORD):
                raise PairsiftError(f"{entry.url}: {_NO_TFRECORD}")
            raise PairsiftError(
                f"{entry.url}: the extension does not identify the format; known extensions "
                "are "
                f"{', '.join(extensions())}. Give the kind with --kind ({', '.join(readers())})"
            )
        if told == LANCE:
            raise PairsiftError(f"{entry.url} is a file; give the folder of the Lance dataset")
        if told == "folder":
            yield _of_table(entry, versions)
        else:
            yield Shard("", entry.url, told, entry.size, version=entry.version)
    readable = [entry for entry in entries if not entry.is_special]
    if not any(entry.is_folder or kind or _kind_of(entry.url) for entry in readable):
        told = "; ".join(["", *left_out.notes()])
        raise PairsiftError(f"no tar, parquet or captions file matches {pattern}{told}")


def _of_table(entry: FileEntry, versions: dict[str, str]) -> Shard:
    """Return the shard of a table that lists images; each folder is listed only once."""
    folder, _, name = entry.url.rpartition("/")
    if folder not in versions:
        versions[folder] = folder_version(folder)
    return Shard("", folder, "folder", None, (("captions_file", name),), versions[folder])


def _shards_of_folder(
    folder: str, kind: str | None, own: OwnOutputs, left_out: LeftOut, alone: bool
) -> Iterator[Shard]:
    by_kind: dict[str, list[FileEntry]] = {name: [] for name in readers()}
    count = 0
    tables: list[FileEntry] = []  # beside images, a table lists them, as in Hugging Face's layout
    found = own.leave_out(files.walk(folder, left_out), folder, all_below=True)
    lances = lance_folders(found)
    found = [entry for entry in found if not is_inside(entry.url, lances)]
    by_kind[LANCE] = [FileEntry(url, None, True) for url in sorted(lances)]
    for entry in found:
        count += 1
        told = _kind_of(entry.url)
        if entry.url.endswith("/metadata.parquet"):
            tables.append(entry)
        elif told is not None and told != "folder":
            if entry.is_special:
                left_out.add(entry.url, SPECIAL)
            else:
                by_kind[told].append(entry)
        elif _is_separated(entry.url) or is_image_name(entry.url):
            by_kind["folder"].append(FileEntry(folder, None, True))
    if not by_kind["folder"]:
        by_kind["parquet"] += tables
    caches, described = written_by_datasets(found)
    by_kind["arrow"] = [entry for entry in by_kind["arrow"] if entry.url not in caches]
    if kind == SCORES:
        listed = [entry for entry in found if is_table(entry.url) and not is_own_file(entry.url)]
        # A .json beside other tables describes them, as those of img2dataset and datasets do.
        by_kind[SCORES] = [
            entry for entry in listed if not entry.url.lower().endswith(".json")
        ] or listed
    if kind is None and {_stem(entry.url) for entry in by_kind["parquet"]} <= _described(found):
        by_kind["parquet"] = []  # img2dataset's metadata
    present = [name for name in readers() if by_kind[name] and kind in (None, name)]
    lines = [entry for entry in found if _extension(entry.url).startswith(".jsonl")]
    if not present and lines and kind in (None, "folder"):  # the images are elsewhere
        _note_unread(found, "folder", left_out)
        versions: dict[str, str] = {}
        yield from (_of_table(entry, versions) for entry in lines)
        return
    if not present:
        if own.notes() and not count and not alone:
            return  # one of many folders that a pattern such as DIR/** matches
        own.refuse_nothing_else(folder)
        what = "is empty or does not exist" if not count else f"has {count} files, none of them"
        wanted = kind or "tar, parquet, image or captions file"
        raise PairsiftError(
            f"{folder} {what}{f' a {wanted}' if count else ''}; {_what_to_do(folder, found)}"
            + "".join(f"; {note}" for note in left_out.notes())
        )
    if len(present) > 1:
        counts = ", ".join(f"{len(by_kind[name])} for {name}" for name in present)
        raise PairsiftError(
            f"{folder} holds more than one kind of source ({counts} files); choose one with "
            "--kind, or give a pattern that matches only one"
        )
    if present == ["arrow"]:
        found = [entry for entry in found if entry.url not in described]
    _note_unread(found, present[0], left_out, caches)
    if present == [LANCE]:
        for entry in by_kind[LANCE]:
            yield from list_fragments(entry.url)
        return
    for entry in by_kind[LANCE]:
        left_out.add(entry.url, LANCES)
    if present == ["folder"]:
        yield Shard("", folder, "folder", version=folder_version(folder))
        return
    for entry in by_kind[present[0]]:
        yield Shard("", entry.url, present[0], entry.size, version=entry.version)


def _described(found: list[FileEntry]) -> set[str]:
    """Return what img2dataset's tables are named after: tars, TFRecord files, folders of images."""
    names = {entry.url for entry in found}
    files = {
        _stem(url) for url in names if _kind_of(url) == "webdataset" or url.endswith(_TFRECORD)
    }
    folders = {_parent(url) for url in names if is_image_name(url)}
    return files | {folder for folder in folders if f"{folder}_stats.json" in names}


def _what_to_do(folder: str, found: list[FileEntry]) -> str:
    """Return advice for a folder that has nothing to read."""
    ends = {_extension(entry.url) for entry in found}
    if _TFRECORD in ends:
        return _NO_TFRECORD
    if ends & {".zip", ".7z", ".rar"}:
        return "unpack archives that are not tars"
    return "give a folder with shards, or a pattern that matches them"


def _note_unread(
    found: list[FileEntry], kind: str, left_out: LeftOut, caches: Container[str] = ()
) -> None:
    """Count the files that no shard of this kind reads, except what img2dataset adds to tars."""
    stems = {_stem(entry.url) for entry in found if _kind_of(entry.url) == kind}
    for entry in found:
        told = _kind_of(entry.url)
        if kind == "folder":
            read = told == kind or _matters(entry.url.rsplit("/", 1)[-1].lower())
        else:
            read = told == kind or (
                kind == "webdataset"
                and entry.url.endswith((".parquet", "_stats.json"))
                and entry.url.removesuffix("_stats.json").removesuffix(".parquet") in stems
            )
        if entry.url in caches:
            left_out.add(entry.url, CACHES)
        elif not read and not is_own_file(entry.url):
            left_out.add(entry.url)


def folder_version(folder: str) -> str:
    """Return the `version` of a folder: a digest of its listing of images, texts and tables.

    Other files in the folder do not matter.
    """
    lines = sorted(
        f"{entry.url[len(folder) :]}\0{entry.size}\0{entry.version}\n"
        for entry in OwnOutputs().leave_out(files.walk(folder), folder, all_below=True)
        if _matters(entry.url.rsplit("/", 1)[-1].lower())
    )
    digest = hashlib.blake2b(digest_size=16)
    for line in lines:
        digest.update(line.encode("utf-8", "surrogateescape"))
    return f"listing {digest.hexdigest()}"


def _matters(name: str) -> bool:
    extension = name.rsplit(".", 1)[-1]
    return is_image_name(name) or extension in _TEXT_EXTENSIONS or name.startswith(_TABLES)


def _lists_images(url: str) -> bool:
    """Return whether a parquet file is Hugging Face's table of the images beside it."""
    return url.endswith("/metadata.parquet") and not holds_bytes(url)


def _is_separated(url: str) -> bool:
    """Return whether a file is CSV or TSV, which list images if they are beside some."""
    return _kind_of(url) == "folder" and not _extension(url).startswith(".jsonl")


def _kind_of(url: str) -> str | None:
    return extensions().get(_extension(url))


def _extension(url: str) -> str:
    name = url.rsplit("/", 1)[-1].lower()
    for extension in extensions():
        if name.endswith(extension):
            return extension
    return os.path.splitext(name)[1]


def _stem(url: str) -> str:
    extension = _extension(url)
    return url[: -len(extension)] if extension else url


def _parent(url: str) -> str:
    folder = url.rpartition("/")[0]
    return folder if folder or files.is_url(url) else "/"


def _static_base(pattern: str) -> str:
    """Return the folder above the first wildcard or brace, or above the file if there is none."""
    match = re.search(r"[*?[{]", pattern)
    return _parent(pattern[: match.start()] if match else pattern)


def _common_root(bases: Sequence[str]) -> str:
    first, *others = [base.split("/") for base in bases]
    common = len(first)
    for parts in others:
        same = 0
        while same < min(common, len(parts)) and parts[same] == first[same]:
            same += 1
        common = same
    root = "/".join(first[:common])
    if root.endswith(":/") or (not root and any(map(files.is_url, bases))):
        raise PairsiftError(
            f"{bases[0]} and {bases[-1]} are not in a common folder; score them in separate runs"
        )
    return root or "/"


def _with(shard: Shard, root: str, options: dict[str, Any]) -> Shard:
    merged = dict(shard.options) | options
    below = shard.url[len(root.rstrip("/")) + 1 :]
    name = _stem(below) if shard.kind != "folder" else below
    if (fragment := dict(shard.options).get(FRAGMENT)) is not None:
        name = f"{name}/{fragment}"
    if captions_file := dict(shard.options).get("captions_file"):
        name = f"{name}/{_stem(captions_file)}" if name else _stem(captions_file)
    name = printable(name.replace("/", "__"))  # file names may hold any bytes, tables only UTF-8
    if name.startswith("\\"):  # DuckDB would take such a name for an absolute path
        name = f"_{name}"
    return replace(shard, name=name, options=tuple(sorted(merged.items())))


def _check_options(kind: str, options: dict[str, Any]) -> None:
    check_separator(options.get("separator"))
    check_encoding(options.get("encoding"))
    taken = readers()[kind].options
    unknown = sorted(options.keys() - taken)
    if unknown:
        raise PairsiftError(
            f"the option {unknown[0]!r} cannot be used with a {kind} source; "
            f"its options are: {', '.join(sorted(taken)) or 'none'}"
        )


def _refuse_same_names(shards: Sequence[Shard]) -> None:
    counts = Counter(shard.name for shard in shards)
    name, count = counts.most_common(1)[0]
    if count > 1:
        same = [
            "/".join(filter(None, (shard.url, dict(shard.options).get("captions_file"))))
            for shard in shards
            if shard.name == name
        ]
        raise PairsiftError(
            f"{same[0]} and {same[1]} would both be named {name!r}; score them in separate runs"
        )


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts shard 9 before shard 10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]
