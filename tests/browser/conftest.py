"""A Chromium without a window, and studies to rate in it. Skipped where there is no Chromium."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from rating_server import make_rated_run, serving

from evalkit.ratings.files import read_ratings
from evalkit.ratings.rating import Rating
from evalkit.run_folder import Run

ITEMS = {"pairwise": 6, "scale": 2, "checklist": 3}
NAMES = tuple(f"rater{number}" for number in range(24))


@dataclass
class Study:
    """A study that is being served; each test takes raters of its own."""

    run: Run
    links: list[str]
    names: list[str] = field(default_factory=lambda: list(NAMES))

    def take_rater(self) -> tuple[str, str]:
        """The link and the name of a rater who has answered nothing."""
        return self.links.pop(0), self.names.pop(0)

    def rows(self, rater: str) -> list[Rating]:
        """What the server has stored of a rater, in the order of the file."""
        path = self.run.rater_path(rater)
        return read_ratings(path)[0] if path.is_file() else []


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on the PATH: install it, for example `apt-get install chromium`")
    with sync_api.sync_playwright() as playwright:
        # The tests open their own files only, and containers have no user namespaces.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Study]]:
    """Start the server of a mode when a test first asks for it."""
    started: dict[str, Study] = {}
    with contextlib.ExitStack() as stack:

        def study(mode: str) -> Study:
            if mode not in started:
                run = make_rated_run(tmp_path_factory.mktemp("runs") / mode, 12, size=(96, 64))
                options = ("--mode", mode, "--items", str(ITEMS[mode]), "--raters", ",".join(NAMES))
                server = stack.enter_context(serving(run.path, *options, links=len(NAMES)))
                started[mode] = Study(run, server.links)
            return started[mode]

        yield study


@pytest.fixture
def open_context(browser: Any) -> Iterator[Callable[..., Any]]:
    """Browser contexts (one is one person's browser), whose pages stay within the server.

    After the test: no page asked for anything elsewhere, violated the content security policy, or
    raised an error.
    """
    contexts, problems = [], []

    def opened(**options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(8000)
        context.on("weberror", lambda error: problems.append(str(error.error)))
        context.on(
            "console",
            lambda message: "Security Policy" in message.text and problems.append(message.text),
        )
        context.on(
            "request",
            lambda request: (
                urlsplit(request.url).hostname not in ("127.0.0.1", None)  # None: a file
                and problems.append(request.url)
            ),
        )
        contexts.append(context)
        return context

    yield opened
    for context in contexts:
        context.close()
    assert not problems
