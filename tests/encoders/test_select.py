"""Which encoders are chosen, and why. No test contacts a server or loads a network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from evalkit import plugins
from evalkit.cli.app import app
from evalkit.core import EncoderKind, EvalkitError
from evalkit.encoders import weights
from evalkit.encoders.pixels import Pixels
from evalkit.encoders.select import (
    KINDS,
    MINI,
    STANDARD,
    choose,
    kinds_of,
    load_named,
    named,
)
from evalkit.encoders.weight_files import NEEDS

DECLARED: dict[str, EncoderKind | tuple[EncoderKind, ...]] = {
    STANDARD[kind]: kind for kind in KINDS
}
DECLARED |= {
    "mini-clip": ("clip", "clip-large"),
    "inception-clean": "inception",
    "clip-l14": "clip",
}
BOTH: tuple[EncoderKind, ...] = ("inception", "clip")


class Named(Pixels):
    """An encoder with the name and kind of another one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind = DECLARED.get(name, "inception")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the encoders that a test loads; no weights in a cache and no server."""
    names: list[str] = []

    def encoder(name: str, device: str) -> Named:
        names.append(name)
        return Named(name)

    monkeypatch.setattr(plugins, "encoder", encoder)
    monkeypatch.setattr(weights, "find", lambda name: None)
    monkeypatch.setattr(weights, "reachable", lambda url: False)
    return names


def present(monkeypatch: pytest.MonkeyPatch, *files: str) -> None:
    monkeypatch.setattr(weights, "find", lambda name: "somewhere" if name in files else None)


INSTEAD = "it comes with evalkit. For values as published"
NOT_FOUND = "the weights of {0} were not found in the cache; run `evalkit weights fetch {0}`"


def names_of(**options: object) -> dict[str, str]:
    choice = choose("auto", kinds=BOTH, **options)  # type: ignore[arg-type]
    return {kind: encoder.name for kind, encoder in choice.encoders.items()}


def test_auto_takes_mini_for_the_bundled_data_set_only(loaded: list[str]):
    choice = choose("auto", kinds=BOTH, bundled=True)
    assert [encoder.name for encoder in choice.encoders.values()] == ["mini-inception", "mini-clip"]
    assert choice.reasons == [
        f"mini-inception: {INSTEAD}: {NOT_FOUND.format('inception')}",
        f"mini-clip: {INSTEAD}: {NOT_FOUND.format('clip-b32')}",
    ]
    choice = choose("auto", kinds=BOTH)
    assert [encoder.name for encoder in choice.encoders.values()] == ["efficientnet-lite0"]
    assert choice.missing == {"clip": NOT_FOUND.format("clip-b32")}


def test_a_kind_without_an_own_encoder_is_missing_with_the_reason(loaded: list[str]):
    choice = choose("auto", kinds=("dinov2", "lpips", "clip"), bundled=True)
    assert list(choice.encoders) == ["clip"]
    assert choice.missing == {
        "dinov2": NOT_FOUND.format("dinov2-l14"),
        "lpips": NOT_FOUND.format("lpips-vgg"),
    }
    assert choose("mini", kinds=("lpips",)).missing == {
        "lpips": "there is no mini encoder of the kind lpips"
    }
    missing = choose("auto", kinds=("dinov2",), held={"dinov2": ()}).missing["dinov2"]
    assert missing.startswith("dinov2-l14 needs a reference, and none was given; run ")
    assert "`evalkit weights fetch dinov2-l14`" in missing
    assert loaded == ["mini-clip"]


def test_the_reference_decides_where_metrics_compare_with_one(
    loaded: list[str], monkeypatch: pytest.MonkeyPatch
):
    held: dict[EncoderKind, list[str]] = {"inception": []}
    present(monkeypatch, *(item for items in NEEDS["inception"] for item in items))
    assert names_of()["inception"] == "inception"
    assert names_of(held=held)["inception"] == "efficientnet-lite0"  # none is given
    assert names_of(held=held, bundled=True)["inception"] == "mini-inception"
    held["inception"] = ["efficientnet-lite0", "inception", "mini-inception"]
    assert names_of(held=held)["inception"] == "inception"
    present(monkeypatch)
    assert names_of(held=held)["inception"] == "efficientnet-lite0"
    held["inception"] = ["mini-inception", "mini-clip"]
    assert names_of(held=held)["inception"] == "mini-inception"
    held["inception"] = ["inception"]
    with pytest.raises(EvalkitError, match="The reference has features of inception") as error:
        names_of(held=held)
    assert "`evalkit weights fetch inception`" in error.value.hint


def test_an_encoder_of_two_kinds_is_loaded_once(loaded: list[str]):
    choice = choose("mini", kinds=("clip", "clip-large"))
    assert choice.encoders["clip"] is choice.encoders["clip-large"]
    assert loaded == ["mini-clip"]
    assert choice.reasons == ["mini-clip: asked for mini encoders"]


def test_auto_takes_standard_where_all_weights_are_cached(
    loaded: list[str], monkeypatch: pytest.MonkeyPatch
):
    present(monkeypatch, "clip-b32-hub", "vgg16")
    choice = choose("auto", kinds=("inception", "clip", "lpips"), bundled=True)
    assert {kind: encoder.name for kind, encoder in choice.encoders.items()} == {
        "inception": "mini-inception",
        "clip": "clip-b32",
    }
    assert choice.reasons[1] == "clip-b32: its weights are in the cache"
    # One of the two files of LPIPS is missing.
    assert "lpips-vgg were not found in the cache" in choice.missing["lpips"]


def test_auto_never_downloads(loaded: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "reachable", lambda url: True)
    assert names_of() == {"inception": "efficientnet-lite0"}


def test_auto_takes_its_own_encoder_where_standard_fails_to_load(
    loaded: list[str], monkeypatch: pytest.MonkeyPatch
):
    def encoder(name: str, device: str) -> Named:
        if name in STANDARD.values():
            raise EvalkitError("The file is damaged.", "Fetch it again.", code="encoders-99")
        return Named(name)

    monkeypatch.setattr(weights, "find", lambda name: "somewhere")
    monkeypatch.setattr(plugins, "encoder", encoder)
    choice = choose("auto", kinds=("inception", "dinov2"))
    assert choice.encoders["inception"].name == "efficientnet-lite0"
    assert choice.reasons == [
        f"efficientnet-lite0: {INSTEAD}: inception could not be loaded (The file is damaged. Fetch"
        " it again.)"
    ]
    assert choice.missing["dinov2"].startswith("dinov2-l14 could not be loaded (The file is")
    with pytest.raises(EvalkitError, match="The file is damaged"):
        choose("standard", kinds=("dinov2",))


def test_a_missing_library_is_named(loaded: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert choose("auto", kinds=("clip",), bundled=True).reasons == [
        f"mini-clip: {INSTEAD}: clip-b32 needs transformers, which is not installed; "
        "run `pip install transformers`"
    ]


@pytest.mark.parametrize(
    ("spec", "names"),
    [("standard", ["inception", "clip-b32"]), ("mini", ["mini-inception", "mini-clip"])],
)
def test_standard_and_mini(loaded: list[str], spec: str, names: list[str]):
    chosen, reasons = choose(spec, kinds=BOTH)[:2]
    assert [encoder.name for encoder in chosen.values()] == names
    assert reasons == [f"{name}: asked for {spec} encoders" for name in names]


def test_names(loaded: list[str]):
    choice = choose(" pixels ", kinds=BOTH)
    assert choice.encoders["inception"].name == "pixels"
    assert choice.reasons == ["pixels: named"]
    assert choice.missing == {"clip": "no encoder of the kind clip was named"}
    with pytest.raises(EvalkitError, match=r"There is no encoder 'minni'.*'mini'"):
        choose("minni")
    with pytest.raises(EvalkitError, match="No encoder is named"):
        choose(" ,")


def test_named_encoders_serve_the_kinds_that_they_declare(loaded: list[str]):
    choice = choose("dinov2-l14,mini-clip", kinds=KINDS)
    assert {kind: encoder.name for kind, encoder in choice.encoders.items()} == {
        "dinov2": "dinov2-l14",
        "clip": "mini-clip",
        "clip-large": "mini-clip",
    }
    choice = choose("clip-b32,mini-clip", kinds=KINDS)  # the first one named serves a kind
    assert (choice.encoders["clip"].name, choice.encoders["clip-large"].name) == (
        "clip-b32",
        "mini-clip",
    )
    with pytest.raises(
        EvalkitError, match="clip-b32 and clip-l14 are both encoders of the kind 'clip'"
    ):
        choose("clip-b32,clip-l14")


def test_a_name_given_twice_is_refused(loaded: list[str]):
    with pytest.raises(
        EvalkitError,
        match=r"'pixels' is given twice in 'pixels, clip-b32,pixels'; expected each encoder once\.",
    ) as caught:
        named("pixels, clip-b32,pixels")
    assert (caught.value.hint, caught.value.exit_code) == ("Remove one of the two.", 2)
    with pytest.raises(EvalkitError, match="given twice"):
        choose("pixels,pixels")
    assert loaded == []


OWN_ENCODER = """
from evalkit.encoders.pixels import Pixels

