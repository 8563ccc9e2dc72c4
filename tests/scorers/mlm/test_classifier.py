"""Score heads in the legacy layout, against the parts they were written from."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from pairsift import Pair
from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.classifier import load_classifier
from pairsift.scorers.mlm.load import load_mlm_scorer
from tests.samples import jpeg, picture, png
from tests.scorers.mlm.checkpoints import WORDS
from tests.scorers.mlm.legacy import layouts
from tests.scorers.mlm.legacy.layouts import Layout

ONE = Layout("llava_qwen3", labels=1, spare_rows=3)
FOUR = Layout("llava_qwen", labels=4, safetensors=False, shards=2, tower_inside=False)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return layouts.write(tmp_path_factory.mktemp("one"), ONE)


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return layouts.write(tmp_path_factory.mktemp("four"), FOUR)


@pytest.fixture(scope="module")
def scorer(one):
    return load_classifier(one.folder)


def many(count: int) -> list[Pair]:
    rng = np.random.default_rng(0)
    return [
        Pair(
            str(index),
            jpeg(int(rng.integers(20, 90)), int(rng.integers(20, 90)), index),
            " ".join(rng.choice(WORDS, size=int(rng.integers(1, 60)))),
        )
        for index in range(count)
    ]


def ids_of(written: layouts.Written, caption: str) -> list[int]:
    """The documented input format, spelled out."""
    tokenizer = written.tokenizer
    text = tokenizer("\n" + caption, add_special_tokens=False)["input_ids"]
    start, end = tokenizer.convert_tokens_to_ids(["<s>", "</s>"])
    return [start, -200, *text, end]


def test_one_output(one, scorer):
    pairs = [Pair("a", png(60, 30), "two small red dogs"), Pair("b", png(28, 28), "house at night")]
    table = scorer.score(pairs)
    assert table.column_names[-2:] == ["quality", "caption_truncated"]
    for row, pair in zip(table.to_pylist(), pairs, strict=True):
        pixels = scorer.preparer(pair).inputs.image["pixels"]
        expected = one.outputs(ids_of(one, pair.caption), pixels)
        assert row["status"] == "ok"
        assert row["quality"] == pytest.approx(expected[0], abs=1e-4)
        assert row["caption_truncated"] is False
    logits = scorer.answer_logits(pairs)
    assert logits.shape == (2, 1, 1)
    np.testing.assert_allclose(logits[:, 0, 0], table["quality"], atol=1e-5)


def test_several_outputs(four):
    scorer = load_classifier(four.folder)
    pair = Pair("a", png(60, 30), "two small red dogs")
    row = scorer.score([pair]).to_pylist()[0]
    pixels = scorer.preparer(pair).inputs.image["pixels"]
    logits = four.outputs(ids_of(four, pair.caption), pixels)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    assert [row[f"quality_p{level}"] for level in range(4)] == pytest.approx(
        probabilities, abs=1e-4
    )
    assert row["quality"] == pytest.approx((probabilities * range(4)).sum(), abs=3e-4)
    assert row["quality_class"] == logits.argmax()


def test_images_are_padded_as_in_training(scorer):
    assert (scorer.transform(picture(90, 30), "a").image["pixels"][0] == (127, 102, 153)).all()


def test_an_image_tag_in_the_caption_is_a_word(one, scorer):
    ids, _ = scorer.transform.token_ids("a photo of <image> and <image>")
    assert ids == ids_of(one, "a photo of image and image")


def test_long_captions_keep_their_end(one, scorer):
    caption = "two small red dogs " * 2000
    inputs = scorer.transform(picture(), caption)
    assert inputs.truncated
    assert len(inputs.ids) == 400  # the checkpoint's window
    whole = ids_of(one, caption)
    assert inputs.ids.tolist()[-1] == whole[-1]
    assert inputs.ids.tolist()[10:-1] == whole[2 : 2 + 400 - 11]
    row = scorer.score([Pair("a", png(), caption)]).to_pylist()[0]
    assert row["status"] == "ok"
    assert row["caption_truncated"] is True


def test_a_caption_that_just_fits(one, scorer):
    room = 400 - 9 + 1
    text = "a" * 400
    while len(ids_of(one, text)) > room:
        text = text[:-1]
    ids, truncated = scorer.transform.token_ids(text)
    assert ids == ids_of(one, text)
    assert not truncated
    assert scorer.transform.token_ids(text + " dogs and dogs")[1]


def test_quirks_of_the_published_code(one):
    quirky = load_classifier(one.folder, reference_quirks=True)
    caption = "two small red dogs " * 100
    ids, truncated = quirky.transform.token_ids(caption)
    assert truncated
    assert ids == ids_of(one, caption)[:75]  # and no end token
    assert quirky.transform.token_ids("two dogs") == (ids_of(one, "two dogs"), False)
    assert not quirky.backbone.images.pad_to_square
    pair = Pair("a", png(90, 30), caption)
    expected = one.outputs(ids, quirky.preparer(pair).inputs.image["pixels"])
    assert quirky.score([pair])["quality"][0].as_py() == pytest.approx(expected[0], abs=1e-4)


def test_padding_tokens_are_masked_wherever_they_stand(one, scorer):
    pad = one.tokenizer.pad_token_id
    assert pad == one.tokenizer.convert_tokens_to_ids("<unk>")
    ids, _ = scorer.transform.token_ids("two <unk>dogs")
    assert pad not in ids


def test_a_pair_scores_the_same_in_any_company(scorer):
    pairs = many(20)
    alone = scorer.score(pairs, batch_size=1)["quality"].to_numpy()
    assert alone.std() > 0.1
    for batch_size in (3, 20):
        together = scorer.score(pairs, batch_size=batch_size)["quality"].to_numpy()
        np.testing.assert_allclose(together, alone, atol=1e-4)
    order = np.random.default_rng(1).permutation(len(pairs))
    shuffled = scorer.score([pairs[index] for index in order], batch_size=7)["quality"].to_numpy()
    np.testing.assert_allclose(shuffled, alone[order], atol=1e-4)


def test_the_cpu_half_is_picklable(scorer):
    pair = Pair("a", png(), "two dogs")
    copy = pickle.loads(pickle.dumps(scorer.preparer))(pair).inputs
    own = scorer.preparer(pair).inputs
    assert (copy.ids == own.ids).all()
    assert (copy.image["pixels"] == own.image["pixels"]).all()


def test_failures_are_rows(scorer):
    pairs = [Pair("a", b"no image", "dogs"), Pair("b", png(), " "), Pair("c", png(), "dogs")]
    table = scorer.score(pairs)
    assert table["status"].to_pylist() == ["image_corrupt", "caption_empty", "ok"]
    assert table["quality"].null_count == 2
    with pytest.raises(PairsiftError, match="a: image_corrupt"):
        scorer.answer_logits(pairs)


def test_fingerprints_tell_checkpoints_and_modes_apart(one, scorer, tmp_path):
    other = load_classifier(layouts.write(tmp_path, ONE, seed=1).folder)
    quirky = load_classifier(one.folder, reference_quirks=True)
    again = load_classifier(one.folder)
    assert again.fingerprint == scorer.fingerprint
    differing = {
        key for key in scorer.fingerprint if other.fingerprint[key] != scorer.fingerprint[key]
    }
    assert differing == {"checkpoint"}
    assert quirky.fingerprint["reference_quirks"] == "true"
    assert quirky.fingerprint["preprocessing"] != scorer.fingerprint["preprocessing"]
    assert all(isinstance(value, str) for value in scorer.fingerprint.values())


def test_heads_are_told_from_words(one, tmp_path):
    with pytest.raises(PairsiftError, match="is a classifier"):
        load_mlm_scorer(one.folder)
    words = layouts.write(tmp_path, Layout())
    with pytest.raises(PairsiftError, match="has no score head"):
        load_classifier(words.folder)
