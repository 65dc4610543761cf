"""The few types that flow through evalkit. No I/O; of evalkit it imports `hints` only."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args

from evalkit.hints import in_python

if TYPE_CHECKING:  # for type checkers only: `evalkit --help` must not import torch
    from PIL.Image import Image
    from torch import Tensor

    from evalkit.scorer import Scorer

# The name in pyproject.toml; the package `evalkit` on the public index is another project.
DISTRIBUTION = "evalkit-t2i"

Better = Literal["lower", "higher"]
# What a metric is defined on; encoders/select.py names the encoders of each kind. Each scorer is a
# kind of its own, "scorer:NAME".
EncoderKind = str
ENCODER_KINDS = ("inception", "clip", "clip-paper", "clip-large", "dinov2", "lpips")
Precision = Literal["exact", "tf32", "bf16"]  # in which encoders compute, see precision.py
Verdict = Literal["a better", "b better", "no significant difference", "not tested"]
Status = Literal[
    "ok",
    "missing",  # a folder of images has none for the prompt
    "refused_input",
    "refused_output",
    "rate_limited",
    "quota",
    "auth",
    "bad_request",
    "transient",
    "ambiguous",
    "malformed",
]


class EvalkitError(Exception):
    """An error that the user can correct, with what was found, what was expected, what to do.

    Args:
        message: one sentence, what was found and what was expected.
        hint: one sentence, what to change or type next, with commands and options in backticks as
            the command line shows them; `str(error)` has them as Python calls and parameters.
        exit_code: 2 usage, configuration or input; 3 inconclusive or incomplete; 4 runs not
            comparable; 1 only where a model regressed against its baseline.
        code: `room-number`, by which docs/errors explains the error. It never changes, and that of
            a removed error is not used again. "": an error of a plug-in.
    """

    def __init__(self, message: str, hint: str = "", exit_code: int = 2, *, code: str = "") -> None:
        super().__init__(message)
        self.message, self.hint, self.exit_code, self.code = message, hint, exit_code, code

    def __str__(self) -> str:
        code = f"[{self.code}]" if self.code else ""
        return " ".join(filter(None, [self.message, in_python(self.hint), code]))


class Unavailable(EvalkitError):
    """Something is needed that this machine does not have and can get: weights, a package.

    A scorer of evalkit that cannot be loaded for this reason is not measured. For any other reason,
    such as a wrong option, nothing is measured at all.
    """


class IncompleteRunWarning(UserWarning):
    """A model of a run has no image at all, or black images only; or a judge gave no vote at all.

    The results are written all the same; the command line then ends with exit code 3.
    """


class FailedMetricWarning(IncompleteRunWarning):
    """The function of a metric fails: its rows have no value, and their notes say why.

    The results are written all the same; the command line then ends with exit code 2.
    `hint` is what to do next.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class StoppedScorerWarning(FailedMetricWarning):
    """A service or a limit of cost stopped a scorer: its rows have no value, answers are kept.

    The results are written all the same; the command line then ends with exit code 3, and the same
    command goes on.
    """


class NothingMeasuredWarning(IncompleteRunWarning):
    """None of the named scorers has a value, and none failed: the notes of their rows say why.

    The results are written all the same; the command line then ends with exit code 2.
    """


@dataclass(frozen=True)
class Prompt:
    """One line of the prompt list; `id` is unique in the run, `group` is free text."""

    id: str
    text: str
    group: str = ""

    @property
    def sha256(self) -> str:
        """By which a manifest knows the prompt of an image."""
        row = json.dumps([self.id, self.text, self.group])
        return hashlib.sha256(row.encode()).hexdigest()


@dataclass(frozen=True)
class Request:
    """One image to generate."""

    prompt: Prompt
    index: int  # of the prompt in the list
    sample: int  # of the prompt, from 0
    seed: int  # derived from run seed, prompt id and sample

    def record(self, status: Status, **more: Any) -> Record:
        """The row of the manifest with the outcome of this request."""
        where = (self.prompt.id, self.index, self.sample, self.seed)
        return Record(*where, status, prompt_sha256=self.prompt.sha256, **more)


@dataclass(frozen=True)
class Refusal:
    """What a generator returns in place of an image; it is counted, never raised."""

    status: Status
    detail: str = ""


