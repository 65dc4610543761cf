"""`evalkit conventions` with seeded weights: each value is that of the tools named for it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from seeded_inception import sample_images, state_dict, torch_fidelity_network
from torch import Tensor
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.encoders import inception, weights
from evalkit.encoders.inception_conventions import CONVENTIONS, InceptionConventions
from evalkit.images import read_image, to_images, to_tensor
from evalkit.reference.build import build_from_images
from evalkit.score.conventions import ConventionTable, conventions, fid
from evalkit.score.conventions.table import ConventionRow
from evalkit.score.conventions.target import compared, verdict
from evalkit.score.conventions.target import quoted as quoted_value

NAMES = [item.name for item in CONVENTIONS]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory: a folder with seeded weights, generated images and real images."""
    folder = tmp_path_factory.mktemp("conventions")
    torch.save(state_dict(), folder / "seeded.pth")
    for name, seed, tint in (("generated", 1, 40), ("real", 2, 0)):
        (folder / name).mkdir()
        tinted = (sample_images(5, 40, 56, seed).int() + tint).clamp_max(255).to(torch.uint8)
        for number, image in enumerate(to_images(tinted)):
            image.save(folder / name / f"{number}.png")
    # A reference to the network keeps it in the cache, so that it is built once.
    network = inception.load_network(path=str(folder / "seeded.pth"), device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder
    del network


@pytest.fixture(scope="module")
def found(place: Path) -> ConventionTable:
    return run(place / "generated", str(place / "real"))


def run(folder: Path | str = "generated", reference: str = "real", **options) -> ConventionTable:
    return conventions(folder, reference=reference, weights="seeded.pth", device="cpu", **options)


def images(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def frechet(fake: Tensor, real: Tensor) -> float:
    """Fréchet distance of fewer images than features: the trace of the root is a nuclear norm."""
    x, y = (features.double().numpy() for features in (fake, real))
    mean = x.mean(0) - y.mean(0)
    x, y = ((side - side.mean(0)) / np.sqrt(len(side) - 1) for side in (x, y))
    return float(mean @ mean + (x * x).sum() + (y * y).sum() - 2 * np.linalg.norm(x @ y.T, "nuc"))


@pytest.fixture(scope="module")
def quoted(place: Path) -> dict[str, float]:
    """FID of two tools, each with its own code from files to features."""
    import pytorch_fid.inception
    from pytorch_fid.fid_score import get_activations

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            pytorch_fid.inception, "load_state_dict_from_url", lambda *args, **options: state_dict()
        )
        network = pytorch_fid.inception.InceptionV3()
    sides = (place / "generated", place / "real")
    activations = [
        torch.from_numpy(get_activations(images(side), network, batch_size=4, num_workers=0))
        for side in sides
    ]
    fidelity = torch_fidelity_network(state_dict())
    pools = [
        fidelity(torch.stack([to_tensor(read_image(path)) for path in images(side)]))[0]
        for side in sides
    ]
    return {"inception-torch": frechet(*activations), "inception": frechet(*pools)}


def value(table: ConventionTable, name: str) -> float:
    row = next(row for row in table.rows if row.convention == name)
    assert row.value is not None
    return row.value


# --- values and their tools ---
@pytest.mark.parametrize("name", ["inception-torch", "inception"])
def test_a_value_of_a_tool_fits_its_convention_only(
    place: Path, found: ConventionTable, quoted: dict[str, float], name: str
):
    assert value(found, name) == pytest.approx(quoted[name], rel=1e-5)
    again = run(target=f"{quoted[name]:.5g}")
    assert [row.convention for row in again.rows if row.fit == "rounding"] == [name]
    assert f"fits {name} (" in again.verdict
    assert "to the last digit quoted" in again.verdict


def test_every_convention_is_measured_and_differs(found: ConventionTable):
    assert [row.convention for row in found.rows] == NAMES
    values = [value(found, name) for name in NAMES]
    assert len({f"{item:.5g}" for item in values}) == len(NAMES)
    for row in found.rows:
        assert (row.count, row.reference_count) == (5, 5)
        assert row.low is not None
        assert row.high is not None
        assert row.low < value(found, row.convention) < row.high
        assert row.tools
        assert row.description
    assert found.verdict == ""


def test_the_features_are_those_of_the_encoders(place: Path):
    network, digest = inception.load_network(path="seeded.pth", device="cpu")
    some = [read_image(path) for path in images(place / "real")[:2]]
    everything = InceptionConventions(network, digest)
    together = everything(torch.stack([everything.prepare(image) for image in some]))
    for name in inception.PREPROCESSING:
        alone = inception.Inception(name, network, digest)
        expected = alone(torch.stack([alone.prepare(image) for image in some]))["pool"]
        assert torch.allclose(
            together[name], expected, rtol=1e-4, atol=1e-5 * float(expected.max())
        ), name


def test_preprocessing_of_other_tools():
    """They crop the centre, or resize the whole image."""
    before = {item.name: item.before for item in CONVENTIONS if item.before is not None}
    array = np.zeros((10, 30, 3), dtype=np.uint8)
    array[:, 10:20] = 200
    wide = to_images(torch.from_numpy(array).permute(2, 0, 1)[None])[0]
    for name, size in (("t2ibenchmark", 299), ("gigagan-coco", 256)):
        made = before[name](wide)
        assert made.size == (size, size)
        assert made.getextrema() == ((200, 200),) * 3  # the sides are cropped
    squashed = before["heim"](wide)
    assert squashed.size == (512, 512)
    assert squashed.getextrema()[0][0] == 0  # nothing is cropped


# --- targets that fit no convention, or several ---
def test_a_target_within_an_interval_is_possible(place: Path, found: ConventionTable):
    row = next(row for row in found.rows if row.convention == "inception-clean")
    assert row.value is not None
    assert row.high is not None
    target = f"{(row.value + row.high) / 2:.9g}"
    again = run(target=target)
    assert next(row for row in again.rows if row.convention == "inception-clean").fit == "interval"
    assert "possible if the quoted value is of other images of the same model" in again.verdict


def test_a_target_that_fits_no_convention(place: Path, found: ConventionTable):
    again = run(target=1e9)
    assert not any(row.fit for row in again.rows)
    nearest = max(found.rows, key=lambda row: row.value or 0)
    assert again.verdict.startswith(
        f"1000000000.0 fits none of these conventions. The nearest is {nearest.convention}"
    )


@pytest.mark.parametrize(
    ("text", "half"),
    [
        ("12.6", 0.05),
        ("12.60", 0.005),
        ("13", 0.5),
        (12.6, 0.05),
        ("1.26e1", 0.05),
        ("1e-3", 0.0005),
    ],
)
def test_half_of_the_last_digit(text: str | float, half: float):
    assert quoted_value(text, "an FID", 0, "12.6").half_a_digit == pytest.approx(half)


@pytest.mark.parametrize("text", ["twelve", "-1", "nan", "inf", ""])
def test_a_target_that_is_not_an_fid(text: str):
    message = "expected an FID, a number of at least 0"
    with pytest.raises(EvalkitError, match=message):
        conventions("nowhere", reference="nowhere", target=text)


def test_square_images_of_256_pixels_have_equal_features_under_two_conventions(place: Path):
    """GigaGAN's script does not change them before clean-fid."""
    network, digest = inception.load_network(path="seeded.pth", device="cpu")
    encoder = InceptionConventions(
        network,
        digest,
        [item for item in CONVENTIONS if item.name in ("inception-clean", "gigagan-coco")],
    )
    images = to_images(sample_images(2, 256, 256, 3))
    found = encoder(torch.stack([encoder.prepare(image) for image in images]))
    assert torch.equal(found["inception-clean"], found["gigagan-coco"])


# --- cache, references, errors ---
def test_each_image_is_decoded_once_and_features_are_cached(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    from evalkit.features import image_file

    monkeypatch.setattr(fid, "CONVENTIONS", CONVENTIONS[:2])
    decoded: list[int] = []
    original = image_file.decode

    def counted(data: bytes, *more: object) -> object:
        decoded.append(len(data))
        return original(data, *more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(image_file, "decode", counted)
    for name in ("one", "two"):
        (place / name).mkdir()
        for number, image in enumerate(to_images(sample_images(3, 24, 24, len(name)))):
            image.save(place / name / f"{name}{number}.png")
    (place / "two" / "two0.png").write_bytes(images(place / "real")[0].read_bytes())
    run("one", "two")
    assert len(decoded) == 6
    run("one", "two")
    assert len(decoded) == 6


def test_a_zip_of_real_images_gives_the_same_values(
    place: Path, found: ConventionTable, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fid, "CONVENTIONS", CONVENTIONS[:1])
    with zipfile.ZipFile(place / "real.zip", "w") as archive:
        for path in images(place / "real"):
            archive.write(path, path.name)
    again = run(reference="real.zip")
    assert value(again, "inception") == pytest.approx(value(found, "inception"), rel=1e-6)


def test_statistics_give_values_for_the_encoders_that_they_hold(
    place: Path, found: ConventionTable
):
    network, digest = inception.load_network(path="seeded.pth", device="cpu")
    encoders = [
        inception.Inception(name, network, digest) for name in ("inception", "inception-clean")
    ]
    real = [read_image(path) for path in images(place / "real")]
    build_from_images(real, name="built", encoders=encoders, out=place / "built")
    again = run(reference="built")
    for row in again.rows:
        if row.convention in ("inception", "inception-clean"):
            assert row.value == pytest.approx(value(found, row.convention), rel=1e-5)
            assert row.reference_count == 5
        else:
            assert row.value is None
            assert row.note.startswith("not measured: ")
    notes = {row.convention: row.note for row in again.rows}
    assert "has no statistics for the encoder inception-torch" in notes["inception-torch"]
    assert "give a folder of real images" in notes["heim"]
    assert run(reference="built", target=1).verdict.endswith(
        "Not measured, so not compared: inception-torch, inception-antialias, t2ibenchmark,"
        " gigagan-coco, heim."
    )


def test_statistics_of_other_weights_are_an_error(place: Path):
    network, _ = inception.load_network(path="seeded.pth", device="cpu")
    real = [read_image(path) for path in images(place / "real")]
    other = inception.Inception("inception", network, "0" * 64)
    build_from_images(real, name="other", encoders=[other], out=place / "other")
    message = "for no convention: The reference 'other' was built with 0000000000000000"
    with pytest.raises(EvalkitError, match=message):
        run(reference="other")


def test_missing_weights_are_an_error_with_the_command_to_fetch_them(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(weights, "find", lambda name: None)
    result = CliRunner().invoke(app, ["conventions", "generated", "--reference", "real"])
    assert result.exit_code == 2
    assert "were not found in the cache" in result.stderr
    assert "evalkit weights fetch inception" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "--reference", "real"), "nowhere"),
        (("generated", "--reference", "nobodys"), "There is no reference 'nobodys'"),
        (("generated", "--reference", "real", "--target", "low"), "target is 'low'"),
        (("generated",), "FID compares with real images, and there is no reference."),
        (("generated", "--metric", "kid"), "no conventions of the metric 'kid'"),
    ],
)
def test_mistakes_are_errors(place: Path, arguments: tuple[str, ...], message: str):
    result = CliRunner().invoke(
        app, ["conventions", *arguments, "--weights", "seeded.pth", "--device", "cpu"]
    )
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ")


