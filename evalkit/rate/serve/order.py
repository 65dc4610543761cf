"""Which items a rater is asked, in which order, and which image is on the left.

Everything follows from the study and the rater's id, by hashes: a restart, another machine and
another version of Python give the same list.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from evalkit.core import EvalkitError
from evalkit.hints import plural
from evalkit.ratings.rating import KNOWN_BAD, Check, pair, parts, single
from evalkit.ratings.study import Study

T = TypeVar("T")


class Shown(NamedTuple):
    """An image on the page."""

    prompt: str  # id
    model: str
    bad: bool = False  # with shuffled pixels, for an attention check


class Assigned(NamedTuple):
    """An item of a rater, without checks."""

    item: str
    left: str  # the label of the left image; "" for a single image


@dataclass(frozen=True)
class Asked:
    """One page of a rater: an item, or a check."""

    position: int  # from 1
    item: str
    check: Check
    prompt: str  # id
    model: str  # of a single image; "" for a pair
    images: tuple[Shown, ...]  # from left to right

    @property
    def labels(self) -> tuple[str, ...]:
        """What a row of ratings calls the images, from left to right."""
        pairwise = len(self.images) == 2
        return tuple(KNOWN_BAD if i.bad and pairwise else i.model for i in self.images)


def in_hash_order(values: Iterable[T], *seed: object) -> list[T]:
    """The values in an order that depends on the seed and on them only."""
    return sorted(values, key=lambda value: _digest(*seed, value))


def study_items(study: Study) -> list[str]:
    """All items of a study, in the order of its prompts and models."""
    if study.mode == "pairwise":
        pairs = list(itertools.combinations(study.models, 2))
        return [pair(prompt, a, b) for prompt in study.prompts for a, b in pairs]
    return [single(prompt, model) for prompt in study.prompts for model in study.models]


def items_per_rater(study: Study) -> int:
    """Items of one rater, without checks. Raises EvalkitError if the checks do not fit in."""
    total = len(study_items(study))
    count = min(study.items_per_rater or total, total)
    for name, checks in (("repeat", study.repeat_items), ("attention", study.attention_items)):
        if checks > count // 4:
            raise EvalkitError(
                f"The study {study.study!r} has {name}_items = {checks} and {plural(count, 'item')}"
                f" per rater; expected at most a quarter of them, {count // 4}.",
                "Choose fewer checks, or more items.",
                code="rate-40",
            )
    return count


def assign(study: Study, rater: str, shown: Mapping[Assigned, int]) -> list[Assigned]:
    """The items of a new rater: those that were shown least, in the order of this rater.

    Sides: what was shown more often on one side comes on the other one, so that two raters of an
    item see it both ways. Otherwise the sides of each pair of models are balanced for this rater.

    shown: how often each item was shown with each side.
    """
    counts: Counter[str] = Counter()
    for assigned, count in shown.items():
        counts[assigned.item] += count
    every = in_hash_order(study_items(study), study.seed, rater, "items")
    least = sorted(every, key=lambda item: counts[item])[: items_per_rater(study)]
    chosen = set(least)
    balance: Counter[tuple[str, ...]] = Counter()  # more often a on the left, by pair of models
    result: list[Assigned] = []
    for item in (item for item in every if item in chosen):
        _, *models = parts(item)
        if len(models) == 1:
            result.append(Assigned(item, ""))
            continue
        a, b = models
        lead = shown.get(Assigned(item, a), 0) - shown.get(Assigned(item, b), 0)
        lead = lead or balance[a, b] or (1 if _digest(study.seed, rater, item)[0] % 2 else -1)
        balance[a, b] += -1 if lead > 0 else 1
        result.append(Assigned(item, b if lead > 0 else a))
    return result


def order(study: Study, rater: str, assigned: Sequence[Assigned]) -> list[Asked]:
    """All pages of a rater: the assigned items in their order, with the checks between them.

    Repeats are items of the first third that come again in the last third, at least a third of the
    list later and with sides swapped. Attention checks are spread over the whole list.
    """
    repeats, attention = study.repeat_items, study.attention_items
    total = len(assigned) + repeats + attention
    third = -(-total // 3)
    slots: dict[int, Asked] = {}
    checks, turn = _attention_items(study, rater), _digest(study.seed, rater)[0]
    for number, (prompt, model) in enumerate(checks):
        first, end = total * number // attention, total * (number + 1) // attention
        place = in_hash_order(range(max(first, 1), end), study.seed, rater, "attention place")[0]
        slots[place] = _attention(study, prompt, model, place, number + turn)
    late = [place for place in range(total - total // 3, total) if place not in slots]
    late = in_hash_order(late, study.seed, rater, "repeat place")[:repeats]
    rest = (place for place in range(total) if place not in slots and place not in late)
    for place, item in zip(rest, assigned, strict=True):
        slots[place] = _asked(item, place, "")
    early = [place for place in range(min(late, default=0) - third + 1) if not slots[place].check]
    early = in_hash_order(early, study.seed, rater, "repeats")[:repeats]
    for place, source in zip(late, early, strict=True):
        slots[place] = _again(slots[source], place)
    return [slots[place] for place in range(total)]


def _asked(assigned: Assigned, place: int, check: Check) -> Asked:
    prompt, *models = parts(assigned.item)
    if len(models) == 2 and assigned.left == models[1]:
        models.reverse()
    images = tuple(Shown(prompt, model) for model in models)
    model = "" if assigned.left else models[0]
    return Asked(place + 1, assigned.item, check, prompt, model, images)


def _again(asked: Asked, place: int) -> Asked:
    return Asked(
        place + 1, asked.item, "repeat", asked.prompt, asked.model, tuple(reversed(asked.images))
    )


def _attention_items(study: Study, rater: str) -> Iterable[tuple[str, str]]:
    """The prompt and the model of each attention check; prompts differ as far as possible."""
    prompts = in_hash_order(study.prompts, study.seed, rater, "attention")
    models = in_hash_order(study.models, study.seed, rater, "attention")
    pairs = (
        (prompt, models[(n + lap) % len(models)])
        for lap in range(len(models))
        for n, prompt in enumerate(prompts)
    )
    return itertools.islice(pairs, study.attention_items)


def _attention(study: Study, prompt: str, model: str, place: int, number: int) -> Asked:
    good, bad = Shown(prompt, model), Shown(prompt, model, bad=True)
    if study.mode != "pairwise":
        return Asked(place + 1, single(prompt, model), "attention", prompt, model, (bad,))
    images = (bad, good) if number % 2 else (good, bad)
    return Asked(place + 1, pair(prompt, model, KNOWN_BAD), "attention", prompt, "", images)


def _digest(*parts: object) -> bytes:
    return hashlib.sha256(json.dumps(parts).encode()).digest()
