from __future__ import annotations

import numpy as np
import pytest
import torch

from pairsift.errors import PairsiftError
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.trie import AnswerTrie, common_prefix, metric_trie, summarise
from tests.scorers.mlm.checkpoints import make_tokenizer

DIGIT = {digit: 10 + digit for digit in range(10)}
DIGIT_PATHS = [[[DIGIT[int(digit)] for digit in str(number)]] for number in range(101)]
# As the trie of a range finds it: digits behind 0 make no number.
BEHIND_ZERO = {(DIGIT[0],): set(DIGIT.values())}
ITM = METRICS["itm"]
VALUES = np.arange(101.0)


def digits_trie():
    return AnswerTrie.from_paths(DIGIT_PATHS, BEHIND_ZERO)


def test_a_digit_tokenizer_takes_twelve_nodes():
    trie = digits_trie()
    assert trie.nodes == 12
    assert trie.columns == tuple(range(10, 20))
    assert trie.tokens == (*range(10, 20), DIGIT[0])  # ten first digits, then the 0 of "10"
    assert trie.parents == (*[0] * 10, trie.tokens.index(DIGIT[1]) + 1)
    assert list(map(len, trie.beginnings)) == [0, *[1] * 10, 2]


def test_a_whole_number_tokenizer_takes_one_node():
    trie = AnswerTrie.from_paths([[[500 + number]] for number in range(101)])
    assert trie.nodes == 1
    assert len(trie.columns) == 101


def test_other_spellings_need_no_special_case():
    """Two digits a token: "100" alone takes a second one."""
    trie = AnswerTrie.from_paths([[[500 + number]] for number in range(100)] + [[[510, 500]]])
    assert trie.nodes == 2
    assert trie.tokens == (510,)


def test_the_tokenizer_is_inspected():
    digits = make_tokenizer()
    whole = make_tokenizer(whole_numbers=True)
    for tokenizer, nodes in ((digits, 12), (whole, 1)):
        trie = metric_trie(
            lambda text, tokenizer=tokenizer: tokenizer(text)["input_ids"], "score: ", ITM
        )
        assert trie.nodes == nodes
        assert tokenizer.decode(list(trie.paths[57][0])) == "57"


def test_a_space_that_belongs_to_the_number_is_found():
    """Where " 57" is one token, the answer begins before the space."""

    def encode(text):
        words = text.split(" ")
        return [1000 + len(words[0]), *(2000 + int(word) for word in words[1:])]

    trie = metric_trie(encode, "score: ", ITM)
    assert trie.paths[57] == ((2057,),)


def test_a_tokenizer_without_digits_is_refused():
    with pytest.raises(PairsiftError, match="does not know the answer '0'"):
        metric_trie(lambda text: [0] * len(text), "score: ", ITM)


def test_probabilities_follow_the_published_formulas():
    trie = digits_trie()
    vocabulary = torch.randn(trie.nodes, 40, generator=torch.manual_seed(0), dtype=torch.float64)
    log_p = vocabulary.log_softmax(-1)[:, list(trie.columns)]
    p = log_p.exp()
    found = trie.log_probabilities(log_p).exp()

    def node(digit):
        return trie.tokens.index(DIGIT[digit]) + 1

    after_ten = trie.nodes - 1
    for digit in range(10):
        assert found[digit] == pytest.approx(p[0, digit] * (1 - p[node(digit)].sum()))
    for number in set(range(11, 100)):
        first, second = divmod(number, 10)
        assert found[number] == pytest.approx(p[0, first] * p[node(first), second])
    ten = p[0, 1] * p[node(1), 0]
    assert found[10] == pytest.approx(ten * (1 - p[after_ten, 0]))
    assert found[100] == pytest.approx(ten * p[after_ten, 0])
    assert found.sum() < 1


def test_certainty_is_no_error():
    """Float32 may sum probabilities to a hair above one."""
    trie = digits_trie()
    log_p = torch.full((trie.nodes, 10), 0.1).log()
    found = trie.log_probabilities(log_p * 0.9999)
    assert torch.isfinite(found).all()


def test_summary_of_a_known_distribution():
    p = np.full(101, 1e-12)
    p[40], p[60] = 0.3, 0.1
    summary = summarise(np.log(p)[None], VALUES)
    assert summary.expected[0] == pytest.approx(45, abs=1e-6)
    assert summary.top[0] == 40
    assert summary.std[0] == pytest.approx(np.sqrt(0.75 * 25 + 0.25 * 225), abs=1e-5)
    assert summary.validity[0] == pytest.approx(0.4)


def test_summary_survives_probabilities_below_float32():
    log_p = np.full((1, 101), -2000.0)
    log_p[0, 7] = -1000.0
    summary = summarise(log_p, VALUES)
    assert summary.expected[0] == pytest.approx(7)
    assert summary.validity[0] == 0


def test_common_prefix():
    assert common_prefix([[1, 2, 3], [1, 2, 4, 5], [1, 2]]) == 2
    assert common_prefix([[1, 2, 3]]) == 3
    assert common_prefix([[1], [2]]) == 0
