"""The report for mailing: the page as one file, and a zip with all images that it shows."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from evalkit.files import plain_name, write_atomically
from evalkit.report.archive import write_archive
from evalkit.report.facts import Facts
from evalkit.report.numbers import plural
from evalkit.report.single_file import to_single_file

DATA = (
    *("prompts.jsonl", "metrics.json", "metrics.flat.json", "comparisons.json", "scores.csv"),
    *("protocol.json", "image_checks.json", "gate.json"),
)

_logger = logging.getLogger("evalkit.report")


def write_for_mail(
    facts: Facts, page: bytes, files: Collection[str], single_file: bool, zip: bool
) -> None:
    """Write what is asked for; an earlier file that is not asked for is out of date and removed.

    Args:
        page: index.html.
        files: the other files of the report, relative to its folder.
    """
    folder = facts.run.report_path
    stem = plain_name(facts.name)  # not with_suffix: the name of a run may have dots
    one, archive = folder / f"{stem}.html", folder / f"{stem}.zip"
    if stem == "index":  # never over the page
        one = folder / "index-single.html"
    if single_file or zip:
        _warn_missing(facts)
    if single_file:
        write_atomically(one, to_single_file(page.decode(), folder).encode())
        _log(one)
    else:
        one.unlink(missing_ok=True)
    if zip:
        write_archive(archive, facts.run, page, [*DATA, *(f"report/{name}" for name in files)])
        _log(archive)
    else:
        archive.unlink(missing_ok=True)


def _log(path: Path) -> None:
    _logger.info("for mailing: %s, %.1f MB", path, path.stat().st_size / 1e6)


def _warn_missing(facts: Facts) -> None:
    """Name the image files that manifests list and the folder lacks."""
    places = [
        facts.run.image_path(model, record)
        for model in facts.models
        for record in facts.records[model]
        if record.status == "ok"
    ]
    lost = [path.relative_to(facts.run.path).as_posix() for path in places if not path.is_file()]
    if lost:
        some = ", ".join(lost[:3]) + (", ..." if len(lost) > 3 else "")
        what = plural(len(lost), "image file")
        _logger.warning("%s of the run missing, so not in the report: %s", what, some)
