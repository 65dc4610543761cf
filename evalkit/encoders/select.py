"""Which encoders a run uses, and why: `auto`, `standard`, `mini`, or names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.util import find_spec
from typing import NamedTuple

from evalkit import plugins
from evalkit.core import Encoder, EncoderKind, EvalkitError, Precision
from evalkit.encoders import weights
from evalkit.encoders.faster import faster, has_modes, parted
from evalkit.encoders.weight_files import LIBRARIES
from evalkit.hints import capital, did_you_mean
from evalkit.scorer import LoadedScorer, encoders_only
from evalkit.specs import split_names

# The standard and the mini encoder of each kind; "" where there is none.
STANDARD: dict[EncoderKind, str] = {
    "inception": "inception",
    "clip": "clip-b32",
    "clip-paper": "clip-b32-openai",
    "clip-large": "clip-l14-336-cmmd",
    "dinov2": "dinov2-l14",
    "lpips": "lpips-vgg",
}
MINI: dict[EncoderKind, str] = {
    "inception": "mini-inception",
    "clip": "mini-clip",
    "clip-paper": "mini-clip",
    "clip-large": "mini-clip",
    "dinov2": "",
    "lpips": "",
}
# Encoders and scorers that are trained on the bundled data set and know no photos.
DRAWN = (*dict.fromkeys(filter(None, MINI.values())), "mini-judge", "geneval-mini")
# Encoders that see photos and come with every installation.
PHOTO: dict[EncoderKind, str] = {"inception": "efficientnet-lite0"}
KINDS: tuple[EncoderKind, ...] = tuple(STANDARD)


class Choice(NamedTuple):
    """The encoders of a run."""

    # One that serves several kinds is loaded once. Each scorer is a kind of its own.
    encoders: dict[EncoderKind, Encoder | LoadedScorer]
    reasons: list[str]  # one sentence per encoder: why it was chosen
    missing: dict[EncoderKind, str]  # why a needed kind has no encoder


def choose(
    spec: str = "auto",
    device: str = "auto",
    kinds: Collection[EncoderKind] = KINDS,
    *,
    bundled: bool = False,
    held: Mapping[EncoderKind, Collection[str]] | None = None,
    precision: Precision = "exact",
) -> Choice:
    """The loaded encoder of each needed kind, and the reason for it.

    Args:
        spec: `standard`, `mini`, or names joined by commas. `auto` takes the standard encoder of a
            kind where its weights are in a cache and, if metrics of this kind compare with a
            reference, where one in its features is given. Else it takes the mini encoder for
            images of the bundled data set, and for others the one that sees photos, if there is
            one. It never downloads.
        device: where the networks run.
        kinds: the kinds that the metrics need. Names of encoders of other kinds are still checked.
        bundled: the images show the bundled data set.
        held: the kinds that compare with a reference, and the encoders whose features it has; none
            where no reference is given.
        precision: in which the encoders compute. One without faster modes computes as always, and
            its reason says so.

    Raises EvalkitError for unknown names, for two encoders with one name or of one kind, where an
    encoder that was requested by name, by `standard` or by the reference cannot be loaded, and
    where the device has no such precision.
    """
    needed: list[EncoderKind] = [kind for kind in KINDS if kind in kinds]
    if spec in ("auto", "standard", "mini"):
        choice = _by_kind(spec, device, needed, bundled, held)
    else:
        choice = _by_name(spec, device, needed)
    return choice if precision == "exact" else _in(precision, choice)


def _by_kind(
    spec: str,
    device: str,
    needed: Collection[EncoderKind],
    bundled: bool,
    held: Mapping[EncoderKind, Collection[str]] | None,
) -> Choice:
    choice, loaded = Choice({}, [], {}), dict[str, Encoder]()
    for kind in needed:
        if spec == "auto":
            own = MINI[kind] if bundled else PHOTO.get(kind, "")
            given = None if held is None else held.get(kind)
            name, reason = _automatic(kind, device, loaded, own, given)
            no_encoder = reason
        else:
            name = STANDARD[kind] if spec == "standard" else MINI[kind]
            reason = f"asked for {spec} encoders"
            no_encoder = f"there is no {spec} encoder of the kind {kind}"
        if not name:
            choice.missing[kind] = no_encoder
            continue
        choice.encoders[kind] = _load(name, device, loaded)
        if (line := f"{name}: {reason}") not in choice.reasons:
            choice.reasons.append(line)
    return choice


def _in(precision: Precision, choice: Choice) -> Choice:
    """The same choice with encoders in a faster precision, where they have one."""
    made: dict[str, Encoder] = {}
    reasons: list[str] = []
    chosen = encoders_only(choice.encoders)  # scorers are chosen later
    for encoder in {one.name: one for one in chosen.values()}.values():
        able = has_modes(encoder) or getattr(encoder, "precision", "exact") == precision
        made[encoder.name] = faster(encoder, precision) if able else encoder
        for line in choice.reasons:
            if line.startswith(f"{encoder.name}: "):
                why = line.removeprefix(encoder.name)
                why += "" if able else f"; it has no mode {precision} and computes as always"
                reasons.append(made[encoder.name].name + why)
    encoders: dict[EncoderKind, Encoder | LoadedScorer] = {
        kind: made[encoder.name] for kind, encoder in chosen.items()
    }
    return Choice(encoders, reasons, choice.missing)


def is_installed(name: str) -> bool:
    """Whether an encoder of this name, perhaps in a faster mode, can be loaded by it."""
    known = plugins.names("encoder")
    return name in known or parted(name)[0] in known


def load(name: str, device: str = "auto") -> Encoder:
    """The encoder of a name, or of `name:argument`; `inception-bf16` computes in bfloat16."""
    plain, precision = parted(name)
    if name in plugins.names("encoder") or plain not in plugins.names("encoder"):
        return plugins.encoder(name, device)
    return faster(plugins.encoder(plain, device), precision)


def named(spec: str) -> list[str]:
    """The names in a list joined by commas; no encoder is loaded.

    Raises EvalkitError for a name that is not installed or is given twice.
    """
    names, known = list(split_names(spec)), plugins.names("encoder")
    if not names:
        raise EvalkitError(
            "No encoder is named.",
            "Use auto, standard, mini, or names joined by commas.",
            code="encoders-20",
        )
    for index, name in enumerate(names):
        if not is_installed(name) and ":" not in name:
            hint = did_you_mean(name, [*known, "auto", "standard", "mini"])
            raise EvalkitError(
                f"There is no encoder {name!r}.",
                f"{hint} See `evalkit list encoders`.",
                code="encoders-21",
            )
        if name in names[:index]:
            raise EvalkitError(
                f"The encoder {name!r} is given twice in {spec!r}; expected each encoder once.",
                "Remove one of the two.",
                code="encoders-22",
            )
    return names


def load_named(spec: str, device: str) -> list[Encoder]:
    """The encoders of a list joined by commas, loaded.

    Raises EvalkitError where two of them have the same `name`: features and results are stored
    under it.
    """
    loaded: dict[str, tuple[str, Encoder]] = {}  # the spec and the encoder of each name
    for item in named(spec):
        encoder = load(item, device)
        if encoder.name in loaded:
            first, second = _origin(*loaded[encoder.name]), _origin(item, encoder)
            raise EvalkitError(
                f"{first} and {second} are both named {encoder.name!r}; "
                "expected a different name for each encoder.",
                "Leave one of them out, or change the attribute `name` of your own encoder.",
                code="encoders-23",
            )
        loaded[encoder.name] = (item, encoder)
    return [encoder for _, encoder in loaded.values()]


def _origin(spec: str, encoder: Encoder) -> str:
    return f"{spec} ({type(encoder).__module__}.{type(encoder).__qualname__})"


def kinds_of(encoder: Encoder) -> tuple[EncoderKind, ...]:
    """The kinds that an encoder declares.

    Without a declaration, an encoder with the method `text` is of the kind "clip", another one of
    the kind "inception".
    """
    declared = getattr(encoder, "kind", "clip" if hasattr(encoder, "text") else "inception")
    given = tuple(declared) if isinstance(declared, tuple | list) else (declared,)
    if not given or not all(kind in KINDS for kind in given):
        raise EvalkitError(
            f"The encoder {encoder.name} declares the kind {declared!r}.",
            f"Known kinds: {', '.join(KINDS)}.",
            code="encoders-24",
        )
    return tuple(kind for kind in KINDS if kind in given)


def at_hand(name: str) -> tuple[bool, str]:
    """Whether a standard encoder can be loaded without a network, and the reason."""
    library = LIBRARIES.get(name, "")
    if library and find_spec(library) is None:
        return False, f"{name} needs {library}, which is not installed; run `pip install {library}`"
    if weights.missing(name):
        return (
            False,
            f"the weights of {name} were not found in the cache; {weights.how_to_get(name)}",
        )
    return True, "its weights are in the cache"


def _automatic(
    kind: EncoderKind,
    device: str,
    loaded: dict[str, Encoder],
    own: str,
    held: Collection[str] | None,
) -> tuple[str, str]:
    """The name of the encoder for `auto`, "" where there is none, and the reason.

    own: the encoder that comes with evalkit and knows the images, "" for none.
    held: None if the kind compares with no reference.
    """
    name = STANDARD[kind]
    available, reason = at_hand(name)
    if held is not None and not held:
        steps = "score with `--reference NAME`"
        if not available:
            steps = f"{reason.partition('; ')[2]}, then {steps}"
        reason = f"{name} needs a reference, and none was given; {steps}"
        return own, _instead(reason) if own else reason
    if held:
        if name in held and not available and not {PHOTO.get(kind), MINI[kind]} & set(held):
            raise EvalkitError(
                f"The reference has features of {name}; {reason.partition(';')[0]}.",
                f"{capital(reason.partition('; ')[2])}, or give a reference of another encoder.",
                code="encoders-25",
            )
        for other in (name if available else "", PHOTO.get(kind, ""), MINI[kind]):
            if other and other in held:
                return other, "the reference has its features"
    if available:
        try:
            _load(name, device, loaded)
            return name, reason
        except EvalkitError as error:
            said = f"{error.message} {error.hint}".strip()
            reason = f"{name} could not be loaded ({said})"
    return own, _instead(reason) if own else reason


def _instead(reason: str) -> str:
    """Why the encoder that comes with evalkit is used, and how to get published values."""
    return f"it comes with evalkit. For values as published: {reason}"


def _load(name: str, device: str, loaded: dict[str, Encoder]) -> Encoder:
    if name not in loaded:
        loaded[name] = plugins.encoder(name, device)
    return loaded[name]


def _by_name(spec: str, device: str, needed: list[EncoderKind]) -> Choice:
    """The first encoder that declares a kind serves it; each must serve one at least."""
    choice = Choice({}, [], {})
    for encoder in load_named(spec, device):
        kinds = kinds_of(encoder)
        if all(kind in choice.encoders for kind in kinds):
            other = choice.encoders[kinds[0]].name
            raise EvalkitError(
                f"{other} and {encoder.name} are both encoders of the kind {kinds[0]!r}.",
                "Name one of them.",
                code="encoders-26",
            )
        for kind in kinds:
            choice.encoders.setdefault(kind, encoder)
        choice.reasons.append(f"{encoder.name}: named")
    for kind in needed:
        if kind not in choice.encoders:
            choice.missing[kind] = f"no encoder of the kind {kind} was named"
    return choice
