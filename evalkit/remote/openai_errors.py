"""The meaning of an error of the OpenAI Images API.

It is a refusal, an empty account, a mistake in the request, or a failure of the service. Gateways
pass on the same code in several shapes, so this module reads `code`, `type`, Azure's `inner_error`,
OpenRouter's `metadata` and, for the statuses that concern the request (400, 403, 422), the message.
A 5xx is never a refusal, whatever its text: counting "the server had an error" as a refusal is a
known mistake of evaluations.
"""

from __future__ import annotations

import re
from typing import Any

from evalkit.core import Answer, Status
from evalkit.remote.keys import Key, redacted
from evalkit.remote.outcomes import error_message, outcome_of_status, retry_after
from evalkit.remote.transport import Reply

_REFUSED_CODE = re.compile(
    r"moderation_blocked|content_?policy_?violation|content_?filter|ResponsibleAIPolicyViolation",
    re.IGNORECASE,
)
_REFUSED_MESSAGE = re.compile(
    r"safety system|content (management )?polic(y|ies)|content filter"
    r"|violates? (the |our )?usage guidelines|nsfw",
    re.IGNORECASE,
)
_REFUSED_OUTPUT_MESSAGE = re.compile(
    r"generated (image|output|content)s? (was|were|has been|have been) (filtered|blocked)",
    re.IGNORECASE,
)
_QUOTA_CODE = re.compile(
    r"insufficient_quota|billing_hard_limit_reached|billing_not_active"
    r"|insufficient_(credit|fund|balance)s?",
    re.IGNORECASE,
)
_QUOTA_MESSAGE = re.compile(
    r"exceeded your current quota|billing hard limit|insufficient (credit|fund|balance)s?",
    re.IGNORECASE,
)


def answer_of(reply: Reply, error: Any, keys: tuple[Key, ...]) -> Answer:
    """The outcome of an error answer. error: the value of its "error", or None."""
    status, code, message = reply.status, "", error_message(reply)
    if isinstance(error, dict):
        inner = error.get("inner_error") or error.get("innererror")
        inner_code = inner.get("code") if isinstance(inner, dict) else ""
        codes = [error.get("code"), error.get("type"), inner_code]
        code = " ".join(str(item) for item in codes if item)
        if status < 300:
            # Some routers answer 200 with an error inside, whose code may be an HTTP status.
            # Without one, the request may have been charged: 502 is ambiguous.
            number = error.get("code")
            inside = 400 if _is_refusal(400, code, message, error) else 502
            status = number if isinstance(number, int) and 400 <= number < 600 else inside
    outcome = outcome_of_status(status)
    if _is_refusal(status, code, message, error):
        outcome = _refusal_stage(error, message)
    elif status < 500 and (
        _QUOTA_CODE.search(code) or (status == 429 and _QUOTA_MESSAGE.search(message))
    ):
        outcome = "quota"
    name = code.partition(" ")[0]
    described = f"HTTP {reply.status}"
    described += f" ({name})" if name else ""
    described += f": {message}" if message else ""
    return Answer(outcome, detail=redacted(described, keys), retry_after=retry_after(reply.headers))


def _is_refusal(status: int, code: str, message: str, error: Any) -> bool:
    """Whether the service refuses the content. A 5xx says nothing about the prompt."""
    if not 400 <= status < 500 or status == 429:
        return False
    details = error if isinstance(error, dict) else {}
    metadata = details.get("metadata")
    flagged = isinstance(metadata, dict) and ("reasons" in metadata or "flagged_input" in metadata)
    if "moderation_details" in details or flagged or _REFUSED_CODE.search(code) or status == 451:
        return True
    return status in (400, 403, 422) and bool(
        _REFUSED_CODE.search(message) or _REFUSED_MESSAGE.search(message)
    )


def _refusal_stage(error: Any, message: str) -> Status:
    details = error.get("moderation_details") if isinstance(error, dict) else None
    stage = details.get("moderation_stage") if isinstance(details, dict) else None
    if stage == "output" or (stage is None and _REFUSED_OUTPUT_MESSAGE.search(message)):
        return "refused_output"
    return "refused_input"
