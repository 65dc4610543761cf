"""The generator `diffusers` with the real library and a tiny Stable Diffusion of random weights."""

import importlib.util
import json
import pickle
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pipeline import save_pipeline

from evalkit import plugins
from evalkit.config import Config, load_config
from evalkit.core import EvalkitError, Refusal
from evalkit.generate.generate import generate
from evalkit.generators import diffusers as ours
from evalkit.generators import pipeline_files
from evalkit.generators.pipeline_files import quiet
from evalkit.generators.pipeline_setup import dtype_of
from evalkit.prompts import prompts_from_list
from evalkit.score import records as record_rows

PROMPTS = ["a red cat", "two dogs on the beach", "sky", "a blue house in the snow", "x"]


def strict_checker() -> Any:
    """The library's safety checker with thresholds under which every image is unsafe."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    vision = {
        "hidden_size": 32,
        "intermediate_size": 37,
        "num_attention_heads": 4,
        "num_hidden_layers": 1,
        "image_size": 8,
        "patch_size": 4,
    }
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=32))
    checker.concept_embeds_weights.data.fill_(-10.0)
    return checker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("diffusers") / "tiny sd")


@pytest.fixture(scope="module")
def alone(folder: Path) -> ours.Pipeline:
    return ours.load(model=str(folder), device="cpu", steps=3)


def pixels(results: list[Image.Image | Refusal]) -> list[np.ndarray]:
    assert all(isinstance(result, Image.Image) and result.mode == "RGB" for result in results)
    return [np.asarray(result).astype(int) for result in results]


def test_images_equal_those_of_the_library(folder: Path, alone: ours.Pipeline) -> None:
    with quiet():
        from diffusers import AutoPipelineForText2Image

        pipeline = AutoPipelineForText2Image.from_pretrained(str(folder), use_safetensors=True)
        expected = [
            pipeline(
                text, generator=torch.Generator("cpu").manual_seed(seed), num_inference_steps=3
            ).images[0]
            for seed, text in enumerate(PROMPTS)
        ]
    found = pixels(alone(PROMPTS, range(5)))
    assert all(
        np.array_equal(image, np.asarray(other))
        for image, other in zip(found, expected, strict=True)
    )
    assert found[0].shape == (16, 16, 3)
    assert not np.array_equal(*pixels(alone(["sky", "sky"], [1, 2])))
    assert not np.array_equal(*pixels(alone(["sky", "a red cat"], [1, 1])))


def test_an_image_depends_on_its_own_prompt_and_seed_only(
    folder: Path, alone: ours.Pipeline
) -> None:
    three = ours.load(model=str(folder), device="cpu", steps=3, batch=3)
    many = pixels(three(PROMPTS, range(5)))
    for place in range(5):
        assert np.array_equal(pixels(three([PROMPTS[place]], [place]))[0], many[place])
        assert (
            np.abs(pixels(alone([PROMPTS[place]], [place]))[0] - many[place]).max() <= 1
        )  # floating-point rounding
    backwards = pixels(three(PROMPTS[::-1], list(range(5))[::-1]))[::-1]
    assert all(np.array_equal(one, other) for one, other in zip(many, backwards, strict=True))


def test_a_stochastic_scheduler_uses_the_seed_of_the_image(folder: Path, tmp_path: Path) -> None:
    with quiet():
        from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionPipeline

        pipeline = StableDiffusionPipeline.from_pretrained(str(folder), safety_checker=None)
        pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config)
        pipeline.save_pretrained(tmp_path / "ancestral")
    two = ours.load(model=str(tmp_path / "ancestral"), device="cpu", steps=3, batch=2)
    torch.manual_seed(1)
    first = pixels(two(PROMPTS[:2], [1, 2]))
    torch.manual_seed(2)
    assert np.array_equal(first[1], pixels(two([PROMPTS[1]], [2]))[0])


def test_options_reach_the_pipeline(folder: Path, alone: ours.Pipeline) -> None:
    plain = pixels(alone(["sky"], [1]))[0]
    for options in ({"steps": 2}, {"guidance": 2.0}, {"negative_prompt": "red"}, {"dtype": "bf16"}):
        other = ours.load(model=str(folder), device="cpu", **{"steps": 3} | options)  # type: ignore[arg-type]
        assert other.fingerprint != alone.fingerprint
        assert not np.array_equal(pixels(other(["sky"], [1]))[0], plain), options
    [wide] = ours.load(model=str(folder), device="cpu", steps=1, height=8, width=24)(["sky"], [1])
    assert isinstance(wide, Image.Image)
    assert wide.size == (24, 8)


def test_compiling_does_not_change_the_images(folder: Path, alone: ours.Pipeline) -> None:
    compiled = ours.load(model=str(folder), device="cpu", steps=3, compile=True)
    assert compiled.pipeline.unet._compiled_call_impl is not None
    with torch.compiler.set_stance("force_eager"):  # compiling needs a compiler and takes minutes
        assert np.array_equal(pixels(compiled(["sky"], [1]))[0], pixels(alone(["sky"], [1]))[0])


def test_a_long_prompt_is_noted(alone: ours.Pipeline) -> None:
    short, long = alone(["sky", "a blue house in the snow"], [1, 1])
    assert isinstance(short, Image.Image)
    assert isinstance(long, Image.Image)
    assert "note" not in short.info
    assert long.info["note"] == "only the first 16 of the prompt's 21 tokens were read"


def test_a_blanked_image_is_a_refusal(folder: Path, tmp_path: Path) -> None:
    with quiet():
        from diffusers import StableDiffusionPipeline
        from transformers import CLIPImageProcessor

        looks = CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
        pipeline = StableDiffusionPipeline.from_pretrained(
            str(folder), safety_checker=strict_checker(), feature_extractor=looks
        )
        pipeline.save_pretrained(tmp_path / "strict")
    generator = ours.load(model=str(tmp_path / "strict"), device="cpu", steps=1)
    assert (
        generator(["sky", "sea"], [1, 2])
        == [Refusal("refused_output", "the pipeline's safety checker blanked the image")] * 2
    )


def test_an_image_of_nan_is_a_refusal(folder: Path) -> None:
    generator = ours.load(model=str(folder), device="cpu", steps=1)
    generator.pipeline.unet.conv_out.bias.data.fill_(float("nan"))
    [refusal] = generator(["sky"], [1])
    assert isinstance(refusal, Refusal)
    assert refusal.status == "malformed"
    assert "NaN" in refusal.detail


def test_other_weights_have_another_fingerprint(
    folder: Path, alone: ours.Pipeline, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert (
        ours.load(model=str(tmp_path / "copy"), device="cpu", steps=3).fingerprint
        == alone.fingerprint
    )
    file = tmp_path / "copy/unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")
    assert (
        ours.load(model=str(tmp_path / "copy"), device="cpu", steps=3).fingerprint
        != alone.fingerprint
    )


def test_peak_memory_is_that_of_the_process(alone: ours.Pipeline) -> None:
    alone(["sky"], [1])
    assert 100e6 < alone.peak_memory() < 100e9


def test_the_library_is_silent_and_its_settings_are_restored(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from diffusers.utils import logging as library

    before = library.get_verbosity(), library.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.load(model=str(folder), device="cpu", steps=2)(["a blue house in the snow"], [1])
    assert capfd.readouterr() == ("", "")
    assert (library.get_verbosity(), library.is_progress_bar_enabled()) == before


def test_a_run(folder: Path, tmp_path: Path) -> None:
    name = f"diffusers:{folder}"
    options = {name: {"steps": 2, "batch": 2}}
    config = Config(
        models=(name,),
        prompts="suite:free",
        out=str(tmp_path / "run"),
        device="cpu",
        options=options,
    )
    records = generate(config).records(name)
    assert {record.status for record in records} == {"ok"}
    assert any("tokens were read" in record.extra for record in records)
    [memory] = [
        row
        for row in record_rows.rows("diffusers", records, len(records))
        if row.metric == "peak_memory"
    ]
    assert 0.1 < (memory.value or 0) < 100
    assert memory.value == max(record.memory for record in records) / 2**30


def bad(folder: Path, message: str, hint: str = "", **options: Any) -> None:
    with pytest.raises(EvalkitError, match=message) as error:
        ours.load(**{"model": str(folder), "device": "cpu"} | options)
    assert hint in error.value.hint
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float"}, "dtype is 'float'; expected auto, fp32, bf16 or fp16"),
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"batch": 0}, "batch is 0"),
        ({"offload": True}, "the device is cpu"),
        ({"variant": "fp16"}, "fp16"),
    ],
)
def test_bad_options(folder: Path, options: dict[str, object], message: str) -> None:
    bad(folder, message, **options)


def test_sizes_that_the_pipeline_does_not_support(folder: Path) -> None:
    bad(folder, "expected both or none", height=16)  # the library would silently take its own size
    with pytest.raises(EvalkitError, match=r"divisible by|expected 16 x 15"):
        ours.load(model=str(folder), device="cpu", height=15, width=16, steps=1)(["sky"], [1])


def test_folders_and_names_without_a_pipeline(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    bad(tmp_path / "nowhere", "There is no folder", "hub name")
    bad(
        Path("nobody/no-such-model"),
        "'nobody/no-such-model' cannot be loaded: it is not in the cache",
        "hub name",
    )
    bad(folder / "model_index.json", "is a file; expected a folder", "from_single_file")
    bad(tmp_path, "has no model_index.json")
    (tmp_path / "model_index.json").write_text("{")
    bad(tmp_path, "is not JSON")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NoSuchPipeline", "does not have"),
        ("DDPMPipeline", "does not make images from text"),
        ("AudioLDMPipeline", "does not make images from text"),
        ("TextToVideoSDPipeline", "does not make images from text"),
        ("StableDiffusionUpscalePipeline", "does not make images from text alone"),
        (["my_pipeline", "MyPipeline"], "not supported"),
    ],
)
def test_pipelines_without_text_to_image(
    folder: Path, name: object, message: str, tmp_path: Path
) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": name}))
    with pytest.raises(EvalkitError) as error:
        ours.load(model=str(tmp_path), device="cpu")
    assert message in str(error.value)


def test_image_to_image_weights_also_make_images_from_text(
    folder: Path, alone: ours.Pipeline, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    index = tmp_path / "copy/model_index.json"
    index.write_text(
        index.read_text().replace("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
    )
    other = ours.load(model=str(tmp_path / "copy"), device="cpu", steps=3)
    assert np.array_equal(pixels(other(["sky"], [1]))[0], pixels(alone(["sky"], [1]))[0])


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (Path.touch, (self.marker,))  # type: ignore[return-value]


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "text_encoder/model"])
def test_pickled_weights_are_refused_and_never_loaded(
    folder: Path, part: str, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    weights = tmp_path / "copy" / f"{part}.safetensors"
    pickled = weights.with_name(
        "pytorch_model.bin" if "text" in part else "diffusion_pytorch_model.bin"
    )
    pickled.write_bytes(pickle.dumps(Evil(tmp_path / "marker")))
    ours.load(
        model=str(tmp_path / "copy"), device="cpu"
    )  # with safetensors beside the pickle, those are loaded
    weights.unlink()
    bad(tmp_path / "copy", "has pickled weights only", "save_pretrained")
    assert not (tmp_path / "marker").exists()


def test_damaged_weights_are_reported_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy/unet/diffusion_pytorch_model.safetensors").write_bytes(b"\0" * 100)
    bad(tmp_path / "copy", "The diffusers pipeline failed")


def test_code_in_a_folder_is_never_run(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    index = json.loads((tmp_path / "copy/model_index.json").read_text())
    index["unet"] = ["evil_unet", "UNet"]
    (tmp_path / "copy/model_index.json").write_text(json.dumps(index))
    for place in (tmp_path / "copy/unet/evil_unet.py", tmp_path / "copy/evil_unet.py"):
        place.write_text(f"open({str(tmp_path / 'marker')!r}, 'w')\nclass UNet: pass")
    bad(tmp_path / "copy", "The diffusers pipeline failed")
    assert not (tmp_path / "marker").exists()


def test_without_the_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "diffusers" else name
    )
    bad(Path("x"), "not installed: diffusers", "pip install '.[diffusers]'")


def test_dtypes_of_families(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert dtype_of("auto", "cpu", True) == torch.float32
    assert dtype_of("auto", "cuda", True) == torch.float16
    assert dtype_of("auto", "cuda:1", False) == torch.bfloat16
    assert dtype_of("fp16", "cpu", False) == torch.float16
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert dtype_of("auto", "cuda", False) == torch.float32


def test_every_text_to_image_pipeline_takes_a_list_of_generators() -> None:
    import inspect

    with quiet():
        from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING as KNOWN

        kinds = list(KNOWN.values())
        annotations = {
            kind.__name__: str(inspect.signature(kind.__call__).parameters["generator"].annotation)
            for kind in kinds
        }
    assert len(annotations) > 40
    assert [
        name for name, annotation in annotations.items() if "list" not in annotation.lower()
    ] == []


def test_the_suffixes_of_pickles_are_those_of_the_library() -> None:
    assert {".bin", ".pt", ".ckpt"} <= set(pipeline_files.PICKLED)


def test_a_folder_with_a_pipeline_is_one(folder: Path, tmp_path: Path) -> None:
    for name in ("step-100", "step-200"):
        shutil.copytree(folder, tmp_path / name)
    run = generate(
        Config(
            models=(f"{tmp_path}/step-100", f"best={tmp_path}/step-200"),
            prompts=tuple(prompts_from_list(PROMPTS[:2])),
            out=str(tmp_path / "run"),
            device="cpu",
            options={"best": {"steps": 2}, "step-100": {"steps": 2}},
        )
    )
    assert run.models() == ["step-100", "best"]
    assert [len(list(run.image_folder(label).glob("*.png"))) for label in run.models()] == [2, 2]
    written = run.config_path.read_text()
    assert str(tmp_path) not in written  # the run and its models may move together
    (tmp_path / "run").rename(tmp_path / "other")
    again = generate(load_config(tmp_path / "other/run.toml", {}))
    assert again.config_path.read_text() == written
    with pytest.raises(EvalkitError, match="is also given model='x'"):
        plugins.models([str(folder)], {folder.name: {"model": "x"}})
