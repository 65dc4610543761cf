"""Files of questions as GenEval 2, DSG, DPG-Bench and TIFA publish them, and evalkit's own.

- One row per question: DSG and DPG-Bench (.csv: text, proposition_id, dependency,
  question_natural_language, category_broad) and TIFA (.json: caption, question, choices, answer,
  element_type).
- One object per prompt: GenEval 2 (.jsonl: prompt, vqa_list, skills), and evalkit's own:
  `{"prompt": ..., "questions": [{"question": ..., "answers": ["yes"], "choices": [...],
  "depends_on": [1], "category": ...}]}`, where a question may also be a text that is to be answered
  with yes, and `id` may name the prompt.

What is not understood is an error with its line: a question that is lost or read differently would
change a number in silence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import EvalkitError
from evalkit.hints import did_you_mean, plural
from evalkit.prompts.columns import GROUP_KEYS, ID_KEYS, TEXT_KEYS
from evalkit.prompts.formats import TABLES, objects_of
from evalkit.prompts.tables import Numbered
from evalkit.prompts.text import FORMATS, is_blank
from evalkit.scorers.question import Question

KIND = "file of questions"  # in messages
_HINT = "See docs/question-answering.md, “Questions”."
_LISTS = ("questions", "vqa_list")
_TEXTS = ("question", "question_natural_language")
_ANSWERS, _PARENTS = ("answers", "answer"), ("depends_on", "dependency")
# Of DSG and DPG-Bench, of TIFA, of GenEval 2, and evalkit's own.
_CATEGORIES = ("category_broad", "element_type", "skill", "category")
_QUESTION = (*_TEXTS, *_ANSWERS, "choices", *_PARENTS, *_CATEGORIES)
_PROMPT = (*TEXT_KEYS, *ID_KEYS, *GROUP_KEYS)
# What published files also have, and the nameless column of an index that pandas writes.
_OTHERS = (
    *("keywords", "category_detailed", "tuple"),  # DSG, DPG-Bench
    *("element", "coco_val_id"),  # TIFA
    "",
)
_OBJECT_KEYS = (*_PROMPT, *_LISTS)
_ROW_KEYS = (*_PROMPT, *_QUESTION, "proposition_id", *_OTHERS)


class Asked(NamedTuple):
    """The questions of one prompt, in their order."""

    text: str  # with single blanks; "" where the id names the prompt
    id: str
    questions: tuple[Question, ...]


class _Listed:
    """A prompt of a file while it is read."""

    def __init__(self, place: str, rows: bool) -> None:
        self.place, self.rows = place, rows  # where it begins; whether one row is one question
        self.questions: dict[int, tuple[Question, str]] = {}  # by number, with their places

    def add(self, question: Question, place: str, path: Path) -> None:
        if known := self.questions.get(question.number):
            raise EvalkitError(
                f"{_where(place, path)} has question {question.number} of {known[1]} again;"
                " expected each number of a question once per prompt.",
                "Number the questions of a prompt from 1, or leave out their numbers.",
                code="scorers-33",
            )
        self.questions[question.number] = question, place


def read_questions(path: Path) -> list[Asked]:
    """The questions of each prompt of a file.

    Raises EvalkitError, with the line, for what is no question, for what is there twice, and for
    dependencies on questions that are not there or on themselves.
    """
    if path.suffix.lower() not in TABLES:
        known = f"{', '.join(TABLES[:-1])} or {TABLES[-1]}"
        raise EvalkitError(f"The {KIND} {path} is not a {known} file.", _HINT, code="scorers-34")
    found: dict[tuple[str, str], _Listed] = {}
    for position, (place, content) in enumerate(_objects(path)):
        where = _where(place, path)
        is_list = any(key.strip().lower() in _LISTS for key in content)
        values = _known(content, _OBJECT_KEYS if is_list else _ROW_KEYS, where)
        key = _prompt(values, where)
        listed = found.setdefault(key, _Listed(place, not is_list))
        if (is_list and listed.place != place) or listed.rows == is_list:
            raise EvalkitError(
                f"{where} has the prompt {(key[0] or key[1])!r:.80} of {listed.place} again;"
                " expected each prompt once.",
                "Join the questions of a prompt in one object.",
                code="scorers-35",
            )
        if is_list:
            for number, one in enumerate(_list(values, where), 1):
                listed.add(_question(one, where, number), place, path)
        else:
            number = values.get("proposition_id", len(listed.questions) + 1)
            listed.add(
                _question(values, where, _number(number, where), first=position == 0), place, path
            )
    if not found:
        raise EvalkitError(f"The {KIND} {path} has no question.", _HINT, code="scorers-36")
    for listed in found.values():
        _check_dependencies(listed, path)
    asked = [
        Asked(text, name, tuple(one for one, _ in listed.questions.values()))
        for (text, name), listed in found.items()
    ]
    _check_texts(asked, [listed.place for listed in found.values()], path)
    return asked


def _objects(path: Path) -> Iterator[Numbered]:
    """The rows or objects of the file; hints are on questions where they were on prompts."""
    try:
        yield from objects_of(path, KIND)
    except EvalkitError as error:
        hint = _HINT if error.hint == FORMATS else error.hint
        raise EvalkitError(error.message, hint, code=error.code) from error


def plain(text: str) -> str:
    """The text with single blanks, by which prompts are compared."""
    return " ".join(text.split())


def _where(place: str, path: Path) -> str:
    return f"{place[0].upper()}{place[1:]} of {path}"


def _known(content: Mapping[str, Any], known: Sequence[str], where: str) -> dict[str, Any]:
    """The content by keys in lower case. Raises EvalkitError for others than the known ones."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        name = key.strip().lower()
        if name not in known:
            expected = sorted({*filter(None, known)} - {*_OTHERS, *GROUP_KEYS})
            hint = did_you_mean(name, expected)
            raise EvalkitError(f"{where} has the unknown key {key!r:.80}.", hint, code="scorers-37")
        if name in found:
            raise EvalkitError(
                f"{where} has the key {name!r} twice; expected it once.", _HINT, code="scorers-38"
            )
        found[name] = value
    return found


