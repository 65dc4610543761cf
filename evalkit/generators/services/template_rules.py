"""The meaning of an answer: the first rule of the template that applies, else the HTTP status."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from evalkit.core import Answer
from evalkit.generators.services.json_paths import as_text, lookup
from evalkit.generators.services.template import Rule
from evalkit.remote.keys import Key, redacted
from evalkit.remote.outcomes import error_message, outcome_of_status, retry_after
from evalkit.remote.transport import Reply


def failure_of(
    reply: Reply, value: Any, rules: Sequence[Rule], keys: tuple[Key, ...]
) -> Answer | None:
    """The refusal or error in an answer, or None where there is none."""
    wait = retry_after(reply.headers)
    for rule in rules:
        if applies(rule, reply.status, value):
            detail = redacted(describe(reply, value, rule), keys)
            return Answer(rule.outcome, detail=detail, retry_after=_seconds(rule, value) or wait)
    if reply.status >= 300:
        detail = redacted(describe(reply, value), keys)
        return Answer(outcome_of_status(reply.status), detail=detail, retry_after=wait)
    return None


def applies(rule: Rule, status: int, value: Any) -> bool:
    """Whether the conditions of a rule hold for an answer."""
    if (rule.statuses and status not in rule.statuses) or (status >= 500 and not rule.statuses):
        return False  # a failing server says nothing about the prompt, whatever its words
    if rule.path is None:
        return True
    found = [as_text(item) for item in lookup(rule.path, value)]
    if rule.values or rule.matches:
        return any(
            item in rule.values or (rule.matches is not None and rule.matches.search(item[:5000]))
            for item in found
        )
    return bool(found)


def describe(reply: Reply, value: Any, rule: Rule | None = None) -> str:
    """An answer in one sentence: its status, the values of the rule, and its error message."""
    found = lookup(rule.path, value) if rule and rule.path else []
    values = ", ".join(dict.fromkeys(as_text(item)[:80] for item in found))
    message = error_message(reply)
    status = f"HTTP {reply.status}"
    parts = [
        status if reply.status >= 300 else "",
        values,
        message if message != values else "",
    ]
    return ": ".join(part for part in parts if part) or status


def _seconds(rule: Rule, value: Any) -> float | None:
    found = lookup(rule.retry_after, value) if rule.retry_after else []
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*s?", as_text(found[0])) if found else None
    return float(match[1]) if match else None
