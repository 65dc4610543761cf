"""`evalkit crosscheck` with seeded weights: all tools agree, and a difference names its stage."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from quick_roots import use_quick_roots
from seeded_inception import sample_images, state_dict
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.crosscheck.crosscheck import CrosscheckRow
from evalkit.crosscheck.stages import first_difference
from evalkit.crosscheck.tool import HUB_NAME, Tool, Trace, quiet
from evalkit.crosscheck.tools import TOOLS
from evalkit.encoders import inception
from evalkit.images import read_image, to_images, to_tensor

WEIGHTS = ("--weights", "seeded.pth")


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory: seeded weights, three generated and three real images."""
    folder = tmp_path_factory.mktemp("crosscheck")
    torch.save(state_dict(), folder / "seeded.pth")
    for name, seed, tint in (("generated", 1, 40), ("real", 2, 0)):
        (folder / name).mkdir()
        tinted = (sample_images(3, 40, 56, seed).int() + tint).clamp_max(255).to(torch.uint8)
        for number, image in enumerate(to_images(tinted)):
            image.save(folder / name / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        use_quick_roots(patch)
        yield folder


def only(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Of the tools, these are installed."""
    original = importlib.metadata.distribution

    def found(name: str) -> importlib.metadata.Distribution:
        if name in ("torch-fidelity", "pytorch-fid", "clean-fid") and name not in packages:
            raise importlib.metadata.PackageNotFoundError(name)
        return original(name)

    monkeypatch.setattr(importlib.metadata, "distribution", found)


@pytest.fixture(scope="module")
def rows(place: Path) -> list[CrosscheckRow]:
    return evalkit.crosscheck("generated", reference="real", weights="seeded.pth")


def test_all_tools_agree(rows: list[CrosscheckRow]):
    assert [(row.tool, row.encoder, row.metric) for row in rows] == [
        ("torch-fidelity", "inception", "fid"),
        ("torch-fidelity", "inception", "kid"),
        ("torch-fidelity", "inception", "inception_score"),
        ("torchmetrics", "inception-antialias", "fid"),
        ("torchmetrics", "inception-antialias", "kid"),
        ("torchmetrics", "inception-antialias", "inception_score"),
        ("pytorch-fid", "inception-torch", "fid"),
        ("clean-fid", "inception-clean", "fid"),
    ]
    for row in rows:
        assert row.state == "agrees", row
        assert row.version == importlib.metadata.version(row.tool)
        assert row.theirs is not None
        assert row.ours is not None
        assert row.tolerance is not None
        assert row.difference == row.theirs - row.ours
        assert abs(row.difference) <= row.tolerance < 2e-3 * abs(row.ours)


def test_the_conventions_are_further_apart_than_the_tolerance(rows: list[CrosscheckRow]):
    """A value of another convention would not agree."""
    fids = [row for row in rows if row.metric == "fid"]
    for first in fids:
        for second in fids:
            if first is not second:
                assert abs(first.theirs - second.ours) > first.tolerance  # pyright: ignore


def test_an_image_that_is_decoded_otherwise_is_named(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """These tools do not turn a photo by its EXIF orientation; and sizes then differ."""
    only(monkeypatch, "torch-fidelity")
    for path in sorted((place / "generated").iterdir())[:2]:
        image, tags = Image.open(path), Image.Exif()
        tags[274] = 6
        image.save(tmp_path / path.with_suffix(".jpg").name, exif=tags)
    command = ["crosscheck", str(tmp_path), "--reference", "real", *WEIGHTS]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 1
    found = {(row["tool"], row["metric"]): row for row in json.loads(done.stdout)}
    row = found["torch-fidelity", "fid"]
    assert (row["state"], row["stage"]) == ("differs", "decode")
    assert row["note"].endswith("0.jpg is 56 x 40 there, 40 x 56 here")
    assert found["torchmetrics", "fid"]["state"] == "agrees"  # it gets evalkit's decoded images
    row = found["torchmetrics", "kid"]
    assert (row["state"], row["theirs"]) == ("not compared", None)
    assert "drawn without a seed" in row["note"]
    for tool in ("pytorch-fid", "clean-fid"):
        assert found[tool, "fid"]["state"] == "not installed"
        assert found[tool, "fid"]["theirs"] is None


def test_a_tool_that_fails_is_said_and_ends_with_1(place: Path, monkeypatch: pytest.MonkeyPatch):
    import torch_fidelity

    only(monkeypatch, "torch-fidelity")

    def fails(**options: object) -> None:
        raise TypeError("sqrtm() got an unexpected keyword argument 'disp'")

    monkeypatch.setattr(torch_fidelity, "calculate_metrics", fails)
    monkeypatch.setattr("torchmetrics.image.fid.FrechetInceptionDistance", fails)
    done = CliRunner().invoke(app, ["crosscheck", "generated", "--reference", "real", *WEIGHTS])
    assert done.exit_code == 1
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0][:3] == ["tool", "encoder", "metric"]
    assert lines[1][0].startswith("torch-fidelity 0.")
    assert "failed" in lines[1]
    assert lines[1][-1] == "TypeError: sqrtm() got an unexpected keyword argument 'disp'"
    assert [lines[-2][0], lines[-2][-2]] == ["pytorch-fid", "not installed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "--reference", "real", *WEIGHTS), "nowhere"),
        (("generated", "--reference", "photos", *WEIGHTS), "photos"),
        (("generated", "--reference", "real", "--weights", "none.pth"), "no weights file none.pth"),
        (("generated/0.png", "--reference", "real", *WEIGHTS), "0.png"),
        (("alone", "--reference", "real", *WEIGHTS), "alone has too few images (1)"),
        (("damaged", "--reference", "real", *WEIGHTS), "1.png"),
    ],
    ids=["images", "reference", "weights", "an image", "one image", "a damaged image"],
)
def test_mistakes_are_errors(place: Path, arguments: tuple[str, ...], message: str):
    for name in ("alone", "damaged"):
        (place / name).mkdir(exist_ok=True)
        (place / name / "0.png").write_bytes((place / "real" / "0.png").read_bytes())
    (place / "damaged" / "1.png").write_bytes(b"hello")
    done = CliRunner().invoke(app, ["crosscheck", *arguments])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stdout == ""


def test_images_of_many_sizes_and_of_arrays(place: Path, monkeypatch: pytest.MonkeyPatch):
    """They cannot be stacked; an array has files for the tools."""
    only(monkeypatch, "pytorch-fid")
    (place / "sizes").mkdir()
    for number, size in enumerate(((30, 40), (64, 20), (41, 41))):
        [image] = to_images(sample_images(1, *size, number))
        image.save(place / "sizes" / f"{number}.png")
    np.save(place / "array.npy", sample_images(3, 40, 56, 2).permute(0, 2, 3, 1).numpy())
    rows = evalkit.crosscheck("sizes", reference="array.npy", weights="seeded.pth")
    [row] = [row for row in rows if row.tool == "pytorch-fid"]
    assert row.state == "agrees", row


def test_formats_that_a_tool_does_not_read_are_said(place: Path, monkeypatch: pytest.MonkeyPatch):
    only(monkeypatch, "pytorch-fid")
    (place / "gif").mkdir()
    for number, image in enumerate(to_images(sample_images(2, 20, 20, 5))):
        image.save(place / "gif" / f"{number}.gif")
    rows = evalkit.crosscheck("gif", reference="real", weights="seeded.pth")
    [row] = [row for row in rows if row.tool == "pytorch-fid"]
    assert (row.state, row.note) == ("not compared", "it does not read gif files")


def test_without_any_tool_there_is_nothing_to_compare(monkeypatch: pytest.MonkeyPatch):
    only(monkeypatch)
    with pytest.raises(EvalkitError, match="None of the tools") as error:
        evalkit.crosscheck("generated", reference="real", weights="seeded.pth")
    assert "pip install torch-fidelity" in error.value.hint


@pytest.mark.parametrize("tool", TOOLS, ids=[tool.package for tool in TOOLS])
def test_all_stages_of_each_tool_agree(tool: Tool, place: Path, tmp_path: Path):
    weights = tmp_path / "hub" / "checkpoints" / HUB_NAME
    weights.parent.mkdir(parents=True)
    weights.symlink_to(place / "seeded.pth")
    network, digest = inception.load_network(device="cpu", path="seeded.pth")
    files = [place / "generated" / "0.png", place / "real" / "1.png"]
    with quiet(weights):
        trace = tool.trace(files, weights)
    assert len(trace.pixels) == (0 if tool.package == "torchmetrics" else 2)
    encoder = inception.Inception(tool.encoder, network, digest)
    assert first_difference(trace, files, ["a", "b"], encoder)[0] == "statistics"


def test_the_first_stage_that_differs_is_found(place: Path):
    encoder = inception.load(device="cpu", path="seeded.pth")
    files = sorted((place / "generated").iterdir())[:2]
    names = [path.name for path in files]
    images = [read_image(path) for path in files]
    pixels = [to_tensor(image) for image in images]
    inputs = torch.stack([encoder.prepare(image) for image in images])
    features = encoder(inputs)["pool"]
    brighter = [pixels[0], torch.from_numpy(np.minimum(pixels[1].numpy(), 250) + 5)]
    moved = inputs.clone()
    moved[1, 0, 7, 7] += 1e-3
    for theirs, expected in (
        (Trace(pixels, inputs, features), ("statistics", "first 2 images agree")),
        (Trace(pixels, inputs, features * 1.001), ("features", "0.001 of their length")),
        (Trace(pixels, moved, features), ("resize", "1.png: inputs of the network")),
        (Trace([], moved, features), ("resize", "1.png")),
        (Trace(brighter, moved, features), ("decode", "1.png: pixels differ by up to 5 of 255")),
    ):
        stage, note = first_difference(theirs, files, names, encoder)
        assert stage == expected[0]
        assert expected[1] in note
