"""Strengths of models from votes between pairs of them: Bradley and Terry with ties and sides.

For models of log strengths s, the model of Davidson 1970 with the order effect of Davidson and
Beaver 1977:

    log P(left preferred)  = (s_left - s_right + side) / 2 + constant
    log P(tie)             = tie                           + constant
    log P(right preferred) = (s_right - s_left - side) / 2 + constant

The likelihood is concave, so the fit is unique. A Gaussian prior of standard deviation `PRIOR` on
every parameter keeps it finite; with ten votes on a pair, it moves a difference by about 0.2%.

Data determine the difference of two models only if each is preferred to the other (or tied with
it), directly or through other models: if they are in one strongly connected component (Ford 1957).
For all others the strength is as large as the prior allows. Such models are named, and have no
interval. Intervals are those of `clustered`, from the influence of each vote; `bootstrap` fits
votes of resampled prompts or raters instead.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from evalkit.statistics import clustered
from evalkit.statistics.clustered import Estimate
from evalkit.statistics.intervals import Interval
from evalkit.statistics.votes import CANNOT_TELL, LEFT, RIGHT, TIE, Counts, Votes, counted, counts

PRIOR = 10.0
_ELO = 400 / math.log(10)


class Strengths(NamedTuple):
    """Log strengths of M models.

    Those that are identified sum to zero. Times 400 / log(10) they are on the scale of Elo.
    """

    models: list[Estimate]  # [M]; `raters`, `prompts` and `ratings` count those of all models
    identified: NDArray[np.bool_]  # [M]
    notes: list[str | None]  # [M], why the strength of this model is not identified
    side: Estimate  # positive: the image shown left is preferred more often
    tie: float | None  # log of the parameter of ties; None without ties
    counts: Counts


def strengths(
    votes: Votes, models: int, side: bool = True, prior: float = PRIOR, level: float = 0.95
) -> Strengths:
    """Log strengths of models 0 .. models - 1, with intervals.

    side: estimate the effect of the side; False if it is not known who was shown left. prior: the
    standard deviation, inf for none (then a model that is not identified raises ValueError).
    """
    found, kinds = counted(votes), counts(votes)
    notes = _notes(found, models)
    identified = np.array([note is None for note in notes])
    if not identified.all() and math.isinf(prior):
        raise ValueError("without a prior, the strengths of some models are infinite")
    if not kinds.decided:
        reason = (
            "not measured: every vote is a tie" if len(found.left) else "not measured: no votes"
        )
        nothing = clustered.not_measured(reason)
        return Strengths([nothing] * models, identified & False, notes, nothing, None, kinds)
    side_note = _side_note(found, models) if side else "not measured: sides are not used"
    design = _Design.of(found, models, side_note is None, bool((found.answer == TIE).any()))
    ridge = np.full(design.parameters, prior**-2)
    fitted = _fit(design, np.bincount(design.kind, minlength=len(design.outcomes)), ridge)
    influences = _influences(design, fitted, ridge)
    reference = identified if identified.any() else np.ones(models, dtype=bool)
    values, of_models = (
        part - part[reference].mean(axis=0) for part in (fitted[:models], influences[:models])
    )
    clusters = found.prompts, found.raters
    estimates = []
    for value, influence, note in zip(values, of_models, notes, strict=True):
        one = clustered.estimate(float(value), influence, *clusters, level)
        if note is not None:
            reason = Interval(None, None, f"no interval: {note}")
            one = Estimate(one.value, reason, None, None, None, *one[5:])
        estimates.append(one)
    of_side = clustered.not_measured(side_note or "")
    if side_note is None:
        of_side = clustered.estimate(float(fitted[models]), influences[models], *clusters, level)
    tie = float(fitted[-1]) if design.ties else None
    return Strengths(estimates, identified, notes, of_side, tie, kinds)


def bootstrap(
    votes: Votes,
    models: int,
    clusters: NDArray[np.int64],
    side: bool = True,
    prior: float = PRIOR,
    draws: int = 500,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Log strengths [draws, M], summing to zero, of votes whose clusters are drawn again.

    clusters int [N]: `votes.prompts` or `votes.raters`. For the distribution of ranks, and to see
    which of prompts and raters the strengths depend on.
    """
    found = counted(votes)
    _, numbers = np.unique(clusters[votes.answer != CANNOT_TELL], return_inverse=True)
    use_side = side and _side_note(found, models) is None
    design = _Design.of(found, models, use_side, bool((found.answer == TIE).any()))
    ridge = np.full(design.parameters, prior**-2)
    number = int(numbers.max()) + 1
    table = np.zeros((number, len(design.outcomes)))
    np.add.at(table, (numbers, design.kind), 1)
    random = np.random.RandomState(seed)
    start, drawn = _fit(design, table.sum(axis=0), ridge), np.empty((draws, models))
    for draw in range(draws):
        weights = np.bincount(random.randint(0, number, number), minlength=number) @ table
        fitted = _fit(design, weights, ridge, start)[:models]
        drawn[draw] = fitted - fitted.mean()
    return drawn


def elo(log_strength: float) -> float:
    """On the scale of Elo: 400 points are odds of ten to one."""
    return _ELO * log_strength


