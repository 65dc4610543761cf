"""Metrics: pure functions of features with keyword-only parameters, each beside its `Metric`.

A new metric is one function, one `Metric` and one line in pyproject.toml (`evalkit.metrics`).
docs/metrics.md defines each and names the published numbers that it may be compared with.
"""
