"""A vision-language model behind a chat API, in the place of a network of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from evalkit.core import EvalkitError
from evalkit.files import plain_name
from evalkit.remote.chat import Chat, ChatOptions
from evalkit.remote.first_token import Asked, FirstTokens
from evalkit.run_folder import Run
from evalkit.scorer import NoAnswer

_BLANKS = ("▁", "Ġ")  # what SentencePiece and byte-level BPE write before a word
SNAPSHOTS = "one", "any"
_AT_ONCE = 32, 256  # images per call, at least and at most: their answers come side by side


@dataclass(frozen=True)
class EndpointOptions:
    """How a service is asked; see `rate_judge`, which has the same options.

    Args:
        base_url, api_key_env: see ChatOptions.
        max_cost: the limit in US dollars, for one model and run over all commands.
        snapshots: `one`: stop where the service answers as another snapshot of the model; `any`:
            take all answers, under another name.
    """

    base_url: str
    api_key_env: str = ""
    max_cost: float | None = None
    input_price: float | None = None
    output_price: float | None = None
    concurrency: int = 256
    retry_ambiguous: bool = False
    snapshots: str = "one"


class EndpointModel:
    """A VisionLanguageModel whose tokens are texts: those that were asked for, and those listed.

    A service lists the most probable first tokens only (20): all others have the probability 0.

    Args:
        model: its name at the service.
        scorer: the name of the scorer, for messages.
        run: the folder of a run, which keeps the journal of requests; the current one for none.
    """

    device, dtype = "service", "service"

    def __init__(self, model: str, options: EndpointOptions, scorer: str, run: Path) -> None:
        asked = ChatOptions(
            model,
            options.base_url,
            options.api_key_env,
            max_tokens=1,
            input_price=options.input_price,
            output_price=options.output_price,
        )
        chat = Chat(asked, scorer)
        if options.snapshots not in SNAPSHOTS:
            expected = " or ".join(SNAPSHOTS)
            raise EvalkitError(
                f"The option snapshots is {options.snapshots!r}; expected {expected}.",
                f"Change it with `--set {scorer}.snapshots=one`.",
                code="scorers-64",
            )
        name, mixed = (
            f"{plain_name(model.rpartition('/')[2], 50)}-service",
            options.snapshots == "any",
        )
        self.name = f"{name}-any" if mixed else name
        self.fingerprint = chat.fingerprint
        self.at_once = min(max(options.concurrency, _AT_ONCE[0]), _AT_ONCE[1])
        self._service = FirstTokens(
            chat,
            Run(run).token_requests_path(name) if run != Path() else None,
            max_cost=options.max_cost,
            concurrency=options.concurrency,
            retry_ambiguous=options.retry_ambiguous,
            any_snapshot=mixed,
            option=f"--set {scorer}.{{}}",
        )
        self._ids: dict[str, int] = {}

    def whole_ids(self, forms: Iterable[str]) -> list[int]:
        """The numbers of those forms of an answer that are one token: which, the service knows."""
        return sorted({self._id(form) for form in forms})

    def text(self, token: int) -> str:
        """The text of a token."""
        return next(text for text, number in self._ids.items() if number == token)

    def first_tokens(
        self, images: Sequence[Image], questions: Sequence[str]
    ) -> Iterator[Tensor | NoAnswer]:
        """float32 [tokens] for each image and its question, or why there is none; see `listed`."""
        for found in self.listed(images, questions):
            if isinstance(found, NoAnswer):
                yield found
                continue
            ids = [self._id(token) for token in found]
            probabilities = torch.zeros(len(self._ids))
            probabilities[ids] = torch.tensor(list(found.values()))
            yield probabilities

    def listed(
        self, images: Sequence[Image], questions: Sequence[str]
    ) -> list[Mapping[str, float] | NoAnswer]:
        """The listed first tokens and their probabilities for each image and its question.

        All are asked side by side; the journal has each answer as it comes. Raises EvalkitError
        where sending stopped.
        """
        asked = [Asked(*one) for one in zip(images, questions, strict=True)]
        return [
            found if isinstance(found, NoAnswer) else _with_blanks(found)
            for found in self._service.ask_all(asked)
        ]

    def _id(self, token: str) -> int:
        return self._ids.setdefault(token, len(self._ids))


def _with_blanks(listed: Mapping[str, float]) -> Mapping[str, float]:
    """The tokens as text, where a service lists them as its tokenizer writes them: ▁Yes, ĠYes."""
    found: dict[str, float] = {}
    for token, probability in listed.items():
        text = f" {token[1:]}" if token.startswith(_BLANKS) else token
        found[text] = found.get(text, 0.0) + probability
    return found
