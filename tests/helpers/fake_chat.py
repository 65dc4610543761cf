"""A real HTTP server on the loopback that speaks chat completions, with the faults of FakeService.

    with FakeChat(lambda asked: "ANSWER: 3") as server: ...  # server.url ends in /v1

`asked.texts` and `asked.images` are the parts of the user's message, `asked.system` the other one.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fake_service import Call, FakeService, Fault
from PIL import Image


class Asked(NamedTuple):
    system: str
    texts: list[str]
    images: list[Image.Image]


def asked(body: Mapping[str, Any]) -> Asked:
    """The parts of a request."""
    *systems, user = body["messages"]
    texts = [part["text"] for part in user["content"] if part["type"] == "text"]
    urls = [part["image_url"]["url"] for part in user["content"] if part["type"] == "image_url"]
    files = [base64.b64decode(url.removeprefix("data:image/png;base64,")) for url in urls]
    images = [Image.open(io.BytesIO(data)) for data in files]
    return Asked("".join(one["content"] for one in systems), texts, images)


class FakeChat(FakeService):
    """The server.

    Args:
        says: the text of an answer; None: the model refuses in its message.
        first: probabilities of first tokens, or what gives them for a request; None: no log
            probabilities.
        fingerprint: `system_fingerprint` of each answer, by the number of earlier ones.
        more: as for FakeService.
    """

    endpoint = "/chat/completions"

    def __init__(
        self,
        says: Callable[[Asked], str | None] = lambda asked: "ANSWER: 3",
        plan: Callable[[Call], Fault] = lambda call: "ok",
        *,
        first: Mapping[str, float] | Callable[[Asked], Mapping[str, float]] | None = None,
        fingerprint: Callable[[int], str] = lambda earlier: "fp_1",
        **more: Any,
    ) -> None:
        super().__init__(plan, **more)
        self.says, self.first, self.fingerprint, self.answers = says, first, fingerprint, 0

    def key(self, body: Mapping[str, Any]) -> str:
        return hashlib.sha256(json.dumps(body.get("messages")).encode()).hexdigest()

    def made(self, call: Call, fault: Fault) -> dict[str, Any]:
        text = self.says(asked(call.body))
        message = {"role": "assistant", "content": text}
        if text is None:
            message["refusal"] = "I cannot help with this image."
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": "stop"}
        if self.first and call.body.get("logprobs"):
            first = self.first(asked(call.body)) if callable(self.first) else self.first
            listed = [{"token": t, "logprob": math.log(p)} for t, p in first.items()]
            choice["logprobs"] = {"content": [listed[0] | {"top_logprobs": listed}]}
        self.answers += 1
        return {
            "model": f"{call.body['model']}-2026-11-01",
            "system_fingerprint": self.fingerprint(self.answers - 1),
            "choices": [choice],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 10},
        }