class Generator(Protocol):
    """Text to image. Image i depends on prompts[i] and seeds[i] only, not on batch or order.

    uint8 arrays of shape [H, W, 3] in RGB are taken as images, too.
    A note on an image (a truncated prompt, a composited background) in `image.info["note"]` is kept
    in `Record.extra`. Optional attributes: `fingerprint: str`, a hash of the weights, by which a
    resumed run detects other weights; `peak_memory() -> int` in bytes, kept in `Record.memory`;
    `at_once: int`, the smallest batch size; `unmatched: str`, written to a file of that name;
    `settings`, a dict of texts and numbers: those that it was used with, defaults included, such as
    `device`, `dtype` and `steps`, which go into model.json and are compared by the gate.
    """

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image | Refusal]: ...


@dataclass(frozen=True)
class Answer:
    """The answer of a service to one request: an image, or the reason why there is none."""

    status: Status
    image: Image | None = None  # RGB, checked; set if and only if the status is "ok"
    detail: str = ""  # one sentence, without keys and headers
    retry_after: float | None = None  # seconds that the service asked to wait
    cost: float | None = None  # US dollars, as reported or from the price; None if unknown
    note: str = ""  # on the image: alpha composited, prompt revised


class Service(Protocol):
    """A generator behind a network: one request per call, called from many threads.

    It sends once and never retries: remote/send.py decides on retries, waiting, cost and order.
    The fingerprint holds everything that an answer depends on: provider, base_url, model,
    parameters, version of the adapter.
    """

    fingerprint: str
    price: float | None  # US dollars per image, an upper bound; None if unknown

    def request(self, prompt: str, seed: int, sample: int) -> Answer: ...


def is_service(generator: object) -> bool:
    """Whether it answers single requests (Service) and not batches (Generator)."""
    return hasattr(generator, "request")


class Encoder(Protocol):
    """Image to features. The fingerprint is a hash of the weights and the preprocessing version.

    An attribute `kind: EncoderKind`, or a tuple of several, names the metrics that it serves. The
    default is "clip" for an encoder that reads text and "inception" for any other. With
    `grouped = True` it is called with all images of one prompt at a time. `device` and `dtype` say
    where and in which number format it computes; the gate compares them.
    """

    name: str
    fingerprint: str

    # Any RGB image -> [3, H, W] of a fixed dtype; runs in loader threads.
    def prepare(self, image: Image) -> Tensor: ...

    # [N, 3, H, W] as prepared -> {"pool": float32 [N, D], ...}
    def __call__(self, images: Tensor) -> dict[str, Tensor]: ...


class TextEncoder(Encoder, Protocol):
    """An encoder whose "pool" features of images and whose text features share one space."""

    def text(self, prompts: Sequence[str]) -> Tensor: ...  # float32 [N, D]


class Moments(NamedTuple):
    """Mean and unbiased covariance (ddof = 1) of N feature vectors."""

    mean: Tensor  # float64 [D]
    cov: Tensor  # float64 [D, D]
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]


_TEXTS = ("feature", "paper", "prefix", "title", "question", "meaning", "aspect")
_FUNCTIONS = ("leave_out", "leave_out_pairs", "approximation", "describe", "caution", "baseline")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w.-]{1,100}", value) is not None


