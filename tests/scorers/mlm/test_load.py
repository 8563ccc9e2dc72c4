from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.load import load_mlm_scorer
from tests.scorers.mlm.checkpoints import make_pairs, save_checkpoint


@pytest.fixture
def folder(tmp_path):
    return save_checkpoint(tmp_path / "llava", "llava")


def test_a_renamed_tensor_is_named(folder):
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    name = next(key for key in tensors if key.endswith("layers.1.mlp.up_proj.weight"))
    tensors[name.replace("up_proj", "upp_proj")] = tensors.pop(name)
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(PairsiftError) as caught:
        load_mlm_scorer(folder)
    message = str(caught.value)
    assert "missing: " in message
    assert "layers.1.mlp.up_proj.weight" in message
    assert "left over: " in message
    assert "layers.1.mlp.upp_proj.weight" in message


def test_a_tensor_of_another_shape_is_named(folder):
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    name = next(key for key in tensors if key.endswith("layers.0.mlp.up_proj.weight"))
    tensors[name] = tensors[name][:-1].clone()
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(PairsiftError, match=r"layers\.0\.mlp\.up_proj\.weight"):
        load_mlm_scorer(folder)


class Hostile:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickle_that_tries_to_run_code_is_refused(folder, tmp_path):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    trace = tmp_path / "it-ran"
    torch.save({**tensors, "extra": Hostile(trace)}, folder / "pytorch_model.bin")
    with pytest.raises(PairsiftError, match="refused"):
        load_mlm_scorer(folder)
    assert not trace.exists()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Hostile(trace)))
    with pytest.raises(PairsiftError):
        load_mlm_scorer(folder)
    assert not trace.exists()


def test_plain_pickled_weights_are_read(folder):
    pairs = make_pairs(2)
    expected = load_mlm_scorer(folder).score(pairs)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    assert load_mlm_scorer(folder).score(pairs)["itm"] == expected["itm"]


def test_a_truncated_weight_file_is_an_error(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(PairsiftError, match="cannot load"):
        load_mlm_scorer(folder)


def test_remote_code_is_never_run(folder, tmp_path):
    trace = tmp_path / "it-ran"
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForImageTextToText": "evil.Model", "AutoConfig": "evil.Config"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(trace)!r}, 'w')\n")
    load_mlm_scorer(folder).score(make_pairs(1))  # its own architecture is known; that one is used
    assert not trace.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": "itm,beauty"}, "beauty"),
        ({"dtype": "int7"}, "int7"),
        ({"device": "abacus"}, "abacus"),
        ({"vision_tower": "somewhere"}, "its own vision tower"),
        ({"reference_quirks": True}, "no published code"),
        ({"prompts": "nowhere.toml"}, "nowhere"),
        ({"adapter": "/nowhere"}, "nowhere"),
        ({"way": "backwards"}, "unknown way 'backwards'; choose tree, cache, prompt, whole"),
    ],
)
def test_options_that_make_no_sense_are_refused(folder, options, message):
    with pytest.raises(PairsiftError, match=message):
        load_mlm_scorer(folder, **options)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(PairsiftError, match="no folder"):
        load_mlm_scorer(tmp_path / "nothing")
    with pytest.raises(PairsiftError, match=r"config\.json"):
        load_mlm_scorer(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(PairsiftError, match="'bert', which transformers .* does not list"):
        load_mlm_scorer(tmp_path)
    (tmp_path / "config.json").write_text(
        '{"model_type": "bert", "auto_map": {"AutoModel": "a.B"}}'
    )
    with pytest.raises(PairsiftError, match="Python code of its own .* never does"):
        load_mlm_scorer(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(PairsiftError, match="cannot read"):
        load_mlm_scorer(tmp_path)


def test_a_missing_tokenizer_and_a_missing_processor_are_named(folder):
    (folder / "preprocessor_config.json").rename(folder / "kept")
    with pytest.raises(PairsiftError, match=r"preprocessor_config\.json"):
        load_mlm_scorer(folder)
    (folder / "kept").rename(folder / "preprocessor_config.json")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(PairsiftError, match="tokenizer"):
        load_mlm_scorer(folder)


def test_the_fingerprint_tells_checkpoints_apart(tmp_path):
    first = load_mlm_scorer(save_checkpoint(tmp_path / "a", "llava", seed=0)).fingerprint
    again = load_mlm_scorer(save_checkpoint(tmp_path / "b", "llava", seed=0)).fingerprint
    other = load_mlm_scorer(save_checkpoint(tmp_path / "c", "llava", seed=1)).fingerprint
    assert first == again
    differing = {key for key in first if first[key] != other[key]}
    assert differing == {"checkpoint"}
    assert all(isinstance(value, str) for value in first.values())


@pytest.mark.slow
def test_a_lora_adapter_counts_and_equals_the_merged_model(folder, tmp_path):
    peft = pytest.importorskip("peft")
    import transformers

    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    config = peft.LoraConfig(
        r=2, lora_alpha=8, target_modules=r".*language_model.*\.(q_proj|v_proj|down_proj)"
    )
    torch.manual_seed(0)
    wrapped = peft.get_peft_model(model, config)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:  # starts at zero, where an adapter does nothing
            torch.nn.init.normal_(parameter, std=0.3)
    wrapped.save_pretrained(tmp_path / "adapter")
    merged = save_checkpoint(tmp_path / "merged", "llava")
    wrapped.merge_and_unload().save_pretrained(merged)

    pairs = make_pairs(4)
    plain = load_mlm_scorer(folder)
    adapted = load_mlm_scorer(folder, adapter=tmp_path / "adapter")
    logits = adapted.answer_logits(pairs)
    assert np.abs(logits - plain.answer_logits(pairs)).max() > 0.1
    np.testing.assert_allclose(logits, load_mlm_scorer(merged).answer_logits(pairs), atol=1e-4)
    assert adapted.fingerprint["checkpoint"] == plain.fingerprint["checkpoint"]
    assert "adapter" in adapted.fingerprint


@pytest.mark.slow
def test_an_adapter_for_another_model_is_refused(folder, tmp_path):
    peft = pytest.importorskip("peft")
    import transformers

    other = save_checkpoint(tmp_path / "other", "qwen2_vl")
    model = transformers.AutoModelForImageTextToText.from_pretrained(other)
    config = peft.LoraConfig(r=2, target_modules=r".*visual.*\.qkv")
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    with pytest.raises(PairsiftError, match="adapter"):
        load_mlm_scorer(folder, adapter=tmp_path / "adapter")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch compiles with g++")
def test_a_compiled_model_gives_the_same_scores(tmp_path):
    folder = save_checkpoint(tmp_path, "llava")
    plain = load_mlm_scorer(folder, metrics="itm")
    compiled = load_mlm_scorer(folder, metrics="itm", compile="true")
    assert compiled.fingerprint.items() - plain.fingerprint.items() == {
        ("compiled", f"torch {torch.__version__}")
    }
    pairs = make_pairs(5, seed=2)
    torch._dynamo.reset()
    found = compiled.answer_logits(pairs)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    np.testing.assert_allclose(found, plain.answer_logits(pairs), atol=1e-4)


def test_only_models_of_the_quickest_way_are_compiled(tmp_path):
    folder = save_checkpoint(tmp_path, "llava")
    with pytest.raises(PairsiftError, match="read in the way 'whole'"):
        load_mlm_scorer(folder, way="whole", compile=True)
    with pytest.raises(PairsiftError, match="compile is 'yes'; give true or false"):
        load_mlm_scorer(folder, compile="yes")
