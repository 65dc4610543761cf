"""A section is a function and a template; verdicts and intervals agree in every form."""

from __future__ import annotations

import dataclasses
import re

import pytest
from jinja2 import ChoiceLoader, DictLoader
from report_runs import MEASURES, Page, comparison, make_run, stated, write_comparisons

from evalkit.core import MetricRow
from evalkit.report import render, sections
from evalkit.report.facts import read_facts
from evalkit.report.html import to_html
from evalkit.report.latex import to_latex
from evalkit.report.markdown import to_markdown
from evalkit.report.numbers import MINUS
from evalkit.report.report import report
from evalkit.report.sections import Section, compared, contexts


def test_new_section_is_one_function_and_one_template(tmp_path, monkeypatch):
    new = Section("seeds", "Seeds", lambda facts: {"seeds": ["<b>7", *facts.models]})
    none = Section("nothing", "Nothing", lambda facts: None)
    template = "<ul>{% for seed in seeds %}<li>{{ seed }}</li>{% endfor %}</ul>"
    added = DictLoader({"sections/seeds.html.j2": template})
    monkeypatch.setattr(sections, "SECTIONS", (*sections.SECTIONS[:3], new, none))
    monkeypatch.setattr(render, "LOADER", ChoiceLoader([added, render.LOADER]))
    run = make_run(tmp_path / "run", 6, hostile=False)
    text = report(run.path).read_text(encoding="utf-8")
    assert "<ul><li>&lt;b&gt;7</li><li>dalle</li><li>gan</li></ul>" in text
    ids = [name for name in Page(text).ids if name in ("findings", "results", "seeds", "nothing")]
    assert ids == ["findings", "results", "seeds"]
    assert '<a href="#seeds">Seeds</a>' in text
    assert "Seeds" not in (run.report_path / "report.md").read_text(encoding="utf-8")


def test_sections_without_content_are_left_out(tmp_path):
    run = make_run(tmp_path / "run", 6, hostile=False)
    names = [section.name for section, _ in contexts(read_facts(run.path))]
    assert "differences" not in names
    write_comparisons(run, [comparison("fid", "dalle", "gan", "a better")])
    assert "differences" in [section.name for section, _ in contexts(read_facts(run.path))]


def test_metric_of_a_plug_in_describes_itself(tmp_path):
    run = make_run(tmp_path / "run", 12, hostile=False)
    entry = stated("sharpness", "lower", "Sharpness <of> *edges*", depends_on_count=True)
    run.write_protocol(run.protocol() | {"measures": {**MEASURES, "sharpness": entry}})
    rows = [
        MetricRow(model, "sharpness", "own", "", value, 0.1, 0.9, count, 12, "lower", baseline=0.05)
        for model, value, count in (("dalle", 0.2, 11), ("gan", 0.4, 9))
    ]
    run.write_metrics([*run.metrics(), *rows])
    page = report(run.path).read_text(encoding="utf-8")
    assert "Sharpness &lt;of&gt; *edges*" in page
    assert "What Sharpness &lt;of&gt; *edges* means." in page
    assert "This metric depends on the number of images" in page
    assert "Sharpness &lt;of&gt; *edges* and its finite-sample baseline" in page
    text = (run.report_path / "report.md").read_text(encoding="utf-8")
    assert r"Sharpness &#60;of&#62; \*edges\* ↓" in text
    assert (run.report_path / "figures" / "baseline-2.csv").is_file()


@pytest.mark.parametrize("verdict", ["a better", "b better", "no significant difference"])
@pytest.mark.parametrize("metric", ["fid", "clip_score"])
@pytest.mark.parametrize("end", [1.5, 0.04, 3e-4, 2e-9])
def test_adjusted_interval_agrees_with_the_verdict(tmp_path, verdict, metric, end):
    """As printed, the adjusted interval excludes zero exactly where the verdict is significant."""
    run = make_run(tmp_path / "run", 6, hostile=False)
    row = comparison(metric, "dalle", "gan", verdict)
    if row.winner and row.low_adjusted is not None and row.high_adjusted is not None:
        low, high = (end, 16.5) if row.low_adjusted > 0 else (-16.5, -end)
    else:
        low, high = -end, 14.5
    write_comparisons(run, [dataclasses.replace(row, low_adjusted=low, high_adjusted=high)])
    facts = read_facts(run.path)
    page = to_html(facts, [], contexts(facts))
    text = to_markdown(facts, [], contexts(facts)).split("<summary>Differences")[1]
    tex = to_latex(facts)["differences.tex"]
    number = rf"([{MINUS}-]?[\d.]+(?:e[{MINUS}-]?\d+)?)"
    line = text.splitlines()[6]  # the first row of the table
    forms = [
        re.findall(rf"adjusted: {number} to {number}<", page),
        re.findall(rf"{number} to {number}", line)[1:],
        re.findall(rf"\\evalkitinterval\{{{number}\}}\{{{number}\}}", tex),
    ]
    for [(first, last)] in forms:
        printed = [float(value.replace(MINUS, "-")) for value in (first, last)]
        assert (printed[0] > 0 or printed[1] < 0) == bool(row.winner), printed
    said = f"{row.winner} is better" if row.winner else "no significant difference"
    assert said in line
    assert re.findall(r"\\textbf\{(.*?)\}", tex) == ([row.winner] if row.winner else [])
    assert re.search(f"<bdi>{row.winner}</bdi> is better" if row.winner else said, page)


def test_untested_differences_say_why(tmp_path):
    run = make_run(tmp_path / "run", 6, hostile=False)
    write_comparisons(run, [comparison("kid", "dalle", "gan", "not tested")])
    report(run.path)
    for name in ("index.html", "report.md"):
        text = (run.report_path / name).read_text(encoding="utf-8")
        assert "no interval: fewer than 5 prompts" in text
        assert "No difference is statistically significant" in text


def test_equal_titles_are_told_by_their_encoder(tmp_path):
    run = make_run(tmp_path / "run", 6, hostile=False)
    row = comparison("fid", "dalle", "gan", "a better")
    more = [dataclasses.replace(one, encoder="other") for one in run.metrics()[:1]]
    more += [dataclasses.replace(one, encoder="other", model="gan") for one in more]
    run.write_metrics([*run.metrics(), *more])
    write_comparisons(run, [row, dataclasses.replace(row, encoder="other")])
    titles = [title for _, title, _ in compared(read_facts(run.path))]
    assert titles == ["FID (mini-inception)", "FID (other)"]


@pytest.mark.parametrize(("verdict", "marked"), [("a better", 1), ("no significant difference", 0)])
def test_bold_is_explained_where_something_is_bold(tmp_path, verdict, marked):
    run = make_run(tmp_path / "run", 6, hostile=False)
    write_comparisons(run, [comparison("fid", "dalle", "gan", verdict)])
    page = report(run.path).read_text(encoding="utf-8")
    text = (run.report_path / "report.md").read_text(encoding="utf-8")
    assert (page.count("Bold: the best"), text.count("Bold: the best")) == (marked, marked)


def test_commands_are_code_in_the_page_and_texts_of_users_stay_as_they_are(tmp_path):
    run = make_run(tmp_path / "run", 6, hostile=False)
    note = "not measured: no weights; run `evalkit weights fetch <b>`, not `this`"
    rows = run.metrics()
    lacking = dataclasses.replace(rows[0], value=None, low=None, high=None, note=note)
    run.write_metrics([lacking if row.metric == rows[0].metric else row for row in rows])
    page = report(run.path).read_text(encoding="utf-8")
    assert "run <code>evalkit weights fetch &lt;b&gt;</code>, not `this`" in page
