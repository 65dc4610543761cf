"""The LaTeX tables compile, fit their columns, and show foreign text as text."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from latex_documents import PAPERS, complaints, needs_latex
from many_values import values_run
from report_runs import (
    HOSTILE_MODEL,
    MEASURES,
    comparison,
    make_comparisons,
    make_run,
    write_comparisons,
)
from strategies_for_tests import NASTY

from evalkit.escape import latex, visible
from evalkit.report.facts import read_facts
from evalkit.report.latex import to_latex
from evalkit.report.tables import select, tables

COMMANDS = {
    "textbackslash": "\\",
    "textasciitilde": "~",
    "textasciicircum": "^",
    "textless": "<",
    "textgreater": ">",
    "textbar": "|",
    "textquotedbl": '"',
    "textquotesingle": "'",
    "textasciigrave": "`",
    "textellipsis": "…",
    "textendash": "\u2013",
    "textemdash": "\u2014",
    "textquoteleft": "\u2018",
    "textquoteright": "\u2019",
    "textquotedblleft": "\u201c",
    "textquotedblright": "\u201d",
    "texttimes": "\u00d7",
}
NAMES = [
    "a_b%c#d", "$x^2$ & \\input{x}", "~tilde~{brace}", "\u05d3\u05d2\u05dd \u05e2",
    "🦓 zebra 模型", "stabilityai/stable-diffusion-xl-base-1.0", "[x]*", "--a--", "?`!`",
    "stabilityai/stable-diffusion-xl-base-0.9", "<b>\"quoted\"'s</b>", "very long name " * 8,
]  # fmt: skip
CASES = {
    "one": (["dalle"], [], []),
    "two": (["dalle", "gan"], ["fid", "kid", "clip_score"], ["object", "two objects"]),
    "twelve": (NAMES, [], []),
    "fifty": ([f"checkpoint-{i:06d}" for i in range(50)], ["fid", "kid", "clip_score"], []),
    "groups": (["a", "b", "c"], ["clip_score"], [f"group {i} & more" for i in range(24)]),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tables of every case."""
    made = {}
    for name, (models, metrics, groups) in CASES.items():
        run = values_run(tmp_path_factory.mktemp(name) / "run", models, metrics, groups)
        made[name] = tables(run.path)[0].parent
    return made


@needs_latex
@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("case", CASES)
def test_tables_compile_and_fit(folders, tmp_path, case, paper):
    files = sorted(folders[case].glob("*.tex"))
    assert len(files) >= 2
    assert complaints(files, paper, tmp_path) == []


@needs_latex
def test_a_table_that_is_too_wide_is_noticed(folders, tmp_path):
    """The test above can fail: without its line breaks a table does not fit."""
    text = (folders["twelve"] / "metrics.tex").read_text(encoding="utf-8")
    wide = re.sub(r"0\.400", "0.400000000000000000000000000000000000000000000", text)
    (tmp_path / "wide.tex").write_text(wide, encoding="utf-8")
    assert any("Overfull" in line for line in complaints([tmp_path / "wide.tex"], "icml", tmp_path))


@needs_latex
@pytest.mark.parametrize("width", ["icml", "neurips"])
def test_tables_of_a_paper(tmp_path, width):
    models, metrics, groups = CASES["twelve"]
    run = values_run(tmp_path / "run", models, metrics, groups)
    files = [path for path in tables(run.path, width=width) if path.suffix == ".tex"]
    assert complaints(files, width, tmp_path) == []


def test_where_a_table_fits_is_stated(folders):
    small = (folders["two"] / "metrics.tex").read_text(encoding="utf-8")
    assert "% It fits a column of 3.25 in." in small
    assert small.count(r"\begin{table}") == 1
    large = (folders["twelve"] / "metrics.tex").read_text(encoding="utf-8")
    assert "does not fit one column of 3.25 in: table*, 5.5 in wide" in large
    floats = large.count(r"\begin{table*}")
    assert floats > 1
    assert f"split into {floats} floats" in large
    assert r"\begin{table}" not in large


def test_names_are_escaped_in_every_table(tmp_path):
    models = ("dalle", "gan", HOSTILE_MODEL)
    run = make_run(tmp_path / "run", count=12, models=models)
    make_comparisons(run, models)
    made = to_latex(read_facts(run.path))
    assert set(made) == {"metrics.tex", "outcomes.tex", "differences.tex"}
    for text in made.values():
        assert r"\$ \textless{}b\textgreater{}" in text  # the end of the name
        lines = [line for line in text.splitlines() if not line.startswith("%")]
        assert HOSTILE_MODEL not in "\n".join(lines)
        assert text.endswith("\n")


def test_every_row_has_the_columns_of_its_table(folders):
    for folder in folders.values():
        for path in folder.glob("*.tex"):
            for columns, body in re.findall(
                r"\\begin\{tabular.*?\{@\{.*?\}(l.*?)@\{\}\}\n(.*?)\\end\{tabular",
                path.read_text(encoding="utf-8"), re.DOTALL,
            ):  # fmt: skip
                expected = len(re.findall(r"[lrcS]", re.sub(r"\[.*?\]", "", columns)))
                rows = [line for line in body.splitlines() if line.endswith(r" \\")]
                rows = [line for line in rows if r"\multicolumn" not in line]
                assert len(rows) >= 2
                assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {expected}


def rows_of(text: str) -> dict[str, list[str]]:
    """First cell to the other cells of its row."""
    lines = (line.removesuffix(r" \\").split(" & ") for line in text.splitlines() if " & " in line)
    return {first: rest for first, *rest in lines}


