"""All tables of a run as files for papers and programs: LaTeX, BibTeX and CSV."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.files import path_of, write_atomically
from evalkit.hints import nearest
from evalkit.report.facts import Facts, part, read_facts
from evalkit.report.findings import Finding
from evalkit.specs import chosen_names

log = logging.getLogger(__name__)
TABLE_FILE = re.compile(r"(metrics|groups|outcomes|differences)\.(tex|csv)|evalkit\.bib")


def tables(
    path: os.PathLike[str] | str,
    *,
    columns: str | Sequence[str] | None = None,
    metrics: str | Sequence[str] | None = None,
    width: str = "any",
    out: os.PathLike[str] | str | None = None,
) -> list[Path]:
    """Write the tables of a scored run: `*.tex`, `*.csv` and `evalkit.bib`.

    Args:
        path: the run folder.
        columns: labels of the models to show, in this order, as a list or joined by commas;
            None for all. The corrected p-values stay those of the whole run.
        metrics: names of the metrics to show, in this order, in the same form; None for all.
        width: the paper: any, icml, cvpr, aaai, acl, neurips or iclr.
        out: the folder for the files; if it is None `<path>/report/tables`, where tables of before
            that are not written again are removed.

    Returns:
        The files, in the order of their names.

    Raises:
        EvalkitError: the folder is not a scored run, or a model, metric or width is unknown.
    """
    from evalkit.report.latex import fit, tables_of
    from evalkit.report.latex_layout import paper_of

    paper_of(width)  # an unknown one is an error at once
    facts = select(read_facts(path_of(path, "path")), columns, metrics)
    folder = Path(os.path.expanduser(out)) if out else facts.run.report_path / "tables"
    made = to_tables(facts, width)
    for table in tables_of(facts, paper_of(width)):
        if table.layout.wide or len(table.layout.parts) > 1:
            log.info("%s Choose fewer models and metrics for one column.", fit(table))
    for name, text in made.items():
        write_atomically(folder / name, text.encode("utf-8", "replace"))
    if not out:
        remove_stale(folder, TABLE_FILE, made)
    return [folder / name for name in sorted(made)]


def to_tables(facts: Facts, width: str = "any") -> dict[str, str]:
    """File name to content of all tables."""
    from evalkit.report.bibtex import BIBLIOGRAPHY, to_bibtex
    from evalkit.report.csv_tables import to_csv
    from evalkit.report.latex import to_latex

    version = part(facts.protocol, "versions").get("evalkit")
    bibliography = {BIBLIOGRAPHY: to_bibtex(facts.findings, version)}
    return to_latex(facts, width) | to_csv(facts) | bibliography


def select(
    facts: Facts,
    models: str | Sequence[str] | None = None,
    metrics: str | Sequence[str] | None = None,
) -> Facts:
    """The facts about some models and metrics only, in the given order.

    Raises EvalkitError for a name that the run does not have.
    """
    names = list(dict.fromkeys(one.measure.name for one in facts.findings))
    models = _chosen("model", models, facts.models, "--columns")
    metrics = _chosen("metric", metrics, names, "--metrics")

    def of(found: Sequence[Finding]) -> list[Finding]:
        kept = [_of_models(one, models) for one in found if one.measure.name in metrics]
        kept = [one for one in kept if one.rows]
        return sorted(kept, key=lambda one: metrics.index(one.measure.name))

    by_group = [
        replace(one, whole=whole, groups={g: _of_models(f, models) for g, f in one.groups.items()})
        for whole in of([one.whole for one in facts.by_group])
        for one in facts.by_group
        if one.whole.protocol == whole.protocol
    ]
    return replace(
        facts,
        models=models,
        findings=of(facts.findings),
        common=of(facts.common),
        by_group=by_group,
        outcomes={model: facts.outcomes[model] for model in models if model in facts.outcomes},
    )


def _of_models(finding: Finding, models: Sequence[str]) -> Finding:
    return replace(
        finding,
        rows={model: finding.rows[model] for model in models if model in finding.rows},
        comparisons=[p for p in finding.comparisons if {p.model_a, p.model_b} <= {*models}],
    )


def _chosen(
    kind: str, given: str | Sequence[str] | None, known: Sequence[str], option: str
) -> list[str]:
    """The given names, or all known ones."""
    names = chosen_names(given, option, known)
    more = ", or measure it with `evalkit score`" if kind == "metric" else ""
    for name in names:
        if name not in known:
            raise EvalkitError(
                f"The run has no {kind} {name!r}; it has {', '.join(known)}.",
                f"{nearest(name, known)} Change `{option}`{more}.".strip(),
                code="report-4",
            )
    return list(dict.fromkeys(names)) or list(known)


def remove_stale(folder: Path, ours: re.Pattern[str], written: Collection[str]) -> None:
    """Remove files of an earlier report that this one does not have; others are the user's own."""
    for path in folder.glob("*"):
        if ours.fullmatch(path.name) and path.name not in written:
            path.unlink(missing_ok=True)
