"""The report in a real browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pairsift.report import aggregate, write_report
from pairsift.select import select
from tests.report.conftest import HOSTILE, Scored
from tests.support.headless import console, requests, visit

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(scored: Scored, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    select(scored.scores, where="itm >= 40 and odf >= 10", out=folder / "kept")
    write_report(scored.scores, str(folder / "kept"), str(folder / "report.html"), "Test")
    return folder / "report.html"


def visible(browser: Any, script: str) -> Any:
    return browser.execute_script(f"return {script}")


def set_slider(browser: Any, index: int, step: int) -> None:
    browser.execute_script(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('input', {bubbles: true}));",
        f"cut-{index}",
        step,
    )


def open_page(browser: Any, report: Path, **window: Any) -> None:
    visit(browser, report.as_uri(), **window)
    browser.execute_async_script(
        "const done = arguments[0]; const look = () => "
        "document.documentElement.dataset.ready ? done() : setTimeout(look, 10); look();"
    )


@pytest.mark.slow
def test_quiet_offline_and_inert(browser: Any, report: Path) -> None:
    open_page(browser, report)
    assert browser.title == "Test"
    body = visible(browser, "document.body.textContent")
    assert HOSTILE[0] in body
    assert visible(browser, "document.querySelectorAll('script').length") == 2
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert visible(browser, broken) == 0
    assert visible(browser, "document.images.length") > 20
    assert console(browser) == []
    assert requests(browser) == [report.as_uri()]


@pytest.mark.slow
def test_sliders_recount_as_select_does(browser: Any, report: Path, scored: Scored) -> None:
    open_page(browser, report)
    # The handles stand where the selection cut, so nothing is being tried yet.
    assert visible(browser, "document.getElementById('cut-0').value") == "40"
    assert visible(browser, "document.querySelector('.whatif').hidden") is True
    for itm, odf in ((72, 10), (72, 0), (100, 35)):
        set_slider(browser, 0, itm)
        set_slider(browser, 1, odf)
        where = f"itm >= {itm}" + (f" and odf >= {odf}" if odf else "")
        expected = select(scored.scores, where=where).kept
        words = visible(browser, "document.getElementById('whatif-count').textContent")
        assert words == f"{expected} pairs would be kept"
        code = visible(browser, "document.getElementById('whatif-where').textContent")
        assert code == f'--where "{where}"'
        bars = visible(
            browser,
            "[...document.querySelectorAll('.chart[data-column=\"0\"] svg title')]"
            ".map(t => t.textContent)",
        )
        assert sum(int(re.findall(r": (\d+) would", bar)[0]) for bar in bars) == expected
    # The joint plots follow when the handle rests; here no score is null, so all rows are in each.
    inside = browser.execute_async_script(
        "const [expected, done] = arguments; const look = () => {"
        "  const n = [...document.querySelectorAll('svg[data-across] title')]"
        "    .map(t => Number((/, (\\d+) would/.exec(t.textContent) || [0, 0])[1]))"
        "    .reduce((a, b) => a + b, 0);"
        "  n === 3 * expected ? done(n) : setTimeout(look, 10); }; look();",
        expected,
    )
    assert inside == 3 * expected
    browser.execute_script("document.getElementById('whatif-reset').click()")
    assert visible(browser, "document.getElementById('cut-1').value") == "10"
    assert visible(browser, "document.querySelector('.whatif').hidden") is True
    assert console(browser) == []


@pytest.mark.slow
def test_coarse_joint_counts_are_exact_for_two_sliders_and_bounded_for_more(
    browser: Any, scored: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over millions of rows, where the joint counts of all columns have steps of a bar."""
    monkeypatch.setattr(aggregate, "SPLITS", (1,))
    write_report(scored.scores, None, str(tmp_path / "report.html"), gallery_size=0)
    open_page(browser, tmp_path / "report.html")
    island = "JSON.parse(document.getElementById('cube').textContent)"
    assert visible(browser, f"[{island}.split, {island}.columns.length]") == [1, 3]
    words = "document.getElementById('whatif-count').textContent"
    for itm, odf, clip in ((72, 0, 0), (0, 33, 0), (41, 17, 0), (41, 0, 11), (40, 15, 20)):
        for index, step in enumerate((itm, odf, clip)):
            set_slider(browser, index, step)
        code = visible(browser, "document.getElementById('whatif-where').textContent")
        expected = select(scored.scores, where=code.removeprefix('--where "').rstrip('"')).kept
        assert visible(browser, words) == f"{expected} pairs would be kept", code
        # Bars of the columns that are cut (of all, if it is only one) add up to the same.
        used = [index for index, step in enumerate((itm, odf, clip)) if step]
        for index in used if len(used) > 1 else range(3):
            bars = visible(
                browser,
                f"[...document.querySelectorAll('.chart[data-column=\"{index}\"] svg title')]"
                ".map(t => t.textContent)",
            )
            assert sum(int(re.findall(r": (\d+) would", bar)[0]) for bar in bars) == expected
    for index, step in enumerate((41, 17, 11)):
        set_slider(browser, index, step)
    code = visible(browser, "document.getElementById('whatif-where').textContent")
    expected = select(scored.scores, where=code.removeprefix('--where "').rstrip('"')).kept
    assert re.fullmatch(r"about \d+ pairs would be kept", visible(browser, words))
    share = visible(browser, "document.getElementById('whatif-share').textContent")
    low, high = map(int, re.findall(r"between (\d+) and (\d+)", share)[0])
    assert low <= expected <= high
    assert low < high
    assert console(browser) == []


