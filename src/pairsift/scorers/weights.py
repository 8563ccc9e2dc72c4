"""Load the tensors of a checkpoint into a model: safetensors or `.bin`, in one file or in shards.

No code in a weight file is ever run: a `.bin` is a pickle, from which only tensors are read.
Tensors stay on disk (memory-mapped) until they are copied into the model, so a checkpoint is never
in memory twice.
"""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pairsift.errors import PairsiftError

_LISTED = 8

# Tables that old versions of transformers saved, although the config defines them.
_DERIVED = (".rotary_emb.inv_freq", "embeddings.position_ids")

_LAYOUTS = (
    ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
)


@contextmanager
def uninitialised() -> Iterator[None]:
    """Create parameters without initial values; loading fills all of them, or fails.

    The system allocates memory only when it is written, so a model needs its own size only once.
    """
    try:
        from transformers.initialization import no_init_weights
    except ImportError:  # without it, loading is only slower
        no_init_weights = nullcontext
    with no_init_weights():
        yield


def find_weight_files(folder: Path) -> list[Path]:
    """Return the files of a checkpoint; safetensors is preferred if both kinds exist.

    Raises:
        PairsiftError: there are no weights, or a shard in the index is missing.
    """
    for single, index, shards in _LAYOUTS:
        if (folder / index).is_file():
            return _indexed(folder / index)
        if (folder / single).is_file():
            return [folder / single]
        if found := sorted(folder.glob(shards)):
            return found
    raise PairsiftError(
        f"{folder} holds no weights: looked for {', '.join(single for single, _, _ in _LAYOUTS)} "
        "and their shards"
    )


def _indexed(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise PairsiftError(f"{index} is not a readable weight index: {error!r}") from None
    if outside := [name for name in names if Path(name).name != name]:
        raise PairsiftError(f"{index} names {outside[0]!r}, which is not a file of its folder")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise PairsiftError(
            f"{index.parent} lacks {', '.join(missing)}, named in {index.name}: "
            "the download is not complete"
        )
    return [index.parent / name for name in names]


class Weights:
    """The tensors of a checkpoint's folder, by name.

    Raises:
        PairsiftError: there are no weights, a file is damaged, or a pickle contains code.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = find_weight_files(folder)
        self.shapes: dict[str, torch.Size] = {}
        for file in self.files:
            for name, shape in _shapes(file):
                if name in self.shapes:
                    raise PairsiftError(
                        f"{file}: tensor {name} is also in another file of {folder}"
                    )
                self.shapes[name] = shape

    def __contains__(self, name: object) -> bool:
        return name in self.shapes

    def having(self, prefix: str) -> list[str]:
        """Return the names of tensors that begin with ``prefix``."""
        return [name for name in self.shapes if name.startswith(prefix)]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every tensor, file by file, still on disk."""
        for file in self.files:
            yield from _tensors(file)


def fill(
    weights: Weights,
    targets: Mapping[str, Tensor],
    rename: Callable[[str], str],
    spare: tuple[str, ...] = (),
) -> None:
    """Copy a checkpoint's tensors into the model's, with the model's dtype and device.

    Args:
        targets: the model's tensors by name.
        rename: maps a tensor's name in the checkpoint to the one in ``targets``.
        spare: prefixes of names that may be left over.

    Raises:
        PairsiftError: tensors are missing, left over or of another shape; the error names them.
    """
    found = {rename(name): name for name in weights.shapes}
    missing = [name for name in targets if name not in found]
    left_over = [
        name
        for new, name in found.items()
        if new not in targets
        and not new.endswith(_DERIVED)
        and not (spare and new.startswith(spare))
    ]
    misshapen = [
        f"{name} is {_shape(weights.shapes[name])}, not {_shape(targets[new].shape)}"
        for new, name in found.items()
        if new in targets and weights.shapes[name] != targets[new].shape
    ]
    problems = [
        f"{what} {_listed(names)}"
        for what, names in (
            ("missing:", missing),
            ("left over:", left_over),
            ("of another shape than config.json says:", misshapen),
        )
        if names
    ]
    if problems:
        raise PairsiftError(
            f"the tensors of {weights.folder} are not those that its config.json describes; "
            f"{'; '.join(problems)}"
        )
    with torch.no_grad():
        for name, tensor in weights.tensors():
            if (target := targets.get(rename(name))) is not None:
                target.copy_(tensor)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _shape(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def _shapes(file: Path) -> Iterator[tuple[str, torch.Size]]:
    if file.suffix == ".bin":
        for name, tensor in _unpickle(file).items():
            yield name, tensor.shape
        return
    with _open_safetensors(file) as handle:
        for name in handle.keys():  # noqa: SIM118 - not a dict
            yield name, torch.Size(handle.get_slice(name).get_shape())


def _tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    if file.suffix == ".bin":
        yield from _unpickle(file).items()
        return
    with _open_safetensors(file) as handle:
        for name in handle.keys():  # noqa: SIM118 - not a dict
            yield name, handle.get_tensor(name)


def _open_safetensors(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise PairsiftError(f"{file} is not a readable safetensors file: {error}") from None


def _unpickle(file: Path) -> dict[str, Tensor]:
    try:
        # Files from before PyTorch 1.6 are not zip archives and cannot be memory-mapped.
        content = torch.load(
            file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
        )
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n\n")[-1].splitlines()[0] if str(error) else repr(error)
        raise PairsiftError(
            f"{file} is a pickle that holds more than tensors and may run code when read; it was "
            f"refused, and nothing of it was run ({_offender(str(error)) or reason}). "
            "Ask its author for safetensors"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, struct.error) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise PairsiftError(f"{file} is damaged or not a weight file: {reason}") from None
    if not isinstance(content, dict):
        raise PairsiftError(f"{file} holds a {type(content).__name__}, not tensors by name")
    strange = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if strange:
        raise PairsiftError(f"{file}: {strange[0]!r} is not a tensor; tensors by name are expected")
    return content


def _offender(message: str) -> str | None:
    """Return the sentence in which PyTorch names what the pickle requested."""
    for line in message.splitlines():
        if "GLOBAL" in line or "Unsupported" in line:
            return line.strip().split(". Please use")[0].split(" was not an allowed")[0]
    return None
