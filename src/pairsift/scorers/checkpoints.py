"""Find checkpoints, on disk or on the Hugging Face hub, and identify them by content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pairsift.errors import PairsiftError
from pairsift.storage_errors import Cause, find_cause, reason

_CHUNK = 1 << 20
_CHUNKS = 64
# Weights in formats that we do not read, such as TensorFlow's, are not downloaded.
_FETCHED = ("*.json", "*.safetensors", "*.bin", "*.model", "*.txt", "*.jinja", "*.toml")


def find_checkpoint(name_or_path: str, what: str = "checkpoint") -> Path:
    """Return the folder of a checkpoint.

    Args:
        name_or_path: a folder, or a name on the hub, searched in the local cache first.
        what: the kind of checkpoint, for the error message.

    Raises:
        PairsiftError: there is no such folder, and it cannot be downloaded from the hub.
    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise PairsiftError(f"{name_or_path} is a file; the folder of a {what} is needed")
    if name_or_path.count("/") != 1 or name_or_path.startswith((".", "/", "~")):
        raise PairsiftError(f"there is no folder {name_or_path}; the folder of a {what} is needed")
    return _from_hub(name_or_path, what)


def _from_hub(name: str, what: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    allowed = list(_FETCHED)
    try:
        try:
            found = snapshot_download(name, allow_patterns=allowed, local_files_only=True)
        except LocalEntryNotFoundError:
            found = snapshot_download(name, allow_patterns=allowed)
    except HFValidationError:
        raise PairsiftError(f"there is no folder {name}, and it is not a name on the hub") from None
    except Exception as error:
        raise PairsiftError(
            f"there is no folder {name}; it is not in the hub's local cache, and cannot be fetched "
            f"from the hub: {_why(error, name)}. Or give the {what} as a folder"
        ) from error
    return Path(found)


def _why(error: Exception, name: str) -> str:
    if find_cause(error) in (
        Cause.MISSING,
        Cause.NO_LOGIN,
    ):  # the hub does not show private repositories
        return (
            f"it has no {name}, or it is private: check the name, or run `hf auth login` or set "
            "HF_TOKEN"
        )
    return reason(error, f"hf://{name}")


def checkpoint_digest(folder: Path, files: Iterable[Path] | None = None) -> str:
    """Return a sha256 over every file's name, size and bytes, to identify a checkpoint by content.

    Of a file over 64 MiB, 64 pieces of 1 MiB are read, evenly spread and including the last one.
    Training changes every tensor, so this is enough, and reading 26 GB would take a minute.

    Args:
        files: the files that matter; by default every weight and JSON file of the folder.

    Returns:
        16 hexadecimal digits.
    """
    if files is None:
        patterns = ("*.json", "*.safetensors", "*.bin", "*.model", "*.txt")
        files = {file for pattern in patterns for file in folder.glob(pattern)}
    digest = hashlib.sha256()
    for file in sorted(files):
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as stream:
            for start in _starts(size):
                stream.seek(start)
                digest.update(stream.read(_CHUNK))
    return digest.hexdigest()[:16]


def _starts(size: int) -> Iterable[int]:
    if size <= _CHUNK * _CHUNKS:
        return range(0, size, _CHUNK)
    return [(size - _CHUNK) * piece // (_CHUNKS - 1) for piece in range(_CHUNKS)]
