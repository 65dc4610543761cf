"""Questions about an image, answered by a vision-language model.

One pass answers all questions of a prompt; Soft-TIFA, TIFA, DSG and DPG-Bench are numbers of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL.Image import Image

from evalkit.core import EvalkitError
from evalkit.files import digest
from evalkit.scorer import Answer, NoAnswer
from evalkit.scorers.dependencies import as_dpg_bench, with_dependencies
from evalkit.scorers.question import Question
from evalkit.scorers.questions import SCENES, Questions
from evalkit.scorers.templates import filled, question_template
from evalkit.scorers.vlm import VisionLanguageModel

DUPLICATES = ("once", "geneval2")


class QuestionAnswering:
    """All questions of each prompt, by the first token of the answers.

    The details hold for each question the probability of its accepted answers and the greedy first
    token.

    Args:
        model: a folder, or a name in the hub's cache.
        questions: a file (see question_files.py), or `scenes`: made from prompts in the words of
            the bundled data set.
        template: how a question is put: one-word, plain, yes-or-no, choices, or a text with {}.
        duplicates: `once` adds the probabilities of the different first tokens of the accepted
            forms; `geneval2` adds that of each form, so that a token of several forms counts
            several times, as in GenEval 2's evaluation.py.
        dtype: auto, fp32, bf16 or fp16; auto is fp32 on the CPU, and bf16 on an accelerator.
        max_pixels: larger images are first resized to at most this many; 0 for no limit.
        batch: questions per pass.
    """

    def __init__(
        self,
        *,
        model: str,
        questions: str = SCENES,
        template: str = "one-word",
        duplicates: str = "once",
        dtype: str = "auto",
        max_pixels: int = 0,
        batch: int = 8,
        device: str = "auto",
        cache: Path = Path(),
    ) -> None:
        if duplicates not in DUPLICATES:
            raise EvalkitError(
                f"The option duplicates is {duplicates!r}; expected {' or '.join(DUPLICATES)}.",
                "Change it with `--set NAME.duplicates=once`.",
            )
        name, self._template = question_template(template)
        self._questions = Questions(questions, cache)
        self._model = VisionLanguageModel(model, device, dtype, max_pixels, batch)
        self._ids: dict[tuple[str, ...], list[int]] = {}
        self._once = duplicates == "once"
        for question in self._questions:  # before the first image
            self._tokens(question)
        settings = digest([self._template, duplicates, self._questions.hash])[:16]
        parts = [name, *([] if self._once else [duplicates]), self._questions.hash[:6]]
        self.name = "-".join(["qa", self._model.name, *parts])
        self.fingerprint = f"qa-1/{self._model.fingerprint}/{settings}"
        self.device, self.dtype = self._model.device, self._model.dtype

    def __call__(
        self, images: Sequence[Image], prompts: Sequence[str]
    ) -> Iterator[Answer | NoAnswer]:
        wanted = [self._questions.for_prompt(prompt) for prompt in prompts]
        every = [
            (image, filled(self._template, one.text, ", ".join(one.choices)))
            for image, some in zip(images, wanted, strict=True)
            for one in some
        ]
        found = self._model.first_tokens([image for image, _ in every], [text for _, text in every])
        for some in wanted:
            if not some:
                yield NoAnswer("there are no questions for its prompt")
                continue
            soft: dict[int, float] = {}
            hard: dict[int, bool] = {}
            details: list[dict[str, object]] = []
            for question in some:
                probabilities = next(found)
                said = self._model.text(int(probabilities.argmax())).strip()
                accepted = {form.strip().lower() for form in question.forms}
                number = question.number
                p = float(probabilities[self._tokens(question)].double().sum())
                soft[number] = min(p, 1.0) if self._once else p  # above 1 by rounding
                hard[number] = said.lower() in accepted
                details.append({"question": question.text, "p": soft[number], "said": said})
            yield Answer(_values(some, soft, hard), {"questions": details})

    def _tokens(self, question: Question) -> list[int]:
        """The first tokens of the accepted answers."""
        forms = question.forms
        if forms not in self._ids:
            ids = self._model.first_ids(forms)
            self._ids[forms] = sorted(set(ids)) if self._once else ids
        return self._ids[forms]


def _values(
    questions: Sequence[Question], soft: Mapping[int, float], hard: Mapping[int, bool]
) -> dict[str, float]:
    """All numbers of the answers to a prompt's questions."""
    logarithms = [math.log(value) if value else -math.inf for value in soft.values()]
    found = {
        "mean": sum(soft.values()) / len(soft),
        "geometric": math.exp(sum(logarithms) / len(soft)),
        "tifa": sum(hard.values()) / len(hard),
        "dsg": with_dependencies(questions, hard),
    }
    published = as_dpg_bench(questions, hard)
    return found if published is None else found | {"dpg": published}
