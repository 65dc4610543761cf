"""Encoders that need weights, a model's name or another package, and the generators."""

from __future__ import annotations

import inspect

from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.doctor.check import Check
from evalkit.encoders import weights
from evalkit.encoders.select import at_hand
from evalkit.encoders.weight_files import NEEDS, licences
from evalkit.hints import a_type, capital


def checks() -> list[Check]:
    found = [
        _standard(name) if name in NEEDS else _importable("encoder", name)
        for name in plugins.names("encoder")
    ]
    return [*found, *(_importable("generator", name) for name in plugins.names("generator"))]


def _standard(name: str) -> Check:
    """An encoder with pinned weights: they are optional, but damaged ones are a fault."""
    topic, (here, reason) = f"encoder {name}", at_hand(name)
    licence = f"licence of the weights: {licences(name)}"
    if not here:
        finding, _, advice = reason.partition("; ")
        return Check(topic, "note", f"{finding}; {licence}", f"{capital(advice)}.")
    for part in NEEDS[name]:
        path, item = next(
            (path, weights.FILES[file]) for file in part if (path := weights.find(file))
        )
        size = path.stat().st_size
        if size != item.size:
            finding = f"{path} has {size:,} bytes, and its weights have {item.size:,}"
            return Check(topic, "bad", finding, f"{capital(weights.how_to_replace(item, path))}.")
    return Check(topic, "ok", f"{reason}; {licence}")


def _importable(kind: plugins.PluginKind, name: str) -> Check:
    """Whether a plug-in can be imported; its weights are not loaded."""
    topic, target = f"{kind} {name}", None
    again = "Install its package again, or remove it."
    try:
        target = plugins.find(kind, name)
        parameters = inspect.signature(target).parameters.values()
    except EvalkitError as error:
        return Check(topic, "bad", error.message, error.hint or again)
    except (TypeError, ValueError):
        return Check(topic, "bad", f"{a_type(target)}; expected a function", again)
    required = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.name not in plugins.BOUND
    ]
    if not required:
        return Check(topic, "ok", "can be imported")
    return Check(topic, "ok", f"can be imported; write `{name}:{required[0].upper()}`")
