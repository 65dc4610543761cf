"""What an error of the OpenAI Images API means: a refusal, an empty account, a mistake in the
request, or a failure of the service.

The same code travels through gateways in several shapes, so `code`, `type`, Azure's `inner_error`,
OpenRouter's `metadata` and, for the statuses that judge a request (400, 403, 422), the message are
read. A 5xx is never a refusal, whatever it says: counting "the server had an error" as a refusal is
a known mistake of evaluations.
"""

from __future__ import annotations

import re
from typing import Any

from evalkit.core import Answer, Status
from evalkit.generators.services.keys import Key, said
from evalkit.generators.services.outcomes import outcome_of, retry_after, words
from evalkit.generators.services.transport import Reply

_REFUSED = re.compile(
    r"moderation_blocked|content_?policy_?violation|content_?filter|ResponsibleAIPolicyViolation",
    re.IGNORECASE,
)
_REFUSED_WORDS = re.compile(
    r"safety system|content (management )?polic(y|ies)|content filter|violates? (the |our )?usage guidelines|nsfw",
    re.IGNORECASE,
)
_OUTPUT_WORDS = re.compile(
    r"generated (image|output|content)s? (was|were|has been|have been) (filtered|blocked)",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"insufficient_quota|billing_hard_limit_reached|billing_not_active|insufficient_(credit|fund|balance)s?",
    re.IGNORECASE,
)
_QUOTA_WORDS = re.compile(
    r"exceeded your current quota|billing hard limit|insufficient (credit|fund|balance)s?",
    re.IGNORECASE,
)


def answer_of(reply: Reply, error: Any, keys: tuple[Key, ...]) -> Answer:
    """The outcome of an error answer. error: the value of its "error", None where it has none."""
    status, code, message = reply.status, "", words(reply)
    if isinstance(error, dict):
        inner = error.get("inner_error") or error.get("innererror")
        codes = [
            error.get("code"),
            error.get("type"),
            inner.get("code") if isinstance(inner, dict) else "",
        ]
        code = " ".join(str(item) for item in codes if item)
        if (
            status < 300
            # some routers answer 200 with an error inside, whose code may be an HTTP status; else it
            # may be charged
        ):
            number = error.get("code")
            inside = 400 if _is_refusal(400, code, message, error) else 502
            status = number if isinstance(number, int) and 400 <= number < 600 else inside
    outcome = outcome_of(status)
    if _is_refusal(status, code, message, error):
        outcome = _stage(error, message)
    elif status < 500 and (_QUOTA.search(code) or (status == 429 and _QUOTA_WORDS.search(message))):
        outcome = "quota"
    name = code.partition(" ")[0]
    described = (
        f"HTTP {reply.status}"
        + (f" ({name})" if name else "")
        + (f": {message}" if message else "")
    )
    return Answer(outcome, detail=said(described, keys), retry_after=retry_after(reply.headers))


def _is_refusal(status: int, code: str, message: str, error: Any) -> bool:
    """Whether the service says that the content is why. A 5xx never is: a failure of the server is
    no judgement of the prompt.
    """
    if not 400 <= status < 500 or status == 429:
        return False
    details = error if isinstance(error, dict) else {}
    flagged = isinstance(details.get("metadata"), dict) and (
        "reasons" in details["metadata"] or "flagged_input" in details["metadata"]
    )
    if "moderation_details" in details or flagged or _REFUSED.search(code) or status == 451:
        return True
    return status in (400, 403, 422) and bool(
        _REFUSED.search(message) or _REFUSED_WORDS.search(message)
    )


def _stage(error: Any, message: str) -> Status:
    details = error.get("moderation_details") if isinstance(error, dict) else None
    stage = details.get("moderation_stage") if isinstance(details, dict) else None
    return (
        "refused_output"
        if stage == "output" or (stage is None and _OUTPUT_WORDS.search(message))
        else "refused_input"
    )
