"""Exploring in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairsift.explore import running_server
from pairsift.select import select
from tests.explore.conftest import Served
from tests.explore.test_server import wait_for_captions
from tests.report.conftest import HOSTILE
from tests.scorers.test_carrier import score, write_pool
from tests.support.commands import pairsift
from tests.support.headless import console, requests, visit

pytestmark = pytest.mark.browser


def settle(browser: Any, turn: int = 1) -> None:
    """Wait until the page has shown at least this many answers."""
    browser.execute_async_script(
        "const [turn, done] = arguments; const look = () => "
        "Number(document.documentElement.dataset.shown || 0) >= turn ? done() "
        ": setTimeout(look, 10); look();",
        turn,
    )


def look(browser: Any, script: str) -> Any:
    return browser.execute_script(f"return {script}")


@pytest.mark.slow
def test_browse_search_and_turn_pages(browser: Any, served: Served) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    wait_for_captions(served.url)
    visit(browser, served.url)
    settle(browser)
    assert look(browser, "document.getElementById('status').textContent") == "90 of 90 pairs."
    assert look(browser, "document.querySelectorAll('.card').length") == 24
    text = look(browser, "document.getElementById('cards').textContent")
    assert HOSTILE[0] in text
    assert look(browser, "document.title") == "Pairsift explore"
    assert look(browser, "document.scripts.length") == 1

    browser.find_element(By.ID, "next").click()
    settle(browser, 2)
    assert "page 2 of 4" in look(browser, "document.getElementById('where-am-i').textContent")
    assert "page=2" in browser.current_url

    browser.find_element(By.ID, "q").send_keys('"number 20"', Keys.ENTER)
    settle(browser, 3)
    captions = "[...document.querySelectorAll('.caption')].map(c => c.textContent)"
    assert look(browser, captions) == ["A gradient, number 20"]

    field = browser.find_element(By.ID, "q")
    field.clear()
    browser.find_element(By.ID, "where").send_keys("itm >= 60", Keys.ENTER)
    settle(browser, 4)
    expected = select(served.scored.scores, where="itm >= 60").kept
    status = look(browser, "document.getElementById('status').textContent")
    assert status == f"{expected} of 90 pairs."

    browser.back()
    settle(browser, 5)
    assert look(browser, captions) == ["A gradient, number 20"]

    browser.find_element(By.CSS_SELECTOR, ".card button").send_keys(Keys.ENTER)
    browser.execute_async_script(
        "const done = arguments[0]; const look = () => "
        "document.getElementById('detail').open ? done() : setTimeout(look, 10); look();"
    )
    assert "A gradient, number 20" in look(browser, "document.getElementById('detail').innerText")
    assert console(browser) == []
    assert {urlsplit(url).netloc for url in requests(browser)} == {urlsplit(served.url).netloc}


@pytest.mark.slow
def test_a_mistake_is_shown_and_mended(browser: Any, served: Served) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    visit(browser, f"{served.url}?where=nosuch%20%3E%201")
    settle(browser)
    assert "nosuch" in look(browser, "document.getElementById('problem').innerText")
    field = browser.find_element(By.ID, "where")
    field.clear()
    field.send_keys("itm >= 0", Keys.ENTER)
    settle(browser, 2)
    assert look(browser, "document.getElementById('problem').hidden") is True


@pytest.mark.slow
def test_fits_a_phone(browser: Any, served: Served) -> None:
    visit(browser, served.url, width=390, scheme="dark")
    settle(browser)
    assert look(browser, "document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_carried_fields_filter_the_pairs(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    quoted = 'it\'s a \\ "site"'
    pool = write_pool(tmp_path / "pool", site=quoted)
    score(pool, tmp_path / "s", "domain", "clean", "my_site=site", "url")
    status = "document.getElementById('status').textContent"
    with running_server(str(tmp_path / "s"), cache=str(tmp_path / "cache")) as url:
        wait_for_captions(url)
        visit(browser, url)
        settle(browser)
        field = browser.find_element(By.ID, "where")
        assert field.get_attribute("placeholder").startswith("caption_words >= ")
        field.send_keys("not clean", Keys.ENTER)
        settle(browser, 2)
        assert look(browser, status) == "6 of 12 pairs."
        for turn, name in ((3, "Only domain: b.org"), (4, f"Only my_site: {quoted}")):
            shown = browser.find_elements(By.CSS_SELECTOR, ".kinds button")
            next(one for one in shown if one.get_attribute("title") == name).click()
            settle(browser, turn)
            assert look(browser, status) == "2 of 12 pairs."
        keys = "[...document.querySelectorAll('.key')].map(k => k.textContent.split(' ')[2])"
        assert look(browser, keys) == ["s001", "s007"]
        titles = "[...document.querySelector('.kinds').children].map(b => b.title)"
        assert {"Only domain: b.org", f"Only my_site: {quoted}"} < set(look(browser, titles))
        assert console(browser) == []


@pytest.mark.slow
def test_scores_without_their_pool_ask_for_no_image(browser: Any, tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"id": ["a", "b", "c"], "clip": [0.1, 0.2, 0.3], "domain": ["x", "y", "x"]}),
        tmp_path / "mine.parquet",
    )
    columns = ("--key", "id", "--columns", "clip,domain")
    done = pairsift("import", tmp_path / "mine.parquet", *columns, "--out", tmp_path / "s")
    assert done.returncode == 0, done.stderr
    with running_server(str(tmp_path / "s"), cache=str(tmp_path / "cache")) as url:
        visit(browser, f"{url}?where=domain%20%3D%20%27x%27")
        settle(browser)
        assert look(browser, "document.getElementById('status').textContent").startswith("2 of 3")
        photos = "[...document.querySelectorAll('.photo')].map(p => p.textContent)"
        assert look(browser, photos) == ["imported without its pool"] * 2
        assert look(browser, "document.getElementById('q').disabled")
        assert not [asked for asked in requests(browser) if "/image/" in asked]
        assert console(browser) == []
