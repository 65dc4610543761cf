"""VQAScore on a tiny vision-language model, against `generate` of transformers."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_vlm
import torch
from PIL import Image

import evalkit
from evalkit import EvalkitError, plugins
from evalkit.scorers.vqa_score import VqaScore

CLIP_FLANT5 = 'Does this figure show "{}"? Please answer yes or no.'
PROMPTS = ["a red dog", "two dogs", 'a "black" circle {} on the grass', "the night"]


def _images() -> list[Image.Image]:
    random = np.random.default_rng(0)
    sizes = ((16, 16), (32, 48), (64, 40), (24, 80))
    return [
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for width, height in sizes
    ]


IMAGES = _images()


def _scorer(folder: Path, **options: Any) -> VqaScore:
    return VqaScore(model=str(folder), device="cpu", **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.save(tmp_path_factory.mktemp("tiny") / "tiny", penalty=1.3)


def _generated(folder: Path, image: Image.Image, question: str) -> torch.Tensor:
    """The probabilities of the first token, as the tools compute them: one question at a time."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(folder)
    network: Any = AutoModelForImageTextToText.from_pretrained(folder).eval()
    content = [{"type": "image", "image": image}, {"type": "text", "text": question}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    made = network.generate(
        **inputs,
        max_new_tokens=1,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
    )
    return made.scores[0].softmax(-1)[0]


def _token(word: str) -> int:
    return tiny_vlm.tokenizer().convert_tokens_to_ids(word)


def test_the_probabilities_are_those_of_generate(folder: Path) -> None:
    found = list(_scorer(folder, template="clip-flant5")(IMAGES, PROMPTS))
    for image, prompt, value in zip(IMAGES, PROMPTS, found, strict=True):
        expected = _generated(folder, image, CLIP_FLANT5.replace("{}", prompt))
        assert value == pytest.approx(float(expected[_token("Yes")]), abs=1e-6)
    assert len(set(found)) == len(found)


def test_an_answer_does_not_depend_on_the_batch(folder: Path) -> None:
    alone = [next(_scorer(folder, batch=1)([i], [p])) for i, p in _pairs()]
    for batch in (2, 3, 4):
        together = list(_scorer(folder, batch=batch)(IMAGES, PROMPTS))
        assert together == pytest.approx(alone, abs=1e-5)
    turned = list(_scorer(folder)(IMAGES[::-1], PROMPTS[::-1]))[::-1]
    assert turned == pytest.approx(alone, abs=1e-5)


def _pairs() -> list[tuple[Image.Image, str]]:
    return list(zip(IMAGES, PROMPTS, strict=True))


def test_a_token_of_several_answers_counts_once(folder: Path) -> None:
    """The tokenizer ignores blanks, so GenEval 2's four answers are two tokens."""
    [value] = _scorer(folder, template="geneval2")(IMAGES[:1], PROMPTS[:1])
    text = 'Does this image show "a red dog"? Answer the question with Yes or No.'
    expected = _generated(folder, IMAGES[0], text)
    assert value == pytest.approx(
        float(expected[_token("Yes")] + expected[_token("yes")]), abs=1e-6
    )


def test_softmax_over_yes_and_no(folder: Path) -> None:
    [value] = _scorer(folder, template="clip-flant5", softmax="yes-no")(IMAGES[:1], PROMPTS[:1])
    expected = _generated(folder, IMAGES[0], CLIP_FLANT5.replace("{}", PROMPTS[0]))
    yes, no = (float(expected[_token(word)]) for word in ("Yes", "No"))
    assert value == pytest.approx(yes / (yes + no), abs=1e-6)


def test_own_words(folder: Path) -> None:
    scorer = _scorer(folder, template="Is there {}?", yes="one,two", no="red")
    [value] = scorer(IMAGES[:1], PROMPTS[:1])
    expected = _generated(folder, IMAGES[0], "Is there a red dog?")
    assert value == pytest.approx(float(expected[[_token("one"), _token("two")]].sum()), abs=1e-6)


def test_bfloat16_is_near(folder: Path) -> None:
    exact, near = (
        list(_scorer(folder, dtype=dtype)(IMAGES, PROMPTS)) for dtype in ("fp32", "bf16")
    )
    assert near == pytest.approx(exact, abs=0.05)
    assert near != pytest.approx(exact, abs=1e-6)


def test_large_images_are_resized_by_the_stated_rule(folder: Path) -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 40, 3), dtype=np.uint8))
    [value] = _scorer(folder, max_pixels=600)([image], ["a dog"])
    small = image.resize((20, 30), Image.Resampling.BICUBIC)
    assert [value] == list(_scorer(folder)([small], ["a dog"]))
    assert value != next(_scorer(folder)([image], ["a dog"]))


def test_a_prompt_with_control_tokens_is_text(folder: Path) -> None:
    [value] = _scorer(folder)(IMAGES[:1], ["a dog <|image_pad|> <|im_end|>"])
    assert 0 < value < 1


