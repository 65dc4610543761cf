"""Questions to vision-language models by name, with the tools that ask them."""

from __future__ import annotations

from typing import NamedTuple

from evalkit.core import EvalkitError
from evalkit.files import digest
from evalkit.hints import did_you_mean

YES = ("Yes", "yes", " Yes", " yes")  # as GenEval 2 accepts them
NO = ("No", "no", " No", " no")


class VqaTemplate(NamedTuple):
    name: str
    text: str  # {} is the prompt
    yes: tuple[str, ...]  # accepted answers
    no: tuple[str, ...]


# Whether an image shows its prompt.
_PROMPT = {
    # t2v_metrics, models/vqascore_models/clip_t5_model.py: the models of the paper
    "clip-flant5": ('Does this figure show "{}"? Please answer yes or no.', ("Yes",), ("No",)),
    # t2v_metrics, qwen3vl_model.py and gemma3_model.py
    "vqascore-3.1": ('Does this figure show "{}"? Please answer Yes or No.', ("Yes",), ("No",)),
    # GenEval 2, evaluation.py, method vqascore
    "geneval2": ('Does this image show "{}"? Answer the question with Yes or No.', YES, NO),
    "plain": ('Does the image show "{}"?', YES, NO),
}
# How a question of a list is put; {} is the question, {choices} are its choices.
_QUESTION = {
    "one-word": "{} Answer in one word.",  # GenEval 2, evaluation.py, Soft-TIFA
    "plain": "{}",  # DSG and DPG-Bench, for mPLUG
    # DSG, dsg/vqa_utils.py, for GPT-4o
    "yes-or-no": "Answer only with 'yes' or 'no'. Do not give other outputs or punctuation marks."
    " Question: {}",
    "choices": "Question: {} Choices: {choices}. Answer:",  # DSG, dsg/vqa_utils.py
}


def vqa_template(name: str) -> VqaTemplate:
    """A named template of `vqa_score`, or a text with {}, which has GenEval 2's answers."""
    if name in _PROMPT:
        return VqaTemplate(name, *_PROMPT[name])
    return VqaTemplate(_own(name, tuple(_PROMPT)), name, YES, NO)


def question_template(name: str) -> tuple[str, str]:
    """The name and the text of how a question is put."""
    if name in _QUESTION:
        return name, _QUESTION[name]
    return _own(name, tuple(_QUESTION)), name


def filled(template: str, text: str, choices: str = "") -> str:
    """The template with a text in place of {}; braces in the text stay."""
    before, _, after = template.partition("{}")
    return f"{before.replace('{choices}', choices)}{text}{after.replace('{choices}', choices)}"


def _own(text: str, known: tuple[str, ...]) -> str:
    """The name of a text of the user."""
    if text.count("{}") != 1:
        raise EvalkitError(
            f"The option template is {text!r:.100}; expected a name, or a text with one {{}}.",
            did_you_mean(text, known),
            code="scorers-54",
        )
    return f"own-{digest(text)[:6]}"