def _prompt(values: Mapping[str, Any], where: str) -> tuple[str, str]:
    """The text of the prompt, "" where there is none, and its id."""
    text = next((values[key] for key in TEXT_KEYS if values.get(key) not in (None, "")), "")
    name = next((values[key] for key in ID_KEYS if values.get(key) not in (None, "")), "")
    for value, what, kinds in ((text, "prompt", str), (name, "id", str | int)):
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise EvalkitError(
                f"{where} has the {what} {_shown(value)}; expected a text.",
                _HINT,
                code="scorers-39",
            )
    text, name = plain(str(text)), str(name).strip()
    if not text and not name:
        raise EvalkitError(f"{where} has neither a prompt nor an id.", _HINT, code="scorers-40")
    return text, name


def _only(values: Mapping[str, Any], names: Sequence[str], where: str) -> tuple[bool, Any]:
    """Whether one of these keys is there, and its value; all of them mean the same."""
    given = [name for name in names if name in values]
    if len(given) > 1:
        raise EvalkitError(
            f"{where} has both {given[0]!r} and {given[1]!r}; expected one of them.",
            _HINT,
            code="scorers-41",
        )
    return bool(given), values[given[0]] if given else None


def _list(values: Mapping[str, Any], where: str) -> list[Any]:
    """The questions of an object, each as an object."""
    _, given = _only(values, _LISTS, where)
    if not isinstance(given, list) or not given:
        raise EvalkitError(
            f"{where} has {_shown(given)}; expected a list of questions.", _HINT, code="scorers-42"
        )
    skills = values.get("skills") if "vqa_list" in values else None
    skills = [None] * len(given) if skills is None else skills
    if not isinstance(skills, list) or len(skills) != len(given):
        raise EvalkitError(
            f"{where} has the skills {_shown(skills)} for {plural(len(given), 'question')};"
            " expected a list with the skill of each question.",
            "Correct the skills, or leave them out.",
            code="scorers-66",
        )
    found: list[Any] = []
    for one, skill in zip(given, skills, strict=True):
        if isinstance(one, list) and len(one) == 2:  # GenEval 2
            one = {"question": one[0], "answer": one[1], "skill": skill}
        one = {"question": one} if isinstance(one, str) else one
        if not isinstance(one, Mapping):
            raise EvalkitError(
                f"{where} has the question {_shown(one)}; expected an object.",
                _HINT,
                code="scorers-43",
            )
        found.append(_known(one, (*_QUESTION, *GROUP_KEYS), where))
    return found


