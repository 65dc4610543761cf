"""`classifier:MODEL:LABEL` with a tiny random network, against the pipeline of transformers."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counting_encoder import smooth_image
from PIL import Image
from transformers import (
    AutoImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    ViTModel,
    pipeline,
)

import evalkit
from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.score.select import select

LABELS = ["cat", "dog", "tabby, tabby cat", "fire truck"]


def config(**more: Any) -> ViTConfig:
    return ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=32, patch_size=8, initializer_range=0.5, id2label=dict(enumerate(LABELS)),
        **more,
    )  # fmt: skip


def saved(folder: Path, network: Any) -> Path:
    network.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return saved(tmp_path_factory.mktemp("models") / "tiny", ViTForImageClassification(config()))


def images() -> list[Image.Image]:
    return [smooth_image(seed, (40 + seed, 50)) for seed in range(3)]


def expected(model: Path) -> list[dict[str, float]]:
    processor = AutoImageProcessor.from_pretrained(model, backend="pil")
    classify = pipeline("image-classification", model=str(model), image_processor=processor)
    return [{row["label"]: row["score"] for row in classify(one)} for one in images()]


def loaded(spec: str, **options: Any) -> Any:
    return plugins.load_scorer(plugins.scorer(spec), options, "cpu", Path())


@pytest.mark.parametrize("kind", ["single_label_classification", "multi_label_classification"])
def test_probabilities_are_those_of_transformers_pipeline(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    model = saved(tmp_path, ViTForImageClassification(config(problem_type=kind)))
    scorer = loaded("classifier", model=str(model), label="tabby, tabby cat")
    values = [one["tabby, tabby cat"] for one in expected(model)]
    assert scorer(images(), [""] * 3) == pytest.approx(values, abs=1e-6)
    assert np.ptp(values) > 0.01


def test_both_forms_load_one_classifier(model: Path) -> None:
    short = loaded(f"classifier:{model}:dog")
    long = loaded("classifier", model=str(model), label="dog")
    assert (short.name, short.fingerprint) == (long.name, long.fingerprint)
    other = loaded(f"classifier:{model}:cat")
    assert (other.name, other.fingerprint) != (long.name, long.fingerprint)


def test_names_are_readable_and_unique() -> None:
    specs = [
        "classifier:google/vit-base:tabby",
        "classifier:google/vit-base:fire truck",
        "classifier:google/vit-base:fire-truck",
        "classifier:./my model:tabby",
        "classifier:./mine:tabby",
    ]
    names = [metric.name for metric in select(specs)]
    assert names[0] == "classifier.google.vit-base.tabby"
    assert names[1].startswith("classifier.google.vit-base.fire-truck-")
    assert names[4] == "classifier.mine.tabby"
    assert len(set(names)) == len(names)
    [lower] = select(["classifier:a/b:nsfw:lower"])
    assert (lower.name, lower.better) == ("classifier.a.b.nsfw", "lower")


def test_a_run_keeps_the_spec_and_measures_it_again(model: Path, tmp_path: Path) -> None:
    def draw(prompts: list[str], seeds: list[int]) -> list[Image.Image]:
        return images()[: len(prompts)]

    path, spec = tmp_path / "run", f"classifier:{model}:dog"
    evalkit.generate({"model": draw}, ["a", "b", "c"], out=path)
    name = plugins.metric(spec).name
    values = [one["dog"] for one in expected(model)]
    for given in ([spec], None):
        rows = evalkit.score(path, metrics=given, only=given is not None)
        [row] = [row for row in rows if row.metric == name]
        assert row.value == pytest.approx(np.mean(values), abs=1e-6)
    assert tomllib.loads((path / "run.toml").read_text())["metrics"] == [spec]
    edge = float(np.median(values))
    rows = evalkit.score(path, options={name: {"threshold": edge - 1e-4}})
    [row] = [row for row in rows if row.metric == name]
    assert row.value == pytest.approx(2 / 3)
    assert row.interval.startswith("Wilson")


def test_all_does_not_ask_for_a_classifier() -> None:
    assert "classifier" not in [metric.name for metric in select(["all"])]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("classifier:{model}:dogs", "the nearest of its 4 labels are 'dog', "),
        (
            "classifier:{model}/absent:dog",
            "no folder .* with an image classification model",
        ),
        (
            "classifier:absent/model:dog",
            "'absent/model' is not in the hub's cache, and evalkit",
        ),
        ("classifier:dog", "of the form MODEL:LABEL"),
        ("text_accuracy:dog", "takes no argument"),
    ],
    ids=["label", "folder", "cache", "form", "other"],
)
def test_wrong_specs_are_one_sentence(model: Path, spec: str, said: str) -> None:
    with pytest.raises(EvalkitError, match=said) as error:
        loaded(spec.format(model=model))
    assert "\n" not in str(error.value)
    assert error.value.hint


def test_what_the_library_says_of_its_own_is_not_shown(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded(f"classifier:{model}:dog")
    assert capsys.readouterr() == ("", "")


def test_the_list_says_what_a_classifier_needs() -> None:
    [row] = [one for one in evalkit.list_scorers() if one["name"] == "classifier"]
    assert row["here"].startswith("no: name a model and one of its labels")


def test_a_network_without_a_trained_head_and_pickles_are_refused(tmp_path: Path) -> None:
    body = saved(tmp_path / "body", ViTModel(config()))
    with pytest.raises(EvalkitError, match=r"no weights for classifier\.bias"):
        loaded(f"classifier:{body}:dog")
    pickled = saved(tmp_path / "pickled", ViTForImageClassification(config()))
    (pickled / "model.safetensors").unlink()
    torch.save(ViTForImageClassification(config()).state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(EvalkitError, match="has pickled weights only"):
        loaded(f"classifier:{pickled}:dog")


def test_the_fingerprint_depends_on_the_weights(model: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = saved(tmp_path / model.name, ViTForImageClassification(config()))
    first, second = (loaded(f"classifier:{path}:dog") for path in (model, other))
    assert first.fingerprint != second.fingerprint
