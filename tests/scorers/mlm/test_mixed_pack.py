"""Metrics of any name and any answers: one pass gives what a pass for each answer gives."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pairsift import Pair
from pairsift.errors import PairsiftError
from pairsift.metrics import Answer, Metric, Scale
from pairsift.scorers.mlm.load import load_mlm_scorer
from pairsift.scorers.mlm.prompts import MetricPrompt, PromptPack
from pairsift.scorers.mlm.trie import AnswerTrie, metric_trie
from tests.scorers.mlm.checkpoints import make_pairs, make_tokenizer, save_checkpoint
from tests.scorers.mlm.mixed_pack import PACK, VALUES, brute_force
from tests.scorers.mlm.plain import PlainModel

NAMES = ["match", "useful", "text", "grade", "errors"]


@pytest.fixture(scope="module", params=["qwen2_5_vl", "llava"])
def folder(request, tmp_path_factory):
    """A Qwen-like tokenizer, digit by digit, and a Llama-3-like one, up to three digits a token."""
    folder = tmp_path_factory.mktemp(request.param)
    return save_checkpoint(folder, request.param, whole_numbers=request.param == "llava")


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["looped", "packed"])
def test_five_scales_in_one_pass_are_exact(folder, layout):
    scorer = load_mlm_scorer(folder, prompts=PACK, layout=layout)
    assert scorer.metrics == tuple(NAMES)
    digits = "qwen" in scorer.backbone.kind
    assert [trie.nodes for trie in scorer.tries][:2] == ([12, 1] if digits else [1, 1])
    assert scorer.tries[3].depth > 1  # an answer of several tokens
    plain, pairs = PlainModel(folder), make_pairs(2, seed=2, words=(2, 8))
    passes = []
    prefill = scorer.backbone.prefill
    scorer.backbone.prefill = lambda *batch: passes.append(1) or prefill(*batch)
    found = scorer.distributions(pairs)
    table = scorer.score(pairs).to_pydict()
    assert len(passes) == 2  # image and caption are read once for all five
    assert found.shape == (2, 5, 101)
    for row, pair in enumerate(pairs):
        image = Image.open(io.BytesIO(pair.image)).convert("RGB")
        for column, metric in enumerate(NAMES):
            mass = brute_force(plain, image, pair.caption, metric)
            p, values = mass / mass.sum(), VALUES[metric]
            assert p.max() - p.min() > 0.01  # answers that differ, or equality shows nothing
            np.testing.assert_allclose(found[row, column, : len(p)], p, atol=1e-5)
            assert not found[row, column, len(p) :].any()
            mean = p @ values
            size = values[-1] - values[0]
            assert table[metric][row] == pytest.approx(mean, abs=1e-5 * size)
            assert table[f"{metric}_top"][row] == values[p.argmax()]
            spread = np.sqrt(p @ (values - mean) ** 2)
            assert table[f"{metric}_std"][row] == pytest.approx(spread, abs=1e-5 * size)
            assert table[f"{metric}_validity"][row] == pytest.approx(mass.sum(), abs=1e-5)


def test_scores_on_any_scale_do_not_depend_on_the_batch(folder):
    scorer = load_mlm_scorer(folder, prompts=PACK)
    pairs = make_pairs(12, seed=5)
    shuffled = [pairs[index] for index in np.random.default_rng(0).permutation(len(pairs))]

    def scores(order, size):
        table = scorer.score(order, batch_size=size).sort_by("key")
        return np.stack([table[name].to_numpy() / np.ptp(VALUES[name]) for name in NAMES])

    alone = scores(pairs, 1)
    assert np.std(alone, axis=1).min() > 1e-3
    for order, size in [(pairs, 5), (shuffled, 12)]:
        assert np.abs(scores(order, size) - alone).max() <= 1e-5


def test_columns_say_what_they_mean(folder):
    scorer = load_mlm_scorer(folder, prompts=PACK, metrics="errors,text")
    assert scorer.metrics == ("text", "errors")
    fields = {field.name: field for field in scorer.columns}
    assert len(fields) == 4 * 5 + 2  # text_p, and caption_truncated
    assert fields["grade_top"].type == pa.int16()
    table = scorer.score(make_pairs(1))
    assert table["match"].null_count == 1  # not asked
    assert table["errors"].null_count == 0


def test_half_grades_are_no_integers(folder):
    scale = Scale((Answer(0, ("no",)), Answer(0.5, ("a",)), Answer(1, ("yes",))))
    pack = PromptPack("x", "{caption}", {"half": MetricPrompt("", "", scale)}, answer_tail="")
    table = load_mlm_scorer(folder, prompts=pack).score(make_pairs(4))
    assert table.schema.field("half_top").type == pa.float32()
    assert set(table["half_top"].to_pylist()) <= {0, 0.5, 1}


def test_answers_of_the_same_tokens_are_refused(folder):
    tokenizer = make_tokenizer()
    scale = Scale((Answer(1, ("yes",)), Answer(0, ("no", "YES"))))

    def lower(text):
        return tokenizer(text.lower())["input_ids"]

    metric = Metric("text", "Text", "text", "?", scale)
    with pytest.raises(PairsiftError) as found:
        metric_trie(lower, "score:", metric)
    assert str(found.value) == (
        "metric 'text': this model's tokenizer makes the same tokens of the answers 'YES' and "
        "'yes'; give one of them another spelling"
    )


def test_an_answer_that_a_tokenizer_does_not_know_is_refused():
    metric = Metric("text", "Text", "text", "?", Scale.listed({"yes": 1, "нет": 0}))
    known = {"yes": 5}
    with pytest.raises(PairsiftError, match="tokenizer does not know the answer 'нет'; give"):
        metric_trie(lambda text: [3, known.get(text[6:], 1)], "score:", metric, unknown=1)


def test_spellings_of_one_answer_add_up_and_longer_answers_are_not_the_shorter_ones():
    import torch

    # no: 1; yes: 2 or 3; "yes, please": 2 4
    trie = AnswerTrie.from_paths([[[1]], [[2], [3]], [[2, 4]]])
    assert trie.beginnings == ((), (2,))
    p = torch.tensor([[0.1, 0.3, 0.2, 0.05], [0.0, 0.0, 0.0, 0.25]])
    found = trie.log_probabilities(p.log()).exp()
    torch.testing.assert_close(found, torch.tensor([0.1, 0.3 * 0.75 + 0.2, 0.3 * 0.25]))


@pytest.mark.parametrize("layout", ["looped", "packed"])
def test_captions_of_one_image_share_it_and_keep_their_scores(folder, layout):
    """One prefill with a row for each image, whatever the order of the captions."""
    base = make_pairs(12, seed=2, words=(2, 12))
    shared = [1, 4, 4, 3]  # captions of each image
    pairs = [
        Pair(f"{i}-{j}", base[i].image, base[(5 * i + j) % 12].caption)
        for i, count in enumerate(shared)
        for j in range(count)
    ]
    # For several metrics, what is left of a caption is read again for each: too much with so few
    # image tokens.
    scorer = load_mlm_scorer(folder, prompts=PACK, metrics="match", layout=layout)
    alone = scorer.score(pairs, batch_size=1)
    sizes = []
    collate = scorer.backbone.collate

    def watched(images, prefixes):
        sizes.append(len(images))
        return collate(images, prefixes)

    scorer.backbone.collate = watched
    order = np.random.default_rng(1).permutation(len(pairs))
    together = scorer.score([pairs[row] for row in order]).sort_by("key")
    assert sorted(sizes) == [1, 1, 2]  # images with one, three and four captions
    found, expected = together["match"].to_numpy(), alone.sort_by("key")["match"].to_numpy()
    assert np.abs(found - expected).max() <= 1e-3
    assert expected.std() > 0.01
