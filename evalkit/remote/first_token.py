"""The probabilities of the first token of an answer: what VQAScore and Soft-TIFA read.

A scorer asks through one function; whether it asks a service or a network of its own is the same to
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from PIL.Image import Image

from evalkit.core import EvalkitError
from evalkit.remote import retry
from evalkit.remote.chat import Chat, ChatAnswer
from evalkit.scorer import NoAnswer

_ROUNDING = 1e-3  # of probabilities, whose logarithms have few digits
TOP = 20  # tokens; the most that OpenAI lists
# Images (RGB) and a question about them, to the listed first tokens of the answer (as the model
# writes them, " Yes" and "yes" are two) and their probabilities; or why there are none.
FirstToken = Callable[[Sequence[Image], str], Mapping[str, float] | NoAnswer]


def first_token_probabilities(chat: Chat, *, system: str = "", top: int = TOP) -> FirstToken:
    """The function that asks a service. Failed requests are sent again as retry.py decides.

    The function raises EvalkitError for a model without probabilities, for a key that is not
    accepted, and for a quota that is used up.
    """

    def ask(images: Sequence[Image], question: str) -> Mapping[str, float] | NoAnswer:
        parts = [*images, question]
        answer = patiently(lambda: chat.ask(parts, system=system, top_logprobs=top))
        if answer.status in ("auth", "quota"):
            raise EvalkitError(
                f"{chat.place} does not answer: {answer.detail.rstrip('.')}.",
                "Check the key and the account, then run the same command again: the answers so"
                " far are kept.",
            )
        if answer.status != "ok":
            said = f": {answer.detail}" if answer.detail else ""
            # What the service may answer once it is repaired; a refusal stays.
            again = answer.status in (*retry.PASSING, "ambiguous", "bad_request", "malformed")
            return NoAnswer(f"{answer.status}{said}", again)
        if not answer.first:
            raise EvalkitError(
                f"The model {chat.options.model!r} of {chat.place} sends no token probabilities;"
                " expected logprobs with top_logprobs in its answers.",
                "Use a model and a service that send them, such as vLLM.",
            )
        if not 0 < sum(answer.first.values()) <= 1 + _ROUNDING:
            return NoAnswer("malformed: the token probabilities are no probabilities", again=True)
        return answer.first

    return ask


def patiently(ask: Callable[[], ChatAnswer]) -> ChatAnswer:
    """The last answer to one request, which is sent again as retry.py decides."""
    failures = rejections = 0
    while True:
        answer = ask()
        rejections += answer.status == "rate_limited"
        failures += answer.status == "transient"
        wait = answer.retry_after
        if (wait or 0.0) > retry.LONGEST:
            return answer
        if not retry.sent_again(answer.status, failures, rejections):
            return answer
        own = retry.backoff(rejections + failures)
        time.sleep(own if wait is None else retry.capped(wait))