def _is_range(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    low, high = value
    return isinstance(low, int | float) and isinstance(high, int | float) and low < high  # no NaN


def _is_function(value: object) -> bool:
    return value is None or callable(value)


_ROUNDING = 1e-6  # relative; of float64 sums of float32 features
REQUESTS = ("fake", "real", "text", "fake_moments", "real_moments")  # what a metric may ask for


@dataclass(frozen=True)
class Measure:
    """How a number of metrics.json is read, whatever it was computed from.

    Metrics of images, counts from the manifests and human ratings all describe themselves in this
    way. The report, the documentation and the gate read these fields and know no name.
    """

    name: str
    better: Better
    title: str = ""  # as people write it: "FID"; from the name if empty
    meaning: str = ""  # one sentence
    paper: str = ""  # the address of the paper that defines it
    range: tuple[float, float] = (-math.inf, math.inf)  # the values that are possible
    depends_on_count: bool = False  # its expected value changes with the number of images
    from_zero: bool = False  # charts draw its axis from zero
    from_records: bool = False  # computed from manifests (refusals, time, cost), not from images
    from_ratings: bool = False  # computed from the answers of raters, not from images
    version: int = 1  # of its definition; another one has other values
    aspect: str = ""  # what it is about; the report answers one question for each (see `Metric`)

    def __post_init__(self) -> None:
        if not self.title:
            object.__setattr__(self, "title", self.name.replace("_", " ").capitalize())

    def stated(self) -> dict[str, Any]:
        """The fields as JSON, which has no infinity: an open end of the range is null."""
        ends = [end if math.isfinite(end) else None for end in self.range]
        return asdict(self) | {"range": ends}


@dataclass(frozen=True)
class Metric:
    """One metric: a pure function and everything that is stated about it.

    The required keyword-only parameters of `compute` are its request, from the closed set
    `REQUESTS`; those with defaults are its options. It returns float64 of shape `[]` (a property of
    the set) or `[N]` (one value per image). The interval follows: per-image values are
    bootstrapped over prompts, values that are all 0 or 1 are a rate (Wilson), and for a property of
    the set a jackknife leaves out groups of prompts. The optional functions refine this:

    Args:
        leave_out: a quick form of "the metric without each group of images": the request of
            `compute` and `groups` (int [N], 0 .. G - 1) to float64 [G]. Without it the metric is
            computed again for each group.
        leave_out_pairs: the same without each two groups: float64 [G (G - 1) / 2], in the order of
            `torch.triu_indices(G, G, 1)`. With it, differences of two models have narrower
            intervals where the models are nearly alike.
        approximation: `(*, fake: int, dimension: int) -> str`, how `leave_out` approximates its
            values for this many images; "" where it is exact.
        describe: `(*, fake: int, real: int) -> str`, what was computed from this many generated
            images and stored reference features; it goes into the row's note.
        caution: `(*, fake: int, dimension: int) -> str`, why the value of this many images may
            mislead; "" where it does not. It stands beside the value.
        baseline: `(*, real: Tensor, real_moments: Moments, count: int) -> float | None`, the
            finite-sample baseline: the value that `count` real images would have.
        most: of more images than this, a seeded sample of this size is measured, and the row says
            so; for metrics that compare every image with every other one. 0: always all images.
        aspect: what the values are about: "fidelity", "agreement", "diversity", "copies" or another
            word. The report summarises the metrics of one aspect in one sentence. "": agreement for
            a metric that reads texts, else fidelity with and diversity without a reference.
    """

    name: str
    compute: Callable[..., Tensor]
    feature: str  # the key of the encoder's output that is read: "pool", "logits", "spatial"
    encoder: EncoderKind  # the kind of encoder that the metric is defined on
    better: Better
    paper: str = ""
    prefix: str = ""  # put before every prompt whose features are requested as `text`
    _: KW_ONLY
    title: str = ""
    question: str = ""  # what it answers, in the words of someone who does not know it
    meaning: str = ""
    range: tuple[float, float] = (-math.inf, math.inf)  # values and interval ends stay inside
    leave_out: Callable[..., Tensor] | None = None
    leave_out_pairs: Callable[..., Tensor] | None = None
    approximation: Callable[..., str] | None = None
    describe: Callable[..., str] | None = None
    caution: Callable[..., str] | None = None
    baseline: Callable[..., float | None] | None = None
    depends_on_count: bool = False
    from_zero: bool = False
    version: int = 1  # raised by every change of its values: the gate compares no two versions
    most: int = 0
    aspect: str = ""
    scorer: Scorer | None = None  # whose values are its features; see scorer.py

    def __post_init__(self) -> None:
        for field, expected, good in (
            ("name", "letters, digits, _, - and .", _is_name(self.name)),
            ("better", "lower or higher", self.better in get_args(Better)),
            ("encoder", ", ".join(self._kinds), self.encoder in self._kinds),
            ("range", "two numbers, the lower one first", _is_range(self.range)),
            *((name, "a text", isinstance(getattr(self, name), str)) for name in _TEXTS),
            ("most", "a whole number from 0 on", type(self.most) is int and self.most >= 0),
            ("compute", "a function", callable(self.compute)),
            *((name, "a function", _is_function(getattr(self, name))) for name in _FUNCTIONS),
        ):
            if not good:
                raise EvalkitError(
                    f"The metric {self.name!r} has {field} = {getattr(self, field)!r:.80};"
                    f" expected {expected}.",
                    "See docs/plugins/metric.md.",
                    code="core-1",
                )

    @property
    def _kinds(self) -> tuple[EncoderKind, ...]:
        return ENCODER_KINDS if self.scorer is None else (self.scorer.kind,)

    @property
    def measure(self) -> Measure:
        """What is stated about the metric's values."""
        known = (
            "agreement" if "text" in self.needs else "fidelity" if self.compares else "diversity"
        )
        return Measure(
            self.name, self.better, self.title, self.meaning, self.paper, self.range,
            depends_on_count=self.depends_on_count, from_zero=self.from_zero,
            version=self.version,
            aspect=self.aspect or known,
        )  # fmt: skip

    @property
    def reads_prompts(self) -> bool:
        """Whether the values depend on the texts of the prompts."""
        return "text" in self.needs or (self.scorer is not None and self.scorer.reads_prompts)

    @property
    def needs(self) -> tuple[str, ...]:
        """The required parameters of `compute`. Raises EvalkitError for one outside `REQUESTS`."""
        parameters = _parameters(self)
        required = tuple(item.name for item in parameters if item.default is item.empty)
        wrong = [name for name in required if name not in REQUESTS]
        if wrong or not {"fake", "fake_moments"} & set(required):
            raise EvalkitError(
                f"The metric {self.name!r} requests {', '.join(required) or 'nothing'}; expected"
                f" some of {', '.join(REQUESTS)}, with fake or fake_moments among them.",
                "Give the other parameters of its function a default.",
                code="core-2",
            )
        return required

    @property
    def options(self) -> dict[str, Any]:
        """The parameters of `compute` that have defaults, with these."""
        parameters = _parameters(self)
        return {item.name: item.default for item in parameters if item.default is not item.empty}

    def in_range(self, value: float) -> float:
        """The value, set to an end of the range where rounding carries it outside.

        Raises EvalkitError for a value further outside: the function or the range is wrong.
        """
        if not math.isfinite(value):
            raise EvalkitError(
                f"The metric {self.name!r} has the value {value}; expected a finite number.",
                f"Correct {self._code}.",
                code="core-3",
            )
        low, high = self.range
        clamped = min(max(value, low), high)
        if abs(value - clamped) > _ROUNDING * max(1.0, abs(value)):
            raise EvalkitError(
                f"The metric {self.name!r} has the value {value:.6g}, outside of its stated range"
                f" {low:g} to {high:g}.",
                f"Correct {self._code} or its range.",
                code="core-4",
            )
        return clamped

    @property
    def _code(self) -> str:
        return "the metric's function" if self.scorer is None else "the scorer"

    @property
    def compares(self) -> bool:
        """Whether it compares with a reference."""
        return not {"real", "real_moments"}.isdisjoint(self.needs)


def _parameters(metric: Metric) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(metric.compute).parameters.values())
    except (TypeError, ValueError) as error:  # some functions of C
        raise EvalkitError(
            f"The metric {metric.name!r} has a function without a readable signature; expected a"
            " Python function.",
            "Call it from a function of your own.",
            code="core-5",
        ) from error


