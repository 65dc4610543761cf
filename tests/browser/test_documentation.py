"""The documentation site in a real browser, opened from the disk: search and accessibility."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from documentation import BUILDS, MISSING, build

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(not BUILDS, reason=MISSING)
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
SHOWN = (
    "index.html",
    "guides/compare-checkpoints.html",
    "metrics/distance.html",
    "metrics.html",
    "cli/run.html",
    "api/runs.html",
    "troubleshooting.html",
)
FIRST = {  # what people type: where the first result leads
    "IS": "inception-score-is-inception_score",
    "FID": "fid-fid",
    "FID-30K": "fid-fid",
    "CLIPScore": "prompt-agreement.html",
    "R-precision": "retrieval-precision-r-precision-retrieval_precision",
    "KID": "kid-kid",
    "HPS v2": "scorers.html",
    "GenEval": "geneval.html",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site"))


def test_the_search_leads_to_the_metric(site: Path, open_context: Callable[..., Any]) -> None:
    page = open_context().new_page()
    page.goto((site / "index.html").as_uri())
    box, results = page.locator("input.md-search__input"), page.locator(".md-search-result__link")
    for name, place in FIRST.items():
        box.click()
        box.fill("")
        page.keyboard.type(name)
        page.wait_for_function(
            """([text, place]) => {
                const links = [...document.querySelectorAll(".md-search-result__link")].slice(0, 2);
                return document.querySelector("input.md-search__input").value === text
                    && links.some((link) => link.href.includes(place));
            }""",
            arg=[name, place],
        )
    box.fill("")
    page.keyboard.type("PSNR")
    page.wait_for_function(
        "() => /^(No|1) matching/.test(document.querySelector('.md-search-result__meta').innerText)"
    )
    assert not any("metrics" in link.get_attribute("href") for link in results.all())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("window", [{}, PHONE], ids=["wide", "phone"])
def test_pages_have_no_accessibility_violations(
    site: Path, open_context: Callable[..., Any], window: dict[str, Any], scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_context(color_scheme=scheme, **window).new_page()
    for name in SHOWN:
        page.goto((site / name).as_uri())
        page.wait_for_timeout(300)  # until the theme has set the colours
        found = axe.run(page)
        assert not found.response["violations"], f"{name}: {found.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
