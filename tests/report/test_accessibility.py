"""What a reader without a mouse, without sight, or with a phone needs, checked in a browser."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from pairsift.report import write_report
from pairsift.select import select
from tests.report.conftest import Scored
from tests.support.headless import visit

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(scored: Scored, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    select(scored.scores, where="itm >= 40", out=folder / "a")
    select(scored.scores, top=0.3, by="odf", out=folder / "b")
    a, b, out = (str(folder / name) for name in ("a", "b", "r.html"))
    write_report(scored.scores, a, out, "Test", 4, compare=b)
    return (folder / "r.html").as_uri()


@pytest.mark.slow
def test_names_for_everything(browser: Any, page: str, scored: Scored) -> None:
    """Pictures, plots and controls have names; headings leave out no level; ids are unique."""
    visit(browser, page)
    unnamed = browser.execute_script(
        """
        const named = (e) => e.getAttribute("aria-label") || e.getAttribute("alt")
          || (e.getAttribute("aria-labelledby") || "")
            .split(" ").filter((id) => document.getElementById(id)).length
          || (e.labels && [...e.labels].some((l) => l.textContent.trim())) || e.textContent.trim();
        return [...document.querySelectorAll(
          "img, svg:not([aria-hidden=true]), input, button, a, section, nav, [role=region], " +
          "summary")]
          .filter((e) => !named(e)).map((e) => e.outerHTML.slice(0, 120));
        """
    )
    assert unnamed == []
    captions = set(browser.execute_script("return [...document.images].map((i) => i.alt)"))
    plain = {caption for caption in scored.captions.values() if caption.startswith("word ")}
    assert len(captions) > 10
    assert plain
    levels = browser.execute_script(
        "return [...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    ids = browser.execute_script("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    tables = browser.execute_script(
        "return [...document.querySelectorAll('th:not([scope])')].map((e) => e.outerHTML)"
    )
    assert tables == []


@pytest.mark.slow
def test_keyboard_reaches_every_control_and_shows_where_it_is(browser: Any, page: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    visit(browser, page)
    reached: set[str] = set()
    unseen: list[str] = []
    for _ in range(200):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        name, shown = browser.execute_script(
            """
            const e = document.activeElement, ring = (x) => getComputedStyle(x).outlineStyle;
            // A tab of a gallery shows its ring on its label.
            const seen = e.type === "radio" ? ring(e.nextElementSibling) : ring(e);
            return [e.id || e.className || e.tagName, seen !== "none" || e === document.body];
            """
        )
        if name in reached and name == "BODY":
            break
        if not shown:
            unseen.append(name)
        reached.add(name)
    assert {"skip", "cut-0", "cut-1", "cut-2", "best-1", "worst-1"} <= reached
    assert unseen == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 320])
def test_all_text_has_contrast_and_fits(browser: Any, page: str, scheme: str, width: int) -> None:
    """WCAG AA: 4.5 to 1 for text; 320 pixels are the narrowest window it asks for."""
    visit(browser, page, width=width, scheme=scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    poor = browser.execute_script(
        """
        const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
          .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
          .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        // A canvas reads any notation of a colour.
        const pen = Object.assign(document.createElement("canvas"), {width: 1, height: 1})
          .getContext("2d", {willReadFrequently: true});
        const rgba = (colour) => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour;
          pen.fillRect(0, 0, 1, 1); return [...pen.getImageData(0, 0, 1, 1).data]; };
        const behind = (e) => { for (; e; e = e.parentElement) {
          const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; }
          return [255, 255, 255, 255]; };
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = {};
        for (let node; (node = walker.nextNode());) {
          const e = node.parentElement;
          if (!node.textContent.trim() || !e.getClientRects().length) continue;
          const style = getComputedStyle(e);
          const ink = e.closest("svg") ? style.fill : style.color;
          const [a, b] = [light(rgba(ink)), light(behind(e))];
          const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          if (ratio < 4.5) found[`${e.tagName}.${e.getAttribute("class")}`] = ratio.toFixed(2);
        }
        return found;
        """
    )
    assert poor == {}


@pytest.mark.slow
def test_touch_targets_are_large_enough(browser: Any, page: str) -> None:
    """WCAG 2.2 AA: 24 pixels."""
    visit(browser, page, width=390)
    small = browser.execute_script(
        """
        return [...document.querySelectorAll(
          "nav a, .tabs > label, button, .slider input, summary")]
          .filter((e) => e.getClientRects().length && e.getBoundingClientRect().height < 24)
          .map((e) => [e.outerHTML.slice(0, 80), e.getBoundingClientRect().height]);
        """
    )
    assert small == []
