"""Folders of the package datasets: which Arrow files hold a dataset, and which are caches."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable

from pairsift.errors import PairsiftError
from pairsift.sources.files import FileEntry, open_file

EXTENSIONS = (".arrow", ".feather", ".ipc")
"""of Arrow files"""


def written_by_datasets(entries: Iterable[FileEntry]) -> tuple[set[str], set[str]]:
    """Tell what a folder of the package datasets holds.

    Args:
        entries: all files of a pool.

    Returns:
        Arrow files that are not rows of a dataset but caches of it, and files that describe one.

    Raises:
        PairsiftError: a file with rows of a dataset is missing.
    """
    by_folder: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        folder, _, name = entry.url.rpartition("/")
        by_folder[folder].append(name)
    caches: set[str] = set()
    described: set[str] = set()
    for folder, names in by_folder.items():
        about = {"state.json", "dataset_info.json", "dataset_dict.json"} & set(names)
        described |= {f"{folder}/{name}" for name in about}
        arrows = [name for name in names if name.endswith(EXTENSIONS)]
        if not arrows or not about:
            continue
        rows = _data_files(f"{folder}/state.json") if "state.json" in about else set()
        if missing := sorted(rows - set(arrows)):
            raise PairsiftError(
                f"{folder} lacks {len(missing)} of the {len(rows)} files with rows that its "
                f"state.json names, the first {missing[0]}; copy it again, or give what there is "
                "as a pattern, *.arrow"
            )
        caches |= {
            f"{folder}/{name}"
            for name in arrows
            if (name not in rows if rows else name.startswith("cache-"))
        }
    return caches, described


def _data_files(url: str) -> set[str]:
    try:
        with open_file(url) as file:
            content = json.loads(file.read())
        return {str(entry["filename"]) for entry in content["_data_files"]}
    except (ValueError, KeyError, TypeError):
        return set()  # a state.json of something else
