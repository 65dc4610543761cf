"""The LaTeX tables show foreign text as text."""

from __future__ import annotations

import re

from hypothesis import given, settings
from report_runs import HOSTILE_MODEL, make_comparisons, make_run
from strategies_for_tests import NASTY

from evalkit.escape import latex, visible
from evalkit.report.facts import read_facts
from evalkit.report.latex import to_latex

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
    "textendash": "–",
    "textemdash": "—",
    "textquoteleft": "‘",
    "textquoteright": "’",
    "textquotedblleft": "“",
    "textquotedblright": "”",
    "texttimes": "×",
}
ESCAPED = r"other/models \$x\_1\$ \textless{}b\textgreater{}"


def tables(tmp_path):
    models = ("dalle", "gan", HOSTILE_MODEL)
    run = make_run(tmp_path / "run", count=12, models=models)
    make_comparisons(run, models)
    return to_latex(read_facts(run.path))


def test_names_are_escaped_in_every_table(tmp_path):
    made = tables(tmp_path)
    assert set(made) == {"metrics.tex", "outcomes.tex", "differences.tex"}
    for text in made.values():
        assert ESCAPED in text
        lines = [line for line in text.splitlines() if not line.startswith("%")]
        assert HOSTILE_MODEL not in "\n".join(lines)
        assert text.endswith("\n")


def test_every_row_has_the_columns_of_its_table(tmp_path):
    for text in tables(tmp_path).values():
        [columns] = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
        rows = [line for line in text.splitlines() if line.endswith(r" \\")]
        assert len(rows) > 3
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}


def test_metrics(tmp_path):
    text = tables(tmp_path)["metrics.tex"]
    assert r"FID $\downarrow$ {\footnotesize mini{-}inception, scenes}" in text
    assert r"\textbf{\boldmath $38.1$} {\footnotesize $[35.2,\,41.4]$}" in text
    assert r"$47.1$$^\dagger$ {\footnotesize" in text
    assert r"Recall $\uparrow$ {\footnotesize mini{-}inception, scenes} & -- & -- & -- \\" in text


def test_differences(tmp_path):
    text = tables(tmp_path)["differences.tex"]
    assert text.count("\\midrule") == 3
    assert (
        r"FID (mini{-}inception) & \textbf{dalle} & gan & $-9.0$ & $[-12.5,\,-5.5]$"
        r" & $[-16.5,\,-1.5]$ & $< 0.001$ & dalle is better \\"
    ) in text
    assert r"KID (mini{-}inception) & dalle & gan & $+0.25$ & -- & -- & -- & not tested \\" in text


def test_run_without_comparisons_has_no_table_of_differences(run):
    assert set(to_latex(read_facts(run.path))) == {"metrics.tex", "groups.tex", "outcomes.tex"}


def test_groups(run):
    text = to_latex(read_facts(run.path))["groups.tex"]
    [columns] = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}
    head = r"CLIP score $\uparrow$ {\footnotesize mini{-}clip} & object & 7"
    ends = r"{\footnotesize $[24.5,\,26.5]$} & $23.5$ {\footnotesize $[22.5,\,24.5]$} \\"
    assert rf"{head} & $25.5$ {ends}" in text
    assert r" & \textless{}hostile\textgreater{} \& \$group\$ & 8 &" in text
    [count] = [row for row in rows if row.startswith(" & count")]
    assert count.endswith(r" & -- \\")


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
