"""Separated fields: quotes, separators, and lines that are lost by themselves."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from pairsift.errors import PairsiftError
from pairsift.sources.delimited import check_separator
from pairsift.sources.rows import MAX_LINE_CHARACTERS, Lost, Row
from pairsift.sources.tables import TableReader, read_rows
from tests.sources.text_tables import entries_of, table, told


class TestQuotes:
    @pytest.mark.parametrize(
        ("lines", "expected"),
        [
            # Never closed.
            (['a.jpg,"open', "b.jpg,x", "c.jpg,y"], [2, "x", "y"]),
            (["a.jpg,x", 'b.jpg,"open'], ["x", 3]),
            (['"a.jpg,x', "b.jpg,y"], [2, "y"]),
            # Closed by a quote that belongs to another row.
            (['a.jpg,"open', "b.jpg,x", 'c.jpg,a 12 inch" ruler'], [2, "x", 'a 12 inch" ruler']),
            (['a.jpg,"open', 'b.jpg,"closed"', "c.jpg,y"], [2, "closed", "y"]),
            (['a.jpg,"open', 'b.jpg,ends"', "c.jpg,y"], [2, 'ends"', "y"]),
            (['a.jpg,"open', 'b.jpg,"open too', "c.jpg,y"], [2, 3, "y"]),
            (['a.jpg,"', 'b.jpg,"', "c.jpg,y"], [2, 3, "y"]),
            (['a.jpg,"open, with a comma', 'b.jpg,"ends, here"'], [2, "ends, here"]),
            # Text behind a closing quote.
            (['a.jpg,"big" dog', "b.jpg,x"], [2, "x"]),
            # Legal.
            (['a.jpg,"x, y"', 'b.jpg,"say ""hi"""', 'c.jpg,""'], ["x, y", 'say "hi"', ""]),
            (['a.jpg,"one\ntwo\n\nthree"', "b.jpg,x"], ["one\ntwo\n\nthree", "x"]),
            (['a.jpg,"one\r\ntwo, with a comma"', "b.jpg,x"], ["one\r\ntwo, with a comma", "x"]),
            (['a.jpg,"one\n""two""\n"', "b.jpg,x"], ['one\n"two"\n', "x"]),
            (['a.jpg,"one\nsee b.jpg, too"', "c.jpg,y"], ["one\nsee b.jpg, too", "y"]),
            (['a.jpg,5" x 7" print', 'b.jpg,"x"'], ['5" x 7" print', "x"]),
        ],
    )  # fmt: skip
    def test_csv(self, tmp_path: Path, lines: list[str], expected: list[Any]) -> None:
        assert told(table(tmp_path, lines)) == expected

    def test_the_image_may_stand_last(self, tmp_path: Path) -> None:
        lines = ['"open,a.jpg', 'ends",b.jpg', '"two\nlines",c.jpg', "y,d.jpg"]
        path = table(tmp_path, lines, header="caption,image")
        assert told(path) == [2, 'ends"', "two\nlines", "y"]

    @pytest.mark.parametrize(
        "keys",
        [("000000011", "000000012", "000000090"), ("391895", "522418", "184613"),
         ("img_0001", "img_0002", "img_0003")],
    )  # fmt: skip
    def test_keys_tell_rows_apart_as_names_do(self, tmp_path: Path, keys: tuple[str, ...]) -> None:
        lines = [f'{keys[0]},"open', f'{keys[1]},ends"', f'{keys[2]},"in 1999\n12, or 7, rooms"']
        path = table(tmp_path, lines, header="image_id,caption")
        assert told(path) == [2, 'ends"', "in 1999\n12, or 7, rooms"]

    def test_tabs_have_no_quoting(self, tmp_path: Path) -> None:
        lines = ['a.jpg\t"open', 'b.jpg\t"x"', 'c.jpg\t12" ruler', "d.jpg\tone\ttoo many", "e.jpg"]
        path = table(tmp_path, lines, "t.tsv")
        assert told(path) == ['"open', '"x"', '12" ruler', 5, 6]

    def test_a_loss_says_why(self, tmp_path: Path) -> None:
        lines = ["a.jpg", "b.jpg,x,y", 'c.jpg,"x" y', 'd.jpg,"x']
        words = [e.why for e in entries_of(table(tmp_path, lines)) if isinstance(e, Lost)]
        assert words[0].startswith("too few fields: 1 instead of 2")
        assert words[1].startswith("too many fields: 3 instead of 2")
        assert words[2].startswith("text follows a closing quote")
        assert words[3] == "a quote is opened and not closed"

    def test_what_is_counted(self, tmp_path: Path) -> None:
        lines = ['a.jpg,"one\ntwo"', "", "b.jpg", "c.jpg,x"]
        with TableReader(str(table(tmp_path, lines))) as reader:
            assert len(list(reader)) == 3
        assert (reader.lines, reader.rows, reader.lost, reader.spanning) == (6, 2, 1, 1)
        assert reader.counts() == (
            "6 lines, 2 rows, 1 of them over several lines, 1 lines that are not rows"
        )

    @pytest.mark.slow
    def test_an_unclosed_quote_is_not_looked_for_without_end(self, tmp_path: Path) -> None:
        filler = [f"{number} words that name no image, as in notes" for number in range(60_000)]
        path = table(tmp_path, ['a.jpg,"open', *filler, "b.jpg,y"])
        entries = entries_of(path)
        assert isinstance(entries[0], Lost)
        assert "within" in entries[0].why
        assert len(entries) == 60_002


