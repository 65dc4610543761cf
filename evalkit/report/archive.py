"""The report with all images that its page shows, as one zip for mailing."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Collection
from pathlib import Path
from urllib.parse import unquote

from evalkit.files import atomic_file
from evalkit.report.links import links
from evalkit.run_folder import Run

DATE = (1980, 1, 1, 0, 0, 0)  # the same run gives the same bytes
PACKED = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".pdf")  # compressed already


def write_archive(target: Path, run: Run, page: bytes, more: Collection[str]) -> None:
    """Write the zip; its only folder has the zip's name and opens by report/index.html.

    Args:
        page: index.html.
        more: further files, relative to the run folder; those that do not exist are left out.
    """
    found = {path for link in links(page.decode()) if (path := _inside(link.address))}
    files = {name: run.path / name for name in {*found, *more} if (run.path / name).is_file()}
    index = "report/index.html"
    with atomic_file(target) as file, zipfile.ZipFile(file, "w") as archive:
        for name in sorted({*files, index}):
            content = page if name == index else files[name].read_bytes()
            _add(archive, f"{target.stem}/{name}", content)


def _inside(address: str) -> str:
    """The place in the run folder that an address of the page names; "" if it leads out of it."""
    name = posixpath.normpath(posixpath.join("report", unquote(address)))
    return "" if name.startswith(("/", "..")) or "\\" in name else name


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, DATE)
    entry.create_system = 3  # the same bytes on every system
    entry.external_attr = 0o100644 << 16
    stored = name.lower().endswith(PACKED)
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)
