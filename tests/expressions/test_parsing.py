"""Expressions in SQL's and Python's spellings."""

from __future__ import annotations

import ast

import pytest

from pairsift.errors import PairsiftError
from pairsift.expressions.parsing import is_bare, parse, split_conditions, written_name
from pairsift.expressions.terms import column_term


def test_conditions_split_at_the_top_only() -> None:
    text = "itm >= 66 AND (odf > 1 or su > 2) and not ctq < 3"
    assert split_conditions(text) == ["itm >= 66", "odf > 1 or su > 2", "not ctq < 3"]
    assert split_conditions("a > 1 or b > 2") == ["a > 1 or b > 2"]


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("itm = 5 and odf <> 3", ["itm == 5", "odf != 3"]),
        ("a is NULL and b = TRUE", ["a is null", "b == true"]),
        ("a = 'x and y' and b = \"null\"", ["a == 'x and y'", 'b == "null"']),
        ("größe > 3 and 名前 = '犬 and 猫'", ["größe > 3", "名前 == '犬 and 猫'"]),
        ("itm > 1\n  and odf > 2", ["itm > 1", "odf > 2"]),
    ],
)
def test_a_condition_is_told_as_it_was_written(text: str, conditions: list[str]) -> None:
    assert split_conditions(text) == conditions


def test_a_columns_name_alone_is_one_condition() -> None:
    columns = {"good and true": column_term("good and true", '"good and true"', "BOOLEAN")}
    assert split_conditions(" good and true ", columns) == ["good and true"]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("A AND B OR NOT C", "A and B or not C"),
        ("a IS NOT NULL", "a is not None"),
        ("a NOT IN (1, 2)", "a not in (1, 2)"),
        ("a = TRUE", "a == True"),
        ("a = 'NULL and TRUE'", "a == 'NULL and TRUE'"),
        ("a <= b <> c >= d", "a <= b != c >= d"),
        # A keyword that is a part of a name is none.
        ("android > Origin + isnull", "android > Origin + isnull"),
        ("名IN > 1", "名IN > 1"),
        ("éAND > ñnull", "éAND > ñnull"),
        ("कीIS > 1", "कीIS > 1"),
    ],
)
def test_sqls_spellings_are_those_of_python(text: str, same: str) -> None:
    tree, source = parse(text, "--where")
    assert ast.dump(tree) == ast.dump(ast.parse(same, mode="eval").body)
    assert source == same


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a between 1 and 2", "write 20 <= itm <= 60 instead of BETWEEN"),
        ("a Between 1 and 2", "instead of BETWEEN"),
        ("a > 1 " + " " * 10_000, "--by is longer than 10000 characters"),
        ("", "is not an expression"),
        ("   \n ", "is not an expression"),
        ("a = 'x", "is not an expression"),
        ("a > 1;", "is not an expression"),
        ("a\0", "is not an expression"),
        ("(" * 300 + "a" + ")" * 300, "is not an expression"),
    ],
    ids=lambda text: text.strip()[:20],
)
def test_what_is_no_expression_is_refused(text: str, words: str) -> None:
    with pytest.raises(PairsiftError, match=words):
        parse(text, "--by")


def test_a_hint_stands_in_the_error() -> None:
    with pytest.raises(PairsiftError, match="invalid syntax.*; quote it; write for example"):
        parse("a b", "--where", "; quote it")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("itm", "itm"),
        ("clip.score", "clip.score"),
        ("größe", "größe"),
        ("clip-score", '"clip-score"'),
        ("5star", '"5star"'),
        ("class", '"class"'),
        ("Null", '"Null"'),
        ("between", '"between"'),
        ("a.in", '"a.in"'),
        ("", '""'),
        ('say "hi"', '"say \\"hi\\""'),
        ("ﬁt", '"ﬁt"'),  # Python would read it as `fit`
    ],
)
def test_a_name_is_quoted_where_it_must_be(name: str, written: str) -> None:
    assert written_name(name) == written
    assert is_bare(name) is (written == name)
    column = parse(f"{written} > 1", "--where")[0]
    assert isinstance(column, ast.Compare)
    assert ast.unparse(column.left).strip("'") == (
        name if is_bare(name) else ast.literal_eval(written)
    )
