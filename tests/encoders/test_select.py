"""Which encoders are taken, and why. Nothing here asks a server or loads a network."""

from __future__ import annotations

import pytest

from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.encoders import clip, weights
from evalkit.encoders.pixels import Pixels
from evalkit.encoders.select import select_encoders


class Named(Pixels):
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Encoders that load at once; the names of those that were asked for. No weights, no server."""
    names: list[str] = []

    def encoder(name: str, device: str) -> Named:
        names.append(name)
        return Named(name)

    monkeypatch.setattr(plugins, "encoder", encoder)
    monkeypatch.setattr(weights, "cached", lambda file: None)
    monkeypatch.setattr(weights, "reachable", lambda url: False)
    monkeypatch.setattr(clip, "in_cache", lambda name: False)
    return names


def test_mini_where_nothing_is_cached_or_reachable(loaded: list[str]):
    chosen, reasons = select_encoders("auto")
    assert {kind: encoder.name for kind, encoder in chosen.items()} == {"inception": "mini-inception", "clip": "mini-clip"}
    assert reasons == [
        "mini-inception: the weights of inception are in no cache and cannot be fetched",
        "mini-clip: the weights of clip-b32 are in no cache and cannot be fetched",
    ]


def test_standard_where_weights_are_cached(loaded: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clip, "in_cache", lambda name: name == "clip-b32")
    chosen, reasons = select_encoders("auto")
    assert chosen["clip"].name == "clip-b32"
    assert reasons[1] == "clip-b32: its weights are in the cache"
    assert chosen["inception"].name == "mini-inception"


def test_mini_where_there_is_nothing_to_compare_with(loaded: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "reachable", lambda url: True)
    chosen, reasons = select_encoders("auto", mini_because={"inception": "no reference was given"})
    assert {kind: encoder.name for kind, encoder in chosen.items()} == {"inception": "mini-inception", "clip": "clip-b32"}
    assert reasons == ["mini-inception: no reference was given", "clip-b32: its weights can be fetched"]
    assert select_encoders("standard", mini_because={"inception": "no"})[0]["inception"].name == "inception"


def test_standard_where_weights_can_be_fetched(loaded: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "reachable", lambda url: True)
    chosen, reasons = select_encoders("auto", kinds=("inception",))
    assert loaded == ["inception"]
    assert list(chosen) == ["inception"]
    assert reasons == ["inception: its weights can be fetched"]


def test_mini_where_the_standard_one_fails_to_load(loaded: list[str], monkeypatch: pytest.MonkeyPatch):
    def encoder(name: str, device: str) -> Named:
        if name == "inception":
            raise EvalkitError("The connection broke.")
        return Named(name)

    monkeypatch.setattr(weights, "reachable", lambda url: True)
    monkeypatch.setattr(plugins, "encoder", encoder)
    chosen, reasons = select_encoders("auto", kinds=("inception",))
    assert chosen["inception"].name == "mini-inception"
    assert reasons == ["mini-inception: inception could not be loaded (The connection broke.)"]


def test_a_missing_library_is_said(loaded: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("evalkit.encoders.select._installed", lambda module: False)
    _, reasons = select_encoders("auto", kinds=("clip",))
    assert reasons == ["mini-clip: clip-b32 needs transformers, which is not installed"]


@pytest.mark.parametrize(("spec", "names"), [("standard", ["inception", "clip-b32"]), ("mini", ["mini-inception", "mini-clip"])])
def test_families(loaded: list[str], spec: str, names: list[str]):
    chosen, reasons = select_encoders(spec)
    assert [encoder.name for encoder in chosen.values()] == names
    assert reasons == [f"{name}: asked for {spec} encoders" for name in names]


def test_names(loaded: list[str]):
    chosen, reasons = select_encoders(" pixels ")
    assert chosen["inception"].name == "pixels"
    assert reasons == ["pixels: named"]
    with pytest.raises(EvalkitError, match=r"There is no encoder 'minni'.*'mini'"):
        select_encoders("minni")
    with pytest.raises(EvalkitError, match="No encoder is named"):
        select_encoders(" ,")
