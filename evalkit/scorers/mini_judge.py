"""How much of what a prompt asks for an image shows, as the bundled judge network sees it.

The network ships with evalkit, so this is the way of every scorer on a machine without downloads.
It knows drawn scenes only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from PIL.Image import Image

from evalkit.encoders.mini import PREPARATION, prepare
from evalkit.models.load import BUNDLED, device_of, fingerprint, load_classifier
from evalkit.precision import computing
from evalkit.scenes.asked import asked, exclusion
from evalkit.scorer import Answer, NoAnswer, Scorer
from evalkit.scorers.verdicts import image_verdicts

_PROMPTS = "3"  # part of the fingerprint: increases whenever `asked` or the parts change


class MiniJudge:
    """The share of a prompt's questions (noun, colour, count, relation, background) that are right.

    The details hold the answer to each, and each kind of question has a row of its own. The
    questions mean what `evalkit judge` means.
    """

    name = "mini-judge"

    def __init__(self, device: str = "auto") -> None:
        path = BUNDLED / "mini-judge.safetensors"
        self.fingerprint = f"{fingerprint(path)}+prepare{PREPARATION}+prompts{_PROMPTS}"
        self.device = device_of(device)
        self._network = load_classifier(path).eval().requires_grad_(False).to(self.device)

    def __call__(
        self, images: Sequence[Image], prompts: Sequence[str]
    ) -> Iterator[Answer | NoAnswer]:
        wanted = [asked(prompt) for prompt in prompts]
        prepared = torch.stack([prepare(image) for image in images])
        with computing("exact"):
            verdicts = image_verdicts(self._network, prepared, [one.scene for one in wanted])
        for prompt, one, verdict in zip(prompts, wanted, verdicts, strict=True):
            right = {question: verdict[question] for question in one.questions}
            if word := exclusion(prompt):
                yield NoAnswer(f"its prompt says by {word!r} what is not there")
            elif right:
                parts = {question: [float(found)] for question, found in right.items()}
                yield Answer({"value": sum(right.values()) / len(right)}, right, {"value": parts})
            else:
                yield NoAnswer("the prompt asks for nothing that the bundled judge knows")


MINI_JUDGE = Scorer(
    "mini_judge",
    "higher",
    load=MiniJudge,
    title="Mini judge",
    question="How much of what the prompt asks for is in the image, for drawn scenes?",
    meaning="Share of a prompt's objects, colours, count, relation and background that are right.",
    range=(0.0, 1.0),
    from_zero=True,
)
