"""A vision-language model behind a chat API, in the place of a network of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from PIL.Image import Image
from torch import Tensor

from evalkit.files import plain_name
from evalkit.remote.chat import Chat, ChatOptions
from evalkit.remote.first_token import first_token_probabilities
from evalkit.scorer import NoAnswer


class EndpointModel:
    """A VisionLanguageModel whose tokens are texts: those that were asked for, and those listed.

    A service lists the most probable first tokens only (20): all others have the probability 0.
    Requests follow one another, so that each answer is kept before the next one is paid for.

    Args:
        model: its name at the service.
        base_url, api_key_env: see ChatOptions.
        scorer: the name of the scorer, for messages.
    """

    device, dtype = "service", "service"

    def __init__(self, model: str, base_url: str, api_key_env: str, scorer: str) -> None:
        options = ChatOptions(model, base_url, api_key_env, max_tokens=1)
        chat = Chat(options, scorer)
        self._ask = first_token_probabilities(chat)
        self._ids: dict[str, int] = {}
        self.name = f"{plain_name(model.rpartition('/')[2], 50)}-service"
        self.fingerprint = chat.fingerprint

    def whole_ids(self, forms: Iterable[str]) -> list[int]:
        """The numbers of those forms of an answer that are one token: which, the service knows."""
        return sorted({self._id(form) for form in forms})

    def text(self, token: int) -> str:
        """The text of a token."""
        return next(text for text, number in self._ids.items() if number == token)

    def first_tokens(
        self, images: Sequence[Image], questions: Sequence[str]
    ) -> Iterator[Tensor | NoAnswer]:
        """float32 [tokens] for each image and its question, or why there is none."""
        for image, question in zip(images, questions, strict=True):
            found = self._ask([image], question)
            if isinstance(found, NoAnswer):
                yield found
                continue
            ids = [self._id(token) for token in found]
            probabilities = torch.zeros(len(self._ids))
            probabilities[ids] = torch.tensor(list(found.values()))
            yield probabilities

    def _id(self, token: str) -> int:
        return self._ids.setdefault(token, len(self._ids))