def test_the_command_prints_the_result_of_the_function(
    place: Path, found: ConventionTable, quoted: dict[str, float]
):
    command = ["conventions", "generated", "--reference", "real", "--weights", "seeded.pth"]
    target = f"{quoted['inception-torch']:.5g}"
    command += ["--device", "cpu", "--target", target]
    table = CliRunner().invoke(app, command)
    assert table.exit_code == 0
    lines = table.stdout.splitlines()
    assert lines.pop(0).startswith("convention\t")
    assert [line.split("\t")[0] for line in lines[: len(NAMES)]] == NAMES
    assert "pytorch-fid" in lines[1]
    assert "to the last digit" in lines[1]
    conclusion = "\n".join(lines[len(NAMES) :])
    assert conclusion.startswith(f"{target} fits inception-torch")
    assert "The weights are not the pinned ones: SHA-256 " in conclusion
    assert "Below 2,048 images, FID depends mostly on the number of images" in conclusion
    assert "here 5 images against 5 real images" in conclusion
    shown = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    values = [row["value"] for row in shown["rows"]]
    assert values == pytest.approx([row.value for row in found.rows])
    assert shown["verdict"] in table.stdout
    assert evalkit.conventions is conventions


@pytest.mark.parametrize(
    ("number", "said"),
    [("12.35", "to the last digit quoted"), ("12.360", "within 0.1%, by which tools differ")],
)
def test_how_close_a_quoted_value_is(number: str, said: str):
    row = ConventionRow("logit", "tool", "", 12.352, tools_differ=1e-3)
    aim = quoted_value(number, "a score", 0.0, "1")
    found = verdict([compared(row, aim)], aim, "Other images")
    assert found == f"{number} fits logit (tool) {said}."
