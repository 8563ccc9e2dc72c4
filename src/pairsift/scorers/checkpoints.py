"""Find checkpoints, on disk or on the Hugging Face hub, and identify them by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path

from pairsift.errors import PairsiftError
from pairsift.storage_errors import Cause, find_cause, reason

_CHUNK = 1 << 20
_CHUNKS = 64
_SMALL = ("*.json", "*.model", "*.txt", "*.jinja", "*.toml")
_SAFE = "*.safetensors"
# Weights in formats that we do not read, such as TensorFlow's, are not downloaded.
_PICKLED = ("pytorch_model*.bin", "adapter_model.bin", "mm_projector.bin", "model*.bin")


def find_checkpoint(
    name_or_path: str,
    what: str = "checkpoint",
    check: Callable[[Path], None] | None = None,
    weights: bool = True,
) -> Path:
    """Return the folder of a checkpoint.

    Of a model on the hub, one copy of the weights is downloaded: safetensors if it has them. If the
    local cache of `huggingface_hub` has all of it, the hub is not asked.

    Args:
        name_or_path: a folder, or a name on the hub, ``NAME`` or ``NAME@REVISION`` with a branch,
            tag or commit.
        what: the kind of checkpoint, for the error message.
        check: called with the folder when all but the weights is there; may raise.
        weights: whether to download them; else only the small files, such as config.json.

    Raises:
        PairsiftError: there is no such folder, and it cannot be downloaded from the hub.
    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise PairsiftError(f"{name_or_path} is a file; the folder of a {what} is needed")
    name, _, revision = name_or_path.partition("@")
    if name.count("/") != 1 or name_or_path.startswith((".", "/", "~")):
        raise PairsiftError(f"there is no folder {name_or_path}; the folder of a {what} is needed")
    return _from_hub(name, revision or None, what, check, weights)


def _from_hub(
    name: str,
    revision: str | None,
    what: str,
    check: Callable[[Path], None] | None,
    weights: bool,
) -> Path:
    from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    def fetch(patterns: Iterable[str]) -> Path:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))

    try:
        for file in ("config.json", "adapter_config.json"):
            cached = try_to_load_from_cache(name, file, revision=revision)
            if isinstance(cached, str) and _is_whole(Path(cached).parent):
                return Path(cached).parent
        files = [
            file.rfilename for file in HfApi().model_info(name, revision=revision).siblings or ()
        ]
        folder = fetch(_small_files(files))
        if check is not None:
            check(folder)
        if not weights:
            return folder
        return fetch([*_small_files(files), *_weights(files)])
    except PairsiftError:
        raise
    except HFValidationError:
        raise PairsiftError(f"there is no folder {name}, and it is not a name on the hub") from None
    except Exception as error:
        raise PairsiftError(
            f"there is no folder {name}; it is not in the hub's local cache, and cannot be fetched "
            f"from the hub: {_why(error, name, revision)}. Or give the {what} as a folder"
        ) from error


def _small_files(files: Iterable[str]) -> list[str]:
    """All but weights that stands in the repository's own folder."""
    return [file for file in files if "/" not in file and _matches(file, _SMALL)]


def _weights(files: Iterable[str]) -> list[str]:
    """One copy of the weights: safetensors if there are any, and in one layout."""
    own = [file for file in files if "/" not in file]
    safe = [file for file in own if fnmatch(file, _SAFE)]
    if any(not file.startswith("consolidated") for file in safe):
        # Mistral's own layout, of the same weights, lies beside that of transformers.
        safe = [file for file in safe if not file.startswith("consolidated")]
    pickled = [file for file in own if _matches(file, _PICKLED)]
    if safe:  # legacy checkpoints may keep a part of their own beside the others
        pickled = [file for file in pickled if file == "mm_projector.bin"]
    return [*safe, *pickled]


def _matches(file: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(file, pattern) for pattern in patterns)


def _is_whole(folder: Path) -> bool:
    """Whether all weights are there; they are fetched last. A fetch may have been interrupted."""
    indices = list(folder.glob("*.index.json"))
    for index in indices:
        try:
            parts = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            continue
        if all((folder / part).is_file() for part in parts):
            return True
    if indices:
        return False
    return any(_matches(file.name, (_SAFE, *_PICKLED)) for file in folder.iterdir())


def _why(error: Exception, name: str, revision: str | None) -> str:
    if type(error).__name__ == "RevisionNotFoundError":
        return f"{name} has no revision {revision!r}; check the branch, tag or commit behind the @"
    if find_cause(error) in (Cause.MISSING, Cause.NO_LOGIN):  # the hub does not show private models
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
