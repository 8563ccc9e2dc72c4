"""Nothing that starts a batch waits for a GPU: checked with a device that computes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pairsift import load_scorer
from pairsift.scorers import transfer
from pairsift.scorers.clip import load_clip_scorer
from pairsift.scorers.mlm.load import load_mlm_scorer
from pairsift.scorers.normalise import Normaliser
from pairsift.scorers.transfer import to_device, to_host
from tests.scorers.mlm.checkpoints import make_pairs, save_checkpoint
from tests.scorers.test_clip import save as save_clip

# It computes nothing, and raises an error if a value is asked for.
GPU = torch.device("meta")
# What a tensor's values decide, so that the host must wait for them.
_READS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select"}


class Waits(TorchDispatchMode):
    """Collects the operations for which the host would wait for the GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        kwargs = kwargs or {}
        with self:  # inference mode leaves operations whole that consist of others
            if (parts := function.decompose(*args, **kwargs)) is not NotImplemented:
                return parts
        name = function.__name__.split(".")[0]
        tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]
        devices = {tensor.device.type for tensor in tensors}
        by_mask = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if GPU.type in devices and (name in _READS or by_mask):
            self.found.append(name)
        if name in ("_to_copy", "copy_"):
            devices |= {kwargs["device"].type} if kwargs.get("device") is not None else set()
            behind = kwargs.get("non_blocking") or args[2:] == (True,)
            if len(devices) == 2 and not behind:
                self.found.append(name)
            if tensors[0].device == GPU and kwargs.get("device") == torch.device("cpu"):
                return torch.empty(tensors[0].shape, dtype=tensors[0].dtype)
        return function(*args, **kwargs)


@contextlib.contextmanager
def make_believe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    monkeypatch.setattr(transfer, "_ASYNCHRONOUS", GPU.type)
    monkeypatch.setattr(transfer, "_pinned", lambda tensor, device: tensor)
    monkeypatch.setattr(transfer, "_event", lambda device: None)
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext())
    with Waits() as waits:
        yield waits


def starts_without_waiting(scorer: Any, model: nn.Module, monkeypatch: Any) -> None:
    inputs = scorer.prepare_all(make_pairs(6))
    model.to(GPU)
    with make_believe(monkeypatch) as waits:
        scorer.start(scorer.collate(inputs))
    assert waits.found == []


@pytest.mark.parametrize("layout", ["looped", "packed"])
def test_a_multimodal_model(layout: str, tmp_path: Any, monkeypatch: Any) -> None:
    scorer = load_mlm_scorer(save_checkpoint(tmp_path, "llava"), layout=layout)
    starts_without_waiting(scorer, scorer.backbone.model, monkeypatch)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_clip(kind: str, tmp_path: Any, monkeypatch: Any) -> None:
    save_clip(tmp_path, kind)
    scorer = load_clip_scorer(tmp_path, embeddings=True)
    scorer.normaliser = Normaliser(scorer.preparer.transform.recipe, GPU)
    starts_without_waiting(scorer, scorer.model, monkeypatch)


@pytest.mark.slow
def test_the_embedded_filter(monkeypatch: Any) -> None:
    scorer = load_scorer("pairsift-tiny", device="cpu")
    scorer.device = scorer.images.device = scorer.captions.device = GPU
    starts_without_waiting(scorer, scorer.model, monkeypatch)


def test_a_wait_is_seen(monkeypatch: Any) -> None:
    with make_believe(monkeypatch) as waits:
        there = torch.empty(3, device=GPU)
        assert to_device(np.zeros(3), GPU).device == GPU
        to_host([there])
        assert waits.found == []
        torch.zeros(3).to(GPU)
        there.cpu()
        with contextlib.suppress(Exception):
            there.sum().item()
        with contextlib.suppress(Exception):
            there[there > 0]
    assert waits.found == ["_to_copy", "_to_copy", "_local_scalar_dense", "index"]


def test_arrays_come_back_as_they_went() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    there = to_device(array[:, ::2], torch.device("cpu"))
    [back] = to_host([there])()
    np.testing.assert_array_equal(back, array[:, ::2])
