"""The section of the report on the gate, in a real browser: accessible, and without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser_pages import until
from gated_runs import make_pair
from unchecked_runs import reseed

import evalkit


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with regressed, undecided and advisory metrics, groups, and an allowed difference."""
    root: Path = tmp_path_factory.mktemp("gated")
    new, main = make_pair(root)
    config = new / "run.toml"
    reseed(config, 7)
    rules = root / "gate.toml"
    rules.write_text(
        "allow_mismatch = ['seed']\n[metrics.clip_score]\nmax_drop = 1\n"
        "[metrics.fid]\nmax_increase = 0.01\ntier = 'advisory'\n[groups]\nmax_drop = 1\n"
    )
    assert evalkit.gate(new, baseline=main, config=rules).exit_code == 1
    return (new / "report" / "index.html").as_uri()


def test_axe_finds_no_violation_and_nothing_is_requested(browser: Any, address: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    asked: list[str] = []
    with browser.new_context() as context:
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.goto(f"{address}#gate")
        for scheme, width in (("light", 1280), ("dark", 1280), ("light", 390)):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.set_viewport_size({"width": width, "height": 900})
            found = axe.run(page, context="#gate")
            assert not found.violations_count, (scheme, width, found.generate_report())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        images = page.locator("#gate img")
        assert images.count() > 10
        for image in images.all():
            image.scroll_into_view_if_needed()
            until(page, "image => image.naturalWidth > 0", image.element_handle())
    assert asked
    assert all(url.startswith("file:") for url in asked)


def test_a_phone_shows_every_number_without_scrolling_sideways(browser: Any, address: str) -> None:
    with browser.new_context(viewport={"width": 390, "height": 844}) as context:
        page = context.new_page()
        page.goto(f"{address}#gate")
        row = page.locator("#gate .gate tbody tr").first
        cells = row.locator("td[data-name]")
        names = [cell.get_attribute("data-name") for cell in cells.all()]
        assert names == ["Candidate", "Baseline model", "Worse by", "Allowed"]
        for cell in cells.all():
            assert cell.inner_text()
            box = cell.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390
        assert page.evaluate(
            "[...document.querySelectorAll('#gate .scroll')]"
            ".every(one => one.scrollWidth <= one.clientWidth)"
        )
