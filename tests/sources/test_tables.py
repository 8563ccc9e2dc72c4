"""Every line of a table is a row or a told loss."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.sources.rows import Lost, Row
from pairsift.sources.tables import TableReader, read_rows
from tests.samples import damage
from tests.sources.text_tables import entries_of, table, told


class TestEncodings:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
    @pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
    def test_byte_order_marks(self, tmp_path: Path, encoding: str, name: str) -> None:
        captions = ["一只狗 🐕", "café", 'say "x"']
        if name.endswith("jsonl"):
            text = "".join(json.dumps({"caption": c}, ensure_ascii=False) + "\n" for c in captions)
        else:
            file = io.StringIO()
            separator = "\t" if name.endswith("tsv") else ","
            quoting = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
            writer = csv.writer(file, delimiter=separator, quoting=quoting, quotechar=None
                                if separator == "\t" else '"')  # fmt: skip
            writer.writerows([["image", "caption"], *(["a.jpg", c] for c in captions)])
            text = file.getvalue()
        (tmp_path / name).write_bytes(text.encode(encoding))
        assert told(tmp_path / name) == captions

    @pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
    def test_utf_16_without_a_mark_is_told_or_given(self, tmp_path: Path, order: str) -> None:
        (tmp_path / "t.csv").write_bytes("image,caption\na.jpg,犬\n".encode(order))
        with pytest.raises(PairsiftError, match=f"--encoding {order}"):
            read_rows(str(tmp_path / "t.csv"))
        assert told(tmp_path / "t.csv", encoding=order) == ["犬"]

    def test_other_encodings_only_if_given(self, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        path.write_bytes("image,caption\na.jpg,ok\nb.jpg,café\n".encode("latin-1"))
        with pytest.raises(PairsiftError, match=r"t\.csv, line 3: not UTF-8 .*--encoding"):
            read_rows(str(path))
        assert told(path, encoding="latin-1") == ["ok", "café"]
        path.write_bytes("image,légende,caption\n".encode("latin-1"))
        with pytest.raises(PairsiftError, match="column names are not UTF-8"):
            read_rows(str(path))

    def test_a_wrong_encoding_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        path.write_bytes("image,caption\na.jpg,x\n".encode("utf-16"))
        for wrong in ("latin-1", "utf-8"):
            with pytest.raises(PairsiftError, match="byte order mark of utf-16"):
                read_rows(str(path), encoding=wrong)
        path.write_bytes(b"image,caption\na.jpg,x\n")
        with pytest.raises(PairsiftError, match="does not look like utf-16"):
            read_rows(str(path), encoding="utf-16")
        path.write_bytes("image,caption\na.jpg,x\n".encode("utf-16-be"))
        assert told(path, encoding="UTF-16") == ["x"]
        with pytest.raises(PairsiftError, match="'klingon' is unknown"):
            read_rows(str(path), encoding="klingon")

    def test_damaged_utf_16_is_told_on_its_line(self, tmp_path: Path) -> None:
        data = bytearray("image,caption\na.jpg,x\nb.jpg,y\n".encode("utf-16"))
        place = bytes(data).index("x".encode("utf-16-le"))
        data[place : place + 2] = b"\x00\xd8"  # half of a pair
        (tmp_path / "t.csv").write_bytes(data)
        with pytest.raises(PairsiftError, match="line 2: not UTF-8"):
            read_rows(str(tmp_path / "t.csv"))
        assert told(tmp_path / "t.csv")[1] == "y"

    @pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
    def test_line_ends(self, tmp_path: Path, ends: str) -> None:
        lines = ["image,caption", "a.jpg,x", 'b.jpg,"y"', ""]
        (tmp_path / "t.csv").write_bytes(ends.join(lines).encode())
        assert told(tmp_path / "t.csv") == ["x", "y"]

    @pytest.mark.parametrize(("ending", "pack"), [
        (".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), ("", gzip.compress),
    ])  # fmt: skip
    @pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json"])
    def test_packed(self, tmp_path: Path, name: str, ending: str, pack: Any) -> None:
        text = {
            "t.csv": "image,caption\na.jpg,x\n",
            "t.jsonl": '{"image": "a.jpg", "caption": "x"}\n',
            "t.json": '[{"image": "a.jpg", "caption": "x"}]',
        }[name]
        (tmp_path / f"{name}{ending}").write_bytes(pack(text.encode()))
        assert told(tmp_path / f"{name}{ending}") == ["x"]

    def test_a_packed_file_that_is_cut_off_is_told(self, tmp_path: Path) -> None:
        text = "image,caption\n" + "".join(f"{n}.jpg,{n} dogs\n" for n in range(50_000))
        packed = gzip.compress(text.encode())
        (tmp_path / "t.csv.gz").write_bytes(packed[: len(packed) // 2])
        entries = entries_of(tmp_path / "t.csv.gz")
        assert isinstance(entries[-1], Lost)
        assert "damaged from here on" in entries[-1].why
        assert all(isinstance(entry, Row) for entry in entries[:-1])


class TestOtherFormats:
    def test_json_lines(self, tmp_path: Path) -> None:
        lines = ['{"caption": "x"}', "not json", "", "[1]", '{"caption": "y", "more": 1}', "3"]
        (tmp_path / "t.jsonl").write_text("\n".join(lines))
        with TableReader(str(tmp_path / "t.jsonl")) as reader:
            assert reader.columns == ["caption", "more"]
            entries = list(reader)
        assert [e.line if isinstance(e, Lost) else e.fields["caption"] for e in entries] == [
            "x", 2, 4, "y", 6,
        ]  # fmt: skip
        assert (reader.lines, reader.rows, reader.lost) == (6, 2, 3)
        with pytest.raises(PairsiftError, match=r"t\.jsonl, line 2: not JSON"):
            read_rows(str(tmp_path / "t.jsonl"))

    def test_json_list(self, tmp_path: Path) -> None:
        (tmp_path / "t.json").write_text('[{"caption": "x"}, 5, {"caption": "y"}]')
        assert told(tmp_path / "t.json") == ["x", 2, "y"]
        (tmp_path / "o.json").write_text('{"caption": "x"}')
        with pytest.raises(PairsiftError, match="a list with one object"):
            read_rows(str(tmp_path / "o.json"))

    def test_parquet_without_its_bytes(self, tmp_path: Path) -> None:
        columns = {"image": [{"bytes": b"x", "path": "p"}], "jpg": [b"x"], "caption": ["c"]}
        pq.write_table(pa.table(columns), tmp_path / "t.parquet")
        assert read_rows(str(tmp_path / "t.parquet")) == [{"caption": "c"}]
        [row] = read_rows(str(tmp_path / "t.parquet"), with_bytes=True)
        assert row["jpg"] == b"x"


class TestParquet:
    @pytest.mark.parametrize(
        "column",
        [
            pa.array([b"a", b"caf\xe9", b"c"], pa.binary()).view(pa.string()),
            pa.array([0, 2**62, 1], pa.timestamp("us")),
            pa.array([0, 1, 2], pa.timestamp("us", tz="Nowhere/Zone")),
        ],
    )
    def test_a_value_that_python_cannot_have_costs_no_row(
        self, tmp_path: Path, column: pa.Array
    ) -> None:
        content = pa.table({"caption": ["x", "y", "z"], "other": column})
        pq.write_table(content, tmp_path / "t.parquet")
        assert told(tmp_path / "t.parquet") == ["x", "y", "z"]

    def test_a_text_that_is_not_utf_8_is_kept_as_in_other_tables(self, tmp_path: Path) -> None:
        text = pa.array([b"a", b"caf\xe9", b"c"], pa.binary()).view(pa.string())
        pq.write_table(pa.table({"caption": text}), tmp_path / "t.parquet")
        (tmp_path / "t.csv").write_bytes(b"caption\na\ncaf\xe9\nc\n")
        assert told(tmp_path / "t.parquet") == told(tmp_path / "t.csv")

    @pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
    def test_each_row_of_a_damaged_group_is_told(self, tmp_path: Path, compression: str) -> None:
        path = tmp_path / "t.parquet"
        content = pa.table({"caption": [f"caption {number}" for number in range(9)]})
        pq.write_table(content, path, row_group_size=3, compression=compression)
        damage(path, 1, "caption")
        first, last = ([f"caption {n}" for n in range(*ends)] for ends in ((0, 3), (6, 9)))
        assert told(path) == [*first, 4, 5, 6, *last]
        assert all(
            "row group 1 is damaged" in entry.why
            for entry in entries_of(path)
            if isinstance(entry, Lost)
        )

    def test_two_columns_with_one_name(self, tmp_path: Path) -> None:
        columns = [pa.array(["a"]), pa.array(["b"]), pa.array(["c"])]
        path = tmp_path / "t.parquet"
        pq.write_table(pa.Table.from_arrays(columns, ["caption", "x", "x"]), path)
        assert told(path) == ["a"]
        with pytest.raises(PairsiftError, match="2 columns named 'x'"):
            read_rows(str(path), ["x"])


class TestReadRows:
    def test_long_fields_are_read_and_the_process_keeps_its_limit(self, tmp_path: Path) -> None:
        usual = csv.field_size_limit()
        path = tmp_path / "rows.csv"
        path.write_text(f"image,caption\na.jpg,{'x' * 2 * usual}\n", "utf-8")
        [row] = read_rows(str(path), ("caption",))
        assert len(row["caption"]) == 2 * usual
        assert csv.field_size_limit() == usual

    @pytest.mark.parametrize("line", ["a.jpg", "a.jpg,x,y", 'a.jpg,"x', 'a.jpg,"x" y'])
    def test_a_line_that_is_no_row_is_an_error_that_names_it(
        self, tmp_path: Path, line: str
    ) -> None:
        with pytest.raises(PairsiftError, match=r"t\.csv, line 3: "):
            read_rows(str(table(tmp_path, ["a.jpg,x", line, "b.jpg,y"])))

    def test_needed_columns_by_any_case(self, tmp_path: Path) -> None:
        path = table(tmp_path, ["a.jpg,x"], header=" IMAGE , Caption")
        assert read_rows(str(path), ("image", "caption")) == [{"image": "a.jpg", "caption": "x"}]
        with pytest.raises(PairsiftError, match="no column 'score'; it needs image, score, its"):
            read_rows(str(path), ("image", "score"))

    def test_needed_columns_by_their_usual_names(self, tmp_path: Path) -> None:
        path = table(tmp_path, ["a.jpg,x"], header="File_Name,rating")
        usual = {"image": ("image_file", "file_name"), "score": ("rating",)}
        assert read_rows(str(path), ("image", "score"), usual=usual) == [
            {"image": "a.jpg", "score": "x"}
        ]

    def test_lines_and_rows_are_told(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "pairsift.inputs")
        read_rows(str(table(tmp_path, ["a.jpg,x", "", "b.jpg,y"])))
        assert "t.csv: 4 lines, 2 rows" in caplog.text
