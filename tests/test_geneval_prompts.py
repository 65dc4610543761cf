"""The prompts of GenEval, drawn by its rule."""

from collections import Counter

import numpy as np
import pytest

from evalkit.core import EvalkitError
from evalkit.prompts.geneval import CLASSES, TAGS, geneval_prompts


def test_there_are_as_many_as_published() -> None:
    prompts = geneval_prompts()
    counts = Counter(prompt.group for prompt in prompts)
    assert dict(counts) == dict(zip(TAGS, (80, 99, 80, 94, 100, 100), strict=True))
    assert [prompt.id for prompt in prompts] == [f"{at:05d}" for at in range(553)]
    assert len({prompt.text for prompt in prompts}) == 553


def test_the_first_of_each_tag_are_the_published_ones() -> None:
    first: dict[str, list[str]] = {}
    for prompt in geneval_prompts():
        first.setdefault(prompt.group, []).append(prompt.text.removeprefix("a photo of "))
    assert {tag: texts[:3] for tag, texts in first.items()} == {
        "single_object": ["a bench", "a cow", "a bicycle"],
        "two_object": [
            "a bench and a sports ball",
            "a toothbrush and a snowboard",
            "a toaster and an oven",
        ],
        "counting": ["two clocks", "two backpacks", "four handbags"],
        "colors": ["a blue fire hydrant", "a pink car", "a purple cup"],
        "position": [
            "a dog right of a teddy bear",
            "a wine glass above a kite",
            "a couch below a cup",
        ],
        "color_attr": [
            "a purple wine glass and a black apple",
            "a green bus and a purple microwave",
            "a green skis and a brown airplane",
        ],
    }


def test_spellings_of_the_published_list() -> None:
    """Plurals add "s", or "es" after "s"; the last prompts are those with two colours."""
    texts = [prompt.text for prompt in geneval_prompts()]
    for text in ("three benchs", "two sheeps", "four knifes", "four buses", "an orange orange"):
        assert f"a photo of {text}" in texts
    assert texts[-1] == "a photo of a blue pizza and a yellow baseball glove"
    assert len(set(CLASSES)) == 80


def test_another_stream_of_numpy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: real(seed + 1))
    with pytest.raises(EvalkitError, match="draws other prompts than those that GenEval published"):
        geneval_prompts()
