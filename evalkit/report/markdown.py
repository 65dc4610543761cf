"""The report as GitHub-flavoured Markdown, and its tables for LaTeX (booktabs)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evalkit.escape import attribute, latex, markdown
from evalkit.report import sentences, words
from evalkit.report.differences import by_metric, told_apart
from evalkit.report.facts import Facts, per_second, sample_prompts, speed_rows
from evalkit.report.findings import Cell, Comparison
from evalkit.report.html import image_url, tables, troubles

SAMPLE = 8  # prompts whose pictures are shown
INFINITY = "$_\\infty$"
MOST_TROUBLES = 20  # listed per model; the page lists all


def to_markdown(facts: Facts, charts: Sequence[tuple[str, str, str]]) -> str:
    """The whole report. `charts` are (file stem, title, caption)."""
    parts = [f"# {markdown(sentences.headline(facts))}", markdown(sentences.lede(facts))]
    if sentences.banner(facts):
        parts.append(
            f"> **Scores in the bundled world, not comparable with published values.** {markdown(sentences.banner(facts))}"
        )
    parts += [
        "## Findings",
        *_findings(facts),
        "## Numbers",
        _numbers(facts, facts.comparisons),
        markdown(sentences.bold_rule(facts)),
        _fine_print(facts),
        *_differences(facts),
    ]
    parts.append("## Charts")
    parts += [
        f"![{markdown(title)}](figures/{name}.png)\n\n*{markdown(caption)}*"
        for name, title, caption in charts
    ]
    parts += [
        *(["## Pictures", *_pictures(facts)] if facts.prompts else []),
        "## Refusals and failures",
        _outcomes(facts),
        *_troubles(facts),
        *(
            [
                "### On the pictures that all models made",
                sentences.common_rule(facts),
                _numbers(facts, facts.common),
            ]
            if facts.common
            else []
        ),
        "## Protocol",
    ]
    for title, part in (("How it was measured", facts.protocol), ("How it was run", facts.config)):
        if part:
            parts.append(f"### {title}")
            parts += [_protocol(table.title, table.columns, table.rows) for table in tables(part)]
    return "\n\n".join(parts) + "\n"


def metrics_table(facts: Facts) -> str:
    """All metrics as a LaTeX table; needs \\usepackage{booktabs} and, for the quotes in names, T1
    and textcomp.
    """
    lines = [
        "% Needs \\usepackage{booktabs}, \\usepackage[T1]{fontenc} and \\usepackage{textcomp}.",
        f"\\begin{{tabular}}{{l{'r' * len(facts.models)}}}",
        "\\toprule",
        f"Metric & {' & '.join(latex(model) for model in facts.models)} \\\\",
        "\\midrule",
    ]
    for c in facts.comparisons:
        sign = "\\downarrow" if c.better == "lower" else "\\uparrow"
        name = f"{latex(c.title).replace(latex('∞'), INFINITY)} ${sign}$"
        under = (
            f" {{\\footnotesize {latex(c.encoder)}{', ' + latex(c.reference) if c.reference else ''}}}"
            if c.encoder
            else ""
        )
        lines.append(
            f"{name}{under} & {' & '.join(_latex_cell(c.cells.get(model)) for model in facts.models)} \\\\"
        )
    counts = [f"{latex(m)}: {latex(_counts(facts, m))}" for m in facts.models]
    lines += [
        "\\bottomrule",
        "\\end{tabular}",
        f"% Pictures per metric: {'; '.join(counts)}.",
        f"% {sentences.bold_rule(facts)}",
        "",
    ]
    return "\n".join(lines)


def outcomes_table(facts: Facts) -> str:
    """Outcomes per model as a LaTeX table."""
    lines = [
        "% Needs \\usepackage{booktabs}.",
        "\\begin{tabular}{lrrrr}",
        "\\toprule",
        "Model & made & refused & failed & not there \\\\",
        "\\midrule",
    ]
    lines += [
        f"{latex(m)} & {' & '.join(f'{n:,}' for n in facts.outcomes[m].values())} \\\\"
        for m in facts.models
    ]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def differences_table(facts: Facts) -> str:
    """Which differences between models are real, as a LaTeX table."""
    lines = [
        "% Needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}.",
        "\\begin{tabular}{lllrrrl}",
        "\\toprule",
        "Metric & $a$ & $b$ & $a-b$ & 95\\% interval & $p$ & verdict \\\\",
    ]
    for title, pairs in by_metric(facts.pairs):
        lines.append("\\midrule")
        for place, pair in enumerate(pairs):
            name = latex(title).replace(latex("∞"), INFINITY) if place == 0 else ""
            a, b = (
                f"\\textbf{{{latex(m)}}}" if m == pair.winner else latex(m)
                for m in (pair.model_a, pair.model_b)
            )
            span = _math(pair.interval).split(" to ")
            interval = f"$[{span[0]},\\,{span[1]}]$" if len(span) == 2 else "--"
            p = "--" if pair.p is None else f"${pair.p_text}$"
            lines.append(
                f"{name} & {a} & {b} & ${_math(pair.text)}$ & {interval} & {p} & {latex(pair.verdict_text)} \\\\"
            )
    return "\n".join(
        [
            *lines,
            "\\bottomrule",
            "\\end{tabular}",
            f"% {facts.pairs_statement}".replace("\n", " "),
            "",
        ]
    )


def _math(number: str) -> str:
    return number.replace(words.MINUS, "-").replace(",", "{,}")


def _latex_cell(cell: Cell | None) -> str:
    if cell is None or cell.row.value is None:
        return "--"
    value = f"${_math(cell.value)}$"
    value = (
        f"\\textbf{{\\boldmath {value}}}"
        if cell.leads
        else f"{value}$^\\dagger$"
        if cell.worse
        else value
    )
    span = _math(cell.interval).split(" to ")
    return f"{value} {{\\footnotesize $[{span[0]},\\,{span[1]}]$}}" if len(span) == 2 else value


def _counts(facts: Facts, model: str) -> str:
    counts = sorted(
        {
            c.cells[model].row.count
            for c in facts.comparisons
            if model in c.cells and c.cells[model].row.value is not None
        }
    )
    return " or ".join(f"{count:,}" for count in counts) or "none"


def _findings(facts: Facts) -> list[str]:
    conclusion = sentences.conclusion(facts)
    parts = [markdown(conclusion)] if conclusion else []
    lines = []
    for c in facts.findings:
        line = f"- **{markdown(c.title)} {c.arrow}** {markdown(c.verdict)}"
        line += f" {markdown(c.detail)}." if c.measured else ""
        extra = [*([sentences.head_to_head(facts)] if c is facts.score else []), *c.cautions]
        lines.append(" ".join([line, *(markdown(text) for text in extra if text)]))
    parts.append("\n".join(lines) or "No metric was measured.")
    return [*parts, *(markdown(remark) for remark in sentences.remarks(facts))]


def _numbers(facts: Facts, comparisons: Sequence[Comparison]) -> str:
    head = ["Metric", "Encoder", "Reference", *(markdown(model) for model in facts.models)]
    rows = []
    for c in comparisons:
        cells = [_markdown_cell(c.cells.get(model)) for model in facts.models]
        rows.append(
            [
                f"{markdown(c.title)} {c.arrow}",
                markdown(c.encoder) or words.DASH,
                markdown(c.reference) or words.DASH,
                *cells,
            ]
        )
    return _table(head, rows, numbers_from=3)


def _differences(facts: Facts) -> list[str]:
    """The section on which differences are real; nothing for a run without comparisons."""
    if not facts.pairs:
        return []
    rows = []
    for title, pairs in by_metric(facts.pairs):
        for place, pair in enumerate(pairs):
            names = [
                f"**{markdown(m)}**" if m == pair.winner else markdown(m)
                for m in (pair.model_a, pair.model_b)
            ]
            interval = pair.interval or markdown(f"no interval: {pair.why_none}")
            more = pair.more or words.DASH
            rows.append(
                [
                    markdown(title) if place == 0 else "",
                    *names,
                    pair.text,
                    interval,
                    markdown(pair.p_text),
                    markdown(pair.verdict_text),
                    more,
                ]
            )
    head = [
        "Metric",
        "a",
        "b",
        "a less b",
        "95% interval",
        "p, corrected",
        "Verdict",
        "Prompts more to tell them apart",
    ]
    return [
        "## Which differences are real",
        markdown(f"{told_apart(facts.pairs)} {facts.pairs_statement}"),
        _table(head, rows, numbers_from=3),
    ]


def _fine_print(facts: Facts) -> str:
    found = [(c, sentences.fine_print(c)) for c in facts.comparisons]
    return "\n".join(f"- **{markdown(c.title)}** {markdown(text)}" for c, text in found if text)


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None or cell.row.value is None:
        return f"not measured{': ' + markdown(cell.reason) if cell and cell.reason else ''}"
    value = f"**{cell.value}**" if cell.leads else f"{cell.value} †" if cell.worse else cell.value
    parts = [value, f"({markdown(cell.span)})", f"n = {cell.row.count:,}"]
    return "<br>".join([*parts, *([f"floor {cell.floor_text}"] if cell.floor_text else [])])


def _pictures(facts: Facts) -> list[str]:
    chosen, digits = sample_prompts(facts, SAMPLE), facts.score_digits
    records = {
        (model, r.index): r for model in facts.models for r in facts.records[model] if r.sample == 0
    }
    rows = []
    for index in chosen:
        prompt = facts.prompts[index]
        cells = [f"{index + 1}. {markdown(prompt.text)}"]
        for model in facts.models:
            record = records.get((model, index))
            url = image_url(facts.run, model, record) if record and record.status == "ok" else ""
            score = facts.scores.get((model, index, 0))
            picture = (
                f'<img src="{attribute_url(url)}" width="128" alt="{attribute(prompt.text)}">'
                if url
                else "no picture"
            )
            cells.append(
                picture + (f"<br>{words.number(score, digits)}" if score is not None else "")
            )
        rows.append(cells)
    rule = f"A fixed sample of {len(chosen)} of {len(facts.prompts):,} prompts that nobody picked: the ids with the smallest SHA-256."
    rule += (
        f" Below each picture its {facts.score.title} ({facts.score.encoder})."
        if facts.score
        else ""
    )
    return [markdown(rule), _table(["Prompt", *(markdown(model) for model in facts.models)], rows)]


def attribute_url(url: str) -> str:
    """A relative address that is percent-encoded already."""
    return url.replace("&", "&amp;").replace('"', "%22")


def _outcomes(facts: Facts) -> str:
    speed = {row["model"]: per_second(row) for row in speed_rows(facts)}
    rows = [
        [markdown(m), *(f"{n:,}" for n in facts.outcomes[m].values()), speed.get(m, words.DASH)]
        for m in facts.models
    ]
    return _table(
        ["Model", "made", "refused", "failed", "not there", "pictures per second"],
        rows,
        numbers_from=1,
    )


def _troubles(facts: Facts) -> list[str]:
    parts = []
    for model in facts.models:
        found = troubles(facts, model)
        lines = [
            f"- {markdown(status)}: {markdown(text)}{'; ' + markdown(detail) if detail else ''}"
            for _, text, status, detail in found
        ]
        if len(lines) > MOST_TROUBLES:
            lines = [
                *lines[:MOST_TROUBLES],
                f"- and {len(lines) - MOST_TROUBLES:,} more in index.html",
            ]
        if lines:
            parts.append(f"**{markdown(model)}**\n\n" + "\n".join(lines))
    return parts


def _protocol(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return _table(
        [markdown(title), *(markdown(column) for column in columns[1:])],
        [[markdown(cell) for cell in row] for row in rows],
    )


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int | None = None
) -> str:
    marks = [
        "---:" if numbers_from is not None and i >= numbers_from else "---"
        for i in range(len(head))
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, marks, *rows))


def all_tables(facts: Facts) -> Mapping[str, str]:
    """File name to LaTeX."""
    made = {"metrics.tex": metrics_table(facts), "outcomes.tex": outcomes_table(facts)}
    return made | {"differences.tex": differences_table(facts)} if facts.pairs else made
