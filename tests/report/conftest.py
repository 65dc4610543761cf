"""One reported run for all tests that only read it."""

import pytest
from report_runs import Page, add_groups, make_run

from evalkit.report.report import report
from evalkit.run_folder import Run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(tmp_path_factory.mktemp("runs") / "two models")
    add_groups(run)
    report(run.path)
    return run


@pytest.fixture(scope="session")
def page(run: Run) -> Page:
    return Page((run.report_path / "index.html").read_text(encoding="utf-8"))
