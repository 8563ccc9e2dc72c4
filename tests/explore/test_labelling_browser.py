"""Labelling in a real browser, by keyboard and click, in two windows at once; then measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pairsift.explore import running_server
from pairsift.sources.tables import read_rows
from tests.explore.conftest import Served
from tests.explore.test_browser import look, settle
from tests.support.commands import pairsift
from tests.support.headless import console, visit

pytestmark = pytest.mark.browser
WORDS = {"g": "good", "b": "bad", "u": "unsure"}


@pytest.fixture
def labelled(served: Served, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    file = tmp_path / "labels.jsonl"
    with running_server(
        served.scored.scores, cache=str(tmp_path / "cache"), labels=str(file), reader="anna"
    ) as url:
        yield url, file


def saved(browser: Any) -> None:
    """Wait until the server has answered everything."""
    browser.execute_async_script(
        "const done = arguments[0]; const look = () => "
        "document.documentElement.dataset.sending === 'false' ? done() : setTimeout(look, 10); "
        "look();"
    )


def press(browser: Any, keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(keys).perform()


def progress(browser: Any) -> str:
    return str(look(browser, "document.getElementById('progress').textContent"))


def told(browser: Any) -> str:
    return str(look(browser, "document.getElementById('told').textContent"))


def wish(itm: float, number: int) -> str:
    """What a reader would say who agrees with the scores, mostly."""
    return "u" if number % 7 == 3 else "g" if (itm >= 50) != (number % 5 == 4) else "b"


@pytest.mark.slow
def test_thirty_labels_of_two_windows_are_what_evaluate_measures(
    browser: Any, labelled: tuple[str, Path], served: Served, tmp_path: Path
) -> None:
    from scipy.stats import kendalltau

    url, file = labelled
    query = f"{url}?fate=ok&label=unlabelled"
    visit(browser, query)
    settle(browser)
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    second = browser.current_window_handle
    visit(browser, f"{query}&sort=itm&order=desc")
    settle(browser)
    given: dict[str, str] = {}
    # In turns, five at a time; what the other window did is not done again.
    for turn in range(6):
        browser.switch_to.window((first, second)[turn % 2])
        cards = look(
            browser,
            "[...document.querySelectorAll('.card')].map(c => [c.row.key, c.row.itm])",
        )
        left = [(at, *card) for at, card in enumerate(cards) if card[0] not in given]
        for number, (at, key, itm) in enumerate(left[:5]):
            browser.execute_script(
                "document.querySelectorAll('.card button[aria-label]')[arguments[0]].focus()", at
            )
            given[key] = WORDS[wish(itm, turn * 5 + number)]
            press(browser, given[key][0])
        saved(browser)
        assert told(browser) == ""
    assert len(given) == 30
    good, bad = (list(given.values()).count(word) for word in ("good", "bad"))
    unsure = 30 - good - bad
    assert min(good, bad, unsure) >= 3
    expected = f"30 of 81 pairs labelled: {good} good, {bad} bad, {unsure} unsure"
    assert progress(browser) == expected

    browser.switch_to.window(first)
    browser.refresh()
    settle(browser)
    assert progress(browser) == expected
    status = look(browser, "document.getElementById('status').textContent")
    assert status.startswith("51 of 90 pairs.")
    assert console(browser) == []

    rows = read_rows(str(file))
    assert {row["key"]: row["label"] for row in rows} == given
    done = pairsift(
        "evaluate", "human", "--protocol", "csv", "--judgments", file, "--given", "itm",
        "--out", tmp_path / "human", "--resamples", 0, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "human" / "result.json").read_text())
    assert found["judgments"] == good + bad
    assert found["left_out"] == {"no rating": unsure}
    sure = {key: float(word == "good") for key, word in given.items() if word != "unsure"}
    tau = kendalltau([served.scored.itm[key] for key in sure], list(sure.values())).statistic
    (column,) = found["columns"]
    assert column["tau_b"]["value"] == pytest.approx(tau, abs=1e-9)


@pytest.mark.slow
def test_click_change_and_undo(browser: Any, labelled: tuple[str, Path]) -> None:
    from selenium.webdriver.common.by import By

    url, file = labelled
    visit(browser, f"{url}?fate=ok")
    settle(browser)
    card = browser.find_element(By.CSS_SELECTOR, ".card")
    pressed = "document.querySelector('.card .label [aria-pressed=true]')?.value ?? null"
    card.find_element(By.CSS_SELECTOR, "[value=good]").click()
    saved(browser)
    assert look(browser, pressed) == "good"
    card.find_element(By.CSS_SELECTOR, "[value=bad]").click()
    saved(browser)
    assert look(browser, pressed) == "bad"
    assert "was good, by anna" in told(browser)
    press(browser, "z")
    saved(browser)
    assert look(browser, pressed) == "good"
    browser.find_element(By.ID, "undo").click()
    saved(browser)
    assert look(browser, pressed) is None
    assert progress(browser).startswith("0 of 81 pairs labelled")
    assert [row for row in read_rows(str(file)) if row["label"]] == []
    # What cannot be written is not shown as written.
    file.unlink()
    file.mkdir()
    card.find_element(By.CSS_SELECTOR, "[value=good]").click()
    saved(browser)
    assert look(browser, pressed) is None
    assert told(browser).startswith("Not saved: ")


@pytest.mark.slow
def test_the_end_of_a_page_leads_to_the_next_unlabelled_pairs(
    browser: Any, labelled: tuple[str, Path]
) -> None:
    url, _ = labelled
    visit(browser, f"{url}?label=unlabelled")
    settle(browser)
    keys = "[...document.querySelectorAll('.card')].map(c => c.row.key)"
    before = look(browser, keys)
    press(browser, "g" * 24)
    saved(browser)
    settle(browser, 2)
    after = look(browser, keys)
    assert len(after) == 24
    assert not set(before) & set(after)
    assert progress(browser).startswith("24 of 81 pairs labelled: 24 good")
    shown = "document.querySelector('.scores').checkVisibility()"
    assert look(browser, shown) is True
    press(browser, "h")
    assert look(browser, shown) is False
    # Letters in a field are text.
    browser.execute_script("document.getElementById('q').focus()")
    press(browser, "bug")
    assert progress(browser).startswith("24 of 81 pairs labelled: 24 good")


@pytest.mark.slow
def test_labelling_fits_a_phone(browser: Any, labelled: tuple[str, Path]) -> None:
    visit(browser, labelled[0], width=390, scheme="dark")
    settle(browser)
    assert look(browser, "document.documentElement.scrollWidth") <= 390
    assert look(browser, "document.querySelectorAll('.label').length") > 0
