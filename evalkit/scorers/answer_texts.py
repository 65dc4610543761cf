"""Answers by the texts of first tokens: how a service is read, whose tokenizer is not known.

A token counts where it is an accepted answer, or begins one that no other choice of the question
begins like. All texts are compared without surrounding blanks and in lower case.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from PIL.Image import Image

from evalkit.scorer import NoAnswer
from evalkit.scorers.endpoint import EndpointModel
from evalkit.scorers.question import Question, Reading, is_closed, texts_of

log = logging.getLogger(__name__)
CONVENTION = "texts-2"  # part of fingerprints: changes whenever the rule does
_PUNCTUATION = ".,;:!"  # after an answer, in the same token
# Answers in sentences begin with these: "A cat" does not begin the answer "a dog".
_OPENERS = {
    *("a", "an", "the", "this", "that", "these", "those"),
    *("there", "they", "it", "its", "is", "are", "not"),
}
_SHORTEST = 3  # bytes of a part of a word: three Latin letters, or one Chinese character


class TextReader:
    """The answers of a service to questions.

    `name` and `fingerprint` are those of the model and of this rule.
    """

    def __init__(self, model: EndpointModel, questions: Iterable[Question]) -> None:
        self._model = model
        self.name, self.fingerprint = model.name, f"{CONVENTION}/{model.fingerprint}"
        self.device, self.dtype, self.at_once = model.device, model.dtype, model.at_once
        questions = list(questions)
        closed = sum(bool(one.choices) or all(map(is_closed, one.answers)) for one in questions)
        _mention(model.name, len(questions) - closed, len(questions))

    def __call__(
        self, images: Sequence[Image], texts: Sequence[str], questions: Sequence[Question]
    ) -> Iterator[Reading | NoAnswer]:
        for question, listed in zip(questions, self._model.listed(images, texts), strict=True):
            yield listed if isinstance(listed, NoAnswer) else read(question, listed)


def read(question: Question, listed: Mapping[str, float]) -> Reading:
    """The answer to a question by the probabilities of the listed first tokens.

    `p` is a lower bound of the probability of an accepted answer, unless longer answers begin with
    one, as 10 with 1: `begun`, that of other tokens with which one may begin, and `unlisted`, that
    of the tokens which are not listed, are not in it.
    """
    accepted = texts_of(question.answers)
    others = texts_of(question.choices) - accepted
    p = begun = 0.0
    for token, probability in listed.items():
        text = _plain(token)
        if _counts(text, accepted, others, bool(question.choices)):
            p += probability
        elif text and any(answer.startswith(text) for answer in accepted):
            begun += probability
    said = max(listed, key=lambda token: listed[token])
    right = _counts(_plain(said), accepted, others, bool(question.choices))
    unlisted = max(0.0, 1.0 - sum(listed.values()))
    return Reading(min(p, 1.0), said.strip(), right, {"begun": begun, "unlisted": unlisted})


def _counts(text: str, accepted: set[str], others: set[str], has_choices: bool) -> bool:
    if text in accepted:
        return True
    if not has_choices or text in _OPENERS or any(other.startswith(text) for other in others):
        return False
    return any(_begins(answer, text) for answer in accepted)


def _begins(answer: str, text: str) -> bool:
    """Whether a text is the first words of an answer, or a long enough part of its first word."""
    if not text or not answer.startswith(text):
        return False
    return not answer[len(text)].isalnum() or len(text.encode()) >= _SHORTEST


def _plain(token: str) -> str:
    return token.strip().rstrip(_PUNCTUATION).lower()


@functools.cache  # several scorers ask the same questions
def _mention(model: str, without: int, total: int) -> None:
    """Say in the log of how many questions whole answers only can count."""
    if without:
        log.warning(
            "%s: %d of %d questions have neither choices nor yes, no or a number as their answer:"
            " of a service's first tokens, whole answers only count there",
            model,
            without,
            total,
        )
