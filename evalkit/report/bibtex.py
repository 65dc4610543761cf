"""BibTeX entries of the papers that define the metrics of a run, found by their addresses."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.escape import latex, visible
from evalkit.report.findings import Finding

BIBLIOGRAPHY = "evalkit.bib"
_ENTRY = re.compile(r"^@\w+\{([\w-]+),\n.*?^\}$", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"^  url = \{(.*)\}$", re.MULTILINE)


def to_bibtex(found: Sequence[Finding], version: Any = None) -> str:
    """The entries of all metrics that name a paper, then the one of evalkit of this version."""
    keys = dict.fromkeys(key for _, key in cited(found))
    made = [_entries()[key] if key in _entries() else _unknown(key, found) for key in keys]
    own = _entries()["evalkit"]
    if version:
        note = f"  note = {{Version {latex(str(version))}}},\n  key"
        own = own.replace("  key", note)
    return "\n\n".join([*made, own]) + "\n"


def cited(found: Sequence[Finding]) -> list[tuple[str, str]]:
    """Title and citation key of each metric that names its paper."""
    return list(dict.fromkeys((one.title, _key(one)) for one in found if one.paper))


def _key(finding: Finding) -> str:
    """The key of the paper; of one that evalkit does not know, a key from the metric's name."""
    return _keys().get(finding.paper, f"metric-{finding.measure.name}")


def _unknown(key: str, found: Sequence[Finding]) -> str:
    """An entry for the paper of a plug-in metric, of which only the address is known."""
    [one, *_] = [one for one in found if one.paper and _key(one) == key]
    title = latex(visible(one.title))
    return (
        f"@misc{{{key},\n  title = {{{{Definition of {title}}}}},\n"
        f"  key = {{{key}}},\n  url = {{{one.paper}}}\n}}"
    )


@functools.cache
def _entries() -> dict[str, str]:
    """Citation key to entry."""
    text = Path(__file__).with_name("papers.bib").read_text(encoding="utf-8")
    return {match[1]: match[0] for match in _ENTRY.finditer(text)}


@functools.cache
def _keys() -> dict[str, str]:
    """Address to citation key."""
    return {match[1]: key for key, text in _entries().items() if (match := _ADDRESS.search(text))}
