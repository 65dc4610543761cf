"""The page of a report in a real browser: first screen, tables, scripts, accessibility."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_pages import until
from odd_runs import ODD
from report_runs import HOSTILE, HOSTILE_MODEL, MEASURES, add_groups, make_comparisons, make_run

from evalkit.report.report import report

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
MODELS = ("dalle", "gan", HOSTILE_MODEL)
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with hostile prompts and labels, groups and comparisons."""
    run = make_run(tmp_path_factory.mktemp("page") / "run", 40, MODELS)
    add_groups(run)
    make_comparisons(run, MODELS)
    return report(run.path).as_uri()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Pages from the disk. After the test: none ran a foreign script or left the folder."""
    contexts, problems = [], []

    def page_at(address: str, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("dialog", lambda dialog: problems.append(dialog.message) or dialog.dismiss())
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("file:", "data:")) or problems.append(request.url)
            ),
        )
        page.goto(address)
        return page

    yield page_at
    for context in contexts:
        context.close()
    assert not problems


def test_the_first_screen_shows_the_result_and_images(address, opened):
    page = opened(address)
    answers = page.locator(".answers > div")
    assert answers.count() >= 2
    assert all(one.bounding_box()["y"] < 800 for one in answers.all())
    images = page.locator(".strip img").all()
    whole = [one for one in images if (box := one.bounding_box())["y"] + box["height"] <= 800]
    assert len(whole) >= 8  # a row of the strip
    assert all(one.evaluate("image => image.complete && image.naturalWidth > 0") for one in whole)


def test_nothing_moves_while_the_page_loads(address, opened):
    page = opened(address)
    until(page, "[...document.querySelectorAll('.strip img')].every((one) => one.complete)")
    moved = page.evaluate(
        """() => new Promise((done) => {
            const found = [];
            const observer = new PerformanceObserver((list) => found.push(...list.getEntries()));
            observer.observe({type: "layout-shift", buffered: true});
            setTimeout(() => done(found.map((one) => one.value)), 200);
        })"""
    )
    assert sum(moved) < 0.01  # "good" ends at 0.1


def test_tables_are_sorted_by_click_and_by_keyboard(address, opened):
    page = opened(address)
    table = page.locator("table.sortable").first
    names = table.locator("tbody th")
    first = [name.inner_text() for name in names.all()]
    header = table.get_by_role("columnheader", name="FID")
    assert header.get_attribute("aria-sort") is None
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"  # lower is better
    assert [name.inner_text() for name in names.all()] == first
    header.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert [name.inner_text() for name in names.all()] == first[::-1]
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    other = table.get_by_role("columnheader", name="Inception score")
    assert other.get_attribute("aria-sort") == "descending"  # higher is better
    assert header.get_attribute("aria-sort") is None
    assert [name.inner_text() for name in names.all()] == first


def test_a_table_is_sorted_by_values_and_not_by_what_is_shown(tmp_path, opened):
    run = make_run(tmp_path / "run", 12, tuple("abcd"), hostile=False)
    page = opened(report(run.path).as_uri())
    table = page.locator("table.sortable").nth(1)
    table.get_by_role("columnheader", name="Images per second").get_by_role("button").click()
    assert table.locator("tbody th").all_inner_texts() == ["d", "c", "b", "a"]  # up to 2,600
    account = page.locator("table.sortable").last
    account.get_by_role("columnheader", name="refused").get_by_role("button").click()
    assert account.locator("tbody th").first.inner_text() == "a"


@pytest.mark.parametrize("name", ["fifty models", "long"])
@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_wide_tables_scroll_inside_their_box(tmp_path, opened, name, options):
    from evalkit.report.facts import read_facts
    from evalkit.report.html import to_html
    from evalkit.report.sections import contexts

    facts = read_facts(ODD[name](tmp_path / "run").path)
    path = tmp_path / "run" / "report" / "index.html"
    path.parent.mkdir()
    path.write_text(to_html(facts, [], contexts(facts)), encoding="utf-8")
    page = opened(path.as_uri(), **options)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == (390 if options else 1200)
    box = page.locator(".strip .scroll")
    left = box.locator("tbody th").first.bounding_box()["x"]
    box.evaluate("box => box.scrollBy(60, 0)")
    assert box.locator("tbody th").first.bounding_box()["x"] == left  # the names stay


def test_the_images_of_four_models_are_seen_whole(opened, tmp_path):
    models = ("dalle", "gan", "other", "fourth")
    path = report(make_run(tmp_path / "run", 12, models, hostile=False).path)
    box = opened(path.as_uri()).locator(".strip .scroll")
    assert box.evaluate("box => box.scrollHeight <= box.clientHeight")


def test_texts_of_a_run_run_nothing(address, opened):
    page = opened(address)
    assert page.evaluate("document.scripts.length") == 1
    handlers = """() => [...document.querySelectorAll("*")].filter((element) =>
        [...element.attributes].some(({ name }) => name.startsWith("on"))).length"""
    assert page.evaluate(handlers) == 0
    shown = page.content()
    assert "alert(1)" in shown  # as text
    assert page.get_by_text(HOSTILE[0], exact=True).count() >= 1
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(200)  # images on the way load


@pytest.mark.parametrize(
    ("scheme", "media", "options"),
    [("light", "screen", {}), ("dark", "screen", {}), ("light", "screen", PHONE),
     ("dark", "screen", PHONE), ("light", "print", {})],
    ids=["light", "dark", "light phone", "dark phone", "print"],
)  # fmt: skip
def test_axe_finds_no_violation(address, opened, scheme, media, options):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(address, **options)
    page.emulate_media(color_scheme=scheme, media=media, reduced_motion="reduce")
    result = axe.run(page)
    assert not result.violations_count, result.generate_report()


def test_a_printed_page_has_everything(address: str, opened: Any, tmp_path: Path) -> None:
    page = opened(address)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 720, "height": 1000})
    assert page.locator(".strip").is_visible()
    assert page.locator("table.summary").count() >= 4
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    assert page.locator(".meanings dd").first.is_visible()


def test_a_printed_page_repeats_the_names_of_the_metrics(tmp_path: Path, opened: Any) -> None:
    reader = shutil.which("pdftotext")
    if reader is None:
        pytest.skip("no pdftotext on the PATH")
    run = make_run(tmp_path / "run", 12, tuple("abcdefghijklmno"), hostile=False)
    aspects = {"clip_score": "agreement"}  # the head of the table has two rows
    entries = {k: {**one, "aspect": aspects.get(k, "fidelity")} for k, one in MEASURES.items()}
    run.write_protocol(run.protocol() | {"measures": entries})
    opened(report(run.path).as_uri()).pdf(path=tmp_path / "page.pdf", format="A4")
    read = subprocess.run([reader, "-layout", tmp_path / "page.pdf", "-"], capture_output=True)
    pages = read.stdout.decode().split("\f")
    assert sum(bool(re.search("reference scenes +reference scenes", text)) for text in pages) > 1


def test_differences_are_sorted_and_are_cards_on_a_phone(address, opened):
    page = opened(address)
    table = page.locator("table.pairwise")
    table.get_by_role("columnheader", name="p, adjusted").get_by_role("button").click()
    assert table.locator("tbody tr").first.locator("td").nth(2).inner_text() == "< 0.001"
    assert table.locator("tbody tr").first.locator("th").inner_text().startswith("FID")
    phone = opened(address, **PHONE)
    for row in phone.locator("table.pairwise tbody tr").all()[:3]:
        boxes = [cell.bounding_box() for cell in row.locator("th, td").all()]
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
        assert row.locator("th .metric").is_visible()
