"""No text of a run becomes markup: whatever it is, the page has the same elements."""

from __future__ import annotations

import dataclasses
import re
import tempfile
from pathlib import Path

import pytest
import tomli_w
from hypothesis import example, given, settings
from report_runs import HOSTILE, Page, add_groups, make_comparisons, make_run
from strategies_for_tests import NASTY

from evalkit.core import Prompt
from evalkit.report.facts import read_facts
from evalkit.report.html import to_html
from evalkit.report.sections import contexts
from evalkit.run_folder import Run
from evalkit.shards import Shard

LOCAL = re.compile(r"#[\w-]+|\.\./images/[\w.~%()-]+/[\w.-]+|tables/[\w.]+|report\.md")


def page_of(text: str, path: Path) -> Page:
    """A page in which this text is prompt, group, label, note, reason and setting."""
    text = f"x{text}".encode("utf-8", "replace").decode().replace(";", ":")  # parts of a caution
    models = (f"{text}1", f"{text}2")
    run = Run(path)
    make_run(path, 6, models, hostile=False)
    run.config_path.write_text(tomli_w.dumps({"reference": text}), encoding="utf-8")
    run.write_prompts([Prompt(f"{text}{i}", text, text if i % 2 else "b") for i in range(6)])
    for model in models:
        [first, *rest] = run.records(model)
        first = dataclasses.replace(first, extra=text)
        refused = dataclasses.replace(rest[0], status="refused_input", detail=text, file="")
        run.append_records(model, [first, refused], Shard(1, 2))
    add_groups(run)
    rows = [dataclasses.replace(row, note=text, caution=text) for row in run.metrics()]
    run.write_metrics(rows)
    make_comparisons(run, models)
    run.write_protocol(run.protocol() | {text: {text: text}, "versions": {"evalkit": text}})
    facts = read_facts(path)
    return Page(to_html(facts, [], contexts(facts)))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of a harmless text."""
    return page_of("y", tmp_path_factory.mktemp("plain") / "run")


def is_the_same_page(page: Page, plain: Page) -> None:
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert page.texts["script"] == plain.texts["script"]
    assert page.texts["style"] == plain.texts["style"]
    names = {name for _, values in plain.tags for name in values} | {"title", "tabindex"}
    for _, values in page.tags:
        assert set(values) <= names
        for name in ("href", "src"):
            assert LOCAL.fullmatch(values.get(name) or "#x"), values


@pytest.mark.parametrize("text", [*HOSTILE[:-1], "javascript:alert(1)", "--><!--", "</dialog>"])
def test_hostile_texts_change_no_element(tmp_path, plain, text):
    is_the_same_page(page_of(text, tmp_path / "run"), plain)


@settings(max_examples=15, deadline=None)
@given(NASTY)
@example("\0")
def test_no_text_changes_an_element(plain, text):
    with tempfile.TemporaryDirectory() as folder:
        is_the_same_page(page_of(text, Path(folder) / "run"), plain)


def test_a_label_cannot_reverse_the_page(tmp_path):
    run = make_run(tmp_path / "run", 6, ("a\u202e", "gan"), hostile=False)
    facts = read_facts(run.path)
    page = to_html(facts, [], contexts(facts))
    assert "\u202e" not in page
    assert re.search(r"<title>a⟨U\+202E⟩ and gan", page)
    assert re.search(r"<h1>a⟨U\+202E⟩ and gan", page)