@dataclass(frozen=True)
class MetricRow:
    """One row of metrics.json: no number without its encoder, reference and count."""

    model: str
    metric: str
    encoder: str
    reference: str
    value: float | None  # None: not measured, and `note` gives the reason
    low: float | None  # the 95% interval
    high: float | None
    count: int  # images measured
    requested: int
    better: Better
    interval: str = ""  # the method behind low and high, or why there is no interval
    note: str = ""  # why there is no value, or what was computed
    on: Literal["answered", "common"] = "answered"  # this model's images, or those of all models
    baseline: float | None = None  # the value of as many real images (finite-sample baseline)
    caution: str = ""  # what limits the value's meaning; shown beside it
    group: str = ""  # of prompts, whose images were measured; "" for all prompts


@dataclass(frozen=True)
class ComparisonRow:
    """One row of comparisons.json: two models on one metric, on the images that both made.

    `low` and `high` are the plain 95% interval of the difference. The adjusted interval belongs to
    the verdict: its level is corrected as the p-value is, so it excludes zero exactly where the
    difference is statistically significant (Holm, 5%).
    """

    metric: str
    encoder: str
    reference: str
    better: Better
    model_a: str
    model_b: str
    value_a: float
    value_b: float
    difference: float  # a - b
    low: float | None
    high: float | None
    p: float | None  # two-sided, not corrected; None: not tested, and `method` gives the reason
    low_adjusted: float | None
    high_adjusted: float | None
    p_adjusted: float | None  # corrected for all comparisons of its family (Holm)
    verdict: Verdict
    prompts: int
    images: int
    # For significance if the difference stays; None if not needed, or if they would not help.
    additional_prompts: int | None
    method: str
    group: str = ""  # of prompts, on which the models are compared; "" for all prompts

    @property
    def winner(self) -> str:
        """The significantly better model; "" if there is none."""
        return {"a better": self.model_a, "b better": self.model_b}.get(self.verdict, "")

    @property
    def loser(self) -> str:
        """The significantly worse model; "" if there is none."""
        return {"a better": self.model_b, "b better": self.model_a}.get(self.verdict, "")


