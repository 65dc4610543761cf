"""Questions about images, for each prompt: read from files as GenEval 2, DSG, DPG-Bench and TIFA
publish them, or made from prompts of the bundled data set.

- One row per question: DSG and DPG-Bench (.csv: text, proposition_id, dependency,
  question_natural_language) and TIFA (.json: caption, question, choices, answer).
- One object per prompt: GenEval 2 (.jsonl: prompt, vqa_list), and evalkit's own: `{"prompt": ...,
  "questions": [{"question": ..., "answers": ["yes"], "choices": [...], "depends_on": [1]}]}`, where
  a question may also be a text that is to be answered with yes, and `id` may name the prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError
from evalkit.files import digest
from evalkit.prompts.columns import ID_KEYS, TEXT_KEYS
from evalkit.prompts.formats import TABLES, objects_of
from evalkit.run_folder import Run
from evalkit.scorers.question import Question
from evalkit.scorers.scene_questions import VERSION, scene_questions

SCENES = "scenes"  # the option for questions that are made from the prompts
_HINT = "See docs/question-answering.md, “Questions”."


class Questions:
    """The questions of all prompts: `for_prompt(text)`, and a hash of them."""

    def __init__(self, source: str, run: Path = Path()) -> None:
        """source: a file, or `scenes`. run: the run folder, which has the prompts' ids."""
        self._run, self._by_id, self._ids = run, dict[str, list[Question]](), dict[str, str]()
        self._by_text: dict[str, list[Question]] = {}
        self._made = source == SCENES
        if not self._made:
            self._read(Path(source).expanduser())
        rows = [self._by_text, self._by_id]
        content = [{key: [*map(asdict, row[key])] for key in sorted(row)} for row in rows]
        self.hash = digest(VERSION if self._made else content)[:16]

    def __iter__(self) -> Iterator[Question]:
        """All questions of a file."""
        for table in (self._by_text, self._by_id):
            for some in table.values():
                yield from some

    def for_prompt(self, text: str) -> list[Question]:
        """The questions of a prompt; [] if there are none."""
        if self._made:
            return scene_questions(text)
        found = self._by_text.get(_plain(text))
        if found is None and self._by_id:
            if not self._ids and Run(self._run).is_run:
                self._ids = {_plain(one.text): one.id for one in Run(self._run).prompts()}
            found = self._by_id.get(self._ids.get(_plain(text), ""))
        return found or []

    def _read(self, path: Path) -> None:
        if path.suffix.lower() not in TABLES:
            raise EvalkitError(
                f"The questions {path} are no {', '.join(TABLES[:-1])} or {TABLES[-1]} file.", _HINT
            )
        if not path.is_file():
            raise EvalkitError(f"There is no file of questions {path}.", "Check the path.")
        for place, row in enumerate(objects_of(path)):
            where = f"{row.place[0].upper()}{row.place[1:]} of {path}"
            keys = {key.strip().lower(): value for key, value in row.values.items()}
            text = next((keys[key] for key in TEXT_KEYS if keys.get(key)), None)
            name = next((keys[key] for key in ID_KEYS if keys.get(key) not in (None, "")), None)
            if not isinstance(text, str) and not isinstance(name, str | int):
                raise EvalkitError(f"{where} has neither a prompt nor an id.", _HINT)
            table, key = (
                (self._by_text, _plain(text)) if isinstance(text, str) else (self._by_id, str(name))
            )
            table.setdefault(key, []).extend(_of_row(keys, where, place, table.get(key, ())))
        if not any(self):
            raise EvalkitError(f"{path} has no question.", _HINT)


def _of_row(
    keys: Mapping[str, Any], where: str, place: int, before: Iterable[Question]
) -> Iterator[Question]:
    """The questions of a row or an object."""
    given = keys.get("vqa_list", keys.get("questions"))
    count = len(list(before))
    if given is None:
        number = keys.get("proposition_id", count + 1)
        found = _question(keys, where, _number(number, where))
        yield replace(found, first=place == 0)
        return
    if not isinstance(given, list) or not given:
        raise EvalkitError(f"{where} has {given!r:.60}; expected a list of questions.", _HINT)
    made: list[Question] = []
    for number, one in enumerate(given, count + 1):
        if isinstance(one, list) and len(one) == 2:  # GenEval 2
            one = {"question": one[0], "answer": one[1]}
        made.append(_question({"question": one} if isinstance(one, str) else one, where, number))
    known = {one.number for one in made} | {0}
    for one in made:
        if unknown := set(one.depends_on) - known:
            raise EvalkitError(
                f"{where} has a question that depends on question {min(unknown)}, which it does not"
                " have.",
                "Questions are numbered from 1 in their order.",
            )
    yield from made


def _question(values: object, where: str, number: int) -> Question:
    if not isinstance(values, Mapping):
        raise EvalkitError(f"{where} has the question {values!r:.60}; expected an object.", _HINT)
    text = values.get("question_natural_language", values.get("question"))
    if not isinstance(text, str) or not text.strip():
        raise EvalkitError(f"{where} has the question {text!r:.60}; expected a text.", _HINT)
    answers = _texts(values.get("answers", values.get("answer")), where) or ("yes",)
    choices = _texts(values.get("choices"), where)
    parents = values.get("depends_on", values.get("dependency")) or ()
    if isinstance(parents, str):
        parents = parents.split(",")
    listed = parents if isinstance(parents, list | tuple) else [parents]
    numbers = tuple(_number(parent, where) for parent in listed)
    return Question(text.strip(), answers, number, tuple(n for n in numbers if n), choices)


def _number(value: object, where: str) -> int:
    try:
        return int(str(value).strip())
    except ValueError as error:
        raise EvalkitError(
            f"{where} has {value!r:.60}; expected the number of a question.", _HINT
        ) from error


def _texts(value: object, where: str) -> tuple[str, ...]:
    items = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(item, str | int) and str(item).strip() for item in items):
        raise EvalkitError(f"{where} has {value!r:.60}; expected texts.", _HINT)
    return tuple(str(item).strip() for item in items)


def _plain(text: str) -> str:
    return " ".join(text.split())
