"""Every published layout, written by the test, gives what its parts give."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from pairsift import Pair
from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.legacy.backbone import load_legacy_backbone, trained_bos
from pairsift.scorers.mlm.legacy.model import load_legacy_model
from pairsift.scorers.mlm.load import load_mlm_scorer
from pairsift.scorers.mlm.prompts import MetricPrompt, PromptPack
from tests.samples import jpeg, picture, png
from tests.scorers.mlm.legacy import layouts
from tests.scorers.mlm.legacy.layouts import Layout

CLIP = {"tower": "clip", "projector": "mlp2x_gelu", "select_layer": -2}
LAYOUTS = {
    "llava-13b": Layout(
        "llava", **CLIP, tower_inside=False, safetensors=False, shards=3, tied=False
    ),
    "llava_llama-clip": Layout("llava_llama", **CLIP, safetensors=False, shards=2, tied=False),
    "llava_llama-siglip": Layout("llava_llama", shards=2, tied=False),
    "llava_qwen-tied": Layout("llava_qwen", spare_rows=11),
    "llava_qwen-head-saved": Layout(
        "llava_qwen", safetensors=False, head_saved=True, tower_inside=False
    ),
    "llava_qwen-untied": Layout("llava_qwen", tied=False, spare_rows=5, tower_inside=False),
    "llava_qwen3": Layout("llava_qwen3", safetensors=False, shards=2),
}


@pytest.fixture(params=LAYOUTS, name="written")
def written_layout(request, tmp_path):
    return layouts.write(tmp_path, LAYOUTS[request.param])


def test_outputs_are_those_of_the_parts(written):
    backbone = load_legacy_backbone(written.folder)
    image = backbone.image_transform(picture(50, 40))
    ids = backbone.encode("a photo <image>\nof the harbour")
    at = ids.index(-200)
    full = np.array([*ids[:at], *image.ids, *ids[at + 1 :]])
    logits = backbone.logits(
        backbone.prefill(backbone.collate([image.arrays], [full])).last_hidden
    )[0].numpy()
    assert logits.shape == (len(written.tokenizer),)  # without the rows that no token has
    expected = written.outputs(ids, image.arrays["pixels"])
    np.testing.assert_allclose(logits, expected, atol=2e-4)
    assert np.abs(expected).max() > 1  # or the comparison says little


def test_image_features(written):
    model = load_legacy_model(written.folder)
    pixels = model.recipe(picture(50, 40), pad_to_square=True)
    embeddings = model.encode_images(torch.from_numpy(pixels.copy())[None])
    tokens = 49 if written.layout.projector == "mlp2x_gelu" else 9
    assert embeddings.shape == (1, tokens, layouts.HIDDEN)
    assert model.image_tokens == tokens
    np.testing.assert_allclose(embeddings, written.features(pixels), atol=1e-4)


def test_scores_through_the_one_pass_scorer(tmp_path):
    written = layouts.write(tmp_path, LAYOUTS["llava_qwen-tied"])
    pack = PromptPack(
        name="test",
        instruction="Caption: {caption}\n{criteria} {aspect}",
        metrics={
            "itm": MetricPrompt("matching", "a photo of two small dogs, score"),
            "ctq": MetricPrompt("text", "whole scale from worst to best number, best answer"),
        },
    )
    pairs = [
        Pair("a", jpeg(60, 40), "two small red dogs"),
        Pair("b", png(28, 28), "a big blue house near the old harbour in Lisbon at night"),
    ]
    scorer = load_mlm_scorer(written.folder, metrics="itm,ctq", prompts=pack)
    got = scorer.answer_logits(pairs)
    assert got.shape == (2, 2, len(written.tokenizer))
    bos = written.tokenizer.convert_tokens_to_ids("<s>")
    for row, pair in enumerate(pairs):
        pixels = scorer.preparer(pair).inputs.image["pixels"]
        for column, metric in enumerate(("itm", "ctq")):
            ids = scorer.encoder.prompt_ids(pair.caption, column)
            assert ids[0] == bos
            assert ids.count(-200) == 1
            text = written.tokenizer.decode([token for token in ids[1:] if token != -200])
            assert text.startswith("<|im_start|>system\nYou are a helpful assistant<|im_end|>")
            assert pack.metrics[metric].criteria in text
            np.testing.assert_allclose(got[row, column], written.outputs(ids, pixels), atol=3e-4)
    table = scorer.score(pairs)
    assert table["status"].to_pylist() == ["ok", "ok"]
    for column in ("itm", "ctq"):
        assert all(0 <= value <= 100 for value in table[column].to_pylist())


def test_quirks_of_the_published_code(tmp_path):
    written = layouts.write(tmp_path, LAYOUTS["llava_qwen-tied"])
    sound = load_legacy_backbone(written.folder)
    quirky = load_legacy_backbone(written.folder, reference_quirks=True)
    bos = written.tokenizer.convert_tokens_to_ids("<s>")
    assert trained_bos(sound.model) == bos
    assert sound.encode("a <image> b")[0] == bos
    assert quirky.encode("a <image> b") == sound.encode("a <image> b")[1:]
    wide = picture(90, 30)
    sound_pixels = sound.image_transform(wide).arrays["pixels"]
    assert (sound_pixels[0] == (127, 102, 153)).all()  # the mean colour, above the image
    squashed = np.asarray(wide.resize((28, 30), 3).resize((28, 28), 3))
    assert (quirky.image_transform(wide).arrays["pixels"] == squashed).all()
    assert quirky.quirks.chat == "qwen_instruct"
    assert quirky.quirks.tail == (written.tokenizer(" ")["input_ids"][-1],)
    assert quirky.quirks.new_tokens == 2


def test_square_only_where_trained_so(tmp_path):
    written = layouts.write(tmp_path, Layout(), config_changes={"image_aspect_ratio": "square"})
    assert not load_legacy_backbone(written.folder).images.pad_to_square


def test_tower_from_a_given_folder_of_a_dual_encoder(tmp_path):
    layout = LAYOUTS["llava_qwen-untied"]
    written = layouts.write(
        tmp_path, layout, config_changes={"mm_vision_tower": "nobody/no-such-tower"}
    )
    dual = transformers.SiglipModel(
        transformers.SiglipConfig(
            vision_config=written.tower.config.to_dict(),
            text_config={"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
                         "num_attention_heads": 2, "vocab_size": 10, "projection_size": 24},
        )
    )  # fmt: skip
    dual.vision_model.load_state_dict(written.tower.state_dict())
    folder = tmp_path / "dual"
    dual.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(layouts.IMAGES))
    model = load_legacy_model(written.folder, vision_tower=str(folder))
    pixels = model.recipe(picture(30, 30))
    embeddings = model.encode_images(torch.from_numpy(pixels.copy())[None])
    np.testing.assert_allclose(embeddings, written.features(pixels), atol=1e-4)


def test_tower_from_the_hub_cache(tmp_path, monkeypatch):
    written = layouts.write(
        tmp_path, LAYOUTS["llava_qwen-untied"], config_changes={"mm_vision_tower": "someone/tower"}
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PairsiftError, match=r"someone/tower.*--vision-tower"):
        load_legacy_model(written.folder)
    repository = tmp_path / "cache" / "models--someone--tower"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots").mkdir()
    written.tower_folder.rename(repository / "snapshots" / ("0" * 40))
    assert load_legacy_model(written.folder).image_tokens == 9


def test_weights_of_the_tower_in_the_checkpoint_win(tmp_path):
    written = layouts.write(tmp_path, Layout())
    other = layouts.make_tower(Layout())
    other.save_pretrained(written.tower_folder)
    model = load_legacy_model(written.folder)
    pixels = model.recipe(picture(30, 30))
    embeddings = model.encode_images(torch.from_numpy(pixels.copy())[None])
    np.testing.assert_allclose(embeddings, written.features(pixels), atol=1e-4)


def test_tower_of_another_size_is_refused(tmp_path):
    written = layouts.write(tmp_path, Layout(), config_changes={"mm_hidden_size": 48})
    with pytest.raises(PairsiftError, match=r"width 48 .*gives 24"):
        load_legacy_model(written.folder)


def test_other_dtypes(tmp_path):
    written = layouts.write(tmp_path, Layout(tied=False))
    model = load_legacy_model(written.folder, dtype=torch.bfloat16)
    parts = [*model.decoder.parameters(), *model.tower.parameters(), *model.projector.parameters()]
    assert {parameter.dtype for parameter in [*parts, model.head.weight]} == {torch.bfloat16}
    pixels = model.recipe(picture(30, 30))
    embeddings = model.encode_images(torch.from_numpy(pixels.copy())[None]).float()
    expected = written.features(pixels)
    assert (embeddings - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize("inside", [True, False])
def test_a_renamed_tensor_is_named(tmp_path, inside):
    layout = dataclasses.replace(Layout(), tower_inside=inside)
    victims = ["model.layers.1.mlp.up_proj.weight", "model.mm_projector.mlp_projector.2.bias"]
    if inside:
        victims.append("model.vision_tower.vision_tower.vision_model.post_layernorm.weight")
    for number, victim in enumerate(victims):
        written = layouts.write(
            tmp_path / str(number),
            layout,
            rename=lambda name, victim=victim: name + "_x" if name == victim else name,
        )
        with pytest.raises(PairsiftError) as caught:
            load_legacy_model(written.folder)
        assert f"{victim}_x" in str(caught.value)
        assert victim.replace("vision_tower.vision_model.", "vision_tower.") in str(
            caught.value
        ).replace(f"{victim}_x", "")


def test_a_renamed_tensor_of_the_outer_tower_is_named(tmp_path):
    written = layouts.write(tmp_path, Layout(tower_inside=False))
    state = written.tower.state_dict()
    state["encoder.layers.0.mlp.fc9.bias"] = state.pop("encoder.layers.0.mlp.fc1.bias")
    for file in written.tower_folder.glob("*.safetensors"):
        file.unlink()
    layouts.save_weights(written.tower_folder, state, Layout(safetensors=False))
    with pytest.raises(PairsiftError, match=r"fc1\.bias.*fc9\.bias"):
        load_legacy_model(written.folder)


def test_an_outer_tower_named_as_before(tmp_path):
    """Towers saved before transformers 5 have a `vision_model.` level and position ids."""
    written = layouts.write(tmp_path, Layout(tower_inside=False))
    state = {f"vision_model.{name}": tensor for name, tensor in written.tower.state_dict().items()}
    state["vision_model.embeddings.position_ids"] = torch.arange(49)[None]
    for file in written.tower_folder.glob("*.safetensors"):
        file.unlink()
    layouts.save_weights(written.tower_folder, state, Layout(safetensors=False))
    model = load_legacy_model(written.folder)
    pixels = model.recipe(picture(30, 30))
    embeddings = model.encode_images(torch.from_numpy(pixels.copy())[None])
    np.testing.assert_allclose(embeddings, written.features(pixels), atol=1e-4)


def test_no_tower_weights_anywhere(tmp_path):
    layout = Layout(tower_inside=False)
    written = layouts.write(tmp_path, layout)
    for file in written.tower_folder.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(PairsiftError, match="holds no weights"):
        load_legacy_model(written.folder)


def test_image_modes_come_in_as_rgb(tmp_path):
    written = layouts.write(tmp_path, Layout())
    image = load_legacy_backbone(written.folder).image_transform(Image.new("RGB", (3, 200)))
    assert image.arrays["pixels"].shape == (28, 28, 3)