def test_values_and_intervals(run):
    text = to_latex(read_facts(run.path))["metrics.tex"]
    assert r"Model & {FID $\downarrow$\textsuperscript{a}} &" in text
    assert "dalle & 38.1 &" in text
    assert r"{\evalkitinterval{35.2}{41.4}}" in text
    assert "Recall" not in text  # it was not measured
    assert "Images per second" not in text  # it is in outcomes.tex
    assert (
        r"\textsuperscript{a}~mini{-}inception (images resized: 32 px, box filter), reference"
        in text
    )
    assert r"scenes of 10,000 images" in text
    assert "evalkit 0.1.0" in text


def significant(tmp_path, verdicts: dict[tuple[str, str], str]) -> dict[str, list[str]]:
    """The rows of FID of four models, with these verdicts."""
    models = ("a", "b", "c", "d")
    run = make_run(tmp_path / "run", count=12, models=models, hostile=False)
    rows = [row for row in run.metrics() if row.metric == "fid"]
    run.write_metrics([dataclasses.replace(row, value=10.0 * i + 5) for i, row in enumerate(rows)])
    write_comparisons(run, [comparison("fid", *pair, text) for pair, text in verdicts.items()])
    return rows_of(to_latex(read_facts(run.path))["metrics.tex"])


def written(tmp_path: Path) -> str:
    return to_latex(read_facts(tmp_path / "run"))["metrics.tex"]


def test_bold_and_underline_follow_the_tests(tmp_path):
    tie = "no significant difference"
    rows = significant(tmp_path, {
        ("a", "b"): tie, ("a", "c"): "a better", ("a", "d"): "a better", ("c", "d"): "a better",
    })  # fmt: skip
    assert rows["a"] == [r"\bfseries 5.0"]
    assert rows["b"] == [r"\bfseries 15.0"]
    assert rows["c"] == [r"{\underline{\num{25.0}}{\evalkitworse}}"]
    assert "Underlined: the same as bold" in written(tmp_path)
    assert rows["d"] == [r"35.0 {\evalkitworse}"]


def test_nothing_is_underlined_where_the_second_was_not_better_than_the_next(tmp_path):
    tie = "no significant difference"
    rows = significant(tmp_path, {
        ("a", "b"): "a better", ("a", "c"): "a better", ("a", "d"): "not tested", ("b", "c"): tie,
    })  # fmt: skip
    assert rows["a"] == [r"\bfseries 5.0"]
    assert rows["b"] == [r"15.0 {\evalkitworse}"]
    assert "significantly worse than the best (Holm" in written(tmp_path)
    assert "Underlined" not in written(tmp_path)  # no entry is
    assert rows["c"] == [r"25.0 {\evalkitworse}"]
    assert rows["d"] == ["35.0"]


def test_nothing_is_bold_without_a_significant_difference(tmp_path):
    pairs = [("a", "b"), ("a", "c"), ("a", "d")]
    rows = significant(tmp_path, dict.fromkeys(pairs, "no significant difference"))
    assert [rows[name] for name in "abcd"] == [["5.0"], ["15.0"], ["25.0"], ["35.0"]]


def test_differences(tmp_path):
    models = ("dalle", "gan")
    run = make_run(tmp_path / "run", count=12, models=models)
    make_comparisons(run, models)
    text = to_latex(read_facts(run.path))["differences.tex"]
    assert (
        r"\textbf{dalle} & gan & \num{-9.0} & \evalkitinterval{-16.5}{-1.5} & \textless{} 0.001 \\"
    ) in text
    assert r"dalle & gan & \num{+0.25} & -- & -- \\" in text
    assert "on the images that both made (38 prompts, 38 images of each model)" in text
    assert r"p: corrected for all 3 comparisons of the run (Holm, 5\%)" in text
    assert r"\multicolumn{5}{@{}l}{FID $\downarrow$" in text
    facts = select(read_facts(run.path), (), ["fid"])
    assert "for all 3 comparisons of the run" in to_latex(facts)["differences.tex"]


def test_times_have_a_unit_and_brackets_are_explained(tmp_path):
    run = make_run(tmp_path / "run", 12, hostile=False)
    text = to_latex(read_facts(run.path))["outcomes.tex"]
    assert r"{latency}" in text
    assert r"{(ms) $\downarrow$}" in text
    assert "In brackets: 95" in text
    assert "BibTeX entries of these papers, and of \\cite{evalkit}: evalkit.bib" in text
    entries = {name: {**entry, "paper": ""} for name, entry in MEASURES.items()}
    run.write_protocol(run.protocol() | {"measures": entries})
    text = to_latex(read_facts(run.path))["outcomes.tex"]
    assert "% BibTeX entry of \\cite{evalkit}: evalkit.bib" in text


def test_groups(run):
    text = to_latex(read_facts(run.path))["groups.tex"]
    assert r"{CLIP score $\uparrow$" in text
    assert "{object}" in text
    assert r"\textless{}hostile\textgreater{}" in text
    assert re.search(r"^gan & .*\{--\}", text, re.MULTILINE)  # it has no image of a group


@settings(max_examples=150, deadline=None)
@given(NASTY)
def test_round_trip(text):
    pattern = r"\\(?P<name>[a-z]+)\{\}|\\texttt\{U\+(?P<code>[0-9A-F]+)\}|\\(?P<sign>[{}&%$#_])|"
    pattern += r"\{(?P<one>[-\[\]?!*])\}|(?P<plain>[^\\{}&%$#_~^<>|\"])"
    shown, end = "", 0
    for match in re.finditer(pattern, latex(text)):
        assert match.start() == end
        end = match.end()
        if match["code"]:
            shown += chr(int(match["code"], 16))
        elif match["name"]:
            shown += COMMANDS[match["name"]]
        else:
            shown += match["sign"] or match["one"] or match["plain"]
    assert end == len(latex(text))
    assert shown == visible(text)
    assert latex(text).isprintable()
