"""What an answer means by the rules of a template: the first rule that fits decides, then the HTTP
status.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from evalkit.core import Answer
from evalkit.generators.services.keys import Key, said
from evalkit.generators.services.outcomes import outcome_of, retry_after, words
from evalkit.generators.services.template import Rule
from evalkit.generators.services.template_paths import lookup, plain
from evalkit.generators.services.transport import Reply


def judged(reply: Reply, value: Any, rules: Sequence[Rule], keys: tuple[Key, ...]) -> Answer | None:
    """What the rules say, else the HTTP status; None where there is nothing to object to."""
    wait = retry_after(reply.headers)
    for rule in rules:
        if fits(rule, reply.status, value):
            return Answer(
                rule.outcome,
                detail=said(described(reply, value, rule), keys),
                retry_after=_seconds(rule, value) or wait,
            )
    if reply.status >= 300:
        return Answer(
            outcome_of(reply.status), detail=said(described(reply, value), keys), retry_after=wait
        )
    return None


def fits(rule: Rule, status: int, value: Any) -> bool:
    """Whether a rule speaks of such an answer."""
    if (rule.statuses and status not in rule.statuses) or (status >= 500 and not rule.statuses):
        return False  # a failing server is a failing server, whatever words it uses
    if rule.path is None:
        return True
    found = [plain(item) for item in lookup(rule.path, value)]
    if rule.values or rule.matches:
        return any(
            item in rule.values or (rule.matches is not None and rule.matches.search(item[:5000]))
            for item in found
        )
    return bool(found)


def _seconds(rule: Rule, value: Any) -> float | None:
    found = lookup(rule.retry_after, value) if rule.retry_after else []
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*s?", plain(found[0])) if found else None
    return float(match[1]) if match else None


def described(reply: Reply, value: Any, rule: Rule | None = None) -> str:
    """The answer in a sentence: its status, what the rule saw, and the service's own words."""
    seen = (
        ", ".join(dict.fromkeys(plain(item)[:80] for item in lookup(rule.path, value)))
        if rule and rule.path
        else ""
    )
    message = words(reply)
    parts = [
        f"HTTP {reply.status}" if reply.status >= 300 else "",
        seen,
        message if message != seen else "",
    ]
    return ": ".join(part for part in parts if part) or f"HTTP {reply.status}"
