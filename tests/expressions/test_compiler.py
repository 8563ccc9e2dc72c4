"""What users may write behind --where and --by."""

from __future__ import annotations

import duckdb
import pytest

from pairsift.errors import PairsiftError
from pairsift.expressions.compiler import compile_expression
from pairsift.expressions.parsing import split_conditions
from pairsift.expressions.terms import Kind, column_term, quoted, ranking

COLUMNS = {
    name: column_term(name, f'"{name}"', kind)
    for name, kind in {
        "itm": "FLOAT", "odf": "FLOAT", "width": "INTEGER", "height": "INTEGER",
        "language": "VARCHAR", "clip.score": "DOUBLE",
    }.items()
}  # fmt: skip


def _value(text: str, **row: object) -> object:
    """The expression's value over one row, worked out by DuckDB."""
    types = {"itm": "FLOAT", "odf": "FLOAT", "width": "INTEGER", "height": "INTEGER",
             "language": "VARCHAR", "clip.score": "DOUBLE"}  # fmt: skip
    values = ", ".join(
        f'CAST({"NULL" if row.get(name) is None else repr(row[name])} AS {kind}) AS "{name}"'
        for name, kind in types.items()
    )
    term = compile_expression(text, COLUMNS, "--where")
    sql = ranking(term) if term.kind is Kind.NUMBER else term.sql
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT {sql} FROM (SELECT {values})").fetchall()[0][0]


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("itm >= 66 and odf >= 20", {"itm": 66, "odf": 20}, True),
        ("itm >= 66 AND odf >= 20", {"itm": 66, "odf": 19.5}, False),
        ("itm >= 66 or odf >= 20", {"itm": 1, "odf": 30}, True),
        ("NOT itm < 50", {"itm": 50}, True),
        ("20 <= itm < 66", {"itm": 66}, False),
        ("itm = 5", {"itm": 5}, True),
        ("itm <> 5", {"itm": 5}, False),
        ("0.5*itm + 0.5*odf", {"itm": 10, "odf": 20}, 15.0),
        ("width * height", {"width": 100_000, "height": 100_000}, 1e10),
        ("itm / odf", {"itm": 1, "odf": 0}, None),
        ("sqrt(itm)", {"itm": -1}, None),
        ("log(itm)", {"itm": 0}, None),
        ("2 ** 10", {}, 1024.0),
        ("7 % 4", {}, 3.0),
        ("-itm", {"itm": 3}, -3.0),
        ("max(itm, odf)", {"itm": 3, "odf": 4}, 4.0),
        ("min(itm, odf)", {"itm": 3, "odf": None}, None),
        ("coalesce(itm, odf, 7)", {}, 7.0),
        ('language in ("en", "de")', {"language": "de"}, True),
        ("language not in ('en', 'de')", {"language": "fr"}, True),
        ("language = 'it''s'", {"language": "en"}, False),
        ("startswith(lower(language), 'e')", {"language": "EN"}, True),
        ("length(language) > 1", {"language": "en"}, True),
        ("itm is null", {}, True),
        ("itm is not null", {}, False),
        ("clip.score > 0.3", {"clip.score": 0.31}, True),
    ],
)
def test_expressions_give_their_values(text: str, row: dict[str, object], expected: object) -> None:
    assert _value(text, **row) == expected


@pytest.mark.parametrize("text", ["itm >= 66", "not itm >= 66", "itm > odf", "itm <> 3"])
def test_null_is_never_true(text: str) -> None:
    assert _value(text) is None


@pytest.mark.parametrize("text", ["itm >= 66", "itm + 1 >= 66", "abs(itm) > 1", "-itm > -1"])
def test_nan_is_null(text: str) -> None:
    assert _value(text, itm="nan") is None


def test_a_decimal_number_is_rounded_to_float32_as_stored_scores_are() -> None:
    assert _value("itm >= 66.1", itm=66.1) is True  # the double 66.1 lies above the float32


