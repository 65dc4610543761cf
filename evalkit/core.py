"""The few types that flow through evalkit. No I/O, and no import of any other evalkit module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if (
    TYPE_CHECKING
):  # the types are needed by readers and checkers only; `evalkit --help` must not import torch
    from PIL.Image import Image
    from torch import Tensor

Better = Literal["lower", "higher"]
EncoderKind = Literal[
    "inception", "clip", "clip-large", "dinov2", "lpips"
]  # what a metric is defined on; see encoders/select.py
Status = Literal[
    "ok",
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
    """A mistake that the user can mend: what was found, what was expected, and the next thing to
    do.

    Args:
        message: one sentence, what was found and what was expected.
        hint: one sentence, what to type or change next.
        exit_code: 2 usage, configuration or input; 3 inconclusive or incomplete; 4 runs not
            comparable.
    """

    def __init__(self, message: str, hint: str = "", exit_code: int = 2) -> None:
        super().__init__(message)
        self.message, self.hint, self.exit_code = message, hint, exit_code

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


@dataclass(frozen=True)
class Prompt:
    """One line of the prompt list. `id` is unique in the run; `group` is free ("colour", "count",
    ...).
    """

    id: str
    text: str
    group: str = ""


@dataclass(frozen=True)
class Request:
    """One image to be made: the prompt, its place in the list, the number of the sample and the
    seed that follows from them.
    """

    prompt: Prompt
    index: int
    sample: int
    seed: int


@dataclass(frozen=True)
class Refusal:
    """What a generator returns in place of an image that it did not make: data, to be counted,
    never an exception.
    """

    status: Status
    detail: str = ""


class Generator(Protocol):
    """Text to image. Image i depends on prompts[i] and seeds[i] only: not on the batch, the order
    or the process.

    A note on an image (a truncated prompt, a composited background) goes into `image.info["note"]`
    and from there into `Record.extra`. An attribute `fingerprint: str` (a hash of the weights) lets
    a resumed run notice other weights, a method `peak_memory() -> int` (bytes) goes into
    `Record.memory`, of an attribute `at_once: int` it is asked for as many images in a call where
    the batch size is less, and an attribute `unmatched: str` into a file of that name.
    """

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image | Refusal]: ...


@dataclass(frozen=True)
class Answer:
    """What a service made of one request: an image, or the reason why there is none."""

    status: Status
    image: Image | None = None  # RGB, checked; there exactly where the status is "ok"
    detail: str = ""  # one sentence; never a key, never a header
    retry_after: float | None = None  # seconds that the service asked to wait
    cost: float | None = None  # US dollars, as reported or from the price; None where nobody knows
    note: str = ""  # on the image: alpha composited, prompt revised


class Service(Protocol):
    """A generator behind a network: one request at a time, called from many threads.

    It sends once and never tries again by itself: retries, waiting, money and order are the
    business of generate/remote. The fingerprint holds all that an answer depends on: provider,
    base_url, model, parameters, version of the adapter.
    """

    fingerprint: str
    price: (
        float | None
    )  # US dollars per image, an upper bound to reserve before sending; None where it is not known

    def request(self, prompt: str, seed: int, sample: int) -> Answer: ...


def is_service(generator: object) -> bool:
    """Whether images come by requests (Service) rather than in batches (Generator)."""
    return hasattr(generator, "request")


class Encoder(Protocol):
    """Image to features. The fingerprint is a hash of the weights and the preprocessing version.

    An attribute `kind: EncoderKind`, or a tuple of several, says which metrics it serves; without
    one, an encoder that reads text serves "clip" and another one "inception". With `grouped = True`
    it is called with all images of one prompt at a time.
    """

    name: str
    fingerprint: str

    def prepare(
        self, image: Image
    ) -> Tensor: ...  # any RGB image -> [3, H, W], of a fixed dtype; runs in loader workers

    def __call__(
        self, images: Tensor
    ) -> dict[str, Tensor]: ...  # [N, 3, H, W] as prepared -> {"pool": float32 [N, D], ...}


class TextEncoder(Encoder, Protocol):
    """An encoder whose "pool" features of images and whose features of texts live in one space."""

    def text(self, prompts: Sequence[str]) -> Tensor: ...  # float32 [N, D]


class Moments(NamedTuple):
    """Mean and unbiased covariance (ddof = 1) of N feature vectors."""

    mean: Tensor  # float64 [D]
    cov: Tensor  # float64 [D, D]
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]


@dataclass(frozen=True)
class Metric:
    """One line of the metric table.

    `compute` is a pure function with keyword-only parameters. The required ones are its request,
    from the closed set `fake, real, text, fake_moments, real_moments`; those with defaults are its
    options. It returns a tensor of shape `[]` (a property of the set) or `[N]` (one value per
    image).
    """

    name: str
    compute: Callable[..., Tensor]
    feature: (
        str  # the key of the encoder's output that the metric reads: "pool", "logits", "spatial"
    )
    encoder: EncoderKind  # the kind of encoder that the metric is defined on
    better: Better
    paper: str
    prefix: str = ""  # put before every prompt whose features are asked for as `text`


@dataclass(frozen=True)
class MetricRow:
    """One row of metrics.json. A number without its encoder, reference and count does not exist."""

    model: str
    metric: str
    encoder: str
    reference: str
    value: float | None  # None = not measured; then `note` says why
    low: float | None
    high: float | None
    count: int
    requested: int
    better: Better
    interval: str = ""  # how low and high were found
    note: str = ""  # the reason of a missing value, or the small-sample bias
    on: Literal["answered", "common"] = (
        "answered"  # the images that this model made, or those that all models of the run made
    )


@dataclass(frozen=True)
class Record:
    """One row of a manifest: the outcome of one requested image. A row with status "ok" means that
    the file is whole.
    """

    prompt: str  # Prompt.id
    index: int  # position of the prompt in prompts.jsonl
    sample: int
    seed: int
    status: Status
    file: str = ""  # relative to images/<model>/, empty unless status is "ok"
    sha256: str = ""  # of the file
    # from request to answer, or this image's share of its batch; 0 where it was not made here
    seconds: float = 0.0
    detail: str = ""  # why a request was refused or failed
    extra: str = ""  # a note on the image, such as a truncated prompt
    # requests sent to a service for this image, in all processes; 0 for a model that runs here
    attempts: int = 0
    cost: float | None = (
        # US dollars that the service charged; None where nobody knows, and for a model that runs
        # here
        None
    )
    possible_charges: int = (
        0  # requests whose answer never came or could not be read: each may have been charged
    )
    possible_cost: float | None = 0.0  # US dollars for these; None where the price is not known
    # bytes: the most that the model took up to this image, as its `peak_memory()` says; 0 where
    # nobody knows
    memory: int = 0