def _question(values: Mapping[str, Any], where: str, number: int, first: bool = False) -> Question:
    has_text, text = _only(values, _TEXTS, where)
    if not has_text:
        raise EvalkitError(f"{where} has no question; expected a text.", _HINT, code="scorers-44")
    if not isinstance(text, str):
        raise EvalkitError(
            f"{where} has the question {_shown(text)}; expected a text.", _HINT, code="scorers-45"
        )
    [text] = _texts([text], where, "question")
    has_answers, given = _only(values, _ANSWERS, where)
    answers = _texts(given, where, "answer") if has_answers else ("yes",)
    offered = values.get("choices")
    choices = _texts([] if offered in (None, "") else offered, where, "choice")
    lower = {choice.lower() for choice in choices}
    if has_answers and not answers:
        raise EvalkitError(
            f"{where} has the answers []; expected at least one text.", _HINT, code="scorers-46"
        )
    for answer in answers if choices else ():
        if answer.lower() not in lower:
            raise EvalkitError(
                f"{where} has the answer {answer!r:.60}, which is none of its choices"
                f" ({', '.join(choices):.100}).",
                "Correct the answer or the choices; in a table, leave out the choices.",
                code="scorers-47",
            )
    _, parents = _only(values, _PARENTS, where)
    parents = [] if parents in (None, "") else parents
    listed = parents.split(",") if isinstance(parents, str) else parents
    listed = listed if isinstance(listed, list | tuple) else [listed]
    numbers = dict.fromkeys(_number(one, where, least=0) for one in listed)
    dependencies = tuple(one for one in numbers if one)
    category = _category(values, where)
    return Question(text, answers, number, dependencies, choices, category, first)


def _category(values: Mapping[str, Any], where: str) -> str:
    """What a question is about; "" where it is not said."""
    given = next((values[key] for key in _CATEGORIES if values.get(key) not in (None, "")), None)
    if given is None or given != given:  # NaN, as pandas writes for none
        return ""
    [category] = _texts([given], where, "category")
    if not category.isprintable():
        raise EvalkitError(
            f"{where} has the category {_shown(category)}; expected a text of one line.",
            _HINT,
            code="scorers-67",
        )
    return category


def _number(value: object, where: str, least: int = 1) -> int:
    """The number of a question; 0, where it may be one, stands for none."""
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
        raise EvalkitError(
            f"{where} has {_shown(value)}; expected the number of a question.",
            "Questions are numbered from 1 in their order.",
            code="scorers-48",
        )
    return int(text)


def _texts(value: object, where: str, what: str) -> tuple[str, ...]:
    """Texts without surrounding blanks; a whole number is a text too."""
    items = value if isinstance(value, list) else [value]
    for item in items:
        good = isinstance(item, str | int) and not isinstance(item, bool)
        if not good or is_blank(str(item)) or re.search("[\ud800-\udfff]", str(item)):
            raise EvalkitError(
                f"{where} has the {what} {_shown(item)}; expected a text.", _HINT, code="scorers-49"
            )
    return tuple(str(item).strip() for item in items)


def _shown(value: object) -> str:
    """The value as its file writes it, cut if it is long; a text in quotation marks."""
    is_word = value is None or isinstance(value, bool)
    return f"{json.dumps(value) if is_word else repr(value):.60}"


def _check_dependencies(listed: _Listed, path: Path) -> None:
    """Raises EvalkitError for a dependency on no question, and for questions in a circle."""
    graph = {number: one.depends_on for number, (one, _) in listed.questions.items()}
    for number, (one, place) in listed.questions.items():
        if unknown := [parent for parent in one.depends_on if parent not in graph]:
            raise EvalkitError(
                f"{_where(place, path)} has question {number}, which depends on question"
                f" {unknown[0]}, which its prompt does not have.",
                f"Its prompt has the questions {', '.join(map(str, graph)):.100}.",
                code="scorers-50",
            )
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))  # each depends on the next one
        others = circle[1:-1]
        named = ", ".join(map(str, others[:5])) + ", …" * (len(others) > 5)
        raise EvalkitError(
            f"{_where(listed.questions[circle[0]][1], path)} has question {circle[0]}, which"
            f" depends on itself{' through ' * bool(others)}{named}.",
            "Remove one of these dependencies.",
            code="scorers-51",
        ) from error


def _check_texts(asked: Sequence[Asked], places: Sequence[str], path: Path) -> None:
    """Raises EvalkitError where one text has several ids with other questions.

    Scorers see the text only, so it could not be known which of them are meant.
    """
    known: dict[str, tuple[tuple[Question, ...], str]] = {}
    for (text, _, questions), place in zip(asked, places, strict=True):
        same = known.setdefault(text, (questions, place)) if text else (questions, place)
        texts = [[replace(one, first=False) for one in some] for some in (questions, same[0])]
        if texts[0] != texts[1]:
            raise EvalkitError(
                f"{_where(place, path)} has the prompt {text!r:.80} of {same[1]} with another id"
                " and other questions; expected the same questions for the same text.",
                "Remove one of the two.",
                code="scorers-52",
            )
