"""What the processes of `forked` share; no network has computed anything when they are forked."""

import importlib

for name in (
    "cli.app", "api", "score.score", "score.resources", "report.report", "report.html",
    "report.figures", "report.markdown", "report.sections", "report.tables", "report.for_mail",
    "gate.gate", "generators.noise", "generators.gan", "encoders.mini", "encoders.pixels",
    "rate.summary", "rate.import_ratings", "compare.report",
):  # fmt: skip
    importlib.import_module(f"evalkit.{name}")
