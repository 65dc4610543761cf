"""Which encoders a run is scored with, and why: `auto`, `standard`, `mini`, or names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.util import find_spec
from typing import NamedTuple

from evalkit import plugins
from evalkit.config import nearest, split_names
from evalkit.core import Encoder, EncoderKind, EvalkitError
from evalkit.encoders import weights
from evalkit.encoders.weight_files import LIBRARIES

Kind = EncoderKind
# For each kind the standard encoder, and the mini one that stands in for it; "" where there is
# none.
STANDARD: dict[Kind, str] = {
    "inception": "inception",
    "clip": "clip-b32",
    "clip-large": "clip-l14-336-cmmd",
    "dinov2": "dinov2-l14",
    "lpips": "lpips-vgg",
}
MINI: dict[Kind, str] = {
    "inception": "mini-inception",
    "clip": "mini-clip",
    "clip-large": "mini-clip",
    "dinov2": "",
    "lpips": "",
}
KINDS: tuple[Kind, ...] = tuple(STANDARD)


class Choice(NamedTuple):
    """The encoders of a run."""

    encoders: dict[Kind, Encoder]  # loaded; one that serves several kinds is loaded once
    reasons: list[str]  # one sentence per encoder: why it was taken
    missing: dict[Kind, str]  # why a wanted kind has none


def choose(
    spec: str = "auto",
    device: str = "auto",
    kinds: Collection[Kind] = KINDS,
    mini_because: Mapping[Kind, str] | None = None,
) -> Choice:
    """The encoder of each wanted kind, loaded, and why.

    Args:
        spec: `standard`, `mini`, or names joined by commas; `auto` takes the standard encoder of a
            kind where its weights are in a cache or can be fetched, else the mini one where there
            is one, else none.
        device: where the networks run.
        kinds: the kinds that the metrics need; others are not loaded. A name of a kind that is not
            needed is still checked.
        mini_because: kinds for which `auto` does not take the standard encoder in any case, with
            the reason.

    Raises EvalkitError for unknown names, for two encoders of one kind, and where an encoder that
    was asked for by name or by `standard` cannot be loaded.
    """
    wanted: list[Kind] = [kind for kind in KINDS if kind in kinds]
    if spec not in ("auto", "standard", "mini"):
        return _by_name(named(spec), device, wanted)
    choice, loaded = Choice({}, [], {}), dict[str, Encoder]()
    for kind in wanted:
        if spec == "auto":
            name, why = _automatic(kind, device, loaded, (mini_because or {}).get(kind, ""))
        else:
            name, why = (
                (STANDARD if spec == "standard" else MINI)[kind],
                f"asked for {spec} encoders",
            )
        if not name:
            choice.missing[kind] = (
                why if spec == "auto" else f"there is no {spec} encoder of the kind {kind}"
            )
            continue
        choice.encoders[kind] = _load(name, device, loaded)
        if (reason := f"{name}: {why}") not in choice.reasons:
            choice.reasons.append(reason)
    return choice


def named(spec: str) -> list[str]:
    """The names in a list joined by commas. Raises EvalkitError for one that is not installed;
    nothing is loaded.
    """
    names, known = list(split_names(spec)), plugins.names("encoder")
    if not names:
        raise EvalkitError(
            "No encoder is named.", "Say auto, standard, mini, or names joined by commas."
        )
    for name in names:
        if name not in known and ":" not in name:
            hint = nearest(name, [*known, "auto", "standard", "mini"])
            raise EvalkitError(
                f"There is no encoder {name!r}.", f"{hint} See `evalkit list encoders`."
            )
    return names


def kinds_of(encoder: Encoder) -> tuple[Kind, ...]:
    """The kinds that an encoder declares; without a declaration one that reads text serves "clip",
    another one "inception".
    """
    declared = getattr(encoder, "kind", "clip" if hasattr(encoder, "text") else "inception")
    given = (declared,) if isinstance(declared, str) else tuple(declared)
    if not given or not set(given) <= set(KINDS):
        raise EvalkitError(
            f"The encoder {encoder.name} says that it serves {declared!r}.",
            f"Known kinds: {', '.join(KINDS)}.",
        )
    return tuple(kind for kind in KINDS if kind in given)


def availability(name: str) -> tuple[bool, str]:
    """Whether a standard encoder can be had, found out in a few seconds at most, and a sentence on
    it.
    """
    library = LIBRARIES.get(name, "")
    if library and not _installed(library.replace("-", "_")):
        return False, f"{name} needs {library}, which is not installed"
    gone = weights.missing(name)
    if not gone:
        return True, "its weights are in the cache"
    if all(
        any(weights.reachable(url) for url in weights.sources(item.urls, item.file))
        for item in gone
    ):
        return True, f"its weights can be fetched ({sum(item.size for item in gone) / 1e6:,.0f} MB)"
    return False, f"the weights of {name} are in no cache and cannot be fetched"


def _automatic(
    kind: Kind, device: str, loaded: dict[str, Encoder], mini_because: str
) -> tuple[str, str]:
    """The name of an encoder that was loaded or is a mini one, and why; "" and why not where there
    is none.
    """
    name, mini = STANDARD[kind], MINI[kind]
    good, why = (False, mini_because) if mini_because else availability(name)
    if good:
        try:
            _load(name, device, loaded)
            return name, why
        except EvalkitError as error:
            why = f"{name} could not be loaded ({error.message})"
    if not mini and not mini_because:
        why += f" (`evalkit weights fetch {name}`, or `evalkit weights import FOLDER` without a network)"
    return mini, why


def _load(name: str, device: str, loaded: dict[str, Encoder]) -> Encoder:
    if name not in loaded:
        loaded[name] = plugins.encoder(name, device)
    return loaded[name]


def _installed(module: str) -> bool:
    return find_spec(module) is not None


def _by_name(names: list[str], device: str, wanted: list[Kind]) -> Choice:
    """Each kind is served by the first named encoder that declares it; an encoder for which nothing
    is left is a mistake.
    """
    choice = Choice({}, [], {})
    for name in names:
        encoder = plugins.encoder(name, device)
        kinds = kinds_of(encoder)
        if all(kind in choice.encoders for kind in kinds):
            other = choice.encoders[kinds[0]].name
            raise EvalkitError(
                f"{other} and {encoder.name} are both encoders of the kind {kinds[0]!r}.",
                "Name one of them.",
            )
        for kind in kinds:
            choice.encoders.setdefault(kind, encoder)
        choice.reasons.append(f"{encoder.name}: named")
    choice.missing.update(
        {
            kind: f"no encoder of the kind {kind} was named"
            for kind in wanted
            if kind not in choice.encoders
        }
    )
    return choice
