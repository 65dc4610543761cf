"""Run folder to report: index.html, report.md, tables/*.tex and figures/*."""

from __future__ import annotations

import os
from pathlib import Path

from evalkit.files import write_atomically
from evalkit.report.facts import read_facts


def report(path: os.PathLike[str] | str) -> Path:
    """Write the report of a scored run folder and return the path of its page.

    Reads prompts, manifests, metrics.json, comparisons.json, scores.csv, protocol.json, run.toml
    and gate.json; measures nothing itself. The same folder always gives the same bytes. The page is
    written last: if it exists, the report is complete. Figures, tables and images of an earlier
    report that this one does not have are then removed; your own files stay.

    Args:
        path: the run folder.

    Returns:
        `<path>/report/index.html`, which opens from the disk without a network.

    Raises:
        EvalkitError: the folder is not a run, has no metrics yet, or no images of any model.
    """
    facts = read_facts(Path(path))  # before the slow imports: an error is reported at once
    from evalkit.report.baseline_images import FILE, FOLDER
    from evalkit.report.figures import FIGURE_FILE, make_charts, write_charts
    from evalkit.report.gate import copied_images
    from evalkit.report.html import to_html
    from evalkit.report.markdown import to_markdown
    from evalkit.report.sections import contexts
    from evalkit.report.tables import TABLE_FILE, remove_stale, to_tables

    folder = facts.run.report_path
    charts, sections = make_charts(facts), contexts(facts)
    figures, tables = write_charts(charts, folder / "figures"), to_tables(facts)
    for name, text in tables.items():
        write_atomically(folder / "tables" / name, _encodable(text))
    images = copied_images(facts.run)
    write_atomically(folder / "report.md", _encodable(to_markdown(facts, charts, sections)))
    write_atomically(folder / "index.html", _encodable(to_html(facts, charts, sections)))
    remove_stale(folder / "figures", FIGURE_FILE, figures)
    remove_stale(folder / FOLDER, FILE, images)
    remove_stale(folder / "tables", TABLE_FILE, tables)
    return folder / "index.html"


def _encodable(text: str) -> bytes:
    """UTF-8, with a question mark for half a surrogate pair, which only JSON can hold."""
    return text.encode("utf-8", "replace")
