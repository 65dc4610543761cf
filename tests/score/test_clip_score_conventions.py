"""`evalkit conventions --metric clip_score`, seeded weights: each value is that of its tools."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from openai_clip import network, noise
from PIL.Image import Image
from torch import Tensor
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.encoders import clip_model, weights
from evalkit.encoders.weight_files import FILES
from evalkit.images import read_image, to_tensor
from evalkit.score.conventions import ConventionRow, ConventionTable

pytest.importorskip("transformers")
PROMPTS = ["a cat", "a dog", "x", "tree", "car", "house"]
OTHERS = ["two boats", "a red tree", "a red house", "word " * 90]  # the mean cosine is negative
B32 = ["torchmetrics-b32", "clip-score", "mlperf", "t2ibenchmark", "clipscore-paper"]
ALL = ["torchmetrics", "torchmetrics-b16", *B32, "gigagan-coco"]


SIZES = {"tall": (224, 335), "square": (256, 256)}  # of "tall", 111 rows are cropped


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory: seeded weights, folders of images and runs of them.

    The run has two images of each prompt.
    """
    folder = tmp_path_factory.mktemp("conventions")
    torch.save(clip_model.renamed(network().float().state_dict()), folder / "seeded.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, size in SIZES.items():
            Path(name).mkdir()
            for number in range(12):
                noise(*size, seed=number).save(f"{name}/{number:02}.png")
        evalkit.generate(["./tall", "./square"], 2 * PROMPTS, out="run")
        yield folder


def run(folder: str = "run/images/tall", **options: Any) -> ConventionTable:
    options = {"weights": "seeded.pt", "device": "cpu"} | options
    return evalkit.conventions(folder, metric="clip_score", **options)


@pytest.fixture(scope="module")
def found(place: Path) -> ConventionTable:
    return run()


def row(table: ConventionTable, name: str) -> ConventionRow:
    return next(row for row in table.rows if row.convention == name)


def value(table: ConventionTable, name: str) -> float:
    found = row(table, name).value
    assert found is not None
    return found


def pairs() -> tuple[list[Image], list[str]]:
    """The images of the model `tall` and their prompts."""
    return [read_image(path) for path in sorted(Path("tall").iterdir())], 2 * PROMPTS


# --- values and their tools ---
def test_the_value_of_torchmetrics(place: Path, found: ConventionTable):
    import transformers
    from torchmetrics.multimodal import CLIPScore

    class Earlier(torch.nn.Module):
        """A CLIPModel that returns tensors, as torchmetrics expects and transformers 5 does not."""

        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model, self.config = model, model.config

        def get_image_features(self, *inputs: Tensor) -> Tensor:
            return self.model.get_image_features(*inputs).pooler_output

        def get_text_features(self, *inputs: Tensor) -> Tensor:
            return self.model.get_text_features(*inputs).pooler_output

    model = Earlier(clip_model.build(clip_model.read_state(place / "seeded.pt")).eval())
    processor = transformers.CLIPProcessor(
        transformers.CLIPImageProcessor(), clip_model.tokenizer()
    )
    tool = CLIPScore(lambda: (model, processor))  # pyright: ignore[reportArgumentType]
    images, prompts = pairs()
    with torch.inference_mode():
        theirs = float(tool([to_tensor(image) for image in images], prompts))
    assert theirs > 1
    assert value(found, "torchmetrics-b32") == pytest.approx(theirs, rel=1e-4)


def test_the_value_of_the_papers_code(found: ConventionTable):
    """w max(cos, 0) with torchvision's preprocessing and OpenAI's network written out."""
    from torchvision.transforms import (
        CenterCrop,
        Compose,
        InterpolationMode,
        Normalize,
        Resize,
        ToTensor,
    )

    prepare = Compose(
        [
            Resize(224, interpolation=InterpolationMode.BICUBIC),
            CenterCrop(224),
            ToTensor(),
            Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )
    model, tokenizer = network().float(), clip_model.tokenizer()
    images, prompts = pairs()
    with torch.inference_mode():
        seen = model.visual(torch.stack([prepare(image) for image in images]))
        read = [model.text(tokenizer(f"A photo depicts {text}")["input_ids"]) for text in prompts]
    cosines = torch.nn.functional.cosine_similarity(seen, torch.stack(read)).numpy()
    assert value(found, "clipscore-paper") == pytest.approx(
        float((2.5 * np.clip(cosines, 0, None)).mean()), rel=1e-5
    )


def test_the_two_crops_have_different_values(place: Path, found: ConventionTable):
    """Only where an odd number of rows is cropped."""
    assert abs(value(found, "clip-score") - value(found, "t2ibenchmark")) > 1e-5
    assert row(found, "t2ibenchmark").note == "0.01 times mlperf"
    alike = run("run/images/square")
    assert value(alike, "clip-score") == pytest.approx(value(alike, "t2ibenchmark"), rel=1e-6)
    assert row(alike, "t2ibenchmark").note == "0.01 times torchmetrics-b32, on these images"


def test_the_crop_of_gigagan_comes_before(place: Path, found: ConventionTable):
    plain = value(found, "clipscore-paper") / 2.5
    assert abs(value(found, "gigagan-coco") - plain) > 1e-5  # the sides of the square differ
    assert row(found, "gigagan-coco").note == ""
    alike = row(run("run/images/square"), "gigagan-coco")  # 256 x 256 pixels already
    assert alike.note == "0.4 times clipscore-paper, on these images"


def test_a_row_has_its_interval_over_prompts_and_its_counts(found: ConventionTable):
    assert [row.convention for row in found.rows] == ALL
    for name in [*B32, "gigagan-coco"]:
        one = row(found, name)
        assert (one.count, one.prompts, one.reference_count) == (12, 6, 0)
        assert one.low is not None
        assert one.high is not None
        assert one.low < value(found, name) < one.high
    hundred, cosine = row(found, "mlperf"), row(found, "t2ibenchmark")
    assert hundred.low == pytest.approx(100 * (cosine.low or 0))
    assert found.verdict == ""


def test_a_negative_mean_is_zero_where_the_tool_says_so(place: Path):
    Path("few").mkdir()
    for number in range(len(OTHERS)):
        noise(224, 224, seed=number).save(f"few/{number}.png")
    evalkit.generate("./few", OTHERS, out="other")
    low = run("other")
    assert value(low, "mlperf") < 0
    zero = row(low, "torchmetrics-b32")
    assert (zero.value, zero.low) == (0, 0)
    assert row(low, "clip-score").note == ""  # no multiple of 0
    assert "1 of 4 prompts are longer than 77 tokens" in low.notes[1]


# --- targets ---
@pytest.mark.parametrize("name", ["torchmetrics-b32", "clipscore-paper"])
def test_a_quoted_value_fits_its_convention_only(place: Path, found: ConventionTable, name: str):
    target = f"{value(found, name):.6g}"
    again = run(target=target)
    fits = [row.convention for row in again.rows if row.fit == "rounding"]
    assert name in fits
    # Half precision differs by more than the crops of these images.
    assert set(fits) <= {name, "mlperf"}
    assert again.verdict.startswith(f"{target} fits {name} (")
    assert again.verdict.endswith("Not measured, so not compared: torchmetrics, torchmetrics-b16.")


def test_a_value_that_fits_none(place: Path):
    again = run(target=99)
    assert not any(row.fit for row in again.rows)
    assert again.verdict.startswith("99 fits none of these conventions. The nearest is ")
    assert "Different images, prompts or weights" in again.verdict


@pytest.mark.parametrize("target", ["high", "-101", "nan", "inf"])
def test_a_target_that_is_no_clip_score(target: str):
    with pytest.raises(EvalkitError, match="expected a CLIP score, a number of at least -100"):
        run("nowhere", target=target)


# --- features ---
@pytest.fixture
def pinned(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of weights that holds ViT-B/32 only: the seeded ones."""
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    content = (place / "seeded.pt").read_bytes()
    file = FILES["clip-b32"]._replace(sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(FILES, "clip-b32", file)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / file.file).write_bytes(content)


@pytest.mark.usefixtures("pinned")
def test_features_are_those_of_score_and_other_weights_do_not_replace_them(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    from evalkit.features import image_file

    evalkit.generate("./tall", 2 * PROMPTS, out="scored")
    rows = evalkit.score(
        "scored",
        metrics="clip_score,clip_score_paper",
        only=True,
        encoders="clip-b32,clip-b32-openai",
        device="cpu",
    )
    decoded: list[int] = []
    original = image_file.decode

    def counted(data: bytes, *more: object) -> object:
        decoded.append(len(data))
        return original(data, *more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(image_file, "decode", counted)
    found = run("scored", weights="")
    assert len(decoded) == 12  # for GigaGAN's
    scored = {row.metric: row.value for row in rows}
    assert value(found, "torchmetrics-b32") == pytest.approx(scored["clip_score"], rel=1e-12)
    assert value(found, "clipscore-paper") == pytest.approx(scored["clip_score_paper"], rel=1e-12)
    assert found.notes == []
    assert row(found, "torchmetrics").note == (
        "not measured: the weights of clip-l14 were not found in the cache;"
        " run `evalkit weights fetch clip-l14`"
    )
    other = network().float()
    other.text_projection += 1
    torch.save(clip_model.renamed(other.state_dict()), "other.pt")
    assert value(run("scored", weights="other.pt"), "mlperf") != value(found, "mlperf")
    decoded.clear()
    assert run("scored", weights="").rows == found.rows
    assert decoded == []


def test_weights_of_another_network_are_an_error(place: Path):
    state = clip_model.read_state(place / "seeded.pt")
    patches = "vision_model.embeddings.patch_embedding.weight"
    state[patches] = state[patches][:, :, :28, :28].clone()
    torch.save(state, "patches.pt")
    message = "the given weights have patches of 28 pixels, this network of 32"
    with pytest.raises(EvalkitError, match=message):
        run(weights="patches.pt")


# --- the command ---
COMMAND = ("conventions", "run/images/tall", "--metric", "CLIP-score", "--device", "cpu")


def test_the_command_prints_the_result_of_the_function(place: Path, found: ConventionTable):
    command = [*COMMAND, "--weights", "seeded.pt"]
    table = CliRunner().invoke(app, command)
    assert table.exit_code == 0
    lines = table.stdout.splitlines()
    head = lines.pop(0).split("\t")
    assert head == [
        *("convention", "tools that use it", "CLIP score", "95% interval", "images", "prompts"),
        "note",
    ]
    assert [line.split("\t")[0] for line in lines[: len(ALL)]] == ALL
    assert lines[0].split("\t")[2] == "not measured"
    assert lines[len(ALL)].startswith("The weights are not the pinned ones: SHA-256 ")
    shown = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert shown == json.loads(json.dumps(dataclasses.asdict(found)))


def test_missing_weights_are_an_error_with_the_command_to_fetch_them(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(weights, "find", lambda name: None)
    result = CliRunner().invoke(app, list(COMMAND))
    assert result.exit_code == 2
    assert "the weights of clip-b32-openai were not found in the cache" in result.stderr
    assert "evalkit weights fetch clip-b32-openai" in result.stderr
    assert result.stdout == ""


def test_images_without_prompts_are_an_error_and_the_next_step_works(
    place: Path, found: ConventionTable
):
    command = ["conventions", "tall", *COMMAND[2:], "--weights", "seeded.pt"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "tall has no prompts; CLIP score compares each image with its prompt." in result.stderr
    step = next(part for part in result.stderr.split("`") if part.startswith("evalkit generate"))
    Path("prompts.txt").write_text("\n".join(2 * PROMPTS))
    step = step.replace("PROMPTS", "prompts.txt").replace("RUN", "made")
    assert CliRunner().invoke(app, shlex.split(step)[1:]).exit_code == 0
    assert run("made").rows == found.rows


def test_a_model_of_a_run_is_named_as_in_other_commands(place: Path, found: ConventionTable):
    assert run("run:tall").rows == found.rows
    assert run("run:square").rows != found.rows


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run("run"), "run is a run of several models.* Name one: run:"),
        (lambda: run("run:tal"), "run has no model 'tal'.* Did you mean 'tall'"),
        (lambda: run(reference="real"), "CLIP score compares with the prompts"),
        (lambda: evalkit.conventions("run", metric="clip_scores"), "Did you mean 'clip_score'"),
    ],
    ids=["several", "label", "reference", "name"],
)
def test_mistakes_are_errors(place: Path, call: Callable[[], object], message: str):
    with pytest.raises(EvalkitError, match=message):
        call()