@pytest.mark.slow
def test_keyboard_moves_sliders_and_tabs(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(browser, report)
    browser.find_element(By.ID, "cut-0").send_keys(Keys.ARROW_RIGHT)
    assert visible(browser, "document.querySelector('.whatif').hidden") is False
    text = visible(browser, "document.getElementById('cut-0').getAttribute('aria-valuetext')")
    assert text == "itm ≥ 41"
    shown = "[...document.querySelectorAll('#best .cards')].map(c => !!c.offsetParent)"
    assert visible(browser, shown) == [True, False, False]
    browser.find_element(By.ID, "best-1").send_keys(Keys.ARROW_RIGHT)
    assert visible(browser, shown) == [False, True, False]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_fits_the_window_and_reads_well(
    browser: Any, report: Path, width: int, scheme: str
) -> None:
    open_page(browser, report, width=width, scheme=scheme)
    assert visible(browser, "document.documentElement.scrollWidth") <= width
    # WCAG contrast of text on its background, in both colour schemes.
    ratios = browser.execute_script(
        """
        const light = (rgb) => rgb.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
          .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
          .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const behind = (e) => { for (; e; e = e.parentElement) {
          const c = getComputedStyle(e).backgroundColor;
          if (!/, 0\\)$/.test(c)) return c; } return "rgb(255, 255, 255)"; };
        return ["h1", ".lead", "nav a", ".tiles dt", ".chart figcaption p", ".key", ".caption",
          ".fate.is-kept", ".fate.is-dropped", ".failure code", ".tabs input:checked + label"]
          .map((s) => { const e = document.querySelector(s);
            const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
            return [s, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]; });
        """
    )
    assert [(name, round(ratio, 2)) for name, ratio in ratios if ratio < 4.5] == []


@pytest.mark.slow
def test_plots_and_galleries_without_script(browser: Any, report: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    visit(browser, report.as_uri())
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert visible(browser, "document.documentElement.dataset.ready") is None
    tall = "[...document.querySelectorAll('#scores rect.kept')].filter(r => r.getBBox().height)"
    assert visible(browser, f"{tall}.length") > 10
    assert visible(browser, "document.querySelector('.slider').offsetParent") is None
    assert visible(browser, "!!document.querySelector('#best .cards').offsetParent") is True
