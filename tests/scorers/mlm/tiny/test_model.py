"""The model of pairsift-tiny: packing, batching, storage; and the shipped artifact itself."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from pairsift.errors import PairsiftError  # noqa: E402
from pairsift.metrics import METRICS  # noqa: E402
from pairsift.scorers.mlm.lite import normalize  # noqa: E402
from pairsift.scorers.mlm.tiny.captions import Captions, Packed, collate  # noqa: E402
from pairsift.scorers.mlm.tiny.features import CPU_STEP  # noqa: E402
from pairsift.scorers.mlm.tiny.inputs import CaptionTokenizer, CaptionTokens  # noqa: E402
from pairsift.scorers.mlm.tiny.model import TinyModel, distribution  # noqa: E402
from pairsift.scorers.mlm.tiny.preprocess import preprocess  # noqa: E402
from pairsift.scorers.mlm.tiny.weights import (  # noqa: E402
    FOUR_BIT,
    read_tensors,
)
from tests.scorers.mlm.tiny.made import SMALL, captions  # noqa: E402

ARTIFACT = Path(str(resources.files("pairsift"))) / "assets" / "pairsift-tiny"


@pytest.fixture(scope="module")
def model() -> TinyModel:
    torch.manual_seed(0)
    built = TinyModel(SMALL)
    with torch.no_grad():
        for name, tensor in built.state_dict().items():
            if not name.startswith(("encoder.", "meaning_end.", "lm.")) and name != "waves":
                tensor.copy_(torch.randn(tensor.shape) * 0.3)
        built.word_prior.abs_()
    return built.eval()


@pytest.fixture(scope="module")
def images(model: TinyModel) -> torch.Tensor:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 260, 260, 3), dtype=np.uint8)
    pixels[1, :130] //= 4
    pixels[2, :, :90, 1:] = 250
    with torch.inference_mode():
        return model.encode_images(torch.from_numpy(pixels))


def unpadded(batch: Captions, row: int) -> Captions:
    length, sentence = int(batch.mask[row].sum()), int(batch.sentence_mask[row].sum())
    one = batch[slice(row, row + 1)]
    return Captions(
        one.ids[:, :length],
        one.mask[:, :length],
        one.sentence_ids[:, :sentence],
        one.sentence_mask[:, :sentence],
    )


def test_shapes(model: TinyModel, images: torch.Tensor) -> None:
    assert images.shape == (3, SMALL.image_rows, SMALL.width)
    with torch.inference_mode():
        logits = model.score_logits(images, captions([4, 7, 1]))
    assert logits.shape == (3, 4, 101)
    assert logits.dtype == torch.float32
    mean, top, spread = distribution(logits)
    assert mean.shape == top.shape == spread.shape == (3, 4)
    assert ((mean >= 0) & (mean <= 100)).all()


def test_distribution_of_a_known_curve() -> None:
    chances = torch.full((101,), 1e-12)
    chances[20], chances[40] = 0.75, 0.25
    mean, top, spread = distribution(chances.log())
    assert float(mean) == pytest.approx(25.0, abs=1e-3)
    assert int(top) == 20
    assert float(spread) == pytest.approx(75**0.5, abs=1e-3)


def test_a_score_is_the_same_alone_and_in_any_batch(model: TinyModel, images: torch.Tensor) -> None:
    batch = captions([4, 9, 2])
    with torch.inference_mode():
        together = distribution(model.score_logits(images, batch))[0]
        for order in itertools.permutations(range(3)):
            rows = list(order)
            moved = distribution(model.score_logits(images[rows], batch[rows]))[0]
            torch.testing.assert_close(moved, together[rows], rtol=0, atol=1e-3)
        for row in range(3):
            one = slice(row, row + 1)
            alone = model.score_logits(images[one], unpadded(batch, row))
            torch.testing.assert_close(distribution(alone)[0], together[one], rtol=0, atol=1e-3)


def test_what_stands_in_the_padding_does_not_matter(model: TinyModel, images: torch.Tensor) -> None:
    batch = captions([4, 9, 2])
    filled = Captions(
        torch.where(batch.mask, batch.ids, 17),
        batch.mask,
        torch.where(batch.sentence_mask, batch.sentence_ids, 17),
        batch.sentence_mask,
    )
    with torch.inference_mode():
        before = model.score_logits(images, batch)
        after = model.score_logits(images, filled)
    torch.testing.assert_close(before, after)


def test_packed_captions_score_as_they_do_one_by_one(
    model: TinyModel, images: torch.Tensor
) -> None:
    lengths = [4, 9, 2]
    batch = captions(lengths)
    total = sum(lengths) + 3 * len(METRICS)
    packed = Packed(*(torch.full((1, total + 5), fill) for fill in (0, 0, -1, -1)))
    at = 0
    for number, length in enumerate(lengths):
        end = at + length
        packed.ids[0, at:end] = batch.ids[number, :length]
        packed.positions[0, at:end] = torch.arange(length)
        packed.positions[0, end : end + 4] = length
        packed.query[0, end : end + 4] = torch.arange(4)
        packed.segment[0, at : end + 4] = number
        at = end + 4
    with torch.inference_mode():
        one_image = images[:1]
        meaning = model.caption_meaning(batch.sentence_ids, batch.sentence_mask)
        together, _ = model.score_packed(one_image, packed, meaning[None])
        apart = model.score_logits(one_image.expand(3, -1, -1), batch)
    torch.testing.assert_close(together[0], apart, rtol=1e-4, atol=1e-4)


def test_an_encoded_image_ends_with_what_its_captions_probably_mean(model: TinyModel) -> None:
    pixels = torch.randint(0, 256, (2, 260, 260, 3), dtype=torch.uint8)
    with torch.inference_mode():
        meaning = torch.nn.functional.normalize(model.expected_meaning(pixels), dim=-1)
        row = model.encode_images(pixels)[:, SMALL.image_tokens, : SMALL.meaning]
        torch.testing.assert_close(row, meaning)
        changed = copy.deepcopy(model)
        changed.meaning_end.head.bias.add_(1.0)
        other = changed.encode_images(pixels)
        assert not torch.allclose(other[:, SMALL.image_tokens, : SMALL.meaning], row)
        own = slice(0, SMALL.image_tokens - 1)  # all tokens but the one that tells the meaning
        torch.testing.assert_close(other[:, own], model.encode_images(pixels)[:, own])


def test_a_cpu_reads_few_images_at_a_time(
    model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    begin = model.encoder.begin

    def counted(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return begin(x)

    monkeypatch.setattr(model.encoder, "begin", counted)
    pixels = torch.randint(0, 256, (CPU_STEP + 1, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        for encode in (model.encode_images, model.expected_meaning):
            seen.clear()
            together = encode(pixels)
            assert seen == [CPU_STEP, 1]
            apart = torch.cat([encode(one[None]) for one in pixels])
            torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


def test_the_tuned_end_may_begin_behind_an_earlier_map_of_smaller_images(tmp_path: Path) -> None:
    torch.manual_seed(0)
    built = TinyModel(replace(SMALL, tuned_behind=8, input_side=224)).eval()
    with torch.no_grad():
        for name, tensor in built.state_dict().items():
            if name.startswith(("image_meaning.", "projector.")):
                tensor.copy_(torch.randn(tensor.shape) * 0.3)
    built.save_pretrained(tmp_path, version="test", quantize=False)
    loaded = TinyModel.from_pretrained(tmp_path)
    pixels = loaded.preprocess(Image.new("RGB", (640, 200), "teal"))
    assert pixels.shape == (224, 224, 3)
    with torch.inference_mode():
        batch = torch.from_numpy(pixels.copy())[None]
        meaning = torch.nn.functional.normalize(loaded.expected_meaning(batch), dim=-1)
        row = loaded.encode_images(batch)[:, SMALL.image_tokens, : SMALL.meaning]
        torch.testing.assert_close(row, meaning)
        torch.testing.assert_close(loaded.encode_images(batch), built.encode_images(batch))


def test_what_the_judge_asks_tilts_the_scores_it_was_taught_and_no_others(
    model: TinyModel, images: torch.Tensor
) -> None:
    batch, itm = captions([6, 6, 6]), list(METRICS).index("itm")
    changed = copy.deepcopy(model)
    with torch.inference_mode():
        before = model.score_logits(images, batch)
        changed.judge_head[itm, 0] = -3.0
        after = changed.score_logits(images, batch)
        others = [m for m in range(len(METRICS)) if m != itm]
        torch.testing.assert_close(after[:, others], before[:, others])
        unit = torch.nn.functional.normalize(
            changed.caption_meaning(batch.sentence_ids, batch.sentence_mask), dim=-1
        )
        product = (images[:, -1, : SMALL.meaning] * unit).sum(-1)
        gain = distribution(after)[0][:, itm] - distribution(before)[0][:, itm]
    assert torch.equal(gain > 0, product > 0)
    assert gain.abs().max() > 0.01


PIECES = [7, 150, 30, *range(160, 200)]


PAIRS = [[7, 9], [9, 30], [30, 7]]


@pytest.fixture(scope="module")
def telling() -> TinyModel:
    """A model with evidence for `PIECES` and a novelty."""
    torch.manual_seed(0)
    built = TinyModel(replace(SMALL, said=len(PIECES), novelty=True))
    with torch.no_grad():
        built.said_pieces.copy_(torch.tensor(PIECES))
        for part in (built.evidence, built.novelty):
            part.weight.copy_(torch.randn(part.weight.shape) * 0.1)
        built.encoder.head.bias.uniform_(0, 3)  # of a random encoder little else comes through
        built.judge_head[list(METRICS).index("itm"), 0] = -3.0
    built.compute_constants()
    return built.eval()


def test_the_words_of_a_caption_count_once_and_unknown_ones_not(telling: TinyModel) -> None:
    batch = collate([CaptionTokens([5], ids, False) for ids in ([1, 7, 7, 150, 9], [0, 2], [30])])
    found = telling.caption_words(batch.sentence_ids, batch.sentence_mask)
    expected = torch.zeros(3, len(PIECES))
    expected[0, :2], expected[2, 2] = 1 / (2 + 3), 1 / (1 + 3)
    torch.testing.assert_close(found, expected)


def test_evidence_for_a_word_raises_the_scores_of_captions_that_say_it(telling: TinyModel) -> None:
    itm, changed = list(METRICS).index("itm"), copy.deepcopy(telling)
    batch = collate([CaptionTokens([5, 6], ids, False) for ids in ([1, 7, 9], [1, 150, 9])])
    pixels = torch.randint(0, 256, (1, 260, 260, 3), dtype=torch.uint8)
    with torch.no_grad():
        changed.evidence.bias[0] += 2.0  # of piece 7
    with torch.inference_mode():
        before, after = (
            model.score_logits(model.encode_images(pixels).expand(2, -1, -1), batch)
            for model in (telling, changed)
        )
        gain = distribution(after)[0] - distribution(before)[0]
    assert gain[0, itm] > 1
    assert gain.count_nonzero() == 1


@pytest.fixture(scope="module")
def knowing(telling: TinyModel) -> TinyModel:
    """`telling` with evidence for pairs of pieces, and known captions and images."""
    torch.manual_seed(1)
    config = replace(telling.config, said_pairs=len(PAIRS), known=40)
    built = TinyModel(config)
    same = built.state_dict()
    kept = {n: t for n, t in telling.state_dict().items() if same[n].shape == t.shape}
    built.load_state_dict(kept, strict=False)
    with torch.no_grad():
        built.evidence.weight.copy_(torch.randn(built.evidence.weight.shape) * 0.1)
        built.said_pairs.copy_(torch.tensor(PAIRS))
        built.said_skipped[[3, 4]] = True
        for known in (built.known_captions, built.known_images):
            drawn = torch.randn(known.weight.shape)
            known.weight.copy_(torch.nn.functional.normalize(drawn, dim=-1))
        built.usual_of_image.fill_(0.3)
        built.usual_of_caption.fill_(0.2)
    built.compute_constants()
    return built.eval()


@pytest.mark.parametrize(
    ("ids", "pairs"),
    [
        ([1, 7, 9, 2], {0}),
        ([1, 7, 3, 4, 9, 2], {0}),
        ([7, 9, 3, 30, 30, 7, 9], {0, 1, 2}),
        ([9, 7], set()),
        ([3, 4], set()),
        ([7], set()),
    ],
)
def test_neighbours_are_a_pair_whatever_is_skipped_between_them(
    knowing: TinyModel, ids: list[int], pairs: set[int]
) -> None:
    batch = collate([CaptionTokens([5], some, False) for some in (ids, [1] * 12)])
    found = knowing.caption_words(batch.sentence_ids, batch.sentence_mask)[0, len(PIECES) :]
    expected = [1 / (len(pairs) + 3) if pair in pairs else 0.0 for pair in range(len(PAIRS))]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_what_is_usual_for_image_and_caption_is_taken_off(
    knowing: TinyModel, tmp_path: Path
) -> None:
    knowing.save_pretrained(tmp_path, version="test", quantize=False)
    loaded, free = TinyModel.from_pretrained(tmp_path), copy.deepcopy(knowing)
    with torch.no_grad():
        free.usual_of_image.zero_()
        free.usual_of_caption.zero_()
    pixels = torch.randint(0, 256, (3, 260, 260, 3), dtype=torch.uint8)
    batch = captions([4, 6, 5])
    with torch.inference_mode():
        meaning = knowing.caption_meaning(batch.sentence_ids, batch.sentence_mask)

        def told(model: TinyModel) -> torch.Tensor:
            read = model.read_caption(batch.sentence_ids, batch.sentence_mask)[:, None]
            return model._agreement(read, model.encode_images(pixels))[1][:, 0]

        near = []
        for one, known in (
            (knowing.expected_meaning(pixels), knowing.known_captions),
            (meaning, knowing.known_images),
        ):
            cosine = torch.nn.functional.normalize(one, dim=-1) @ known.weight.T
            near.append(cosine.sort(descending=True).values[:, :16].mean(1))
        expected = told(free) - 0.3 * near[0] - 0.2 * near[1]
        torch.testing.assert_close(told(loaded), expected, rtol=1e-4, atol=1e-5)
        novelty = loaded.image_novelty(loaded.encode_images(pixels))
        torch.testing.assert_close(novelty, free.image_novelty(free.encode_images(pixels)))


@pytest.mark.slow
def test_novelty_is_told_of_an_image_and_changes_no_score(
    telling: TinyModel, tmp_path: Path
) -> None:
    pixels = torch.randint(0, 256, (2, 260, 260, 3), dtype=torch.uint8)
    pixels[1] = 200
    telling.save_pretrained(tmp_path, version="test", quantize=False)
    loaded = TinyModel.from_pretrained(tmp_path)
    assert loaded.said_pieces.tolist() == PIECES
    with torch.inference_mode():
        encoded = loaded.encode_images(pixels)
        assert encoded.shape == (2, loaded.config.image_rows, SMALL.width)
        torch.testing.assert_close(encoded, telling.encode_images(pixels))
        final = loaded.encoder(normalize(pixels))[2].mean((2, 3))
        expected = loaded.novelty(final)[:, 0].sigmoid()
        torch.testing.assert_close(loaded.image_novelty(encoded), expected)
    with torch.no_grad():
        loaded.novelty.bias += 5.0
    with torch.inference_mode():
        novel, batch = loaded.encode_images(pixels), captions([4, 6])
        torch.testing.assert_close(
            loaded.score_logits(novel, batch), loaded.score_logits(encoded, batch)
        )
        assert (loaded.image_novelty(novel) > expected).all()


def test_image_and_caption_both_matter(model: TinyModel, images: torch.Tensor) -> None:
    batch = captions([6, 6, 6])
    with torch.inference_mode():
        base = model.score_logits(images, batch)
        other_image = model.score_logits(images[[1, 2, 0]], batch)
        other_words = model.score_logits(images, replace(batch, ids=batch.ids.flip(1)))
        other_sense = model.score_logits(
            images, replace(batch, sentence_ids=batch.sentence_ids.flip(1))
        )
    assert (base - other_sense).abs().max() > 1e-4
    assert (base - other_image).abs().max() > 1e-4
    assert (base - other_words).abs().max() > 1e-4


def test_saved_model_comes_back(model: TinyModel, images: torch.Tensor, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, version="test", quantize=False)
    again = TinyModel.from_pretrained(tmp_path)
    batch = captions([4, 9, 2])
    with torch.inference_mode():
        first, second = (distribution(m.score_logits(images, batch))[0] for m in (model, again))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-4)


def test_quantised_model_comes_back_nearly(model: TinyModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, version="test", quantize=True)
    again = TinyModel.from_pretrained(tmp_path).state_dict()
    for name, tensor in model.state_dict().items():
        error = (again[name] - tensor).norm() / tensor.norm().clamp_min(1e-6)
        assert error < (0.1 if name in FOUR_BIT else 0.02), name


def test_tensors_that_do_not_fit_are_named(model: TinyModel, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model.save_pretrained(tmp_path, version="test", quantize=False)
    tensors = read_tensors(tmp_path / "model.safetensors")
    del tensors["queries"]
    tensors["surprise"] = torch.zeros(2)
    save_file(tensors, str(tmp_path / "model.safetensors"))
    with pytest.raises(PairsiftError, match="left over surprise; missing queries"):
        TinyModel.from_pretrained(tmp_path)


def test_unreadable_checkpoints_are_user_errors(model: TinyModel, tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match=r"config\.json"):
        TinyModel.from_pretrained(tmp_path)
    SMALL.save(tmp_path / "config.json", "test")
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(PairsiftError, match=r"model\.safetensors"):
        TinyModel.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "other"}))
    with pytest.raises(PairsiftError, match="not a pairsift-tiny configuration"):
        TinyModel.from_pretrained(tmp_path)


@pytest.mark.slow
def test_the_shipped_filter_ranks_captions_of_a_real_photograph() -> None:
    data = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image")
    said = [
        "A cup of coffee on a saucer.",
        "Two men playing football on a field.",
        "of saucer coffee a on cup A",
        "IMG_2034.jpg",
    ]
    model = TinyModel.from_pretrained(ARTIFACT)
    tokenizer = CaptionTokenizer(ARTIFACT, model.config.max_caption_tokens)
    batch = collate([tokenizer(text) for text in said])
    pixels = torch.from_numpy(preprocess(Image.fromarray(data.coffee())).copy())[None]
    with torch.inference_mode():
        image = model.encode_images(pixels).expand(len(said), -1, -1)
        scores = distribution(model.score_logits(image, batch))[0]
    itm, ctq = scores[:, 0], scores[:, 2]
    assert itm[0] > itm[1] + 10
    assert itm[0] > itm[3] + 10
    assert ctq[0] > ctq[2] + 30
    assert ctq[0] > ctq[3] + 30


def test_the_shipped_files_stay_small() -> None:
    assert sum(file.stat().st_size for file in ARTIFACT.iterdir()) < 102e6
