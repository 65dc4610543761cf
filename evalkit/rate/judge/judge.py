"""`evalkit rate judge`: a model with a chat API rates the images of a run."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from evalkit.core import EvalkitError, IncompleteRunWarning
from evalkit.features.changed import mention_changes
from evalkit.locks import alone
from evalkit.rate.judge.asking import Judging, requests_of
from evalkit.rate.judge.study import new_study
from evalkit.rate.judge.template import template_hash
from evalkit.rate.serve.pool import read_pool
from evalkit.ratings.judged import (
    Judge,
    read_judge,
    refuse_other_judge,
    votes_of,
    write_judge,
)
from evalkit.ratings.study_file import write_study
from evalkit.remote.budget import Budget
from evalkit.remote.chat import Chat, ChatOptions
from evalkit.remote.concurrency import MOST
from evalkit.remote.keys import without_keys
from evalkit.remote.send import send
from evalkit.run_folder import Run

log = logging.getLogger(__name__)
Kind = Literal["rubric", "pairwise"]
_PRICES = "Give the US dollars per million tokens: `--input-price 0.25 --output-price 2`."


class Judged(NamedTuple):
    """What a judge has done, or, of a dry run, would do."""

    study: str
    requests: int  # of the whole study
    missing: int  # requests that are open
    total: float | None  # US dollars that these may cost; None without prices
    votes: int
    without: Mapping[str, int]  # items without a vote although they were asked, by reason
    cost: float | None  # US dollars so far; None if not known


def rate_judge(
    path: os.PathLike[str] | str,
    *,
    model: str,
    kind: Kind = "rubric",
    base_url: str = "",
    api_key_env: str = "",
    rubric: os.PathLike[str] | str | None = None,
    study: str = "",
    models: str | Sequence[str] = (),
    items: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    max_tokens: int = 512,
    max_side: int = 1024,
    extra: str = "",
    timeout: float = 120.0,
    input_price: float | None = None,
    output_price: float | None = None,
    max_cost: float | None = None,
    concurrency: int = int(MOST),
    snapshots: Literal["one", "any"] = "one",
    retry_ambiguous: bool = False,
    dry_run: bool = False,
) -> Judged:
    """Let a model with a chat API rate the images of a run. The same call resumes.

    Its votes are files of the run as those of people, with kind `model`, and are never pooled with
    them: `rate_summary` has rows of their own for them (docs/judges.md).

    Args:
        path: the run folder.
        model: its name at the service.
        kind: `rubric`: each image by itself, on a scale; `pairwise`: each pair in both orders, and
            a win counts only if it is the answer to both.
        base_url: up to and including `/v1`; default: OPENAI_BASE_URL, else OpenAI.
        api_key_env: the NAME of the environment variable with the key; `none` for no key.
        rubric: a TOML file with `questions`; default: alignment with the text on five points, or
            which image is better.
        study: its name; default: the model's name and the kind. An existing study without a judge
            is asked as it is.
        models: labels of the run; default: all.
        items: images or pairs, a random sample; default: all.
        temperature: sent with each request.
        seed: sent with each request; it also draws the sample.
        max_tokens: sent with each request.
        max_side: images with a longer side are scaled down.
        extra: further fields of the request, a JSON object; null leaves out a field.
        timeout: seconds for one answer.
        input_price: US dollars per million tokens of requests.
        output_price: US dollars per million tokens of answers.
        max_cost: the limit in US dollars for this study, over all calls.
        concurrency: the most requests in flight.
        snapshots: `one`: stop when the service answers as another snapshot of the model; `any`: all
            of them vote, as raters of their own.
        retry_ambiguous: ask again what was sent and got no usable answer; each may be charged
            twice.
        dry_run: return how many requests are open and what they may cost; nothing is sent or
            written.

    Raises:
        EvalkitError: what cannot be asked, another judge than before, or sending stopped.

    Warns:
        IncompleteRunWarning: everything was asked, and there is no vote at all.
    """
    run = Run(path)
    run.prompts()  # raises for a folder that is no run
    if concurrency < 1:
        raise EvalkitError(f"concurrency is {concurrency}; expected 1 or more.", code="rate-14")
    if items is not None and items < 1:
        raise EvalkitError(
            f"items is {items}; expected 1 or more.",
            "Leave it out to ask about all items.",
            code="rate-15",
        )
    options = ChatOptions(
        model, base_url, api_key_env, temperature, seed, max_tokens, max_side, extra, timeout,
        input_price, output_price,
    )  # fmt: skip
    with without_keys(dry_run):
        chat = Chat(options)
    pool = read_pool([run])
    name = study or f"{re.sub(r'[^A-Za-z0-9_-]+', '-', model).strip('-')[:40] or 'model'}-{kind}"
    chosen = [one.strip() for one in models.split(",")] if isinstance(models, str) else [*models]
    design = new_study(run, pool, name, kind, rubric, chosen, items, seed)
    judge = Judge(model, chat.fingerprint, template_hash(design), snapshots)
    places = pool.of(design)
    work = Judging(run, design, judge, chat, pool.prompts, places)
    known = read_judge(run, name)
    if known is not None and work.has_answers:
        refuse_other_judge(run, name, judge, known)
    jobs = work.jobs(retry_ambiguous)
    prices = [work.price(job) for job in jobs]
    budget = Budget(max_cost, work.spent())
    budget.check(model, prices[0] if prices else 0.0, _PRICES)
    if not dry_run:
        mention_changes(run, design.models)
        run.ratings_path.mkdir(exist_ok=True)
        refusal = f"Another process judges the study {name!r} of {run.path}."
        with alone(run.ratings_path / f".{name}.judge.lock", refusal):
            write_study(run, design)
            if known != judge:
                write_judge(run, name, judge)
            # What another process has answered since is not asked again.
            work = Judging(run, design, judge, chat, pool.prompts, places)
            work.vote()
            if jobs := work.jobs(retry_ambiguous):
                send(work, jobs, budget, retry_ambiguous, float(concurrency))
        jobs, prices = work.jobs(retry_ambiguous=False), []
    made = _judged(work, len(jobs), prices)
    if not dry_run and not made.votes:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in sorted(made.without.items()))
        warnings.warn(
            f"The judge {model!r} gave no vote on any of {made.requests} requests of the study"
            f" {name!r}: {reasons or 'none was answered'}.",
            IncompleteRunWarning,
            stacklevel=2,
        )
    return made


def _judged(work: Judging, missing: int, prices: Sequence[float | None]) -> Judged:
    known = [price for price in prices if price is not None]
    found = votes_of(work.study, work.judge, work.last)
    without = Counter(found.without)
    if lost := work.lost():
        without["ambiguous"] += lost
    total = sum(known) if len(known) == len(prices) else None
    count = len(requests_of(work.study))
    return Judged(
        work.study.study, count, missing, total, len(found.votes), dict(without), work.cost()
    )
