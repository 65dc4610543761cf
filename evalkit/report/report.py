"""Run folder to report: index.html, report.md, tables/*.tex and figures/*."""

from __future__ import annotations

import os
from pathlib import Path

from evalkit.files import write_atomically
from evalkit.report.facts import Facts, read_facts
from evalkit.run_folder import Run


def report(path: os.PathLike[str] | str, *, single_file: bool = False, zip: bool = False) -> Path:
    """Write the report of a run folder and return the path of its page.

    Reads prompts, manifests, metrics.json, comparisons.json, scores.csv, protocol.json, run.toml
    and gate.json; measures nothing itself. A run that is not scored yet has a page of its images.
    The same folder always gives the same bytes. The page is written last: if it exists, the report
    is complete. Figures, tables and images of an earlier report that this one does not have are
    then removed; your own files stay.

    Args:
        path: the run folder.
        single_file: also write `<path>/report/<name of the run>.html`: one file of at most 20 MB
            with thumbnails inside of it. It says which images it leaves out.
        zip: also write `<path>/report/<name of the run>.zip`: the page with all images that it
            shows, figures, tables and data.

    Returns:
        `<path>/report/index.html`, which opens from the disk without a network.

    Raises:
        EvalkitError: the folder is not a run, or has neither metrics nor images of any model.
    """
    with Run(path).writing_results():
        # Before the slow imports: an error is reported at once.
        return _write(read_facts(Path(path), scored=False), single_file, zip)


def _write(facts: Facts, single_file: bool, zip: bool) -> Path:
    from evalkit.report.baseline_images import FILE, FOLDER
    from evalkit.report.figures import FIGURE_FILE, make_charts, write_charts
    from evalkit.report.for_mail import write_for_mail
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
    page = _encodable(to_html(facts, charts, sections, list(tables)))
    files = [f"figures/{name}" for name in figures] + [f"tables/{name}" for name in tables]
    write_for_mail(facts, page, ["report.md", *files], single_file, zip)
    write_atomically(folder / "index.html", page)
    remove_stale(folder / "figures", FIGURE_FILE, figures)
    remove_stale(folder / FOLDER, FILE, images)
    remove_stale(folder / "tables", TABLE_FILE, tables)
    return folder / "index.html"


def _encodable(text: str) -> bytes:
    """UTF-8, with a question mark for half a surrogate pair, which only JSON can hold."""
    return text.encode("utf-8", "replace")
