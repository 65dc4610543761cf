"""`evalkit report`: the page of one run, or of several runs compared with each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.files import paths_of
from evalkit.report.report import report as report_one


def report(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str] | None = None,
    allow_mismatch: str | Sequence[str] | None = None,
    single_file: bool = False,
    zip: bool = False,
) -> Path:
    """Write the report of a scored run, or of several as `compare` puts them together.

    The same folder always gives the same bytes. The page is written last: if it exists, the report
    is complete. Figures and tables of an earlier report that this one does not have are then
    removed; your own files stay.

    Args:
        path: the run folder; or several, as `compare` takes them.
        out: of several runs, the folder to write; see `compare`.
        allow_mismatch: of several runs, conditions that may differ; see `compare`.
        single_file: also write `report/<name of the run>.html`, one file of at most 20 MB with
            thumbnails inside of it. It says which images it leaves out.
        zip: also write `report/<name of the run>.zip`: the page with all images that it shows,
            figures, tables and data.

    Returns:
        `<run folder>/report/index.html`, which opens from the disk without a network.

    Raises:
        EvalkitError: the folder is not a run, has no metrics yet, or no images of any model; and
            what `compare` raises.
    """
    paths = paths_of(path, "path")
    if len(paths) != 1:
        from evalkit.compare.compare import compare  # slow; one run needs no encoder

        run = compare(paths, out=out, allow_mismatch=allow_mismatch)
        page = run.report_path / "index.html"
        mailed = single_file or zip
        return report_one(run.path, single_file=single_file, zip=zip) if mailed else page
    if out is not None or allow_mismatch:
        raise EvalkitError(
            "One run is given; out and allow_mismatch are for two or more.",
            "Leave `--out` and `--allow-mismatch` out, or give two runs.",
            code="compare-17",
        )
    return report_one(paths[0], single_file=single_file, zip=zip)
