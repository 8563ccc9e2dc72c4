"""The reference teacher's targets order captions as their definitions say."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from pairsift.errors import PairsiftError
from pairsift.teach.candidates import (
    DEFAULT_PLAN,
    Candidate,
    CandidateMaker,
)
from pairsift.teach.edits import CORRUPTIONS, order, with_order
from pairsift.teach.embed import HashingVectorizer, load_embedder
from pairsift.teach.items import Item
from pairsift.teach.lexicon import stems
from pairsift.teach.reference import (
    ReferenceTeacher,
    Scale,
    detail_score,
    looks,
    reference_similarity,
    understanding_score,
)
from tests.teach.scenes import ITEMS, SCENES


def _teacher() -> ReferenceTeacher:
    return ReferenceTeacher(ITEMS, HashingVectorizer())


def test_similarity_is_mean_and_maximum() -> None:
    references = np.eye(3, dtype=np.float32)[:2]
    captions = np.array([[1, 0, 0], [0, 0, 1], [0.6, 0.8, 0]], np.float32)
    assert reference_similarity(captions, references).tolist() == pytest.approx([0.75, 0, 0.75])


def test_the_scale_is_a_line_through_its_two_medians() -> None:
    scale = Scale(random=0.1, true=0.5)
    assert [scale(s) for s in (0.1, 0.5, 0.3)] == pytest.approx([5, 85, 45])
    assert scale(-1) == 0
    assert scale(2) == 100


def test_records_of_every_kind_are_ordered_as_they_should_be() -> None:
    teacher = _teacher()
    kinds = defaultdict(list)
    for seed in range(12):
        maker = CandidateMaker(ITEMS, DEFAULT_PLAN, teacher.means, ["Buy cheap flights"], seed)
        for record in teacher.annotate(maker):
            kinds[record.kind].append(record.scores)
            assert record.error is None
            assert all(0 <= value <= 100 for value in record.scores.values())
    wanted = {"own", "near", "random", "brief", "vague", "alt_text", "boilerplate", "file_name"}
    assert wanted <= set(kinds)
    assert {kind for kind in kinds if kind.startswith("swap_")} >= {"swap_object", "swap_attribute"}
    assert set(CORRUPTIONS) <= set(kinds)

    def mean(kind: str, metric: str) -> float:
        return float(np.mean([scores[metric] for scores in kinds[kind]]))

    assert mean("own", "itm") > mean("swap_attribute", "itm") > mean("random", "itm") + 15
    assert mean("own", "itm") > mean("brief", "itm") > mean("file_name", "itm")
    assert mean("detail_true", "odf") > mean("own", "odf") > mean("brief", "odf")
    assert mean("detail_true", "itm") > mean("detail_false", "itm")
    assert mean("named", "su") > mean("own", "su") + 15
    assert mean("named", "itm") > mean("random", "itm")
    assert mean("own", "ctq") > 90 > mean("shouted", "ctq") > mean("shuffled", "ctq")
    assert mean("random", "ctq") == mean("own", "ctq")  # text quality does not look at the image
    assert max(scores["ctq"] for scores in kinds["boilerplate"]) < 20


def test_an_order_buys_nothing() -> None:
    teacher, base = _teacher(), SCENES["band"][0]
    plain = Candidate(0, base, "random", base)
    rng = np.random.default_rng(5)
    for _ in range(40):
        ordered = Candidate(0, with_order(base, rng), "order", base)
        without, told = teacher.annotate([plain, ordered])
        assert told.scores["itm"] == without.scores["itm"]
        assert told.scores["odf"] <= without.scores["odf"]
        assert told.scores["ctq"] < 30
    (alone,) = teacher.annotate([Candidate(0, order(rng), "order", kept=0.0)])
    assert alone.scores["itm"] <= 5


def test_an_own_caption_is_judged_by_the_others() -> None:
    odd = Item("odd.jpg", ("A green tractor", "A dog runs", "The dog is running"))
    teacher = ReferenceTeacher([odd, *ITEMS], HashingVectorizer())
    texts = odd.captions
    records = list(teacher.annotate(Candidate(0, t, "own", t, n) for n, t in enumerate(texts)))
    assert records[0].scores["itm"] == 60  # unlike the others, but a person wrote it
    assert records[1].scores["itm"] > 80


def test_details_count_when_somebody_confirms_them() -> None:
    known = stems(["A brown dog runs on the beach with a red ball"])
    right = detail_score("brown dog with red ball", known, 80)
    wrong = detail_score("black dog with green ball", known, 80)
    assert right > wrong > detail_score("black cat with green stick", known, 10)
    assert detail_score("dog", known, 80) < right
    assert detail_score("", known, 80) == 0


def test_knowledge_is_what_pixels_do_not_show() -> None:
    plain = understanding_score("Two people stand on grass", 80)
    known = understanding_score("The bride and groom at their wedding in Paris, May 2014", 80)
    assert known > 70 > 20 > plain
    assert understanding_score("The bride at her wedding in Paris", 0) < 15
    text = "a dog runs While two dogs sleep"
    capital = Candidate(0, text, "shuffled", text.lower(), 0)
    plain = Candidate(0, text.lower(), "shuffled", text.lower(), 0)
    one, two = _teacher().annotate([capital, plain])
    assert one.scores["su"] == two.scores["su"]


def test_looks_of_unknown_text() -> None:
    sentence = looks("a small dog sits on the grass next to a ball")
    assert sentence > looks("Dog Toy Ball XL | FREE SHIPPING | SKU 48102") > looks("IMG_0012.jpg")


def test_what_it_cannot_teach_is_said() -> None:
    with pytest.raises(PairsiftError, match="1 of 5 images have one caption only.*alone.jpg"):
        ReferenceTeacher([*ITEMS, Item("alone.jpg", ("one",))], HashingVectorizer())
    alike = [Item(f"{i}.jpg", ("the same words", "the same words")) for i in range(4)]
    with pytest.raises(PairsiftError, match="hardly more alike"):
        ReferenceTeacher(alike, HashingVectorizer())
    with pytest.raises(PairsiftError, match="no embedder"):
        load_embedder("nope")