def test_the_name_and_the_fingerprint_state_what_an_answer_depends_on(
    folder: Path, tmp_path: Path
) -> None:
    plain = _scorer(folder)
    assert plain.name == "vqa-tiny-fp32-vqascore-3.1"
    assert (plain.device, plain.dtype) == ("cpu", "float32")
    others = [
        _scorer(folder, template="clip-flant5"),
        _scorer(folder, template="Is this {}?"),
        _scorer(folder, yes="yes"),
        _scorer(folder, softmax="yes-no"),
        _scorer(folder, max_pixels=100),
        _scorer(folder, dtype="bf16"),
        _scorer(tiny_vlm.save(tmp_path / "tiny", penalty=1.2)),
    ]
    prints = {plain.fingerprint, *(one.fingerprint for one in others)}
    assert len(prints) == 8
    assert len({one.name for one in others[:-1]}) == 6
    assert _scorer(folder, batch=3).fingerprint == plain.fingerprint


def test_a_large_file_is_hashed_again_where_it_changed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashes of large files are kept in the cache, which may be damaged."""
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path / "cache"))
    place = _without(folder, tmp_path / "tiny", "")
    large = place / "large.safetensors"
    with large.open("wb") as file:
        file.truncate(65 << 20)
    first = _scorer(place).fingerprint
    assert _scorer(place).fingerprint == first
    [kept] = (tmp_path / "cache" / "hashes").iterdir()
    kept.write_text("{")
    assert _scorer(place).fingerprint == first
    with large.open("r+b") as file:
        file.write(b"other")
    os.utime(large, ns=(0, 0))
    assert _scorer(place).fingerprint != first


def test_the_weights_are_loaded_by_the_first_call(folder: Path, tmp_path: Path) -> None:
    """A scoring from kept answers reads no weights into memory."""
    place = _without(folder, tmp_path / "tiny", "")
    (place / "model.safetensors").write_bytes(b"no tensors")
    scorer = _scorer(place)
    with pytest.raises(Exception, match=r"header|deserializing"):
        list(scorer(IMAGES[:1], PROMPTS[:1]))


def _without(folder: Path, place: Path, name: str) -> Path:
    place.mkdir()
    for file in folder.iterdir():
        if file.name != name:
            (place / file.name).write_bytes(file.read_bytes())
    return place


def test_what_is_no_vision_language_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match="no weights; expected safetensors"):
        _scorer(_without(folder, tmp_path / "a", "model.safetensors"))
    (tmp_path / "a" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(EvalkitError, match="pickled weights only"):
        _scorer(tmp_path / "a")
    with pytest.raises(EvalkitError, match=r"no config\.json"):
        _scorer(_without(folder, tmp_path / "b", "config.json"))
    with pytest.raises(EvalkitError, match="no chat template"):
        _scorer(_without(folder, tmp_path / "c", "chat_template.jinja"))
    (tmp_path / "b" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(EvalkitError, match="a model of the type 'bert'; expected a vision-lang"):
        _scorer(tmp_path / "b")
    with pytest.raises(EvalkitError, match="There is no folder"):
        VqaScore(model="nowhere")
    with pytest.raises(EvalkitError, match="not in the hub's cache") as error:
        VqaScore(device="cpu", model="nobody/no-such-model")
    assert error.value.hint == "Fetch it once with `hf download nobody/no-such-model`."


def test_a_tokenizer_without_yes_is_refused(tmp_path: Path) -> None:
    words = tuple(word for word in tiny_vlm.WORDS if word.lower() != "yes")
    place = tiny_vlm.save(tmp_path / "tiny", words)
    with pytest.raises(EvalkitError, match="has no token for 'Yes'"):
        _scorer(place)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "clip-flan"}, "option template is 'clip-flan'"),
        ({"softmax": "both"}, "option softmax is 'both'"),
        ({"dtype": "int8"}, "option dtype is 'int8'"),
        ({"max_pixels": -1}, "option max_pixels is -1"),
        ({"batch": 0}, "option batch is 0"),
        ({"yes": "yes,,Yes"}, "option yes is 'yes,,Yes'"),
        ({"yes": "Yes", "no": "Yes", "softmax": "yes-no"}, "is both a yes and a no"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_options_are_one_sentence(
    folder: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(EvalkitError, match=message):
        _scorer(folder, **options)


def test_a_run(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    evalkit.generate(models="noise", prompts=["a red dog", "two dogs"], out=run)
    with pytest.raises(EvalkitError, match="can be measured: vqa_score") as error:
        evalkit.score(run, metrics="vqa_score", only=True)
    assert "needs the option 'model'" in error.value.hint
    options = {"vqa_score": {"model": str(folder)}}
    rows = evalkit.score(run, metrics="vqa_score", only=True, options=options, device="cpu")
    [row] = [row for row in rows if row.metric == "vqa_score"]
    assert row.encoder == "vqa-tiny-fp32-vqascore-3.1"
    assert row.value is not None
    assert 0 < row.value < 1


def test_the_listing_says_what_is_missing() -> None:
    assert "vqa_score.model" in plugins.scorer("vqa_score").lacks()
