"""Which metric prefers what the raters prefer? Scores of images joined with ratings.

Only differences are compared: of two images of one prompt, or of two models on all prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Literal

import numpy as np

from evalkit.core import AgreementRow, Better, MetricRow
from evalkit.ratings.polls import Poll
from evalkit.ratings.summary_file import PollSummary
from evalkit.run_folder import Run
from evalkit.statistics import votes
from evalkit.statistics.concordance import Concordance, of_images, of_models
from evalkit.statistics.multiple import holm

LEAST_MODELS = 3  # with two, any metric agrees or disagrees entirely
Values = Mapping[tuple[str, str], float]  # (model, prompt id) -> a value
Key = tuple[str, str, str]  # metric, encoder, reference
Level = Literal["image", "model"]


def agreement_rows(
    run: Run, found: Sequence[tuple[Poll, PollSummary]], rows: Sequence[MetricRow]
) -> list[AgreementRow]:
    """One row per poll, metric and level, those of images before those of models.

    The answers of models that judge are compared with those of people as a metric is.

    Args:
        found: the polls without excluded raters, and their summaries.
        rows: of metrics.json, on all prompts; those of ratings take no part.
    """
    scores, made = _scores(run), list[AgreementRow]()
    metrics = _metrics(rows)
    for poll, summary in found:
        first = len(made)
        preferred = dict(_preferences(poll))
        for key, better in metrics.items():
            if key[:2] in scores:
                differences = _differences(preferred, scores[key[:2]])
                made.append(_on_images(summary, key, preferred, differences, better))
        judges = [other for other in found if (poll.kind, other[0].kind) == ("human", "model")]
        for other, judged in judges:
            differences = dict(_preferences(other))
            made.append(_on_images(summary, _judge_key(judged), preferred, differences, "higher"))
        made[first:] = _corrected(made[first:])
        people = _by_model(summary)
        for _, judged in judges if len(people) >= LEAST_MODELS else ():
            key = _judge_key(judged)
            made.append(_on_models(summary, key, people, _by_model(judged), "higher"))
        for key, better in metrics.items() if len(people) >= LEAST_MODELS else ():
            values = {
                row.model: row.value
                for row in rows
                if (row.metric, row.encoder, row.reference) == key and row.value is not None
            }
            made.append(_on_models(summary, key, people, values, better))
    return made


def _corrected(rows: Sequence[AgreementRow]) -> list[AgreementRow]:
    """The rows with p-values corrected together: of many metrics, one agrees by chance."""
    adjusted = holm([row.p for row in rows])
    return [
        row if one is None else replace(row, p_adjusted=one.p)
        for row, one in zip(rows, adjusted, strict=True)
    ]


def image_pairs(run: Run, asked: Sequence[Poll], rows: Sequence[MetricRow]) -> list[dict[str, Any]]:
    """One row per pair of images of one prompt that raters compared, and metric.

    `difference` is the metric of the first image minus that of the second and `preference` what
    raters prefer, both positive where the first image is better: for the mode "pairwise" the
    share that prefers the first image minus the share that prefers the second.

    Args:
        asked: the polls without excluded raters.
        rows: of metrics.json.
    """
    scores, made = _scores(run), []
    for poll in asked:
        preferred = dict(_preferences(poll))
        about = {"raters": f"{poll.kind}:{poll.question}", "study": poll.study.study}
        about["mode"] = poll.study.mode
        for (metric, encoder, _), better in _metrics(rows).items():
            known = scores.get((metric, encoder), {})
            sign = 1.0 if better == "higher" else -1.0
            made += [
                {"prompt": prompt, "model_a": a, "model_b": b, "metric": metric}
                | {"encoder": encoder, "better": better, **about}
                | {"difference": sign * (known[a, prompt] - known[b, prompt]), "preference": value}
                for (prompt, a, b), value in preferred.items()
                if (a, prompt) in known and (b, prompt) in known
            ]
    return made


def _metrics(rows: Sequence[MetricRow]) -> dict[Key, Better]:
    """The measured metrics with their directions; those with an encoder are about images."""
    return {
        (row.metric, row.encoder, row.reference): row.better
        for row in rows
        if row.encoder and row.value is not None
    }


def _scores(run: Run) -> dict[tuple[str, str], dict[tuple[str, str], float]]:
    """The values of scores.csv for the first sample of each prompt, which studies show."""
    prompts = [prompt.id for prompt in run.prompts()]
    found: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for row in run.scores():
        if int(row["sample"]) == 0 and row["value"]:
            place = (row["model"], prompts[int(row["index"])])
            found.setdefault((row["metric"], row["encoder"]), {})[place] = float(row["value"])
    return found


Preferred = dict[tuple[str, str, str], float]  # prompt, model, model -> above 0 for the first one


def _preferences(poll: Poll) -> Iterator[tuple[tuple[str, str, str], float]]:
    """What the raters prefer in each pair of images of one prompt, the mean over raters."""
    if poll.study.mode == "pairwise":
        told = votes.counted(poll.votes())
        first = np.minimum(told.left, told.right)
        signs = np.where(told.left == first, told.answer, -told.answer)
        places = np.stack([told.prompts, first, np.maximum(told.left, told.right)], axis=1)
        keys, inverse = np.unique(places, axis=0, return_inverse=True)
        means = np.bincount(inverse.reshape(-1), signs) / np.bincount(inverse.reshape(-1))
        for (prompt, a, b), mean in zip(keys, means, strict=True):
            yield (poll.prompts[prompt], poll.models[a], poll.models[b]), float(mean)
        return
    told = poll.opinions()
    values = {
        (poll.prompts[prompt], model): told.values[here & (told.models == model)].mean()
        for prompt in np.unique(told.prompts)
        for here in (told.prompts == prompt,)
        for model in np.unique(told.models[here])
    }
    for prompt in poll.prompts:
        rated = [model for model in range(len(poll.models)) if (prompt, model) in values]
        for a, b in combinations(rated, 2):
            mean = float(values[prompt, a] - values[prompt, b])
            yield (prompt, poll.models[a], poll.models[b]), mean


def _judge_key(judged: PollSummary) -> Key:
    """The values of a judge, in the words of metrics.json."""
    return judged.results[0].metric, judged.name, judged.study


def _by_model(summary: PollSummary) -> dict[str, float]:
    return {
        one.model: one.result.value
        for one in summary.results
        if one.metric != "strength" and one.result.value is not None
    }


def _differences(pairs: Iterable[tuple[str, str, str]], scores: Values) -> Preferred:
    """The score of the first image minus that of the second, of pairs with both."""
    return {
        (prompt, a, b): scores[a, prompt] - scores[b, prompt]
        for prompt, a, b in pairs
        if (a, prompt) in scores and (b, prompt) in scores
    }


def _on_images(
    summary: PollSummary, key: Key, preferred: Preferred, differences: Preferred, better: Better
) -> AgreementRow:
    sign = 1.0 if better == "higher" else -1.0
    both = differences | {(p, b, a): -value for (p, a, b), value in differences.items()}
    numbers = {prompt: place for place, prompt in enumerate(dict.fromkeys(k[0] for k in preferred))}
    found = [
        (sign * both[pair], value, numbers[pair[0]])
        for pair, value in preferred.items()
        if pair in both
    ]
    metric, human, prompts = zip(*found, strict=True) if found else ((), (), ())
    made = of_images(metric, human, np.array(prompts, np.int64))
    return _row(summary, key, "image", made, len(set(prompts)))


def _on_models(
    summary: PollSummary,
    key: Key,
    people: Mapping[str, float],
    values: Mapping[str, float],
    better: Better,
) -> AgreementRow:
    sign = 1.0 if better == "higher" else -1.0
    both = [model for model in people if model in values]
    made = of_models([sign * values[model] for model in both], [people[model] for model in both])
    return _row(summary, key, "model", made, summary.prompts)


def _row(
    summary: PollSummary, key: Key, level: Level, found: Concordance, prompts: int
) -> AgreementRow:
    accuracy, kendall = found.accuracy, found.kendall
    reasons = dict.fromkeys((accuracy.interval.method, kendall.interval.method))
    return AgreementRow(
        metric=key[0],
        encoder=key[1],
        reference=key[2],
        raters=summary.name,
        study=summary.study,
        level=level,
        accuracy=accuracy.value,
        accuracy_low=accuracy.interval.low,
        accuracy_high=accuracy.interval.high,
        correlation=kendall.value,
        correlation_low=kendall.interval.low,
        correlation_high=kendall.interval.high,
        pairs=found.decided,
        undecided=found.undecided,
        ties=found.metric_ties,
        prompts=prompts,
        note="; ".join(filter(None, reasons)),
        p=found.p,
    )
