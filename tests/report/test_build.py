"""The whole report, read back as a browser's parser would."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.report import write_report
from pairsift.select import select
from tests.report.conftest import HOSTILE, Scored, make_scored
from tests.score_folders import score_folder, score_table

_VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """Elements, texts and attributes; fails on tags that do not close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(scored: Scored, tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("report")
    select(scored.scores, where="itm >= 40 and odf >= 10", out=folder / "kept")
    write_report(scored.scores, str(folder / "kept"), str(folder / "r.html"), "A <b>title</b>")
    return Page((folder / "r.html").read_text(encoding="utf-8"))


def test_summary_counts_equal_selects(scored: Scored, tmp_path: Path) -> None:
    selection = select(scored.scores, where="itm >= 40 and odf >= 10", out=tmp_path / "kept")
    out = tmp_path / "new" / "r.html"
    summary = write_report(scored.scores, str(tmp_path / "kept"), str(out), gallery_size=4)
    assert summary.kept == selection.kept
    assert (summary.rows, summary.failed) == (90, 9)
    assert summary.dropped == 81 - selection.kept
    assert summary.pictures > 10
    assert summary.without_picture == 0
    assert summary.size == out.stat().st_size
    assert os.listdir(out.parent) == ["r.html"]


def test_nothing_out_of_the_data_becomes_markup(page: Page) -> None:
    scripts = page.named("script")
    assert [s.get("type") for s in scripts] == ["application/json", None]
    assert not any(name.startswith("on") for _, a in page.elements for name in a)
    assert {a["src"][:16] for a in page.named("img") if a["src"]} == {"data:image/jpeg;"}
    text = "".join(page.texts)
    assert HOSTILE[0] in text
    assert HOSTILE[1] in text
    assert "de<b>" in text
    assert "A <b>title</b>" in text
    assert "cut off <here>" in text


def test_no_request_is_possible(page: Page) -> None:
    policy = next(m["content"] for m in page.named("meta") if m.get("http-equiv"))
    assert policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (name, value)


def test_pictures_are_described_by_their_captions(page: Page, scored: Scored) -> None:
    alts = [a["alt"] for a in page.named("img")]
    assert all(alts)
    assert HOSTILE[0] in alts
    assert all(len(alt or "") <= 201 for alt in alts)


def test_reasons_name_the_conditions(page: Page) -> None:
    text = " ".join(page.texts)
    for words in ("itm >= 40", "odf >= 10", "image_corrupt", "the image bytes cannot be decoded"):
        assert words in text


def test_without_a_selection(scored: Scored, tmp_path: Path) -> None:
    summary = write_report(scored.scores, None, str(tmp_path / "r.html"), gallery_size=2)
    assert (summary.kept, summary.dropped) == (81, 0)
    text = " ".join(Page((tmp_path / "r.html").read_text()).texts)
    assert "no selection has been made" in text
    assert "Just dropped" not in text


@pytest.mark.slow
def test_same_inputs_same_galleries(scored: Scored, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(scored.scores, None, str(tmp_path / name), "same", seed=3)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_report(scored.scores, None, str(tmp_path / "c"), "same", seed=4)
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_shards_gone_since_scoring(tmp_path: Path) -> None:
    scored = make_scored(tmp_path, shards=1)
    (tmp_path / "shards" / "00000000.tar").unlink()
    summary = write_report(scored.scores, None, str(tmp_path / "r.html"))
    assert summary.pictures == 0
    assert summary.without_picture > 0


def test_no_pictures_asked_reads_no_source(tmp_path: Path) -> None:
    scored = make_scored(tmp_path, shards=1)
    (tmp_path / "shards" / "00000000.tar").unlink()
    summary = write_report(scored.scores, None, str(tmp_path / "r.html"), gallery_size=0)
    assert (summary.pictures, summary.without_picture) == (0, 0)


def test_only_failures(tmp_path: Path) -> None:
    from pairsift.pair import Status

    table = score_table("a", ["1"], {"itm": [None]}, statuses=[Status.IMAGE_MISSING])
    scores = score_folder(tmp_path / "s", {"a": table})
    summary = write_report(scores, None, str(tmp_path / "r.html"))
    assert (summary.rows, summary.kept, summary.failed) == (1, 0, 1)


def test_selection_of_other_scores_is_refused(scored: Scored, tmp_path: Path) -> None:
    table = score_table("a", ["1", "2"], {"itm": [1.0, 2.0]})
    other = score_folder(tmp_path / "o", {"a": table}, fingerprint={"scorer": "another"})
    select(other, where="itm >= 1", out=tmp_path / "kept")
    with pytest.raises(PairsiftError, match="other scores"):
        write_report(scored.scores, str(tmp_path / "kept"), str(tmp_path / "r.html"))
    same = score_folder(tmp_path / "same", {"a": table})
    select(same, where="itm >= 1", out=tmp_path / "kept2")
    with pytest.raises(PairsiftError, match="give the folders it was made from"):
        write_report(scored.scores, str(tmp_path / "kept2"), str(tmp_path / "r.html"))
    assert not (tmp_path / "r.html").exists()


def test_no_scores_there(tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match="pairsift score"):
        write_report(str(tmp_path), None, str(tmp_path / "r.html"))


def test_two_selections(scored: Scored, tmp_path: Path) -> None:
    select(scored.scores, where="itm >= 40", out=tmp_path / "a")
    select(scored.scores, top=0.5, by="odf", out=tmp_path / "b")
    out = tmp_path / "r.html"
    write_report(
        scored.scores, str(tmp_path / "a"), str(out), gallery_size=3, compare=str(tmp_path / "b")
    )
    text = " ".join(Page(out.read_text()).texts)
    for words in ("Side by side", "top 50% by odf", "Only itm >= 40", "kept by both"):
        assert words in text
    with pytest.raises(PairsiftError, match="--selection"):
        write_report(scored.scores, None, str(out), compare=str(tmp_path / "b"))
