"""The page in headless Chromium: it renders, its controls work, hostile text stays text, it prints, it fits a phone.

Needs Debian's ``chromium`` and ``chromium-driver`` and PyPI's ``selenium``. Without them the tests are skipped, except
in CI (``CI=true``), where they fail: a page that nobody opened is not tested.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import shutil
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_runs import HOSTILE, METHODS, NASTY, rows, write_run

import clucert
from clucert.report import write_report
from clucert.report.html import page as render
from clucert.report.runs import load_runs
from clucert.report.summary import summarise_run

pytestmark = pytest.mark.browser

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)


def missing() -> str | None:
    """What is not installed, or None."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed: pip install selenium"
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"{program} is not installed: apt-get install chromium chromium-driver"
    return None


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    if why := missing():
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
        try:
            yield browser
        finally:
            browser.quit()


Open = Callable[..., Any]


@pytest.fixture
def show(driver: Any) -> Open:
    """Open a page at a width and in a colour scheme; fails when the browser complains about it."""

    def open_page(page: Path, *, width: int = 1280, height: int = 900, scheme: str = "light") -> Any:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"media": "", "features": [{"name": "prefers-color-scheme", "value": scheme}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        driver.get(page.as_uri())
        assert driver.get_log("browser") == []
        return driver

    return open_page


@pytest.fixture(scope="module")
def page(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(runs, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("large")
    (small,) = load_runs([write_run(root / "run", METHODS[0], 8)])
    rows = [replace(small.inputs[i % 8], id=f"{i} of 2000") for i in range(2_000)]
    file = root / "report.html"
    file.write_text(render([summarise_run(replace(small, inputs=tuple(rows)))]), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def nasty(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([hostile], tmp_path_factory.mktemp("nasty") / "report.html")


def find(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def texts(browser: Any, selector: str) -> list[str]:
    return [element.get_attribute("textContent") for element in browser.find_elements("css selector", selector)]


def choose(browser: Any, selector: str, value: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(find(browser, selector)).select_by_value(value)


def test_it_renders(show: Open, page: Path) -> None:
    browser = show(page)
    assert find(browser, "h1").is_displayed()
    assert len(browser.find_elements("css selector", ".card")) == 3
    lines = browser.find_elements("css selector", ".published .wide path.line")
    assert len(lines) == 3
    assert all(line.is_displayed() and line.size["width"] > 150 for line in lines)
    # A panel a run: one band in each, the other runs pale behind it.
    panels = browser.find_elements("css selector", ".published .wide svg.chart > svg")
    held = [
        (len(p.find_elements("css selector", ".band")), len(p.find_elements("css selector", ".behind"))) for p in panels
    ]
    assert held == [(1, 2)] * 3
    assert len(texts(browser, "#table tbody tr")) == 24
    # The first screen says how robust, at what cost, under which assumptions.
    for selector in ("h1", ".threats", ".lead"):
        assert find(browser, selector).rect["y"] + find(browser, selector).rect["height"] < 900


def test_exact_and_sampled_inputs_open_side_by_side(show: Open, runs: list[Path], tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"id": i, "text": t, "label": g}) + "\n" for i, t, g in rows(24)))
    exact = tmp_path / "exact"
    clucert.evaluate_callable(
        lambda texts: ["positive" if "a" in text else "negative" for text in texts],
        ["negative", "positive"], data, exact, method="groups", deterministic=True,
    )  # fmt: skip
    browser = show(write_report([exact, runs[0]], tmp_path / "r.html"))
    heads = texts(browser, "#table thead th")
    assert heads[5:10] == ["Radius", "Proved, any word", "Proved, synonyms", "Proved, inserted", "Proved, deleted"]
    for run in ("0", "1"):
        choose(browser, "#run", run)
        find(browser, "#table button.open").click()
        detail = find(browser, "tr.detail").text
        assert "This input in every run" in detail
        assert ("Sub-texts (5)" in detail) == (run == "0")
        assert ("Select (50)" in detail) == (run == "1")
    assert browser.get_log("browser") == []


def test_a_chart_that_stands_alone_is_as_small_as_others(show: Open, tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_text("text,label\n" + "a good and warm film with a charming cast,positive\n" * 4)
    clucert.evaluate_callable(
        lambda texts: ["positive"] * len(texts),
        ["negative", "positive"], data, tmp_path / "run", method="blocks", deterministic=True,
    )  # fmt: skip
    browser = show(write_report([tmp_path / "run"], tmp_path / "r.html"))
    (figure,) = browser.find_elements("css selector", "#radii figure")
    ticks = [tick.rect["height"] for tick in figure.find_elements("css selector", "text") if tick.is_displayed()]
    assert max(ticks) <= 24


def test_the_audit_shows_what_was_broken(show: Open, page: Path) -> None:
    browser = show(page)
    broken = find(browser, "#audit td.broken")
    assert broken.is_displayed()
    assert broken.text == "1"
    assert find(browser, "#audit .breaks blockquote").text == "a dull film"
    assert "positive became negative" in find(browser, "#audit .breaks").text


def test_search_narrows_the_table(show: Open, page: Path) -> None:
    browser = show(page)
    find(browser, "#search").send_keys("ABSORBING drama")
    found = texts(browser, "#table td.text")
    assert len(found) == 3
    assert all("absorbing drama" in text for text in found)
    assert find(browser, "#place").text == "1–3 of 3 (24 in the run)"
    find(browser, "#search").send_keys(" nowhere")
    assert texts(browser, "#table tbody tr") == ["No input matches."]


def test_filter_and_run_select(show: Open, page: Path) -> None:
    browser = show(page)
    before = texts(browser, "#table td.result")
    assert before.count("proved") > 1
    choose(browser, "#state", "proved")
    assert texts(browser, "#table td.result") == ["proved"] * before.count("proved")
    choose(browser, "#state", "")
    choose(browser, "#run", "2")
    assert texts(browser, "#table td.result") != before


def test_sort_by_keyboard_says_so(show: Open, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = show(page)
    choose(browser, "#run", "2")
    heads = browser.find_elements("css selector", "#table thead th")
    radius = next(head for head in heads if head.text.startswith("Radius"))
    radius.find_element("css selector", "button").send_keys(Keys.ENTER)
    assert radius.get_attribute("aria-sort") == "descending"
    shown = texts(browser, "#table td[data-label=Radius]")
    numbers = [int(text) for text in shown if text != "–"]
    assert numbers == sorted(numbers, reverse=True)
    assert shown[: len(numbers)] == list(map(str, numbers))  # abstentions last
    radius.find_element("css selector", "button").send_keys(Keys.SPACE)
    assert radius.get_attribute("aria-sort") == "ascending"
    shown = texts(browser, "#table td[data-label=Radius]")
    assert [int(text) for text in shown if text != "–"] == sorted(numbers)
    assert shown[len(numbers) :] == ["–"] * (24 - len(numbers))


def test_a_row_opens_by_keyboard_and_shows_what_is_behind_it(show: Open, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = show(page)
    choose(browser, "#run", "2")
    button = browser.find_elements("css selector", "button.open")[2]
    button.send_keys(Keys.ENTER)
    assert button.get_attribute("aria-expanded") == "true"
    reading = find(browser, ".reading")
    assert "94" in reading.get_attribute("textContent")
    assert len(texts(browser, ".reading .word-r")) == 6
    assert set(texts(browser, ".reading .word-p small")) <= {"number", "negation"}
    detail = find(browser, ".detail").text
    for part in ("Votes", "Radii", "kept", "dropped", "assuming A1, A3, A4", "This input in every run"):
        assert part in detail
    assert len(texts(browser, ".samples li")) == 6
    button.send_keys(Keys.SPACE)
    assert button.get_attribute("aria-expanded") == "false"
    assert not browser.find_elements("css selector", ".detail")


def test_two_thousand_inputs_are_paged(show: Open, large: Path) -> None:
    browser = show(large)
    assert len(texts(browser, "#table tbody tr")) == 50
    assert find(browser, "#place").text == "1–50 of 2000"
    find(browser, "#next").click()
    assert find(browser, "#place").text == "51–100 of 2000"
    assert texts(browser, "#table td.id")[0] == "50 of 2000"
    find(browser, "#search").send_keys("1234 of")
    assert texts(browser, "#table td.id") == ["1234 of 2000"]
    assert browser.execute_script("return document.querySelectorAll('*').length") < 3_000


def test_hostile_text_stays_text(show: Open, nasty: Path) -> None:
    browser = show(nasty)
    for button in range(len(browser.find_elements("css selector", "button.open"))):
        browser.find_elements("css selector", "button.open")[button].click()
        assert not browser.find_elements("css selector", "#table script, #table img, #table b, #table a")
    assert browser.get_log("browser") == []
    assert not browser.find_elements("css selector", "img")
    assert len(browser.find_elements("css selector", "script")) == 2
    assert "alert(6)" in find(browser, "h2").text
    assert browser.execute_script("return [...document.querySelectorAll('*')].every(e => !e.onerror && !e.onclick)")
    shown = texts(browser, "#table td.text")
    assert shown[0] == HOSTILE[0]
    assert shown[1] == HOSTILE[1]
    assert shown[2] == "safe U+202Egnp.exeU+202C and U+0000 nothingU+2028else \U0001f600"
    assert shown[3] == HOSTILE[3]
    assert texts(browser, "#table td[data-label=Gold]")[0] == NASTY.replace("\u202e", "U+202E")


def test_an_alert_would_have_been_noticed(show: Open, nasty: Path) -> None:
    """The guard guards: what the page's policy forbids is blocked, and shows in the browser's log."""
    browser = show(nasty)
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s);"
        "const i = document.createElement('img'); i.src = 'data:,'; document.body.append(i);"
    )
    assert browser.execute_script("return window.ran") is None
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))


@pytest.mark.parametrize("width", [320, 390, 768])
def test_no_page_scrolls_sideways(show: Open, page: Path, nasty: Path, width: int) -> None:
    for file in (page, nasty):
        browser = show(file, width=width, height=844)
        for button in browser.find_elements("css selector", "button.open")[:2]:
            browser.execute_script("arguments[0].click()", button)
            measure = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert browser.execute_script(measure) <= 0
            assert browser.execute_script("return innerWidth") == width


def test_letters_in_charts_stay_readable_on_a_phone(show: Open, page: Path) -> None:
    browser = show(page, width=390, height=844)
    ticks = [t for t in browser.find_elements("css selector", ".chart text") if t.is_displayed()]
    assert ticks
    assert min(tick.rect["height"] for tick in ticks) >= 10


def luminance(colour: str) -> float:
    red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", colour)[:3])
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_both_schemes(show: Open, page: Path, scheme: str) -> None:
    browser = show(page, scheme=scheme)
    browser.execute_script("document.querySelectorAll('button.open')[2].click()")
    script = """
      const background = (e) => { for (; e; e = e.parentElement) {
        const c = getComputedStyle(e).backgroundColor; if (!c.endsWith(', 0)')) return c; } };
      return arguments[0].flatMap((s) => [...document.querySelectorAll(s)].slice(0, 20).map((e) =>
        [s, getComputedStyle(e).color, background(e)]));"""
    selectors = [
        "h1",
        ".quiet",
        ".big",
        "a",
        ".state",
        ".word-a",
        ".word-r",
        ".word-p",
        "#table td",
        "th",
        "dt",
        "summary",
    ]
    pairs = browser.execute_script(script, selectors)
    assert {name for name, _, _ in pairs} >= {"h1", ".quiet", ".big", ".state", ".word-a", "dt"}
    for name, ink, paper in pairs:
        lighter, darker = sorted((luminance(ink), luminance(paper)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (name, ink, paper)
    paper = luminance(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert paper > 0.8 if scheme == "light" else paper < 0.05


def test_it_prints_its_summary_and_curves_in_light_colours(show: Open, page: Path) -> None:
    browser = show(page, scheme="dark")
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 20_000
    media = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    assert not find(browser, "#inputs").is_displayed()
    assert find(browser, "#summary table").is_displayed()
    assert find(browser, ".published .wide svg").is_displayed()
    assert luminance(browser.execute_script("return getComputedStyle(document.querySelector('h1')).color")) < 0.1


def test_tables_and_controls_have_names(show: Open, page: Path) -> None:
    browser = show(page)
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('input, select')].filter((e) => !e.labels.length).length"
        " + [...document.querySelectorAll('button')].filter((e) => !e.textContent.trim()).length"
        " + [...document.querySelectorAll('th')].filter((e) => !e.scope).length"
        " + [...document.querySelectorAll('svg.chart')].filter((e) => !e.getAttribute('aria-label')).length"
    )
    assert unnamed == 0
    ids = browser.execute_script("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


def green(colour: str) -> bool:
    """Whether the second channel leads the two others clearly."""
    red, middle, blue = map(int, re.findall(r"\d+", colour)[:3])
    return middle > red + 15 and middle > blue + 15


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_that_rests_on_assumptions_is_green(show: Open, page: Path, scheme: str) -> None:
    browser = show(page, scheme=scheme)

    def colours(selector: str) -> list[str]:
        found = browser.find_elements("css selector", selector)
        return [each.value_of_css_property("color") for each in found]

    assert len(colours(".threats .held")) > 1
    assert all(map(green, [*colours(".held"), *colours(".state.proved")]))
    claims = [*colours(".claim"), *colours(".state.conditional"), *colours(".state.fragile"), *colours(".state.wrong")]
    assert colours(".threats .claim")
    assert not any(map(green, claims))
    for i in range(8):
        runs = f"const e = document.createElement('p'); e.className = 'run{i}'; document.body.append(e);"
        colour = browser.execute_script(f"{runs} e.style.color = 'var(--c)'; return getComputedStyle(e).color")
        assert not green(colour), (i, colour)


def test_noised_texts_that_flipped_stand_beside_the_text(show: Open, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    text = "good good good dull good film by nobody"
    data.write_text(json.dumps({"id": "1", "text": text, "label": "positive"}) + "\n")

    def classify(texts: list[str]) -> list[str]:
        return ["negative" if "dull" in each and "good" not in each else "positive" for each in texts]

    options = {"samples": 20, "certify_samples": 200, "mask_rate": "0.6"}
    clucert.evaluate_callable(
        classify, ["negative", "positive"], data, tmp_path / "run", method="ranmask", deterministic=True, **options
    )
    browser = show(write_report([tmp_path / "run"], tmp_path / "r.html"))
    find(browser, "#table button.open").click()
    pairs = browser.find_elements("css selector", ".flip")
    assert pairs
    for pair in pairs:
        whole, noised = pair.find_elements("css selector", ":scope > div")
        assert whole.text == text
        assert "dull" in noised.text
        assert "negative" in noised.text
        assert "good" in [lost.text for lost in whole.find_elements("css selector", ".lost")]


def test_every_figure_and_table_can_be_saved(show: Open, page: Path) -> None:
    browser = show(page)
    browser.execute_script(
        "window.saved = []; URL.createObjectURL = (blob) => { blob.text().then((t) => saved.push([blob.type, t])); "
        "return '#'; }; URL.revokeObjectURL = () => {}; HTMLAnchorElement.prototype.click = () => {}"
    )
    buttons = browser.find_elements("css selector", ".save")
    figures, tables = (
        len(browser.find_elements("css selector", name)) for name in ("figure", "main .scroll, header .scroll")
    )
    assert len(buttons) == figures + tables
    for button in buttons:
        browser.execute_script("arguments[0].click()", button)
    saved = browser.execute_async_script("setTimeout(() => arguments[0](window.saved), 300)")
    drawn = [text for kind, text in saved if kind == "image/svg+xml"]
    assert len(drawn) == figures
    for text in drawn:
        chart = ET.fromstring(text)
        assert chart.attrib["width"] == chart.attrib["viewBox"].split()[2]
        assert "class" not in chart.attrib
    assert "stroke" in "".join(drawn)
    written = [list(csv.reader(io.StringIO(text))) for kind, text in saved if kind == "text/csv"]
    assert len(written) == tables
    assert all(len({len(row) for row in rows}) == 1 for rows in written)


def test_saved_tables_run_no_formula(show: Open, nasty: Path) -> None:
    browser = show(nasty)
    browser.execute_script(
        "window.saved = []; URL.createObjectURL = (blob) => { blob.text().then((t) => saved.push(t)); return '#'; };"
        "HTMLAnchorElement.prototype.click = () => {}"
    )
    for button in browser.find_elements("css selector", ".save"):
        browser.execute_script("arguments[0].click()", button)
    saved = browser.execute_async_script("setTimeout(() => arguments[0](window.saved), 300)")
    cells = [
        cell for text in saved if not text.startswith("<svg") for row in csv.reader(io.StringIO(text)) for cell in row
    ]
    assert cells
    assert not [cell for cell in cells if re.match(r"[=+@]|-\D", cell) and not re.fullmatch(r"[+-]?\d[\d,.]*%?", cell)]
