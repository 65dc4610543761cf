"""Run folder to report: index.html, report.md, tables/*.tex and figures/*, all from files that
earlier stages wrote.
"""

from __future__ import annotations

from pathlib import Path

from evalkit.files import write_atomically
from evalkit.report.facts import read_facts


def report(path: Path | str) -> Path:
    """Write the report of a scored run folder and return the path of its page.

    Reads prompts, manifests, metrics.json, scores.csv, protocol.json and run.toml; measures nothing
    itself. The same folder always gives the same bytes. The page is written last: where it exists,
    the report is whole.

    Args:
        path: the run folder.

    Returns:
        `<path>/report/index.html`, which opens from the disk without a network.

    Raises:
        EvalkitError: the folder is no run, has no metrics yet, or no model's images.
    """
    facts = read_facts(path)  # before matplotlib is loaded: a mistake is told at once
    from evalkit.report.figures import make_charts, write_charts
    from evalkit.report.html import render
    from evalkit.report.markdown import all_tables, to_markdown

    folder = facts.run.report_path
    charts = make_charts(facts)
    write_charts(charts, folder / "figures")
    for name, text in all_tables(facts).items():
        write_atomically(folder / "tables" / name, _encodable(text))
    captions = [(chart.name, chart.title, chart.caption) for chart in charts]
    write_atomically(folder / "report.md", _encodable(to_markdown(facts, captions)))
    write_atomically(folder / "index.html", _encodable(render(facts, charts)))
    return folder / "index.html"


def _encodable(text: str) -> bytes:
    """UTF-8, with a question mark for half a surrogate pair, which JSON can hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace")