@pytest.mark.parametrize(
    "text",
    [
        "itm >= 66; DROP TABLE pool",
        "(SELECT 1)",
        "read_text('/etc/passwd') = 'x'",
        "itm >= (lambda: 1)()",
        "__import__('os').system('true')",
        "[x for x in (1, 2)]",
        "itm if odf else 1",
        "language[0] = 'e'",
        "f'{itm}'",
        "itm -- comment",
        "itm >= 1e999",
        "b'x' = language",
        "itm == None",
        "itm @ odf",
        "~width > 1",
        "language := 'en'",
        "",
        "(" * 500 + "itm" + ")" * 500,
        "itm\0 > 1",
        "p70(itm) > 1",
    ],
)
def test_anything_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(PairsiftError, match="--where"):
        compile_expression(text, COLUMNS, "--where")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ittm > 1", r"no column 'ittm' \(did you mean itm\?\).*itm, odf, width"),
        ("itm >= 'high'", "is text; a number is needed"),
        ("itm and odf > 1", "`itm` is a number; a condition is needed"),
        ("language + 1 > 2", "`language` is text; a number is needed"),
        ("squish(itm) > 1", "no function 'squish'; there are abs"),
        ("abs(itm, odf) > 1", r"abs\(\) takes 1 argument\(s\), not 2"),
        ("itm between 1 and 2", "instead of BETWEEN"),
        ("itm >", "not an expression"),
    ],
)
def test_messages_say_what_and_what_to_do(text: str, message: str) -> None:
    with pytest.raises(PairsiftError, match=message):
        compile_expression(text, COLUMNS, "--where")


def test_quotes_in_text_stay_text() -> None:
    assert _value('language = "\'; DROP TABLE x; --"', language="en") is False


ODD = {
    name: column_term(name, quoted(name), kind)
    for name, kind in {
        "clip-score": "FLOAT", "aesthetic score": "DOUBLE", "5star": "INTEGER", "class": "VARCHAR",
        'say "hi"': "VARCHAR", "meta.my day": "DATE", "größe": "INTEGER", "tags": "VARCHAR[]",
        "is-good": "BOOLEAN", "itm": "FLOAT",
    }.items()
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ('"clip-score" > 20', '"clip-score"'),
        ('0.5 * "aesthetic score" + itm', '"aesthetic score"'),
        ('"5star" >= 4', '"5star"'),
        ("\"class\" != 'dog'", '"class"'),
        ('"say \\"hi\\"" != "x"', '"say ""hi"""'),
        ('"meta.my day" >= "2024-01-31"', '"meta.my day"'),
        ("größe > 3", '"größe"'),
        ('p70("clip-score") < itm', "0.5e0"),
        ("tags is not null", '"tags"'),
        # Alone, a name needs no quotes.
        ("clip-score", '"clip-score"'),
        ("aesthetic score", '"aesthetic score"'),
        ("is-good", '"is-good"'),
    ],
)
def test_odd_names_in_double_quotes(text: str, sql: str) -> None:
    term = compile_expression(text, ODD, "--where", lambda *_: 0.5)
    assert sql in term.sql
    assert split_conditions(text, ODD) == [text]


@pytest.mark.parametrize("text", ["'clip-score' = 'x'", 'language = "class"'])
def test_quoted_texts_are_not_taken_for_columns(text: str) -> None:
    columns = {**COLUMNS, "clip-score": column_term("clip-score", '"clip-score"', "FLOAT")}
    assert compile_expression(text, columns, "--where").columns <= {"language"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("clip-score > 20", 'in double quotes: "clip-score"'),
        ("aesthetic score > 20", 'in double quotes: "aesthetic score"'),
        ("5star > 2", 'in double quotes: "5star"'),
        ("'aesthetic score' > 20", "a number; text is needed"),
        ('"itm" > 20', "the column itm is written without quotes"),
        ("lengthy > 20", '"meta.my day"'),
        ("tags = 'x'", "only `is null` can be asked"),
        ("tags > 3", "only `is null` can be asked"),
    ],
)
def test_a_name_with_wrong_quotes_is_explained(text: str, told: str) -> None:
    with pytest.raises(PairsiftError) as error:
        compile_expression(text, ODD, "--where")
    assert told in str(error.value)
