"""The bundled judge as a scorer: real scenes, scenes of other prompts, and a run."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evalkit
from evalkit.scenes import dataset
from evalkit.scenes.compose import render
from evalkit.scorer import Answer, NoAnswer
from evalkit.scorers.mini_judge import MiniJudge

SCENES = dataset.scenes(dataset.HELD_OUT + 55_000, 150)
PROMPTS = dataset.prompts_of(SCENES)
IMAGES = [Image.fromarray(render(scene, 64)) for scene in SCENES]


@pytest.fixture(scope="module")
def judge() -> MiniJudge:
    return MiniJudge("cpu")


def _values(answers: list[Answer | NoAnswer]) -> list[float]:
    return [answer.values["value"] for answer in answers if isinstance(answer, Answer)]


def test_real_scenes_score_high_and_those_of_other_prompts_low(judge: MiniJudge) -> None:
    own = _values(list(judge(IMAGES, PROMPTS)))
    others = _values(list(judge(IMAGES[1:] + IMAGES[:1], PROMPTS)))
    assert len(own) == len(others) == len(SCENES)
    assert np.mean(own) > 0.97
    assert np.mean(others) < 0.4


def test_the_details_answer_each_question(judge: MiniJudge) -> None:
    place = next(n for n, scene in enumerate(SCENES) if scene.kind == "pair")
    [answer] = judge([IMAGES[place]], [PROMPTS[place]])
    assert isinstance(answer, Answer)
    assert {"noun", "count", "relation", "background"} <= set(answer.details)
    assert answer.values["value"] == np.mean(list(answer.details.values()))
    assert answer.parts["value"] == {name: [found] for name, found in answer.details.items()}


def test_an_answer_depends_on_its_image_and_prompt_alone(judge: MiniJudge) -> None:
    together = list(judge(IMAGES[:20], PROMPTS[:20]))
    alone = [next(judge([IMAGES[n]], [PROMPTS[n]])) for n in range(20)]
    assert together == alone


def test_a_prompt_that_asks_for_nothing_known_has_no_number(judge: MiniJudge) -> None:
    [answer] = judge([IMAGES[0]], ["a sense of wonder"])
    assert isinstance(answer, NoAnswer)


def test_a_run_on_a_machine_without_downloads(tmp_path: Path) -> None:
    prompts = [*PROMPTS[:6], "a sense of wonder"]
    evalkit.generate(models="gan", prompts=prompts, out=tmp_path / "run")
    rows = evalkit.score(tmp_path / "run", metrics="mini_judge", only=True)
    [row] = [row for row in rows if row.metric == "mini_judge" and not row.group]
    assert row.encoder == "mini-judge"
    assert row.value is not None
    assert row.value > 0.7
    assert "1 of 7 images has no answer" in row.caution
    [cache] = (tmp_path / "run" / "features" / "gan").glob("mini-judge*")
    assert len([json.loads(line) for line in cache.read_text().splitlines()]) == 7