class _Design(NamedTuple):
    """Votes by kind: which models, shown how, with which answer."""

    rows: NDArray[np.float64]  # [K, parameters], half of the derivative of log odds left : right
    outcomes: NDArray[np.int64]  # [K], 0 left, 1 right, 2 tie
    kind: NDArray[np.int64]  # [N], the kind of each vote
    ties: bool

    @property
    def parameters(self) -> int:
        return self.rows.shape[1] + self.ties

    @classmethod
    def of(cls, votes: Votes, models: int, side: bool, ties: bool) -> _Design:
        columns = np.stack([votes.left, votes.right, votes.answer], axis=1)
        kinds, kind = np.unique(columns, axis=0, return_inverse=True)
        rows = np.zeros((len(kinds), models + side))
        every = np.arange(len(kinds))
        rows[every, kinds[:, 0]], rows[every, kinds[:, 1]] = 0.5, -0.5
        rows[:, models:] = 0.5
        outcomes = np.select([kinds[:, 2] == LEFT, kinds[:, 2] == RIGHT], [0, 1], 2)
        return cls(rows, outcomes, kind.reshape(-1), ties)

    def features(self) -> NDArray[np.float64]:
        """The derivatives [K, 2 or 3, parameters] of the logits of left, right and tie."""
        found = np.zeros((len(self.rows), 2 + self.ties, self.parameters))
        width = self.rows.shape[1]
        found[:, 0, :width], found[:, 1, :width] = self.rows, -self.rows
        found[:, 2:, width:] = 1
        return found


def _fit(
    design: _Design,
    weights: NDArray[np.float64] | NDArray[np.int64],
    ridge: NDArray[np.float64],
    start: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Newton's method in a trust region; weights [K], how often each kind of vote occurs."""
    features = design.features()
    chosen = features[np.arange(len(features)), design.outcomes]
    total = weights.sum()

    def loss(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = features @ x
        top = logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits - top)
        sums = exponentials.sum(axis=1, keepdims=True)
        log_likelihood = weights @ (chosen @ x - top[:, 0] - np.log(sums[:, 0]))
        expected = np.einsum("ko,kop->kp", exponentials / sums, features)
        gradient = weights @ (chosen - expected) - ridge * x
        value = -log_likelihood + float(ridge @ (x * x)) / 2
        return float(value) / total, -gradient / total

    first = np.zeros(design.parameters) if start is None else start
    found = optimize.minimize(
        loss,
        first,
        jac=True,
        hess=lambda x: _information(features, x, weights, ridge) / total,
        method="trust-exact",
        options={"gtol": 1e-11, "maxiter": 500},
    )
    return found.x


def _information(
    features: NDArray[np.float64],
    x: NDArray[np.float64],
    weights: NDArray[np.float64] | NDArray[np.int64],
    ridge: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The Hessian [P, P] of the negative log posterior."""
    logits = features @ x
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    centred = features - np.einsum("ko,kop->kp", shares, features)[:, None]
    return np.einsum("k,ko,kop,koq->pq", weights, shares, centred, centred) + np.diag(ridge)


def _influences(
    design: _Design, fitted: NDArray[np.float64], ridge: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The influence [parameters, N] of each vote on each parameter."""
    features = design.features()
    weights = np.bincount(design.kind, minlength=len(features))
    logits = features @ fitted
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    chosen = features[np.arange(len(features)), design.outcomes]
    gradient = chosen - np.einsum("ko,kop->kp", shares, features)
    inverse = np.linalg.pinv(_information(features, fitted, weights, ridge), hermitian=True)
    return (gradient @ inverse)[design.kind].T


def _notes(votes: Votes, models: int) -> list[str | None]:
    """Why the strength of each model is not identified; None if it is."""
    wins = np.zeros((models, models), dtype=bool)  # row preferred to column, or tied
    for first, second, answer in (
        (votes.left, votes.right, RIGHT),
        (votes.right, votes.left, LEFT),
    ):
        kept = votes.answer != answer
        wins[first[kept], second[kept]] = True
    _, group = sparse.csgraph.connected_components(
        sparse.csr_array(wins), directed=True, connection="strong"
    )
    sizes, votes_of = (
        np.bincount(group),
        np.bincount(
            group[np.concatenate([votes.left, votes.right])], minlength=int(group.max()) + 1
        ),
    )
    largest = int(np.lexsort((votes_of, sizes))[-1])
    notes: list[str | None] = []
    for model in range(models):
        inside = group == group[model]
        won = bool(wins[inside][:, ~inside].any())
        lost = bool(wins[~inside][:, inside].any())
        if group[model] == largest and sizes[largest] > 1:
            notes.append(None)
        elif not (won or lost):
            notes.append("not compared with the other models: strength is not identified")
        elif not lost:
            notes.append("undefeated: strength is not identified")
        elif not won:
            notes.append("winless: strength is not identified")
        else:
            notes.append("always better or always worse: strength is not identified")
    return notes


def _side_note(votes: Votes, models: int) -> str | None:
    """Why the effect of the side is not identified; None if it is.

    It is not if the likelihood can rise for ever while the effect of the side changes: a linear
    program (Albert and Anderson 1984).
    """
    kinds = np.unique(np.stack([votes.left, votes.right, votes.answer], axis=1), axis=0)
    rows, every = np.zeros((len(kinds), models + 1)), np.arange(len(kinds))
    rows[every, kinds[:, 0]], rows[every, kinds[:, 1]], rows[:, models] = 1, -1, 1
    tied = kinds[:, 2] == TIE
    decided = rows[~tied] * kinds[~tied, 2:]
    for direction in (1.0, -1.0):
        objective = np.zeros(models + 1)
        objective[models] = direction
        found = optimize.linprog(
            objective,
            A_ub=-decided if len(decided) else None,
            b_ub=np.zeros(len(decided)) if len(decided) else None,
            A_eq=rows[tied] if tied.any() else None,
            b_eq=np.zeros(int(tied.sum())) if tied.any() else None,
            bounds=(-1, 1),
        )
        if found.fun < -1e-9:
            return "not measured: the votes do not separate the effect of the side from strengths"
    return None
