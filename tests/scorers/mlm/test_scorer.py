"""One pass gives the numbers of many: against plain forward passes, in any batch, in any order."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from pairsift import Pair
from pairsift.metrics import METRICS
from pairsift.pair import Status
from pairsift.scorers.mlm.load import load_mlm_scorer
from pairsift.scorers.mlm.prompt_files import load_prompts
from tests.scorers.mlm.checkpoints import ARCHITECTURES, make_pairs, save_checkpoint
from tests.scorers.mlm.plain import PlainModel


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request, tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp(request.param), request.param)


def prompt_of(pair: Pair, metric: str) -> str:
    """The prompt of the packaged pack in the test checkpoints' chat template."""
    pack = load_prompts()
    return f"USER: IMAGE\n{pack.user_turn(metric, pair.caption)} ASSISTANT: "


def image_of(pair: Pair) -> Image.Image:
    return Image.open(io.BytesIO(pair.image)).convert("RGB")


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["looped", "packed"])
def test_logits_are_those_of_a_plain_pass_per_metric(folder, layout):
    scorer = load_mlm_scorer(folder, layout=layout)
    plain = PlainModel(folder)
    pairs = make_pairs(3, seed=1)
    logits = scorer.answer_logits(pairs)
    assert logits.dtype == np.float32
    assert logits.shape == (3, len(METRICS), len(plain.tokenizer))
    for row, pair in enumerate(pairs):
        for column, metric in enumerate(METRICS):
            # The prompt ends with the tail " "; only the number's own digits follow it.
            expected = plain.next_logits(image_of(pair), prompt_of(pair, metric))[0]
            np.testing.assert_allclose(logits[row, column], expected, atol=1e-4)
    assert np.abs(logits[:, 0] - logits[:, 3]).max() > 0.1  # the metrics are told apart
    assert np.abs(logits[0] - logits[1]).max() > 0.1  # and so are the pairs


def test_answers_are_greedy_decoding(folder):
    plain = PlainModel(folder)
    [pair] = make_pairs(1, seed=4)
    # Random weights may "write" the token that stands for the image; nothing follows that.
    ends = {plain.tokenizer.eos_token_id, getattr(plain.model.config, "image_token_id", None)}
    for metric in ("itm", "ctq"):
        written: list[int] = []
        while len(written) < 5:
            logits = plain.next_logits(image_of(pair), prompt_of(pair, metric), tuple(written))
            if int(logits[-1].argmax()) in ends:
                break
            written.append(int(logits[-1].argmax()))
        scorer = load_mlm_scorer(folder, metrics=metric)
        [answer] = scorer.answers(pair, max_tokens=len(written))
        assert answer == plain.tokenizer.decode(written, skip_special_tokens=True).strip()


def brute_force(plain: PlainModel, pair: Pair, metric: str) -> np.ndarray:
    """P(0..100), not renormalised: every number as a continuation of its own, token by token."""
    image, prompt = image_of(pair), prompt_of(pair, metric)
    encode = plain.tokenizer
    digits = {encode(str(digit), add_special_tokens=False)["input_ids"][0] for digit in range(10)}
    result = []
    for number in range(101):
        path = tuple(encode(str(number), add_special_tokens=False)["input_ids"])
        logits = torch.from_numpy(plain.next_logits(image, prompt, path)).double()
        p = logits.softmax(-1)
        probability = np.prod([p[step, token] for step, token in enumerate(path)])
        by_digits = len(encode("57", add_special_tokens=False)["input_ids"]) == 2
        if by_digits and len(path) == 1:
            probability *= 1 - sum(p[1, digit] for digit in digits)
        elif by_digits and number == 10:
            probability *= 1 - p[2, path[1]]  # only "100" goes on
        result.append(float(probability))
    return np.array(result)


@pytest.mark.slow
@pytest.mark.parametrize("whole_numbers", [False, True], ids=["digits", "whole numbers"])
@pytest.mark.parametrize("layout", ["looped", "packed"])
def test_trie_gives_the_distribution_of_101_continuations(tmp_path, whole_numbers, layout):
    save_checkpoint(tmp_path, "llava", whole_numbers=whole_numbers)
    scorer = load_mlm_scorer(tmp_path, metrics="itm,su", layout=layout)
    assert [trie.nodes for trie in scorer.tries] == [1 if whole_numbers else 12] * 2
    plain = PlainModel(tmp_path)
    pairs = make_pairs(1, seed=2)
    found = scorer.distributions(pairs)
    table = scorer.score(pairs).to_pydict()
    for (row, pair), (column, metric) in itertools.product(
        enumerate(pairs), enumerate(["itm", "su"])
    ):
        mass = brute_force(plain, pair, metric)
        p = mass / mass.sum()
        np.testing.assert_allclose(found[row, column], p, atol=1e-6)
        mean = p @ np.arange(101)
        assert table[metric][row] == pytest.approx(mean, abs=1e-4)
        assert table[f"{metric}_top"][row] == p.argmax()
        spread = np.sqrt(p @ (np.arange(101) - mean) ** 2)
        assert table[f"{metric}_std"][row] == pytest.approx(spread, abs=1e-4)
        assert table[f"{metric}_validity"][row] == pytest.approx(mass.sum(), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "layout"), [("llava", "looped"), ("qwen2_5_vl", "packed")]
)
def test_a_score_does_not_depend_on_the_batch(tmp_path, architecture, layout):
    save_checkpoint(tmp_path, architecture)
    scorer = load_mlm_scorer(tmp_path, layout=layout)
    pairs = make_pairs(64, seed=3)
    shuffled = [pairs[index] for index in np.random.default_rng(0).permutation(64)]
    columns = [*METRICS, *(f"{metric}_std" for metric in METRICS)]

    def scores(order, size):
        table = scorer.score(order, batch_size=size).sort_by("key")
        assert set(table["status"].to_pylist()) == {"ok"}
        return np.stack([table[column].to_numpy() for column in columns])

    alone = scores(pairs, 1)
    assert np.std(alone, axis=1).min() > 0.01  # scores that differ, or equality shows nothing
    for order, size in [(pairs, 3), (shuffled, 16), (pairs, 64), (shuffled, 64)]:
        assert np.abs(scores(order, size) - alone).max() <= 1e-3


