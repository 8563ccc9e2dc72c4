"""Compile the expressions of ``--where`` and ``--by`` into safe SQL.

The text is parsed with Python's grammar. The SQL is then built from a closed list of nodes:
existing columns, numbers, strings, comparisons, arithmetic, and/or/not and a few functions. The
text itself is never passed to the database, so an expression cannot name a file, contain a second
statement or call another function.

Write a column in double quotes if its name is not a valid identifier: ``"clip-score" > 20``. Any
other text in double quotes is a string.

Null is never true: a condition over a missing score is unknown and the row does not pass. NaN,
which databases sort above every number, is read as null.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from pairsift.errors import PairsiftError
from pairsift.expressions.parsing import QUOTED, is_bare, parse, written_name
from pairsift.expressions.terms import Columns, Kind, Term, number_sql, ranking, text_sql

Percentile = Callable[[Term, Fraction, str], float]
"""Returns the value of a percentile of a term; the name is how the user wrote it."""

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "=",
    ast.NotEq: "<>",
}
_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "{0} + {1}",
    ast.Sub: "{0} - {1}",
    ast.Mult: "{0} * {1}",
    ast.Div: "{0} / nullif({1}, 0e0)",
    ast.Mod: "{0} % nullif({1}, 0e0)",
    ast.Pow: "pow({0}, {1})",
}
_NUMBER_FUNCTIONS: dict[str, tuple[int, int | None, str]] = {
    "abs": (1, 1, "abs({0})"),
    "floor": (1, 1, "floor({0})"),
    "ceil": (1, 1, "ceil({0})"),
    "round": (1, 1, "round({0})"),
    "exp": (1, 1, "exp({0})"),
    "sqrt": (1, 1, "CASE WHEN {0} >= 0 THEN sqrt({0}) END"),
    "log": (1, 1, "CASE WHEN {0} > 0 THEN ln({0}) END"),
    "min": (2, None, "least({all})"),
    "max": (2, None, "greatest({all})"),
    "coalesce": (2, None, "coalesce({all})"),
}
_TEXT_FUNCTIONS: dict[str, str] = {
    "startswith": "starts_with({0}, {1})",
    "endswith": "ends_with({0}, {1})",
    "contains": "contains({0}, {1})",
}
_PERCENTILE = re.compile(r"^p(\d{1,2})$")
FUNCTIONS = (*_NUMBER_FUNCTIONS, *_TEXT_FUNCTIONS, "length", "lower", "p70", "percentile")


def compile_expression(
    text: str, columns: Columns, option: str, percentile: Percentile | None = None
) -> Term:
    """Compile an expression over `columns`.

    Args:
        option: name for error messages, e.g. ``--where``.
        percentile: computes the value of ``p70(term)``; if None, percentiles are refused.

    Raises:
        PairsiftError: it does not parse, or names an unknown column, function or operator; the
            message lists the known ones.
    """
    return _Compiler(text, columns, option, percentile).compile()


class _Compiler:
    def __init__(
        self, text: str, columns: Columns, option: str, percentile: Percentile | None
    ) -> None:
        self.text = text
        self.columns = columns
        self.option = option
        self.percentile = percentile

        self.source = ""

    def compile(self) -> Term:
        try:
            body, self.source = parse(self.text, self.option, self.quoting())
            return self.term(body)
        except RecursionError as error:
            raise self.error("it is nested too deeply") from error
        except PairsiftError:
            if (alone := self.columns.get(self.text.strip())) is not None:
                return alone  # if the text is only a column's name, it needs no quotes
            raise

    def error(self, what: str) -> PairsiftError:
        return PairsiftError(f'{self.option} "{self.text}": {what}{self.quoting()}')

    def quoting(self) -> str:
        """Return advice for a column that is written without the double quotes it needs."""
        bare = re.sub(QUOTED, "", self.text)
        names = [name for name in self.columns if name in bare and not is_bare(name)]
        if not names:
            return ""
        return f"; write the column in double quotes: {written_name(max(names, key=len))}"

    def term(self, node: ast.expr, wanted: Kind | None = None) -> Term:
        term = self._term(node)
        if wanted is not None and term.kind is not wanted:
            texts = [text[1:-1] for text in re.findall(QUOTED, self.text)]
            named = [name for name in texts if name in self.columns and is_bare(name)]
            hint = f" (the column {named[0]} is written without quotes)" if named else ""
            raise self.error(
                f"`{ast.unparse(node)}` is {term.kind.value}; {wanted.value} is needed there{hint}"
            )
        return term

    def _term(self, node: ast.expr) -> Term:
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, (ast.Name, ast.Attribute)):
            return self._column(node)
        if isinstance(node, ast.BoolOp):
            word = " AND " if isinstance(node.op, ast.And) else " OR "
            return _join(word, [self.term(value, Kind.BOOLEAN) for value in node.values])
        if isinstance(node, ast.UnaryOp):
            return self._unary(node)
        if isinstance(node, ast.BinOp):
            return self._arithmetic(node)
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        raise self.error(
            f"`{ast.unparse(node)}` is not allowed; use columns, numbers, comparisons, + - * / % "
            f"**, and, or, not, and the functions {', '.join(FUNCTIONS)}"
        )

    def _constant(self, node: ast.Constant) -> Term:
        value = node.value
        if isinstance(value, bool):
            return Term("TRUE" if value else "FALSE", Kind.BOOLEAN)
        if isinstance(value, (int, float)):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if not math.isfinite(number):
                raise self.error(f"the number {value} is too large")
            return Term(number_sql(number), Kind.NUMBER, constant=number)
        if isinstance(value, str):
            if value in self.columns and not is_bare(value) and self.in_double_quotes(node):
                return self.columns[value]
            return Term(text_sql(value), Kind.TEXT)
        if value is None:
            raise self.error("compare with null by `is null` or `is not null`")
        raise self.error(f"`{ast.unparse(node)}` is not a number or a text")

    def in_double_quotes(self, node: ast.Constant) -> bool:
        return (ast.get_source_segment(self.source, node) or "").startswith('"')

    def _column(self, node: ast.Name | ast.Attribute) -> Term:
        name = ast.unparse(node)
        if name in self.columns:
            return self.columns[name]
        close = difflib.get_close_matches(name, self.columns, n=1)
        hint = f" (did you mean {written_name(close[0])}?)" if close else ""
        there = ", ".join(map(written_name, self.columns))
        raise self.error(f"there is no column {name!r}{hint}; the scores have {there}")

    def _unary(self, node: ast.UnaryOp) -> Term:
        if isinstance(node.op, ast.Not):
            operand = self.term(node.operand, Kind.BOOLEAN)
            return Term(f"(NOT {operand.sql})", Kind.BOOLEAN, columns=operand.columns)
        if not isinstance(node.op, (ast.USub, ast.UAdd)):
            raise self.error(f"`{ast.unparse(node)}` is not allowed")
        operand = self.term(node.operand, Kind.NUMBER)
        sign = -1 if isinstance(node.op, ast.USub) else 1
        if operand.constant is not None:
            value = sign * operand.constant
            return Term(number_sql(value), Kind.NUMBER, constant=value)
        if sign == 1:
            return operand
        return Term(f"(- {_double(operand)})", Kind.NUMBER, columns=operand.columns)

    def _arithmetic(self, node: ast.BinOp) -> Term:
        form = _ARITHMETIC.get(type(node.op))
        if form is None:
            raise self.error(f"the operator of `{ast.unparse(node)}` is not allowed")
        left, right = (self.term(side, Kind.NUMBER) for side in (node.left, node.right))
        # Compute in double, because products of int32 could overflow and sums of float32 are
        # rounded.
        sql = form.format(_double(left), _double(right))
        return Term(f"({sql})", Kind.NUMBER, columns=left.columns | right.columns)

    def _comparison(self, node: ast.Compare) -> Term:
        parts = []
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            parts.append(self._compare_two(left, operator, right))
            left = right
        return parts[0] if len(parts) == 1 else _join(" AND ", parts)

    def _compare_two(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Term:
        if isinstance(operator, (ast.Is, ast.IsNot)):
            if not (isinstance(right, ast.Constant) and right.value is None):
                raise self.error("after `is` only null or not null can follow")
            term = self.term(left)
            word = "IS NULL" if isinstance(operator, ast.Is) else "IS NOT NULL"
            return Term(f"({ranking(term)} {word})", Kind.BOOLEAN, columns=term.columns)
        if isinstance(operator, (ast.In, ast.NotIn)):
            if not isinstance(right, (ast.Tuple, ast.List, ast.Set)) or not right.elts:
                raise self.error(
                    'after `in` a list is needed, for example language in ("en", "de")'
                )
            anyof = _join(" OR ", [self._compare_two(left, ast.Eq(), one) for one in right.elts])
            if isinstance(operator, ast.In):
                return anyof
            return Term(f"(NOT {anyof.sql})", Kind.BOOLEAN, columns=anyof.columns)
        a = self.term(left)
        b = self.term(right, a.kind)
        if a.kind is Kind.BOOLEAN:
            raise self.error("conditions can be combined with and, or, not, but cannot be compared")
        if a.kind is Kind.OTHER:
            raise self.error(f"`{ast.unparse(left)}` is {a.kind.value}")
        columns = a.columns | b.columns
        sides = [ranking(a), ranking(b)]
        if a.single and b.constant is not None:
            sides[1] = number_sql(b.constant, single=True)
        elif b.single and a.constant is not None:
            sides[0] = number_sql(a.constant, single=True)
        return Term(f"({sides[0]} {_COMPARISONS[type(operator)]} {sides[1]})", Kind.BOOLEAN,
                    columns=columns)  # fmt: skip

    def _call(self, node: ast.Call) -> Term:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise self.error(f"`{ast.unparse(node)}` is not allowed")
        name, arguments = node.func.id.lower(), node.args
        if _PERCENTILE.match(name) or name == "percentile":
            return self._percentile(name, arguments)
        if name in _NUMBER_FUNCTIONS:
            least, most, form = _NUMBER_FUNCTIONS[name]
            self._count(name, arguments, least, most)
            terms = [self.term(argument, Kind.NUMBER) for argument in arguments]
            values = [_known_double(term) for term in terms]
            sql = form.format(*values, all=", ".join(values))
            if name in ("min", "max"):  # the database's least() and greatest() ignore nulls
                anynull = " OR ".join(f"{value} IS NULL" for value in values)
                sql = f"CASE WHEN {anynull} THEN NULL ELSE {sql} END"
            return Term(f"({sql})", Kind.NUMBER, columns=_columns(terms))
        if name in _TEXT_FUNCTIONS:
            self._count(name, arguments, 2, 2)
            terms = [self.term(argument, Kind.TEXT) for argument in arguments]
            sql = _TEXT_FUNCTIONS[name].format(*(term.sql for term in terms))
            return Term(f"({sql})", Kind.BOOLEAN, columns=_columns(terms))
        if name in ("length", "lower"):
            self._count(name, arguments, 1, 1)
            term = self.term(arguments[0], Kind.TEXT)
            kind = Kind.NUMBER if name == "length" else Kind.TEXT
            sql = (
                f"CAST(length({term.sql}) AS DOUBLE)" if name == "length" else f"lower({term.sql})"
            )
            return Term(sql, kind, columns=term.columns)
        raise self.error(f"there is no function {name!r}; there are {', '.join(FUNCTIONS)}")

    def _count(
        self, name: str, arguments: Sequence[ast.expr], least: int, most: int | None
    ) -> None:
        if len(arguments) < least or (most is not None and len(arguments) > most):
            many = f"{least}" if most == least else f"at least {least}"
            raise self.error(f"{name}() takes {many} argument(s), not {len(arguments)}")

    def _percentile(self, name: str, arguments: list[ast.expr]) -> Term:
        if self.percentile is None:
            raise self.error(f"{name}() cannot be used here")
        match = _PERCENTILE.match(name)
        self._count(name, arguments, 1 if match else 2, 1 if match else 2)
        term = self.term(arguments[0], Kind.NUMBER)
        if match:
            percent = Fraction(match[1])
        else:
            constant = self.term(arguments[1], Kind.NUMBER).constant
            if constant is None or not 0 <= constant <= 100:
                raise self.error("the second argument of percentile() is a number from 0 to 100")
            percent = Fraction(repr(constant))
        written = f"{name}({', '.join(map(ast.unparse, arguments))})"
        value = self.percentile(term, percent, written)
        return Term(number_sql(value), Kind.NUMBER, constant=value)


def _columns(terms: Sequence[Term]) -> frozenset[str]:
    return frozenset().union(*(term.columns for term in terms))


def _join(word: str, terms: Sequence[Term]) -> Term:
    return Term(f"({word.join(term.sql for term in terms)})", Kind.BOOLEAN, columns=_columns(terms))


def _double(term: Term) -> str:
    return f"CAST({term.sql} AS DOUBLE)" if term.single else term.sql


def _known_double(term: Term) -> str:
    return f"CAST({ranking(term)} AS DOUBLE)" if term.single else ranking(term)
