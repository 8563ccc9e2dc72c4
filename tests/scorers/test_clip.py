"""CLIPScore, against transformers' own models run by hand."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    ByT5Tokenizer,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from pairsift import Pair
from pairsift.errors import PairsiftError
from pairsift.scorers.clip import ClipTransform, load_clip_scorer
from pairsift.scorers.image_recipe import ImageRecipe
from tests.samples import jpeg, picture, png
from tests.scorers.mlm.checkpoints import WORDS, make_tokenizer

SIZE = 32


def save(folder: Path, kind: str, seed: int = 0) -> tuple[Any, Any, Any]:
    """A tiny random checkpoint, and its model, tokenizer and image processor."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    start, end = tokenizer.convert_tokens_to_ids(["<s>", "</s>"])
    template = "<s> $A </s>" if kind == "clip" else "$A </s>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[("<s>", start), ("</s>", end)]
    )
    width = {"hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 4}
    text = {**width, "num_hidden_layers": 2, "vocab_size": len(tokenizer), "eos_token_id": end}
    vision = {**width, "num_hidden_layers": 2, "image_size": SIZE, "patch_size": 8}
    if kind == "clip":
        text["max_position_embeddings"] = 77
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
        processor = CLIPImageProcessorPil(
            size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
        )
    else:
        text |= {"max_position_embeddings": 64, "projection_size": 24}
        model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
        processor = SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, tokenizer, processor


@pytest.fixture(scope="module", params=["clip", "siglip"])
def checkpoint(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return (request.param, folder, *save(folder, request.param))


def direct_cosine(checkpoint: Any, image: Any, caption: str) -> float:
    kind, _, model, tokenizer, processor = checkpoint
    ids = tokenizer(caption, truncation=True, max_length=77 if kind == "clip" else 64)["input_ids"]
    if kind == "siglip":
        ids = ids + [tokenizer.pad_token_id] * (64 - len(ids))
    pixels = torch.from_numpy(np.stack(processor(image)["pixel_values"]))
    with torch.no_grad():
        output = model(input_ids=torch.tensor([ids]), pixel_values=pixels.float())
    return float((output.image_embeds * output.text_embeds).sum())  # both of length 1


def many(count: int) -> list[Pair]:
    rng = np.random.default_rng(0)
    return [
        Pair(
            str(index),
            jpeg(int(rng.integers(20, 90)), int(rng.integers(20, 90)), index),
            " ".join(rng.choice(WORDS, size=int(rng.integers(1, 90)))),
        )
        for index in range(count)
    ]


def test_cosine_is_that_of_the_model(checkpoint):
    scorer = load_clip_scorer(checkpoint[1])
    captions = ["two small red dogs", "one big blue house near the old harbour in Lisbon", "night"]
    images = [picture(SIZE, SIZE, seed) for seed in range(3)]  # no resizing: equal to the bit
    pairs = [
        Pair(str(index), png(SIZE, SIZE, index), caption) for index, caption in enumerate(captions)
    ]
    table = scorer.score(pairs)
    assert table["status"].to_pylist() == ["ok"] * 3
    expected = [direct_cosine(checkpoint, *pair) for pair in zip(images, captions, strict=True)]
    np.testing.assert_allclose(table["image_text_cosine"], expected, atol=1e-5)
    assert np.std(expected) > 1e-3


def test_resized_images_are_close(checkpoint):
    scorer = load_clip_scorer(checkpoint[1])
    table = scorer.score([Pair("a", png(90, 60), "two small red dogs")])
    expected = direct_cosine(checkpoint, picture(90, 60), "two small red dogs")
    # Pillow 13 resizes the height first, the models were trained with the width first.
    assert table["image_text_cosine"][0].as_py() == pytest.approx(expected, abs=0.02)


def test_embeddings_are_kept_where_asked_for(checkpoint):
    pairs = [Pair(str(seed), jpeg(seed=seed), f"caption {seed}") for seed in range(5)]
    plain = load_clip_scorer(checkpoint[1])
    scorer = load_clip_scorer(checkpoint[1], embeddings=True)
    table = scorer.score(pairs)
    assert table.drop_columns(["image_embedding", "text_embedding"]).equals(plain.score(pairs))
    image, text = (np.array(table[name].to_pylist(), float)
                   for name in ("image_embedding", "text_embedding"))  # fmt: skip
    assert image.shape == text.shape == (5, scorer.columns[-1].type.list_size)
    cosine = table["image_text_cosine"].to_numpy()
    assert np.allclose((image * text).sum(axis=1), cosine, atol=2e-3)


@pytest.mark.parametrize("w", [1, 2.5, 100])
def test_clip_score_is_w_times_the_positive_part(checkpoint, w):
    table = load_clip_scorer(checkpoint[1], w=w).score(many(12))
    cosine = table["image_text_cosine"].to_numpy()
    assert ((cosine >= -1) & (cosine <= 1)).all()
    np.testing.assert_allclose(table["clip_score"], w * np.clip(cosine, 0, None), rtol=1e-6)


def test_images_resized_by_torch_score_nearly_the_same(checkpoint):
    pillow, torch_too = (
        load_clip_scorer(checkpoint[1]),
        load_clip_scorer(checkpoint[1], resize="torch"),
    )
    assert pillow.fingerprint != torch_too.fingerprint
    pairs = many(6)
    ours, theirs = (s.score(pairs)["image_text_cosine"].to_numpy() for s in (pillow, torch_too))
    np.testing.assert_allclose(ours, theirs, atol=0.02)
    with pytest.raises(PairsiftError, match="one of pillow, torch"):
        load_clip_scorer(checkpoint[1], resize="vips")


def test_negative_cosines_score_zero(tmp_path):
    for seed in range(20):
        save(tmp_path / str(seed), "clip", seed)
        row = (
            load_clip_scorer(tmp_path / str(seed)).score([Pair("a", png(), "dogs")]).to_pylist()[0]
        )
        if row["image_text_cosine"] < 0:
            assert row["clip_score"] == 0
            return
    raise AssertionError("no random model found the pair unlike")


def test_long_captions_are_cut_at_the_window_and_reported(checkpoint):
    scorer = load_clip_scorer(checkpoint[1])
    long = "two small red dogs " * 60
    image = picture(SIZE, SIZE)
    rows = scorer.score(
        [
            Pair("short", png(SIZE, SIZE), "two small red dogs"),
            Pair("long", png(SIZE, SIZE), long),
            Pair("longer", png(SIZE, SIZE), long * 500),
        ]
    ).to_pylist()
    assert [row["caption_truncated"] for row in rows] == [False, True, True]
    expected = direct_cosine(checkpoint, image, long)
    assert rows[1]["image_text_cosine"] == pytest.approx(expected, abs=1e-5)
    assert rows[2]["image_text_cosine"] == pytest.approx(expected, abs=1e-5)
    ids, _ = scorer.preparer.transform.token_ids(long)
    assert len(ids) == (77 if checkpoint[0] == "clip" else 64)
    assert ids[-1] == checkpoint[3].eos_token_id


def test_a_caption_that_just_fits_is_not_reported(checkpoint):
    transform = load_clip_scorer(checkpoint[1]).preparer.transform
    text = "a" * 77
    while len(checkpoint[3](text)["input_ids"]) > transform.window:
        text = text[:-1]
    assert not transform.token_ids(text)[1]
    assert transform.token_ids(text + " dogs dogs")[1]


TEXTS = [
    "",
    " ",
    "two  small red dogs",
    "naïve café, 東京 🐕‍🦺\n</s> <s> <unk>",
    "a" * 300,
    "dogs " * 76,
]


@pytest.mark.parametrize("window", [5, 64, 77])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", ["clip", "siglip", "python"])
def test_ids_are_those_of_the_tokenizer(kind, side, window, tmp_path):
    tokenizer = save(tmp_path, kind)[1] if kind != "python" else ByT5Tokenizer()
    tokenizer.truncation_side = side
    theirs = copy.deepcopy(tokenizer)
    if kind != "python":  # as some checkpoints' tokenizer.json does
        tokenizer.backend_tokenizer.enable_truncation(7)
        tokenizer.backend_tokenizer.enable_padding(length=9)
    recipe = ImageRecipe(None, (8, 8), None, 3, 1.0, (0.0,) * 3, (1.0,) * 3)
    transform = ClipTransform(recipe, tokenizer, window, fills_window=False)
    for text in [*TEXTS, *TEXTS]:  # a long one changes nothing for the next
        ids, truncated = transform.token_ids(text)
        assert ids == theirs(text, truncation=True, max_length=window)["input_ids"]
        assert truncated == (len(theirs(text)["input_ids"]) > window)


def test_prefix(checkpoint):
    plain = load_clip_scorer(checkpoint[1]).score([Pair("a", png(), "a photo of dogs")])
    prefixed = load_clip_scorer(checkpoint[1], prefix="a photo ").score(
        [Pair("a", png(), "of dogs")]
    )
    assert prefixed["clip_score"].equals(plain["clip_score"])


def test_a_pair_scores_the_same_in_any_company(checkpoint):
    scorer = load_clip_scorer(checkpoint[1])
    pairs = many(20)
    alone = scorer.score(pairs, batch_size=1)["image_text_cosine"].to_numpy()
    for batch_size in (3, 20):
        together = scorer.score(pairs, batch_size=batch_size)["image_text_cosine"].to_numpy()
        np.testing.assert_allclose(together, alone, atol=1e-5)
    reverse = scorer.score(pairs[::-1], batch_size=7)["image_text_cosine"].to_numpy()
    np.testing.assert_allclose(reverse[::-1], alone, atol=1e-5)


def test_the_cpu_half_is_picklable(checkpoint):
    preparer = load_clip_scorer(checkpoint[1]).preparer
    pair = Pair("a", png(), "two dogs")
    copy = pickle.loads(pickle.dumps(preparer))(pair).inputs
    assert (copy.ids == preparer(pair).inputs.ids).all()
    assert (copy.pixels == preparer(pair).inputs.pixels).all()


def test_fingerprint(checkpoint, tmp_path):
    first = load_clip_scorer(checkpoint[1]).fingerprint
    assert load_clip_scorer(checkpoint[1]).fingerprint == first
    assert load_clip_scorer(checkpoint[1], w=100).fingerprint != first
    save(tmp_path, checkpoint[0], seed=1)
    other = load_clip_scorer(tmp_path).fingerprint
    assert {key for key in first if other[key] != first[key]} == {"checkpoint"}


def test_mistakes_are_explained(checkpoint, tmp_path):
    with pytest.raises(PairsiftError, match="needs a checkpoint"):
        load_clip_scorer()
    with pytest.raises(PairsiftError, match="no folder"):
        load_clip_scorer(tmp_path / "nowhere")
    with pytest.raises(PairsiftError, match=r"has no config\.json"):
        load_clip_scorer(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "siglip2"}')
    with pytest.raises(PairsiftError, match="'siglip2' is not supported"):
        load_clip_scorer(tmp_path)
    for w in (0, -1, float("nan")):
        with pytest.raises(PairsiftError, match="w is"):
            load_clip_scorer(checkpoint[1], w=w)


def test_a_renamed_tensor_is_named(tmp_path):
    model, _, _ = save(tmp_path, "clip")
    state = dict(model.state_dict())
    state["logit_size"] = state.pop("logit_scale")
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(PairsiftError, match=r"missing: logit_scale; left over: logit_size"):
        load_clip_scorer(tmp_path)
