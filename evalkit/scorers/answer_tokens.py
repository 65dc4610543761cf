"""Answers by the first tokens of their forms, as GenEval 2 has it: how a local model is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from PIL.Image import Image

from evalkit.scorers.question import Question, Reading, texts_of
from evalkit.scorers.vlm import VisionLanguageModel


class TokenReader:
    """The answers of a model on this machine to questions.

    Args:
        questions: those that are known before the first image: an answer without a token of the
            model is an EvalkitError.
        once: see `duplicates` of QuestionAnswering.
    """

    at_once = None

    def __init__(
        self, model: VisionLanguageModel, questions: Iterable[Question], once: bool
    ) -> None:
        self._model, self._once = model, once
        self.name, self.fingerprint = model.name, model.fingerprint
        self.device, self.dtype = model.device, model.dtype
        self._ids: dict[tuple[str, ...], list[int]] = {}
        for question in questions:
            self._tokens(question)

    def __call__(
        self, images: Sequence[Image], texts: Sequence[str], questions: Sequence[Question]
    ) -> Iterator[Reading]:
        found = self._model.first_tokens(images, texts)
        for question, probabilities in zip(questions, found, strict=True):
            said = self._model.text(int(probabilities.argmax())).strip()
            p = float(probabilities[self._tokens(question)].double().sum())
            p = min(p, 1.0) if self._once else p  # above 1 by rounding
            yield Reading(p, said, said.lower() in texts_of(question.answers))

    def _tokens(self, question: Question) -> list[int]:
        """The first tokens of the accepted answers."""
        forms = question.forms
        if forms not in self._ids:
            ids = self._model.first_ids(forms)
            self._ids[forms] = sorted(set(ids)) if self._once else ids
        return self._ids[forms]