@dataclass(frozen=True)
class RobustnessRow:
    """One row of robustness.json: the images of variants of prompts minus those of the originals.

    Paired by prompt and sample; each pair has one seed, and both are compared with the text of the
    original.
    """

    model: str
    metric: str
    kind: str  # of variants: "typos", …
    encoder: str
    better: Better
    original: float  # the value on the originals that have a variant
    variant: float
    difference: float  # variant - original
    low: float | None  # the 95% interval
    high: float | None
    p: float | None  # two-sided; None: not tested, and `method` gives the reason
    p_adjusted: float | None  # corrected for all rows of the file (Holm)
    prompts: int
    images: int  # pairs
    method: str


@dataclass(frozen=True)
class AgreementRow:
    """One row of `agreement` in metrics.json: does a metric prefer what the raters prefer?

    Level "image": two images of one prompt, and what the raters of these images prefer. Level
    "model": two models, by their values on all prompts.
    """

    metric: str
    encoder: str
    reference: str
    raters: str  # who was asked what: "human:preference"
    study: str
    level: Literal["image", "model"]
    accuracy: float | None  # share of pairs in which both prefer the same; a tie of the metric: 0.5
    accuracy_low: float | None  # the 95% interval
    accuracy_high: float | None
    correlation: float | None  # Kendall's tau-b between the two differences
    correlation_low: float | None
    correlation_high: float | None
    pairs: int  # in which the raters prefer one
    undecided: int  # pairs in which they do not; left out of the accuracy
    ties: int  # pairs, among `pairs`, for which the metric has equal values
    prompts: int
    note: str = ""  # how the intervals were computed, or why there is none
    p: float | None = None  # of "the accuracy is chance", one half; not corrected
    p_adjusted: float | None = None  # corrected for all metrics of this poll and level (Holm)


@dataclass(frozen=True)
class Comparisons:
    """comparisons.json: the comparisons on all prompts, then those by group of prompts.

    Each of the two families is corrected by itself, so that groups take no power from the verdicts
    on all prompts.
    """

    statement: str  # how the table was made, in words
    level: float  # of all intervals: 0.95
    family: int  # how many p-values of comparisons on all prompts were corrected together
    rows: tuple[ComparisonRow, ...]
    group_family: int = 0  # how many p-values of comparisons by group were corrected together


@dataclass(frozen=True)
class Record:
    """One row of a manifest: the outcome of one requested image.

    A row with status "ok" is written after its file, so the file is complete.
    """

    prompt: str  # Prompt.id
    index: int  # position of the prompt in prompts.jsonl
    sample: int
    seed: int
    status: Status
    file: str = ""  # relative to images/<model>/, empty unless status is "ok"
    sha256: str = ""  # of the file
    seconds: float = 0.0  # from request to answer, or a share of the batch; 0 for ready images
    detail: str = ""  # why a request was refused or failed
    extra: str = ""  # a note on the image, such as a truncated prompt
    attempts: int = 0  # requests sent to a service, in all processes; 0 for a local model
    cost: float | None = None  # US dollars charged; None if unknown, and for a local model
    possible_charges: int = 0  # requests without a readable answer: each may have been charged
    possible_cost: float | None = 0.0  # US dollars for these; None if the price is unknown
    memory: int = 0  # bytes, the maximum up to this image; 0 if unknown
    source: str = ""  # of an image from a folder: its path in the folder
    prompt_sha256: str = ""  # Prompt.sha256; "" in runs of earlier versions
