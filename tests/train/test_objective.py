"""What is trained on is what the scorer reads: same tokens, same distributions, right losses."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.load import load_mlm_scorer
from pairsift.scorers.mlm.scorer import MLMScorer
from pairsift.train.examples import Example, Exchange
from pairsift.train.items import Collator, RowMaker, TrainingItems, UserPrompt
from pairsift.train.labels import soft_labels
from pairsift.train.objective import Objective, expected_points, ranking_loss
from pairsift.train.param_groups import choose_trainable, part_of, projector_modules
from tests.scorers.mlm.checkpoints import ARCHITECTURES, make_pairs, save_checkpoint
from tests.scorers.mlm.plain import PlainModel

PAIRS = make_pairs(4, seed=3, words=(2, 9))


class _Memory:
    """Images of PAIRS."""

    def read(self, name: str) -> bytes:
        return next(pair.image for pair in PAIRS if pair.key == name)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp(request.param), request.param)


def _maker(scorer: MLMScorer, objective: str = "distribution") -> RowMaker:
    backbone = scorer.backbone
    return RowMaker(
        [_Memory()],
        scorer.preparer,
        backbone.image_transform,
        scorer.encoder,
        scorer.metrics,
        objective,
        backbone.tokenizer.eos_token_id,
        UserPrompt(scorer.encoder.chat, backbone.image_token, backbone.tokenizer),
    )


def _collator(scorer: MLMScorer) -> Collator:
    return Collator(scorer.tries.trees, scorer.encoder.scales, 5.0)


def _objective(scorer: MLMScorer, ranking: float = 0.0) -> Objective:
    backbone, scales = scorer.backbone, scorer.encoder.scales
    return Objective(backbone.model, backbone, scorer.tries, scales, ranking)


EXAMPLES = [
    Example(0, PAIRS[0].key, PAIRS[0].caption, {"itm": 81.0, "su": 4.0}),
    Example(0, PAIRS[1].key, PAIRS[1].caption, {"odf": 37.0}, {"odf": "two dogs"}),
    Example(0, PAIRS[2].key, PAIRS[2].caption, {"itm": 0.0, "odf": 7.5, "ctq": 100.0, "su": 55.0}),
    Example(0, PAIRS[3].key, PAIRS[3].caption, {"itm": 100.0}, {"itm": "a <image> </s> harbour"}),
]


@pytest.mark.parametrize("prompts", [None, "compact"])
def test_distributions_in_training_are_those_of_the_scorer(
    folder: Path, prompts: str | None
) -> None:
    scorer = load_mlm_scorer(folder, prompts=prompts)
    maker = pickle.loads(pickle.dumps(_maker(scorer)))  # as a worker process gets it
    batch = _collator(scorer)([[maker.annotated(example)] for example in EXAMPLES])["batch"]
    assert batch.worded is None
    objective = _objective(scorer)
    with torch.no_grad():
        log_p = objective.log_probabilities(batch.scored, batch.metrics)
        loss = objective(batch)["loss"]
    expected, row = scorer.distributions(PAIRS), 0
    for index, example in enumerate(EXAMPLES):
        for metric, score in example.scores.items():
            column = scorer.metrics.index(metric)
            np.testing.assert_allclose(
                log_p[row].softmax(-1).numpy(), expected[index, column], atol=2e-5
            )
            assert (batch.scores[row], batch.metrics[row]) == (score, column)
            row += 1
    assert row == len(log_p) == batch.targets == 8
    labels = soft_labels(batch.scores, 5.0)
    assert float(loss) == pytest.approx(float(-(labels * log_p.numpy()).sum() / 8), rel=1e-5)


def test_gradients_reach_every_part_and_stages_freeze(folder: Path) -> None:
    scorer = load_mlm_scorer(folder, prompts="compact")
    model = scorer.backbone.model
    maker, objective = _maker(scorer), _objective(scorer)
    batch = _collator(scorer)([[maker.annotated(example)] for example in EXAMPLES])["batch"]
    trained = {"projector": {"projector"}, "language": {"projector", "language"}}
    for stage in ("projector", "language", "all"):
        counts = choose_trainable(model, stage, is_lora=False)
        model.zero_grad()
        objective(batch)["loss"].backward()
        reached = {
            part_of(name)
            for name, p in model.named_parameters()
            if p.grad is not None and float(p.grad.abs().max()) > 0
        }
        assert reached == trained.get(stage, {"projector", "language", "vision"})
        assert set(counts) == reached
        assert sum(counts.values()) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert projector_modules(model)


def test_recomputing_activations_changes_nothing(folder: Path) -> None:
    scorer = load_mlm_scorer(folder, prompts="compact")
    model = scorer.backbone.model
    batch = _collator(scorer)([[_maker(scorer).annotated(e)] for e in EXAMPLES])["batch"]
    objective = _objective(scorer)
    gradients = []
    for recompute in (False, True):
        if recompute:
            getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
        choose_trainable(model, "all", is_lora=False)
        objective.train().zero_grad()
        objective(batch)["loss"].backward()
        gradients.append(
            {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_an_architecture_that_is_not_known_is_not_trained_by_accident() -> None:
    with pytest.raises(PairsiftError, match="resampler"):
        part_of("model.resampler.weight")


def test_words_are_learned_as_a_plain_pass_would_have_it(folder: Path) -> None:
    scorer = load_mlm_scorer(folder)
    plain = PlainModel(folder)
    maker = _maker(scorer, "words")
    batch = _collator(scorer)([[maker.annotated(example)] for example in EXAMPLES])["batch"]
    with torch.no_grad():
        loss = float(_objective(scorer)(batch)["loss"])
    end = (plain.tokenizer.eos_token_id,)

    def tokens(text: str) -> tuple[int, ...]:
        return tuple(plain.tokenizer(text, add_special_tokens=False)["input_ids"])

    losses = []
    for pair, example in zip(PAIRS, EXAMPLES, strict=True):
        image = Image.open(io.BytesIO(pair.image)).convert("RGB")
        for metric, score in example.scores.items():
            words = f"USER: IMAGE\n{scorer.pack.user_turn(metric, pair.caption)} ASSISTANT: "
            why = example.why.get(metric)
            if why:  # what looks like a control token is spelled out
                why = why.replace("<image>", "< image>").replace("</s>", "< /s>")
            whole = round(score + 1e-9)
            answer = tokens(f"{whole}\n{why}" if why else f"{whole}") + end
            logits = torch.from_numpy(plain.next_logits(image, words, answer[:-1]))
            losses.append(float(torch.nn.functional.cross_entropy(logits, torch.tensor(answer))))
    assert loss == pytest.approx(np.mean(losses), rel=1e-4)


def test_instructions_are_learned_beside_scores(folder: Path) -> None:
    scorer = load_mlm_scorer(folder)
    plain = PlainModel(folder)
    exchange = Exchange(0, PAIRS[0].key, "what is </s> this", "two dogs near the river")
    items = TrainingItems(_maker(scorer), EXAMPLES[:1], [exchange])
    assert len(items) == 2
    collate, objective = _collator(scorer), _objective(scorer)
    with torch.no_grad():
        both = float(objective(collate([items[0], items[1]])["batch"])["loss"])
        scores = float(objective(collate([items[0]])["batch"])["loss"])
    image = Image.open(io.BytesIO(PAIRS[0].image)).convert("RGB")
    answer = plain.tokenizer(" two dogs near the river", add_special_tokens=False)["input_ids"]
    answer.append(plain.tokenizer.eos_token_id)
    prompt = "USER: IMAGE\nwhat is < /s> this ASSISTANT:"
    logits = torch.from_numpy(plain.next_logits(image, prompt, tuple(answer[:-1])))
    words = float(torch.nn.functional.cross_entropy(logits, torch.tensor(answer)))
    assert both == pytest.approx((2 * scores + words) / 3, rel=1e-4)


def test_answers_are_cut_where_the_model_ends(llava: Path) -> None:
    scorer = load_mlm_scorer(llava, metrics="itm", prompts="compact")
    scorer.encoder.max_length = 60
    why = {"itm": "two small red dogs near the old harbour " * 20}
    long = Example(0, PAIRS[0].key, "a red house " * 100, {"itm": 50.0}, why)
    row = _maker(scorer, "words").annotated(long)
    # The caption gives way first, so that prompt and number fit; the rationale gets what is left.
    assert len(row.prefix) + len(row.suffixes[0]) + len(row.answers[0]) <= 60
    assert tuple(row.answers[0][:2]) == scorer.tries[0].paths[50][0]
    exchange = Exchange(0, PAIRS[0].key, "what is this " * 200, "a dog")
    items = TrainingItems(_maker(scorer), [], [exchange])
    assert items[0] == []
    batch = _collator(scorer)([items[0]])["batch"]
    choose_trainable(scorer.backbone.model, "all", is_lora=False)
    loss = _objective(scorer)(batch)["loss"]
    loss.backward()  # a batch of nothing but these ends no run
    assert loss.item() == 0.0


def test_ranking_punishes_the_wrong_order_of_captions_of_one_image(llava: Path) -> None:
    scorer = load_mlm_scorer(llava, metrics="itm,odf", prompts="compact")
    captions = ["a red house", "two dogs", "the river at night"]
    scores = [{"itm": 90.0, "odf": 10.0}, {"itm": 20.0}, {"itm": 22.0}]
    here = [Example(0, PAIRS[0].key, c, s) for c, s in zip(captions, scores, strict=True)]
    elsewhere = [Example(0, PAIRS[1].key, captions[1], {"itm": 0.0})]
    items = TrainingItems(_maker(scorer), [*here, *elsewhere], [], ranked=3)
    assert [len(item) for item in (items[0], items[1])] == [3, 1]
    batch = _collator(scorer)([items[0], items[1]])["batch"]
    # Targets: itm, odf of the first; itm of the second, third, and of the other image.
    expected = torch.tensor([30.0, 99.0, 40.0, 25.0, 80.0], requires_grad=True)
    loss = ranking_loss(expected, batch)
    softplus = torch.nn.functional.softplus(torch.tensor([(40 - 30) / 10, (25 - 30) / 10]))
    assert loss.item() == pytest.approx(float(softplus.mean()))
    loss.backward()
    assert expected.grad[0] < 0 < expected.grad[2]
    assert expected.grad[1] == expected.grad[4] == 0
    with torch.no_grad():
        plain, ranked = (_objective(scorer, w)(batch)["loss"] for w in (0.0, 0.5))
        log_p = _objective(scorer).log_probabilities(batch.scored, batch.metrics)
    wanted = float(plain) + 0.5 * float(
        ranking_loss(expected_points(log_p, torch.arange(101.0)), batch)
    )
    assert float(ranked) == pytest.approx(wanted, rel=1e-5)
    alone = _collator(scorer)([items[1]])["batch"]
    assert float(ranking_loss(torch.tensor([5.0]), alone)) == 0.0
