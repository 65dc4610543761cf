"""The questions about the image of each prompt: of a file, or made from prompts of the bundled data
set.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from evalkit.files import digest
from evalkit.run_folder import Run
from evalkit.scorers.question import Question
from evalkit.scorers.question_files import plain, read_questions
from evalkit.scorers.scene_questions import VERSION, scene_questions, unasked

log = logging.getLogger(__name__)
SCENES = "scenes"  # the option for questions that are made from the prompts


class Questions:
    """The questions of all prompts: `for_prompt(text)`, and a hash of them."""

    def __init__(self, source: str, run: Path = Path()) -> None:
        """source: a file, or `scenes`. run: the run folder, which has the prompts' ids."""
        self._by_id, self._ids = dict[str, tuple[Question, ...]](), dict[str, str]()
        self._by_text: dict[str, tuple[Question, ...]] = {}
        self._made = source == SCENES
        if not self._made:
            path = Path(os.path.expanduser(source))
            for text, name, questions in read_questions(path):
                table, key = (self._by_text, text) if text else (self._by_id, name)
                table[key] = questions
            if Run(run).is_run:
                self._ids = {plain(one.text): one.id for one in Run(run).prompts()}
                _mention(path, Path(run), *self._unmatched())
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
        text = plain(text)
        return list(self._by_text.get(text) or self._by_id.get(self._ids.get(text, ""), ()))

    def why_none(self, text: str) -> str:
        """Why there are no questions for a prompt."""
        made = unasked(text) if self._made else ""
        return made or "there are no questions for its prompt"

    def _unmatched(self) -> tuple[int, int, int, int]:
        """Prompts of the run and those without questions; prompts of the file and those that the
        run does not have.
        """
        without = sum(not self.for_prompt(text) for text in self._ids)
        names = {*self._ids.values()}
        others = sum(text not in self._ids for text in self._by_text)
        others += sum(name not in names for name in self._by_id)
        return len(self._ids), without, len(self._by_text) + len(self._by_id), others


@functools.cache  # several scorers read one file
def _mention(path: Path, run: Path, prompts: int, without: int, listed: int, others: int) -> None:
    """Say in the log which prompts have no questions, and which questions no prompt."""
    if without:
        log.warning("%s: %d of %d prompts of the run have no questions", path, without, prompts)
    if others:
        log.warning("%s: %d of its %d prompts are not in the run", path, others, listed)