def test_metrics_that_were_not_asked_for_are_null(llava):
    pairs = make_pairs(2)
    all_four = load_mlm_scorer(llava).score(pairs)
    one = load_mlm_scorer(llava, metrics="ctq").score(pairs)
    assert one.schema == all_four.schema
    assert one["itm"].null_count == one["itm_top"].null_count == 2
    np.testing.assert_allclose(one["ctq"].to_numpy(), all_four["ctq"].to_numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("batch_size", "tried"), [(10, [10, 5, 3, 3, 3, 1]), (4, [4, 2, 2, 2, 2, 2])]
)
def test_out_of_memory_halves_the_batch(llava, monkeypatch, batch_size, tried):
    """Also of the batches that were collated, or begun, when it was noticed."""
    scorer = load_mlm_scorer(llava)
    pairs = make_pairs(10)
    expected = scorer.score(pairs)
    prefill, sizes = scorer.backbone.prefill, []

    def small_device(collated):
        sizes.append(len(collated.ids))
        if len(collated.ids) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return prefill(collated)

    monkeypatch.setattr(scorer.backbone, "prefill", small_device)
    table = scorer.score(pairs, batch_size=batch_size)
    assert sizes == tried
    assert set(table["status"].to_pylist()) == {"ok"}
    np.testing.assert_allclose(table["itm"].to_numpy(), expected["itm"].to_numpy(), atol=1e-3)


def test_a_pair_that_gives_no_finite_logits_costs_one_row(llava, monkeypatch):
    scorer = load_mlm_scorer(llava)
    pairs = make_pairs(6)
    poisoned = scorer.preparer(pairs[2]).inputs.image["pixels"]
    encode = scorer.backbone.encode_images

    def overflow(images, is_image):
        features = encode(images, is_image)
        per_image = features.tokens.view(len(images), -1, features.tokens.shape[-1])
        for row, image in enumerate(images):
            if np.array_equal(image.numpy(), poisoned):
                per_image[row] = float("inf")
        return features

    monkeypatch.setattr(scorer.backbone, "encode_images", overflow)
    table = scorer.score(pairs)
    statuses = table["status"].to_pylist()
    assert statuses.pop(2) == Status.MODEL_ERROR.value
    assert set(statuses) == {"ok"}
    assert "not finite" in table["error"][2].as_py()


def test_a_bad_image_costs_one_row(llava):
    pairs = make_pairs(3)
    pairs[1] = Pair(key="bad", image=b"no image", caption="a dog")
    table = load_mlm_scorer(llava).score(pairs)
    assert table["status"].to_pylist() == ["ok", "image_corrupt", "ok"]
    assert table["itm"].null_count == 1


def test_bfloat16_stays_close_to_float32(llava):
    pairs = make_pairs(8)
    exact = load_mlm_scorer(llava)
    rough = load_mlm_scorer(llava, dtype="bfloat16")
    assert rough.fingerprint["dtype"] == "bfloat16"
    difference = np.abs(exact.distributions(pairs) - rough.distributions(pairs)).sum(-1)
    assert 0 < difference.max() < 0.3


def test_the_cpu_half_goes_to_worker_processes(llava):
    """Pickled there and back, it prepares the same inputs, and small ones."""
    import pickle

    scorer = load_mlm_scorer(llava)
    pair = make_pairs(1)[0]
    here = scorer.preparer(pair)
    copy = pickle.dumps(scorer.preparer)
    there = pickle.loads(copy)(pair)
    assert here.inputs.image["pixels"].dtype == np.uint8
    np.testing.assert_array_equal(here.inputs.image["pixels"], there.inputs.image["pixels"])
    np.testing.assert_array_equal(here.inputs.prefix, there.inputs.prefix)
    weights = sum(parameter.nbytes for parameter in scorer.backbone.model.parameters())
    assert len(copy) < weights  # the model stays behind
