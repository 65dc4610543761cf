"""report.md shows foreign text as text."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from many_values import values_run
from markdown_it import MarkdownIt
from report_runs import HOSTILE_MODEL, make_comparisons, make_run
from strategies_for_tests import NASTY

from evalkit.escape import attribute, markdown, visible
from evalkit.report.facts import read_facts
from evalkit.report.markdown import LIMIT, to_markdown
from evalkit.report.report import report
from evalkit.report.sections import contexts
from evalkit.run_folder import Run

COMMONMARK = MarkdownIt("commonmark", {"html": True}).enable("table")
OUR_HTML = r'<br>|<img src="\.\./images/[\w%-]+/[\w.-]+" width="128" alt="[^"<>]*">$'
OUR_BLOCKS = r"</?details>|<summary>[\w ,]+</summary>"


def check(text: str) -> None:
    """Only our own HTML, images of our own figures, and links to the papers of the measures."""
    tokens = COMMONMARK.parse(text)
    children = [child for token in tokens for child in token.children or []]
    parts = [child.content for child in children if child.type == "html_inline"]
    assert parts
    assert all(re.match(OUR_HTML, part) for part in parts)
    blocks = "".join(token.content for token in tokens if token.type == "html_block")
    lines = [line for line in blocks.splitlines() if line]
    assert all(re.fullmatch(OUR_BLOCKS, line) for line in lines)
    assert lines.count("<details>") == lines.count("</details>") > 1
    images = [child for child in children if child.type == "image"]
    assert all(str(child.attrs["src"]).startswith("figures/") for child in images)
    links = [child for child in children if child.type == "link_open"]
    assert all(str(child.attrs["href"]).startswith("https://example.org/") for child in links)


def test_prompts_are_text(run):
    check((run.report_path / "report.md").read_text(encoding="utf-8"))


def test_model_names_are_text_wherever_a_line_begins(tmp_path):
    models = ("1. first", "# second", "- third", HOSTILE_MODEL)
    run = make_run(tmp_path / "run", count=12, models=models)
    make_comparisons(run, models)
    report(run.path)
    text = (run.report_path / "report.md").read_text(encoding="utf-8")
    check(text)
    tokens = COMMONMARK.parse(text)
    assert {token.tag for token in tokens if token.type == "heading_open"} == {"h1", "h2", "h3"}
    assert not [token for token in tokens if token.type == "ordered_list_open"]
    starts = [token for token in tokens if token.type == "bullet_list_open"]
    assert all(token.level == 0 for token in starts)
    shown = "".join(child.content for token in tokens for child in token.children or [])
    assert all(model in shown for model in models)


def test_tables_are_complete(run):
    """Every row of a table has the cells of its head, whatever the prompts contain."""
    text = (run.report_path / "report.md").read_text(encoding="utf-8")
    tokens = COMMONMARK.parse(text)
    titles = [token.content for token in tokens if token.type == "inline"]
    assert {"Metric", "Prompt", "Model", "encoders", "settings"} <= set(titles)
    rows = "".join({"tr_open": "(", "tr_close": ")"}.get(t.type, "") for t in tokens)
    assert rows.replace("()", "") == ""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for block in "\n".join(text.splitlines()).split("\n\n"):
        own = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in own}) <= 1
    assert len(lines) > 40


def report_of(run: Run) -> str:
    facts = read_facts(run.path)
    return to_markdown(facts, [], contexts(facts))


def test_the_result_table_of_a_pull_request(tmp_path):
    run = make_run(tmp_path / "run", count=40, hostile=False)
    make_comparisons(run, ("dalle", "gan"))
    text = report_of(run)
    open_part = text.partition("<details>")[0]
    assert "dalle is significantly better on 1 of" in open_part
    head = "| Metric | dalle | gan | Result | Encoder, reference, images |"
    assert head in open_part
    assert "| FID ↓ | **38.1**<br>(35.2 to 41.4)<br>baseline 11.7 | 47.1 †" in open_part
    assert "| dalle is better than gan | mini-inception, scenes, n = 39 |" in open_part
    assert "| no significant difference | mini-clip, n = 39 |" in open_part
    order = [
        text.index(part) for part in ("# dalle and gan", "## Findings", "## Results", "## Details")
    ]
    assert order == sorted(order)
    assert "<summary>Accounting</summary>" in text
    assert "metrics.tex fits one column of 3.25 in" in text
    assert "left out" not in text


def test_many_models_are_the_rows(tmp_path):
    text = report_of(values_run(tmp_path / "run", list("abcdefg"), ["fid", "kid", "cmmd"]))
    assert re.search(r"^\| Model \| FID ↓<br>inception, coco-val, n = 5,000 \| KID", text, re.M)
    assert len(re.findall(r"^\| g \|", text.partition("## Details")[0], re.M)) == 1


@pytest.mark.parametrize("count", [12, 50])
def test_a_long_report_fits_a_comment_and_says_what_it_leaves_out(tmp_path, count):
    models = [f"organisation/model-number-{i}" for i in range(count)]
    run = values_run(tmp_path / "run", models, groups=["one", "two", "three"])
    text = report_of(run)
    assert LIMIT * 0.9 < len(text.encode()) <= LIMIT
    assert re.search(r"\*[\d,]+ lines left out: a comment holds 65,536 characters", text)
    tokens = COMMONMARK.parse(text)
    blocks = "".join(token.content for token in tokens if token.type == "html_block")
    assert blocks.count("<details>") == blocks.count("</details>")
    titles = {token.content for token in tokens if token.type == "inline"}
    assert {"Findings", "Results", "Details"} <= titles
    summaries = re.findall("<summary>(.*?)</summary>", blocks)
    assert {"Differences between models", "Protocol", "Tables for papers"} <= set(summaries)


@settings(max_examples=150, deadline=None)
@given(NASTY)
def test_round_trip(text):
    cell = markdown(f"x{text}x")
    tokens = MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(
        f"| a |\n| --- |\n| {cell} |\n"
    )
    inline = [token for token in tokens if token.type == "inline"]
    assert len(inline) == 2
    assert {child.type for child in inline[1].children or []} <= {"text", "text_special"}
    shown = "".join(child.content for child in inline[1].children or [])
    assert shown == visible(f"x{text}x")
    value = attribute(text)
    assert not set(value) & set("<>\"'|`\n")
    assert html.unescape(value) == visible(text)


@settings(max_examples=100, deadline=None)
@given(st.lists(NASTY, min_size=1, max_size=3))
def test_every_printed_value_is_escaped(texts):
    from evalkit.report.render import environment

    made = environment(markdown)
    source = (
        "{% macro bold(x) %}**{{ x }}**{% endmacro %}{% for t in texts %}{{ bold(t) }}\n{{ t }}"
    )
    source += "{{ t if t }}{{ ' ' ~ t }}{% endfor %}"
    expected = "".join(
        f"**{markdown(t)}**\n{markdown(t)}{markdown(t) if t else ''}{markdown(' ' + t)}"
        for t in texts
    )
    assert made.from_string(source).render(texts=texts) == expected
