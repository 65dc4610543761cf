"""A study: what raters are asked about which images. Its file is written before the first vote."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["pairwise", "scale", "checklist"]


@dataclass(frozen=True)
class Question:
    """One question about a pair or an image."""

    name: str  # in the column `question`: letters, digits, - and _
    text: str
    anchors: tuple[str, ...] = ()  # of a scale: the words for 1, 2, …; the number of its points


@dataclass(frozen=True)
class Exclusion:
    """Which raters are excluded from the main result. Results with all raters are stated too."""

    attention_errors: int = 1  # excluded with more wrong answers to attention checks than this
    repeat_agreement: float = 0.4  # excluded with a smaller share of equal answers to repeats
    fast_ms: int = 700  # an answer in less time is fast …
    fast_share: float = 0.3  # … and a rater with a larger share of fast answers is excluded


@dataclass(frozen=True)
class Study:
    """The content of `ratings/<study>.toml`."""

    study: str  # its name: letters, digits, - and _
    mode: Mode
    models: tuple[str, ...]  # labels of the run
    prompts: tuple[str, ...]  # ids
    questions: tuple[Question, ...]
    title: str = ""
    instructions: str = ""
    seed: int = 0  # of orders and sides
    items_per_rater: int = 0  # 0: all of them
    repeat_items: int = 0  # per rater: items that are asked again, with sides swapped
    attention_items: int = 0  # per rater: one image is known to be bad (its pixels are shuffled)
    exclude: Exclusion = field(default_factory=Exclusion)
    created_at: str = ""  # ISO 8601 in UTC

    def question(self, name: str) -> Question:
        """The question of this name. Raises KeyError."""
        return {one.name: one for one in self.questions}[name]


PREFERENCE = Question("preference", "Which image is the better answer to the text?")
SCALES = (
    Question(
        "alignment",
        "How well does the image match the text?",
        (
            "Does not match at all",
            "Has large differences to the text",
            "Has several small differences to the text",
            "Has one small difference to the text",
            "Matches the text exactly",
        ),
    ),
    Question(
        "aesthetics",
        "How pleasing is the image to look at?",
        ("Ugly", "Rather unpleasing", "Neither pleasing nor unpleasing", "Pleasing", "Beautiful"),
    ),
    Question(
        "realism",
        "Could the image be a real photo?",
        (
            "Certainly generated",
            "Probably generated",
            "Could be either",
            "Probably a real photo",
            "Certainly a real photo",
        ),
    ),
)
CHECKLIST = (
    Question("objects", "Does the image show everything that the text names?"),
    Question("artifacts", "Is the image free of visible defects?"),
)
