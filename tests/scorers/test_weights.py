"""Weight files: what is refused, and with which words."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pairsift.errors import PairsiftError
from pairsift.scorers.weights import Weights, fill, find_weight_files

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.ones(4)}


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path):
    victim = tmp_path / "ran"
    torch.save({**TENSORS, "evil": Payload(victim)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(PairsiftError, match=r"pytorch_model\.bin.*refused.*safetensors"):
        Weights(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"evil": Payload(victim)}))
    with pytest.raises(PairsiftError, match=r"pytorch_model\.bin"):
        Weights(tmp_path)
    assert not victim.exists()


def test_a_pickle_of_other_things_is_refused(tmp_path):
    torch.save({"epoch": 3, **TENSORS}, tmp_path / "pytorch_model.bin")
    with pytest.raises(PairsiftError, match="'epoch' is not a tensor"):
        Weights(tmp_path)
    torch.save([1, 2], tmp_path / "pytorch_model.bin")
    with pytest.raises(PairsiftError, match="holds a list"):
        Weights(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_bin_files_of_today_and_of_long_ago(tmp_path, zipped):
    torch.save(TENSORS, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    read = dict(Weights(tmp_path).tensors())
    assert read.keys() == TENSORS.keys()
    assert all((read[name] == tensor).all() for name, tensor in TENSORS.items())


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_cut_file_is_named(tmp_path, name):
    path = tmp_path / name
    if name.endswith(".bin"):
        torch.save(TENSORS, path)
    else:
        save_file(TENSORS, path)
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 5):
        path.write_bytes(content[:length])
        with pytest.raises(PairsiftError, match=name):
            Weights(tmp_path)


def test_a_missing_shard_is_named(tmp_path):
    names = {"a.weight": "model-00001-of-00002.safetensors"}
    names["b.bias"] = "model-00002-of-00002.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    save_file({"a.weight": TENSORS["a.weight"]}, tmp_path / names["a.weight"])
    with pytest.raises(PairsiftError, match="lacks model-00002-of-00002.safetensors"):
        find_weight_files(tmp_path)


def test_an_index_does_not_lead_out_of_the_folder(tmp_path):
    index = {"weight_map": {"a.weight": "../elsewhere.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(PairsiftError, match="not a file of its folder"):
        find_weight_files(tmp_path)


def test_safetensors_win_over_a_pickle(tmp_path):
    torch.save({"evil": Payload(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
    save_file(TENSORS, tmp_path / "model.safetensors")
    assert Weights(tmp_path).shapes == {name: tensor.shape for name, tensor in TENSORS.items()}


def test_shards_without_an_index(tmp_path):
    for number, (name, tensor) in enumerate(TENSORS.items(), start=1):
        save_file({name: tensor}, tmp_path / f"model-{number:05d}-of-00002.safetensors")
    assert dict(Weights(tmp_path).tensors()).keys() == TENSORS.keys()


def test_no_weights(tmp_path):
    with pytest.raises(PairsiftError, match="holds no weights"):
        Weights(tmp_path)


def test_a_tensor_in_two_files(tmp_path):
    for number in (1, 2):
        save_file(TENSORS, tmp_path / f"model-{number:05d}-of-00002.safetensors")
    with pytest.raises(PairsiftError, match=r"a\.weight is also in another file"):
        Weights(tmp_path)


def test_everything_that_does_not_fit_is_listed(tmp_path):
    save_file(
        {**TENSORS, "old": torch.ones(1), "x.spare": torch.ones(1)}, tmp_path / "model.safetensors"
    )
    targets = {"a.weight": torch.zeros(3, 2), "c": torch.zeros(1), "b.bias": torch.zeros(4)}
    with pytest.raises(PairsiftError) as caught:
        fill(Weights(tmp_path), targets, lambda name: name, ("x.",))
    message = str(caught.value)
    assert "missing: c;" in message
    assert "left over: old;" in message
    assert "a.weight is 2 x 3, not 3 x 2" in message
    assert "spare" not in message
    assert not targets["b.bias"].any()  # nothing was copied


def test_tensors_take_the_type_of_their_place(tmp_path):
    save_file({"a": torch.tensor([1.25], dtype=torch.float16)}, tmp_path / "model.safetensors")
    target = {"a": torch.zeros(1)}
    fill(Weights(tmp_path), target, lambda name: name)
    assert target["a"].item() == 1.25
