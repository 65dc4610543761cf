"""The path of guides/ci-gate.md, as a stranger types it in an empty folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from pages import commands
from report_runs import Page
from typer.testing import CliRunner

from evalkit.cli.app import app


@pytest.mark.slow
def test_the_path_from_nothing_to_a_failed_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    codes, said = [], ""
    for line in commands("guides/ci-gate.md"):
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        codes.append(done.exit_code)
        said = done.stdout + done.stderr
    assert codes == [0, 0, 0, 0, 4, 1]
    assert "reports/new:mine is worse than baseline.json" in " ".join(said.split())
    place = re.search(r"next: open (\S+)", said)
    assert place is not None
    page = (tmp_path / place[1]).read_text("utf-8")
    section = page[page.index('<section id="gate"') :].partition("</section>")[0]
    assert section.count("REGRESSED") >= 4
    sources = [values["src"] for values in Page(section).attributes("img")]
    assert len(sources) == 20
    assert sources[0].startswith("../images/mine/")
    assert sources[1].startswith("gate/")
    assert all((tmp_path / place[1]).parent.joinpath(source).is_file() for source in sources)
