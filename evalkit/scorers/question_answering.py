"""Questions about an image, answered by a vision-language model.

One pass answers all questions of a prompt; Soft-TIFA, TIFA, DSG and DPG-Bench are numbers of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image

from evalkit.core import EvalkitError
from evalkit.files import digest
from evalkit.scorer import Answer, NoAnswer
from evalkit.scorers.answer_texts import TextReader
from evalkit.scorers.answer_tokens import TokenReader
from evalkit.scorers.dependencies import as_dpg_bench, with_dependencies
from evalkit.scorers.endpoint import EndpointModel, EndpointOptions
from evalkit.scorers.question import Question, Reading
from evalkit.scorers.questions import SCENES, Questions
from evalkit.scorers.templates import filled, question_template
from evalkit.scorers.vlm import VisionLanguageModel

DUPLICATES = ("once", "geneval2")


class QuestionAnswering:
    """All questions of each prompt, by the first token of the answers.

    The details hold for each question the probability of its accepted answers, the greedy first
    token and, of a service, the probabilities that are not counted. Questions with a category give
    rows by category.

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
        base_url: ask a service with chat completions and log probabilities, such as vLLM, for the
            model of this name; its answers are read by another rule (answer_texts.py). dtype,
            max_pixels and batch do not concern it. It and the options below are those of
            `vqa_score`.
        api_key_env, max_cost, input_price, output_price, concurrency, retry_ambiguous, snapshots:
            of the service.
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
        base_url: str = "",
        api_key_env: str = "",
        max_cost: float | None = None,
        input_price: float | None = None,
        output_price: float | None = None,
        concurrency: int = 256,
        retry_ambiguous: bool = False,
        snapshots: str = "one",
        device: str = "auto",
        cache: Path = Path(),
    ) -> None:
        if duplicates not in DUPLICATES:
            raise EvalkitError(
                f"The option duplicates is {duplicates!r}; expected {' or '.join(DUPLICATES)}.",
                "Change it with `--set NAME.duplicates=once`.",
                code="scorers-31",
            )
        once = duplicates == "once"
        if base_url and not once:
            raise EvalkitError(
                f"The option duplicates is {duplicates!r} and base_url is given; expected one of"
                " them: a service does not say which tokens the forms of an answer are.",
                "Leave out duplicates, or name a model on this machine.",
                code="scorers-32",
            )
        name, self._template = question_template(template)
        self._questions = Questions(questions, cache)
        self._reader = (
            TextReader(
                EndpointModel(
                    model,
                    EndpointOptions(
                        base_url, api_key_env, max_cost, input_price, output_price, concurrency,
                        retry_ambiguous, snapshots,
                    ),
                    "NAME",
                    cache,
                ),
                self._questions,
            )
            if base_url
            else TokenReader(
                VisionLanguageModel(model, device, dtype, max_pixels, batch), self._questions, once
            )
        )  # fmt: skip
        settings = digest([self._template, duplicates, self._questions.hash])[:16]
        parts = [name, *([] if once else [duplicates]), self._questions.hash[:6]]
        self.name = "-".join(["qa", self._reader.name, *parts])
        self.fingerprint = f"qa-2/{self._reader.fingerprint}/{settings}"
        self.device, self.dtype = self._reader.device, self._reader.dtype
        self.at_once = self._reader.at_once

    def __call__(
        self, images: Sequence[Image], prompts: Sequence[str]
    ) -> Iterator[Answer | NoAnswer]:
        wanted = [self._questions.for_prompt(prompt) for prompt in prompts]
        every = [(image, one) for image, some in zip(images, wanted, strict=True) for one in some]
        found = self._reader(
            [image for image, _ in every],
            [filled(self._template, one.text, ", ".join(one.choices)) for _, one in every],
            [one for _, one in every],
        )
        for prompt, some in zip(prompts, wanted, strict=True):
            if not some:
                yield NoAnswer(self._questions.why_none(prompt))
                continue
            heard = [next(found) for _ in some]
            if missing := [one for one in heard if isinstance(one, NoAnswer)]:
                # It is worth another scoring only if each of them may be answered later.
                yield min(missing, key=lambda one: one.again)
                continue
            read = [one for one in heard if isinstance(one, Reading)]
            details = [
                {"question": question.text, "p": one.p, "said": one.said, **one.more}
                for question, one in zip(some, read, strict=True)
            ]
            yield _answer(some, read, {"questions": details})


def _answer(
    questions: Sequence[Question], read: Sequence[Reading], details: Mapping[str, Any]
) -> Answer:
    """All numbers of the answers to a prompt's questions."""
    soft = {question.number: one.p for question, one in zip(questions, read, strict=True)}
    hard = {question.number: one.right for question, one in zip(questions, read, strict=True)}
    counted = {"mean": soft, "tifa": hard, "dsg": with_dependencies(questions, hard)}
    if (published := as_dpg_bench(questions, hard)) is not None:
        counted["dpg"] = published
    values = {name: sum(found.values()) / len(found) for name, found in counted.items()}
    logarithms = [math.log(value) if value else -math.inf for value in soft.values()]
    values["geometric"] = math.exp(sum(logarithms) / len(soft))
    parts = {name: _by_category(questions, found) for name, found in counted.items()}
    return Answer(values, details, {name: found for name, found in parts.items() if found})


def _by_category(
    questions: Sequence[Question], counted: Mapping[int, float]
) -> dict[str, list[float]]:
    """The numbers of the questions of each category; those without a category are in none."""
    found: dict[str, list[float]] = {}
    for one in questions:
        if one.category and one.number in counted:
            found.setdefault(one.category, []).append(float(counted[one.number]))
    return found
