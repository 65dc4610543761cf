"""Mistakes that no single answer shows: mixed scales, reversed scales, one rater under two ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from evalkit.rate.names import plain

LEAST_SHARED = 8  # answers that two sides must share before a correlation counts
SIGNIFICANT = 0.001  # one-sided


_MOST_LONELY = 3  # answers, and fewer than 2%: more of them are no typing errors


class Lonely(NamedTuple):
    """Very few answers above all others, which decide which scale was used."""

    sentence: str
    scales: tuple[str, str]  # without and with these answers


class Score(NamedTuple):
    """One answer on a scale."""

    file: str
    rater: str
    question: str
    item: str  # or the line, where answers are named
    value: float


def mixed_scales(scores: Iterable[Score]) -> str:
    """A sentence that names raters or files of a scale 0 to 4 beside 1 to 5; "" if there are none.

    The sign is that nobody uses both ends of 0 to 5 although all of it occurs.
    """
    for question, found in sorted(_by(scores, lambda score: score.question).items()):
        values = [score.value for score in found]
        if (min(values), max(values)) != (0, 5):
            continue
        for kind, key in (("files", lambda score: score.file), ("raters", lambda s: s.rater)):
            ranges = {
                name: (min(score.value for score in own), max(score.value for score in own))
                for name, own in _by(found, key).items()
            }
            from_zero = sorted(name for name, (low, high) in ranges.items() if low == 0 < 5 > high)
            from_one = sorted(name for name, (low, high) in ranges.items() if low > 0 and high == 5)
            both = any(low == 0 and high == 5 for low, high in ranges.values())
            if from_zero and from_one and not both:
                return (
                    f"The answers to {question} mix two scales: the {kind} {_list(from_zero)} use"
                    f" 0 to 4, and {_list(from_one)} use 1 to 5"
                )
    return ""


def lonely(scores: Sequence[Score], usual: Sequence[tuple[int, int]]) -> Lonely | None:
    """One 7 among answers from 1 to 5: a typing error, or a scale of seven points."""
    for question, found in sorted(_by(scores, lambda score: score.question).items()):
        low, high = (of(score.value for score in found) for of in (min, max))
        for end in sorted(end for start, end in usual if start == low and end < high):
            above = [score for score in found if score.value > end]
            few = len(above) <= _MOST_LONELY and len(above) < 0.02 * len(found)
            if (low, high) in usual and (len(above) == 1 or few):
                named = _list([f"{score.file}, line {score.item}" for score in above])
                verb = "is" if len(above) == 1 else "are"
                sentence = (
                    f"{len(above)} of {len(found)} answers {verb} above {end} ({question}:"
                    f" {named}): a scale from {low:g} to {high:g}, or a mistake"
                )
                return Lonely(sentence, (f"{low:g}-{end}", f"{low:g}-{high:g}"))
    return None


def reversed_sides(scores: Iterable[Score]) -> dict[tuple[str, str], float]:
    """(file or rater, question) of those whose answers correlate negatively with all others.

    The value is the mean of these correlations. There must be at least two others with
    `LEAST_SHARED` shared items, and the correlation with their mean must be significantly negative
    (one-sided, `SIGNIFICANT`): of raters who answer at random, one in a thousand is named.
    """
    found: dict[tuple[str, str], float] = {}
    for question, own in _by(scores, lambda score: score.question).items():
        for key in (lambda score: score.rater, lambda score: score.file):
            sides = {name: _means(part) for name, part in _by(own, key).items()}
            sides = {name: side for name, side in sides.items() if len(side) >= LEAST_SHARED}
            for name in _against_the_mean(sides) if len(sides) >= 3 else ():
                against = [
                    value
                    for other, values in sides.items()
                    if other != name and (value := _correlation(sides[name], values)) is not None
                ]
                if len(against) >= 2 and max(against) < 0:
                    found[name, question] = float(np.mean(against))
    return found


def contradiction(scores: Iterable[Score]) -> str:
    """A sentence that names the only two files or raters if one of them seems reversed.

    Which one it is, nothing tells.
    """
    for question, own in sorted(_by(scores, lambda score: score.question).items()):
        for kind, key in (("files", lambda score: score.file), ("raters", lambda s: s.rater)):
            sides = {name: _means(part) for name, part in _by(own, key).items()}
            if len(sides) == 2 and _is_negative(*sides.values()):
                value = _correlation(*sides.values())
                return (
                    f"The {kind} {' and '.join(sides)} contradict each other on"
                    f" {question.rpartition('/')[2]}: their correlation is {value:.2f}, so one of"
                    " them may have the reversed scale"
                )
    return ""


def _is_negative(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether the correlation is significantly below zero (t-test, one-sided)."""
    from scipy.special import stdtr  # scipy.stats takes a second to import

    value = _correlation(one, other)
    if value is None or value >= 0:
        return False
    freedom = len(one.keys() & other.keys()) - 2
    statistic = value * np.sqrt(freedom / max(1e-12, 1 - value**2))
    return bool(stdtr(freedom, statistic) < SIGNIFICANT)


def _against_the_mean(sides: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Those that contradict the mean of the others: few, so that all pairs are cheap."""
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for side in sides.values():
        for item, value in side.items():
            sums[item] += value
            counts[item] += 1
    found = []
    for name, side in sides.items():
        others = {
            item: (sums[item] - value) / (counts[item] - 1)
            for item, value in side.items()
            if counts[item] > 1
        }
        if _is_negative(side, others):
            found.append(name)
    return found


def same_raters(raters: Iterable[str]) -> dict[str, str]:
    """Names that differ from another one only in case, blanks or leading zeros, with that one."""
    found: dict[str, str] = {}
    first: dict[str, str] = {}
    for rater in dict.fromkeys(raters):
        key = plain(rater).casefold().replace(" ", "")
        key = key.lstrip("0") if key.isdecimal() else key
        if first.setdefault(key, rater) != rater:
            found[rater] = first[key]
    return found


def unfinished(answers: Mapping[str, int]) -> list[str]:
    """Sentences that name raters with fewer than half of the usual number of answers."""
    if len(answers) < 2:
        return []
    usual = float(np.median(list(answers.values())))
    few = {rater: count for rater, count in answers.items() if count < usual / 2}
    shown = [f"{rater:.64} ({count})" for rater, count in sorted(few.items())]
    return (
        [f"Raters with fewer than half of the usual {usual:g} answers: {_list(shown)}."]
        if few
        else []
    )


def _means(scores: Sequence[Score]) -> dict[str, float]:
    """Item: mean value."""
    values: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        values[score.item].append(score.value)
    return {item: sum(found) / len(found) for item, found in values.items()}


def _correlation(one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """Of the items that both rated; None for too few or without variation."""
    shared = sorted(one.keys() & other.keys())
    if len(shared) < LEAST_SHARED:
        return None
    a, b = (np.array([side[item] for item in shared]) for side in (one, other))
    if a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _by(scores: Iterable[Score], key: Callable[[Score], str]) -> dict[str, list[Score]]:
    found: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        found[key(score)].append(score)
    return found


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(name[:80] for name in names[:5]) + more
