"""VQAScore: the probability that a vision-language model says that an image shows its prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL.Image import Image

from evalkit.core import EvalkitError
from evalkit.files import digest
from evalkit.scorer import NoAnswer, Scorer
from evalkit.scorers.endpoint import EndpointModel, EndpointOptions
from evalkit.scorers.templates import NO, YES, filled, vqa_template
from evalkit.scorers.vlm import NEEDS_MODEL, VisionLanguageModel

SOFTMAX = ("vocabulary", "yes-no")


class VqaScore:
    """P(yes | image, template with the prompt), by the first token of the answer.

    Args:
        model: a folder, or a name in the hub's cache.
        template: the question: clip-flant5, vqascore-3.1, geneval2, plain, or a text with {} in
            the place of the prompt.
        yes: the accepted answers, joined by commas; by default those of the template. Those that
            are not one token of the model are left out.
        no: the refused answers, which `softmax=yes-no` needs.
        softmax: over the whole `vocabulary`, as VQAScore and GenEval 2 have it, or `yes-no`: the
            share of yes among the probabilities of yes and no.
        dtype: auto, fp32, bf16 or fp16; auto is fp32 on the CPU, and bf16 on an accelerator.
        max_pixels: larger images are first resized to at most this many; 0 for no limit.
        batch: questions per pass.
        base_url: ask a service with chat completions and log probabilities, such as vLLM, for the
            model of this name; up to and including `/v1`. dtype, max_pixels and
            batch do not concern it.
        api_key_env: the NAME of the environment variable with its key; `none` for no key.
        max_cost: the limit in US dollars for this model of a service in this run, over all
            commands.
        input_price, output_price: of the service, US dollars per million tokens.
        concurrency: the most requests to the service in flight.
        retry_ambiguous: ask a service again what was sent and got no usable answer; each may be
            charged twice.
        snapshots: of a service: `one` stops where it answers as another snapshot of the model than
            before; `any` takes all answers, under another name.
    """

    def __init__(
        self,
        *,
        model: str,
        template: str = "vqascore-3.1",
        yes: str = "",
        no: str = "",
        softmax: str = "vocabulary",
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
        if softmax not in SOFTMAX:
            raise EvalkitError(
                f"The option softmax is {softmax!r}; expected {' or '.join(SOFTMAX)}.",
                "Change it with `--set vqa_score.softmax=vocabulary`.",
                code="scorers-61",
            )
        named = vqa_template(template)
        self._text = named.text
        self._model = (
            EndpointModel(
                model,
                EndpointOptions(
                    base_url, api_key_env, max_cost, input_price, output_price, concurrency,
                    retry_ambiguous, snapshots,
                ),
                "vqa_score",
                cache,
            )
            if base_url
            else VisionLanguageModel(model, device, dtype, max_pixels, batch)
        )  # fmt: skip
        forms = _forms(yes, "yes") or named.yes
        others = _forms(no, "no") or named.no if softmax == "yes-no" else ()
        self._yes, self._no = self._model.whole_ids(forms), self._model.whole_ids(others)
        if overlap := set(self._yes) & set(self._no):
            raise EvalkitError(
                f"The answer {self._model.text(overlap.pop())!r} is both a yes and a no.",
                "Change the options yes and no.",
                code="scorers-62",
            )
        settings = digest([self._text, forms, others])[:16]
        usual = (not yes and not no) or (forms, others) == (named.yes, named.no)
        parts = [named.name, *([] if softmax == "vocabulary" else [softmax])]
        parts += [] if usual else [settings[:6]]
        self.name = "-".join(["vqa", self._model.name, *parts])
        self.fingerprint = f"vqa-1/{self._model.fingerprint}/{settings}"
        self.device, self.dtype = self._model.device, self._model.dtype
        self.at_once = getattr(self._model, "at_once", None)

    def __call__(
        self, images: Sequence[Image], prompts: Sequence[str]
    ) -> Iterator[float | NoAnswer]:
        questions = [filled(self._text, prompt) for prompt in prompts]
        for probabilities in self._model.first_tokens(images, questions):
            if isinstance(probabilities, NoAnswer):
                yield probabilities
                continue
            yes = float(probabilities[self._yes].double().sum())
            no = float(probabilities[self._no].double().sum())
            if self._no and not yes + no:
                yield NoAnswer("neither yes nor no is among its tokens")
                continue
            yield yes / (yes + no) if self._no else min(yes, 1.0)  # above 1 by rounding


def _forms(text: str, option: str) -> tuple[str, ...]:
    """`Yes, yes` -> ("Yes", " yes"); a blank at the beginning is part of an answer."""
    forms = tuple(text.split(",")) if text else ()
    if not all(form.strip() for form in forms):
        raise EvalkitError(
            f"The option {option} is {text!r}; expected answers joined by commas.",
            f"For example `--set vqa_score.{option}={','.join(YES if option == 'yes' else NO)}`.",
            code="scorers-63",
        )
    return forms


VQA_SCORE = Scorer(
    "vqa_score",
    "higher",
    load=VqaScore,
    title="VQAScore",
    question="Does a vision-language model say that the image shows the prompt?",
    meaning="Probability of yes to the question whether the image shows its prompt.",
    paper="https://arxiv.org/abs/2404.01291",
    range=(0.0, 1.0),
    from_zero=True,
    missing=lambda: NEEDS_MODEL.format("vqa_score"),
)