class Mine(Pixels):
    name = "mini-inception"

def load(): return Mine()
"""


@pytest.fixture
def own_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's encoder that has the name of a bundled one, prompts and an image."""
    (tmp_path / "own_encoder.py").write_text(OWN_ENCODER)
    (tmp_path / "prompts.txt").write_text("a dog\n")
    (tmp_path / "real").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "real" / "one.png")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_encoder", raising=False)
    return tmp_path


def test_two_encoders_with_one_name_are_refused_with_both_origins(own_encoder: Path):
    with pytest.raises(EvalkitError) as caught:
        load_named("mini-inception,own_encoder:load", "cpu")
    assert caught.value.message == (
        "mini-inception (evalkit.encoders.mini.MiniInceptionEncoder) and own_encoder:load "
        "(own_encoder.Mine) are both named 'mini-inception'; "
        "expected a different name for each encoder."
    )
    assert "change the attribute `name`" in caught.value.hint
    assert caught.value.exit_code == 2
    assert [encoder.name for encoder in load_named("pixels,own_encoder:load", "cpu")] == [
        "pixels",
        "mini-inception",
    ]


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        ("mini-inception,own_encoder:load", "are both named 'mini-inception'"),
        ("pixels,pixels", "The encoder 'pixels' is given twice"),
    ],
)
def test_commands_refuse_duplicate_encoders(own_encoder: Path, encoders: str, message: str):
    command = ["run", "--models", "noise", "--prompts", "prompts.txt", "--metrics", "kid"]
    for arguments in (
        [*command, "--encoders", encoders],
        ["reference", "build", "real", "--encoders", encoders],
    ):
        result = CliRunner().invoke(app, [*arguments, "--out", "out"])
        assert result.exit_code == 2
        assert message in result.stderr


def test_kinds_of_an_encoder():
    assert kinds_of(Pixels()) == ("inception",)
    assert kinds_of(Named("inception-clean")) == ("inception",)
    assert kinds_of(Named("mini-clip")) == ("clip", "clip-large")
    odd = Named("odd")
    odd.kind = "clips"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(
        EvalkitError, match=r"odd declares the kind 'clips'.*Known kinds: inception, clip"
    ):
        kinds_of(odd)


def test_every_standard_encoder_is_installed_and_pinned():
    assert set(STANDARD.values()) | {name for name in MINI.values() if name} <= set(
        plugins.names("encoder")
    )
    assert set(STANDARD.values()) <= set(NEEDS)
