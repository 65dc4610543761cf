"""The path at the top of docs/gate.md, as a stranger types it in an empty folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from report_runs import Page
from typer.testing import CliRunner

from evalkit.cli.app import app

PAGE = Path(__file__).parent.parent.parent / "docs" / "gate.md"


@pytest.mark.slow
def test_the_path_from_nothing_to_a_failed_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PAGE.read_text("utf-8").partition("## The decision")[0]
    [block] = [token.content for token in MarkdownIt().parse(text) if token.info == "bash"]
    monkeypatch.chdir(tmp_path)
    codes, said = [], ""
    for line in block.splitlines():
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
