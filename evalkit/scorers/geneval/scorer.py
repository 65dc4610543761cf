"""GenEval as a scorer, with the detector as an option."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from evalkit.core import EvalkitError, Metric
from evalkit.encoders import weights
from evalkit.prompts.geneval import TAGS
from evalkit.scorer import VALUE, Answer, NoAnswer, Scorer
from evalkit.scorers.geneval import colours, rules
from evalkit.scorers.geneval.colours import Colours
from evalkit.scorers.geneval.detectors import Mini, Owlv2, load_detector
from evalkit.scorers.geneval.task import Task

PAPER = "https://arxiv.org/abs/2310.11513"
TAGGED = "tagged"  # an answer with the place of its tag: 2 * place + (0 or 1)
NO_PROMPT = "it is no GenEval prompt"


class GenEval:
    """1 for an image with all that its prompt asks for, by the rules of GenEval, else 0."""

    def __init__(
        self,
        detector: str = Owlv2.name,
        model: str = "",
        threshold: float = rules.THRESHOLD,
        counting_threshold: float = rules.COUNTING_THRESHOLD,
        device: str = "auto",
    ) -> None:
        """
        Args:
            detector: owlv2, grounding-dino, mask2former or mini.
            model: other weights of the detector: a folder, or a name in the hub's cache.
            threshold: of the scores of objects.
            counting_threshold: the same for prompts with a number.
        """
        self._thresholds = (threshold, counting_threshold)
        for value in self._thresholds:
            if not 0 <= value < 1:
                raise EvalkitError(
                    f"A threshold of GenEval is {value}; expected 0 or more, and below 1.",
                    "The published ones are 0.3, and 0.9 for counting.",
                    code="scorers-19",
                )
        self._detector = load_detector(detector, model, device)
        self.device = self._detector.device
        self._colours = None if isinstance(self._detector, Mini) else Colours(self.device)
        self.name = f"geneval-{detector}"
        if self._thresholds != (rules.THRESHOLD, rules.COUNTING_THRESHOLD):
            self.name += f"-{threshold:g}-{counting_threshold:g}"
        of_colours = self._colours.fingerprint if self._colours else ""
        parts = ("geneval", rules.VERSION, self._detector.fingerprint, of_colours, threshold)
        self.fingerprint = "/".join(map(str, (*parts, counting_threshold)))

    def __call__(
        self, images: Sequence[Image], prompts: Sequence[str]
    ) -> Iterator[Answer | NoAnswer]:
        for image, prompt in zip(images, prompts, strict=True):
            task = self._detector.vocabulary.task(prompt)
            if task is None:
                yield NoAnswer(NO_PROMPT)
            elif unknown := self._detector.unknown(task):
                yield NoAnswer(unknown)
            else:
                yield self._answer(image, task)

    def _answer(self, image: Image, task: Task) -> Answer:
        names = list(dict.fromkeys(clause.name for clause in task.include))
        threshold = self._thresholds[task.tag == "counting"]
        found = rules.kept(self._detector(image, names, threshold), threshold)
        wrong = rules.faults(task, found, partial(self._colours_of, image))
        details: dict[str, Any] = {
            "reasons": wrong,
            "objects": {
                name: [[round(number, 4) for number in (*one.box, one.score)] for one in some]
                for name, some in found.items()
            },
        }
        return answer(task.tag, not wrong, details)

    def _colours_of(self, image: Image, objects: Sequence[rules.Found], name: str) -> list[str]:
        if self._colours is None:
            return [one.colour for one in objects]
        return self._colours(image, objects, name)


def answer(tag: str, right: bool, details: dict[str, Any]) -> Answer:
    """An image that is right or wrong, also as the number that `overall` reads."""
    values = {VALUE: float(right), TAGGED: float(2 * TAGS.index(tag) + right)}
    return Answer(values, {"tag": tag, **details})


def overall(*, fake: Tensor) -> Tensor:
    """The score of GenEval (section 4): the mean over the tags of the share of right images.

    fake: `TAGGED` numbers, float64 [N, 1]. Raises EvalkitError where a tag has no image: the mean
    over fewer is another number.
    """
    known = {TAGS[int(number) // 2] for number in fake[:, 0].tolist()}
    if gone := [tag for tag in TAGS if tag not in known]:
        raise EvalkitError(
            f"there is no answer for {', '.join(gone)}; expected images of all {len(TAGS)} tags",
            code="scorers-20",
        )
    return _mean_of_tags(fake[:, 0])


def overall_without(*, fake: Tensor, groups: Tensor) -> Tensor:
    """`overall` without each group of images, float64 [G]; a tag that is lost is left out."""
    return torch.stack(
        [_mean_of_tags(fake[groups != group, 0]) for group in range(int(groups.max()) + 1)]
    )


def _mean_of_tags(numbers: Tensor) -> Tensor:
    tags, right = numbers.div(2, rounding_mode="floor"), numbers % 2
    return torch.stack([right[tags == tag].mean() for tag in tags.unique()]).mean()


def of_tags(scorer: Scorer, title: str, meaning: str) -> Metric:
    """The overall score of a scorer whose answers are made by `answer`. It has no own options."""
    return Metric(
        f"{scorer.name}_overall",
        overall,
        TAGGED,
        scorer.kind,
        "higher",
        PAPER,
        title=title,
        question="How well are objects, numbers, colours and places met, over all kinds of tasks?",
        meaning=meaning,
        range=(0.0, 1.0),
        leave_out=overall_without,
        describe=scorer.describe,
        from_zero=True,
        aspect=scorer.aspect,
        scorer=scorer,
    )


def _lacking() -> str:
    """What this machine lacks for the default detector, and how to get it; "" for nothing."""
    try:
        Owlv2("", "cpu")
    except EvalkitError as error:
        return f"{error.message} {error.hint}"
    if weights.missing(colours.NAME):
        return f"the colours need CLIP: {weights.how_to_get(colours.NAME)}"
    return ""


NOT_COMPARABLE = "not comparable with published GenEval numbers, which have another detector"


def not_comparable(*, fake: int, real: int) -> str:
    """The note of every row."""
    return NOT_COMPARABLE


GENEVAL = Scorer(
    "geneval",
    "higher",
    load=GenEval,
    title="GenEval",
    question="Are the objects of the prompt there, in their number, colours and places?",
    meaning="Share of images with all that a GenEval prompt asks for, as the named detector sees "
    f"them; {NOT_COMPARABLE}.",
    paper=PAPER,
    range=(0.0, 1.0),
    from_zero=True,
    describe=not_comparable,
    missing=_lacking,
)
GENEVAL_OVERALL = of_tags(
    GENEVAL,
    title="GenEval overall",
    meaning="Mean over the six tags of GenEval of the share of right images, as the named detector "
    f"sees them; {NOT_COMPARABLE}.",
)
