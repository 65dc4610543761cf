"""Which encoders a run is scored with, and why: `auto`, `standard`, `mini`, or names."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from evalkit import plugins
from evalkit.core import Encoder, EncoderKind, EvalkitError

Kind = EncoderKind
KINDS: tuple[Kind, ...] = ("inception", "clip")
STANDARD: dict[Kind, str] = {"inception": "inception", "clip": "clip-b32"}
MINI: dict[Kind, str] = {"inception": "mini-inception", "clip": "mini-clip"}


def select_encoders(
    spec: str = "auto", device: str = "auto", kinds: Collection[Kind] = KINDS, mini_because: Mapping[Kind, str] | None = None
) -> tuple[dict[Kind, Encoder], list[str]]:
    """The encoder of each wanted kind, loaded, and one sentence per encoder on why it was taken.

    Args:
        spec: `standard`, `mini`, or names joined by commas; `auto` takes the standard encoder of a kind where its weights
            are in a cache or can be fetched, and else the mini one. An encoder with a `text` method is of the kind "clip".
        device: where the networks run.
        kinds: the kinds that the metrics need; others are not loaded. A name of a kind that is not needed is still checked.
        mini_because: kinds for which `auto` takes the mini encoder in any case, with the reason.
    """
    wanted: list[Kind] = [kind for kind in KINDS if kind in kinds]
    if spec in ("standard", "mini"):
        table = STANDARD if spec == "standard" else MINI
        loaded: dict[Kind, Encoder] = {kind: plugins.encoder(table[kind], device) for kind in wanted}
        return loaded, [f"{encoder.name}: asked for {spec} encoders" for encoder in loaded.values()]
    if spec != "auto":
        return _by_name([name.strip() for name in spec.split(",") if name.strip()], device)
    chosen: dict[Kind, Encoder] = {}
    reasons: list[str] = []
    for kind in wanted:
        if mini_because and kind in mini_because:
            chosen[kind], reason = plugins.encoder(MINI[kind], device), f"{MINI[kind]}: {mini_because[kind]}"
        else:
            chosen[kind], reason = _automatic(kind, device)
        reasons.append(reason)
    return chosen, reasons


def _automatic(kind: Kind, device: str) -> tuple[Encoder, str]:
    name, mini = STANDARD[kind], MINI[kind]
    available, why = availability(kind)
    if available:
        try:
            return plugins.encoder(name, device), f"{name}: {why}"
        except EvalkitError as error:
            why = f"{name} could not be loaded ({error.message})"
    return plugins.encoder(mini, device), f"{mini}: {why}"


def availability(kind: Kind) -> tuple[bool, str]:
    """Whether the standard encoder of a kind can be had, found out in a few seconds at most."""
    from evalkit.encoders import clip, inception, weights

    name = STANDARD[kind]
    needed = "torch_fidelity" if kind == "inception" else "transformers"
    if not _installed(needed):
        return False, f"{name} needs {needed.replace('_', '-')}, which is not installed"
    if weights.cached(inception.FILE) is not None if kind == "inception" else clip.in_cache(name):
        return True, "its weights are in the cache"
    url = inception.URL if kind == "inception" else clip.server()
    if url and weights.reachable(url):
        return True, "its weights can be fetched"
    return False, f"the weights of {name} are in no cache and cannot be fetched"


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _by_name(names: list[str], device: str) -> tuple[dict[Kind, Encoder], list[str]]:
    if not names:
        raise EvalkitError("No encoder is named.", "Say auto, standard, mini, or names joined by commas.")
    known = set(plugins.names("encoder"))
    for name in names:
        if name not in known and ":" not in name:
            raise EvalkitError(f"There is no encoder {name!r}.", f"{_nearest(name, known)} See `evalkit list encoders`.")
    chosen: dict[Kind, Encoder] = {}
    for name in names:
        encoder = plugins.encoder(name, device)
        kind: Kind = "clip" if hasattr(encoder, "text") else "inception"
        if kind in chosen:
            raise EvalkitError(f"{chosen[kind].name} and {encoder.name} are both encoders of the kind {kind!r}.", "Name one of them.")
        chosen[kind] = encoder
    return chosen, [f"{encoder.name}: named" for encoder in chosen.values()]


def _nearest(name: str, known: Collection[str]) -> str:
    from evalkit.config import nearest

    return nearest(name, [*known, "auto", "standard", "mini"])
