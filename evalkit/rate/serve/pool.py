"""The images that a study can ask about: sample 0 of each prompt, of the models of the runs."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from evalkit.core import EvalkitError
from evalkit.hints import did_you_mean
from evalkit.prompts.perturb import originals_of
from evalkit.ratings.rating import BOTH_BAD, CANNOT_TELL, KNOWN_BAD, TIE
from evalkit.ratings.study import Study
from evalkit.run_folder import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pool:
    """Images of several runs. The prompts are those of the first run."""

    models: tuple[str, ...]
    prompts: Mapping[str, str]  # id -> text, in the order of the first run
    places: Mapping[tuple[str, str], Path]  # (prompt id, model) -> file
    variants: Set[str]  # ids of prompts that are variants of others

    def check_models(self, models: Sequence[str]) -> None:
        """Raises EvalkitError for a model that is not in the runs or is named as an answer."""
        for model in models:
            if model not in self.models:
                hint = did_you_mean(model, self.models)
                raise EvalkitError(f"The runs have no model {model!r}.", hint, code="rate-41")
            if model in (TIE, BOTH_BAD, CANNOT_TELL, KNOWN_BAD):
                raise EvalkitError(
                    f"The model {model!r} has the name of an answer, which is reserved.",
                    "Give the model another label: `evalkit run --models LABEL=…`.",
                    code="rate-42",
                )

    def to_ask(self, models: Sequence[str]) -> tuple[str, ...]:
        """The ids of the prompts for a new study: those of which all these models have an image.

        Variants of prompts are left out: raters are asked about the originals. The log says what is
        left out. Raises EvalkitError where nothing remains.
        """
        originals = [prompt for prompt in self.prompts if prompt not in self.variants]
        found = [one for one in originals if all((one, model) in self.places for model in models)]
        if not found:
            raise EvalkitError(
                f"No prompt has an image of all of {', '.join(models)}.",
                "Make the missing images with `evalkit run`, or name fewer models: `--models a,b`.",
                code="rate-43",
            )
        if self.variants:
            log.info("%d variants of prompts left out: only originals are asked about",
                     len(self.variants))  # fmt: skip
        if left_out := len(originals) - len(found):
            log.warning("prompts left out, of which a model has no image: %d", left_out)
        return tuple(found)

    def of(self, study: Study) -> dict[tuple[str, str], Path]:
        """The images of a study. Raises EvalkitError if the runs lack one of them."""
        for prompt in study.prompts:
            for model in study.models:
                if model not in self.models:
                    raise EvalkitError(
                        f"The study {study.study!r} asks about the model {model!r}, which none of"
                        " the runs has.",
                        f"Name the run that has it, too. Known: {', '.join(self.models)}.",
                        code="rate-44",
                    )
                if (prompt, model) not in self.places:
                    raise EvalkitError(
                        f"The study {study.study!r} asks about the prompt {prompt!r}, of which"
                        f" {model!r} has no image.",
                        "Make the image with `evalkit run`, or leave out the prompt.",
                        code="rate-45",
                    )
        return {
            (prompt, model): self.places[prompt, model]
            for prompt in study.prompts
            for model in study.models
        }


def read_pool(runs: Sequence[Run]) -> Pool:
    """The images of runs with the same prompts.

    Prompts of further runs are matched by text, the k-th of several equal ones with the k-th.
    Raises EvalkitError if one is not a run, has no image for these prompts, or has a label twice.
    """
    prompts = runs[0].prompts()
    ids: dict[str, list[str]] = defaultdict(list)  # text -> ids in the first run
    for prompt in prompts:
        ids[prompt.text].append(prompt.id)
    owners: dict[str, Run] = {}
    places: dict[tuple[str, str], Path] = {}
    for run in runs:
        seen: dict[str, int] = defaultdict(int)
        known: dict[str, str] = {}  # id in this run -> id in the first one
        for prompt in run.prompts():
            same = ids.get(prompt.text, [])
            if seen[prompt.text] < len(same):
                known[prompt.id] = same[seen[prompt.text]]
            seen[prompt.text] += 1
        for model in run.models():
            if model in owners:
                raise EvalkitError(
                    f"{owners[model].path} and {run.path} both have a model {model!r}; expected"
                    " different labels.",
                    "Give one of them another label: `evalkit run --models LABEL=…`.",
                    code="rate-46",
                )
            owners[model] = run
            for record in run.records(model):
                if record.status == "ok" and record.sample == 0 and record.prompt in known:
                    places[known[record.prompt], model] = run.image_path(model, record)
        if not any(owners.get(model) is run for _, model in places):
            raise EvalkitError(
                f"{run.path} has no images of the prompts of {runs[0].path}."
                if len(runs) > 1
                else f"{run.path} has no images.",
                "Make them with `evalkit run`, with the same prompts for all runs.",
                code="rate-47",
            )
    texts = {prompt.id: prompt.text for prompt in prompts}
    variants = {prompts[at].id for at in originals_of(prompts)}
    return Pool(tuple(owners), texts, places, variants)