# Cells of anything but what ends a line for this reader; quotes and separators are frequent.
_CELL = st.text(st.sampled_from('ab",;\t .\u4e2d') | st.characters(
        exclude_characters="\n\r\ufeff", exclude_categories=["Cs"]
    ),
                max_size=12)  # fmt: skip


class TestProperties:
    @pytest.mark.slow
    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.lists(_CELL, min_size=1, max_size=4), max_size=8), st.sampled_from([",", "\t"])
    )
    def test_every_line_is_a_row_or_a_loss(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], separator: str
    ) -> None:
        path = tmp_path_factory.mktemp("t") / ("t.tsv" if separator == "\t" else "t.csv")
        lines = [separator.join(cells) for cells in rows]
        path.write_bytes("\n".join([f"image{separator}caption", *lines]).encode() + b"\n")
        with TableReader(str(path), separator) as reader:
            entries = list(reader)
        assert reader.lines == len(lines) + 1
        filled = [number for number, line in enumerate(lines, start=2) if line.strip(" ")]
        met = [entry.line for entry in entries]
        assert met == sorted(set(met))
        assert set(met) <= set(filled)
        # Lines that begin no entry lie in the quoted field of the row in front of them.
        for number in set(filled) - set(met):
            owner = max((e for e in entries if e.line < number), key=lambda e: e.line)
            assert isinstance(owner, Row)
            assert any("\n" in cell for cell in owner.fields.values())

    @pytest.mark.slow
    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.tuples(_CELL, st.text(
        st.sampled_from('ab",\n\r ') | st.characters(exclude_characters="\ufeff",
                                                    exclude_categories=["Cs"]), max_size=20)),
        max_size=8))  # fmt: skip
    def test_what_csv_writers_write_is_read_back(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
    ) -> None:
        path = tmp_path_factory.mktemp("t") / "t.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(["key", "caption"])
            try:
                writer.writerows(rows)
            except csv.Error:  # Python 3.10's cannot write a NUL
                reject()
        read = [tuple(row.values()) for row in read_rows(str(path))]
        assert read == rows


class TestSeparators:
    @pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
    @pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt"])
    def test_the_separator_is_found(self, tmp_path: Path, separator: str, name: str) -> None:
        path = tmp_path / name
        rows = [["File_Name ", " Caption"], ["a.jpg", "a dog"], ["b.jpg", "two dogs"]]
        path.write_text("\n".join(separator.join(row) for row in rows))
        assert [row["caption"] for row in read_rows(str(path), ("caption",))] == [
            "a dog",
            "two dogs",
        ]

    @pytest.mark.parametrize("named", [";", "semicolon", "SEMICOLON"])
    def test_or_given(self, tmp_path: Path, named: str) -> None:
        path = table(tmp_path, ["a,b;x"], header="what,ever;caption")
        assert read_rows(str(path), separator=named) == [{"what,ever": "a,b", "caption": "x"}]

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [("pipe", "the separator seems to be ','"), ("ab", "give one char"), ('"', "one char")],
    )
    def test_a_wrong_one_is_told(self, tmp_path: Path, wrong: str, words: str) -> None:
        with pytest.raises(PairsiftError, match=words):
            read_rows(str(table(tmp_path, ["a.jpg,x"])), separator=wrong)


class TestNamedSeparators:
    @pytest.mark.parametrize(
        ("given", "character"),
        [
            (None, None), ("comma", ","), ("Tab", "\t"), (r"\t", "\t"), ("pipe", "|"), (";", ";"),
            ("\t", "\t"), ("\u00a6", "\u00a6"),
        ],
    )  # fmt: skip
    def test_one_character_or_its_name(self, given: str | None, character: str | None) -> None:
        assert check_separator(given) == character

    @pytest.mark.parametrize("given", ["", "ab", "\n", "\r", '"', "commas"])
    def test_others_are_refused(self, given: str) -> None:
        with pytest.raises(PairsiftError, match="give one character, or comma, tab, semicolon"):
            check_separator(given)


class TestHeaders:
    def test_a_table_without_a_line_has_no_columns(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("")
        with TableReader(str(tmp_path / "t.csv")) as reader:
            assert (reader.columns, list(reader)) == ([], [])

    def test_names_may_be_quoted_and_hold_the_separator(self, tmp_path: Path) -> None:
        path = table(tmp_path, ["a.jpg,x"], header='"image", "the ""caption"", in words"')
        with TableReader(str(path)) as reader:
            assert reader.columns == ["image", '"the ""caption""', 'in words"']
        path = table(tmp_path, ["a.jpg,x"], header='image,"the ""caption"", in words"')
        with TableReader(str(path)) as reader:
            assert reader.columns == ["image", 'the "caption", in words']

    def test_a_quote_that_is_not_closed_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(PairsiftError, match=r"t\.csv, line 1: the line of column names has a"):
            entries_of(table(tmp_path, ["a.jpg,x"], header='image,"caption'))

    def test_a_given_separator_may_leave_one_column(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("caption\na, b\n")
        assert told(tmp_path / "t.csv", separator=";") == ["a, b"]


def test_a_line_of_many_megabytes_is_lost_with_what_was_read(tmp_path: Path) -> None:
    path = table(tmp_path, [f"a.jpg,{'x' * MAX_LINE_CHARACTERS}y", "b.jpg,y"])
    long, row = entries_of(path)
    assert isinstance(long, Lost)
    assert long.too_long
    assert long.fields["image"] == "a.jpg"
    assert long.fields["caption"].startswith("xxx")
    assert isinstance(row, Row)
