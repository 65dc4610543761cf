"""Soft-TIFA, TIFA, DSG and DPG-Bench on a tiny vision-language model and on hand-made answers."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_vlm
import torch
from PIL import Image

import evalkit
from evalkit import Answer, EvalkitError, NoAnswer
from evalkit.scorers.dependencies import as_dpg_bench, with_dependencies
from evalkit.scorers.question import Question
from evalkit.scorers.question_answering import QuestionAnswering
from evalkit.scorers.vqa_score import VqaScore

PROMPT = "two red dogs"
GENEVAL2 = {
    "prompt": PROMPT,
    "atom_count": 3,
    "vqa_list": [
        ["How many dogs are in the image?", "two"],
        ["Are the dogs red?", "Yes"],
        ["Are there dogs in the image?", "Yes"],
    ],
    "skills": ["count", "attribute", "object"],
}
IMAGES = [
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8))
    for seed in range(3)
]


def _scorer(folder: Path, **options: Any) -> QuestionAnswering:
    return QuestionAnswering(model=str(folder), device="cpu", **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.save(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="module")
def geneval2(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("questions") / "geneval2_data.jsonl"
    file.write_text(json.dumps(GENEVAL2) + "\n")
    return str(file)


def _probability(folder: Path, question: str, answers: str) -> float:
    """Through `vqa_score`, which its own tests compare with `generate`."""
    text = f"{question} Answer in one word.{{}}"
    scorer = VqaScore(model=str(folder), device="cpu", template=text, yes=answers)
    return next(scorer(IMAGES[:1], [""]))


def _answer(scorer: QuestionAnswering, prompt: str = PROMPT) -> Answer:
    [answer] = scorer(IMAGES[:1], [prompt])
    assert isinstance(answer, Answer)
    return answer


def test_soft_tifa_of_geneval2(folder: Path, geneval2: str) -> None:
    answer = _answer(_scorer(folder, questions=geneval2))
    expected = [
        _probability(folder, "How many dogs are in the image?", "two,Two,2"),
        _probability(folder, "Are the dogs red?", "Yes,yes"),
        _probability(folder, "Are there dogs in the image?", "Yes,yes"),
    ]
    assert [one["p"] for one in answer.details["questions"]] == pytest.approx(expected, abs=1e-6)
    assert answer.values["mean"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert answer.values["geometric"] == pytest.approx(np.prod(expected) ** (1 / 3), abs=1e-6)


def test_each_skill_has_its_questions(folder: Path, geneval2: str) -> None:
    answer = _answer(_scorer(folder, questions=geneval2))
    skills = ["count", "attribute", "object"]
    asked = answer.details["questions"]
    assert answer.parts["mean"] == {
        skill: [one["p"]] for skill, one in zip(skills, asked, strict=True)
    }
    assert set(answer.parts) == {"mean", "tifa", "dsg", "dpg"}  # a geometric mean has no parts
    for name in ("tifa", "dsg", "dpg"):
        of_name = [value for some in answer.parts[name].values() for value in some]
        assert np.mean(of_name) == pytest.approx(answer.values[name])


def test_categories_of_dpg_bench(folder: Path, tmp_path: Path) -> None:
    """The first row of the table has no part in `dpg`, as it has none in the program."""
    head = ["item_id", "text", "proposition_id", "dependency", "category_broad"]
    rows = [
        [*head, "question_natural_language"],
        ["p1", PROMPT, "1", "0", "entity", "Are there dogs?"],
        ["p1", PROMPT, "2", "0", "attribute", "Are the dogs red?"],
        ["p1", PROMPT, "3", "0", "", "Is the sky blue?"],
    ]
    with (tmp_path / "dpg_bench.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    parts = _answer(_scorer(folder, questions=str(tmp_path / "dpg_bench.csv"))).parts
    assert set(parts["dsg"]) == {"entity", "attribute"}  # a question without one is in no category
    assert set(parts["dpg"]) == {"attribute"}


def test_geneval2_counts_a_token_of_two_forms_twice(folder: Path, geneval2: str) -> None:
    """The tokenizer ignores the blank of half of the forms."""
    once = _answer(_scorer(folder, questions=geneval2))
    twice = _answer(_scorer(folder, questions=geneval2, duplicates="geneval2"))
    assert twice.values["mean"] == pytest.approx(2 * once.values["mean"], abs=1e-6)


def test_tifa_is_the_share_of_right_first_words(folder: Path, geneval2: str) -> None:
    answer = _answer(_scorer(folder, questions=geneval2))
    said = [one["said"].lower() for one in answer.details["questions"]]
    right = [said[0] in ("two", "2"), said[1] == "yes", said[2] == "yes"]
    assert answer.values["tifa"] == np.mean(right)
    questions = [{"question": "Is there?", "answers": [word]}
                 for word in tiny_vlm.WORDS if word.isalpha()]  # fmt: skip
    file = Path(geneval2).with_name("every.jsonl")
    file.write_text(json.dumps({"prompt": PROMPT, "questions": questions}))
    every = _answer(_scorer(folder, questions=str(file)))
    greedy = every.details["questions"][0]["said"]
    words = [word.lower() for word in tiny_vlm.WORDS if word.isalpha()]
    assert every.values["tifa"] == pytest.approx(words.count(greedy.lower()) / len(words))


def test_an_answer_does_not_depend_on_the_batch(folder: Path, geneval2: str) -> None:
    prompts = [PROMPT, "no questions", PROMPT]
    alone = [
        next(_scorer(folder, questions=geneval2, batch=1)([image], [text]))
        for image, text in zip(IMAGES, prompts, strict=True)
    ]
    for batch in (2, 5):
        scorer = _scorer(folder, questions=geneval2, batch=batch)
        for one, other in zip(scorer(IMAGES, prompts), alone, strict=True):
            assert isinstance(one, NoAnswer) == isinstance(other, NoAnswer)
            if isinstance(one, Answer) and isinstance(other, Answer):
                assert one.values == pytest.approx(other.values, abs=1e-5)


def test_a_prompt_without_questions_has_no_number(folder: Path, geneval2: str) -> None:
    [answer] = _scorer(folder, questions=geneval2)(IMAGES[:1], ["a cat"])
    assert answer == NoAnswer("there are no questions for its prompt")


def test_questions_of_the_bundled_data_set(folder: Path) -> None:
    scorer = _scorer(folder)
    answer = _answer(scorer, "two black circles on the grass")
    assert [one["question"] for one in answer.details["questions"]] == [
        "Are there circles in the image?",
        "Are the circles black?",
        "Are there exactly two circles in the image?",
        "Is the scene on the grass?",
    ]
    assert isinstance(next(scorer(IMAGES[:1], ["the meaning of life"])), NoAnswer)


def test_the_fingerprint_follows_the_questions(folder: Path, tmp_path: Path) -> None:
    def fingerprint(text: str, **options: Any) -> str:
        file = tmp_path / "questions.jsonl"
        file.write_text(json.dumps({"prompt": "a", "questions": [text]}))
        return _scorer(folder, questions=str(file), **options).fingerprint

    same = {fingerprint("Is there a dog?"), fingerprint("Is there a dog?", batch=2)}
    others = {
        fingerprint("Is there a cat?"),
        fingerprint("Is there a dog?", template="plain"),
        fingerprint("Is there a dog?", duplicates="geneval2"),
        _scorer(folder).fingerprint,
    }
    assert len(same) == 1
    assert len(same | others) == 5


def test_several_numbers_cost_one_pass(
    folder: Path, geneval2: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = QuestionAnswering.__call__

    def counted(self: Any, images: Sequence[Image.Image], prompts: Sequence[str]) -> Any:
        asked.append(len(images))
        return original(self, images, prompts)

    monkeypatch.setattr(QuestionAnswering, "__call__", counted)
    evalkit.generate(models="noise", prompts=[PROMPT, "a cat"], out=tmp_path / "run")
    names = ["soft_tifa", "soft_tifa_gm", "tifa", "dsg", "dpg", "dpg_corrected"]
    options = {name: {"model": str(folder), "questions": geneval2} for name in names}
    rows = evalkit.score(tmp_path / "run", metrics=names, only=True, options=options, device="cpu")
    values = {row.metric: row.value for row in rows if row.metric in names and not row.group}
    assert sum(asked) == 2
    assert list(values) == names
    assert None not in values.values()
    assert values["soft_tifa"] > values["soft_tifa_gm"]  # type: ignore[operator]
    assert values["dpg_corrected"] == values["dsg"]


DOG, RED, LEASH, SKY = (
    Question("Is there a dog?", number=1, first=True),
    Question("Is the dog red?", number=2, depends_on=(1,)),
    Question("Has the red dog a leash?", number=3, depends_on=(2,)),
    Question("Is there a sky?", number=4),
)


@pytest.mark.parametrize(
    ("right", "dsg", "dpg"),
    [
        ((True, True, True, True), 1.0, 1.0),
        ((True, False, True, True), 0.5, 0.5),
        ((False, True, True, True), 0.5, 0.25),  # 2 counts 0, and so does 3 in DPG-Bench
        ((False, False, False, True), 0.25, 0.25),
    ],
    ids=str,
)
def test_dependencies(right: Sequence[bool], dsg: float, dpg: float) -> None:
    questions = [Question(one.text, number=one.number, depends_on=one.depends_on)
                 for one in (DOG, RED, LEASH, SKY)]  # fmt: skip
    answers = dict(enumerate(right, 1))
    assert _mean(with_dependencies(questions, answers)) == dsg
    assert _mean(as_dpg_bench(questions, answers)) == dpg == _published(questions, answers)


def test_dpg_bench_zeroes_in_the_order_of_the_rows() -> None:
    """The same questions, with the child of a child before it: its parent does not yet count 0."""
    ordered = [Question("Is there a dog?", number=1), LEASH, RED, SKY]
    answers = {1: False, 2: True, 3: True, 4: True}
    assert _mean(as_dpg_bench(ordered, answers)) == 0.5 == _published(ordered, answers)


def test_dpg_bench_leaves_out_the_first_row() -> None:
    answers = {1: False, 2: True, 3: True, 4: True}
    assert _mean(as_dpg_bench([DOG, SKY], answers)) == 1.0
    assert _mean(with_dependencies([DOG, SKY], answers)) == 0.5
    assert as_dpg_bench([DOG, RED, SKY], answers) is None  # the program fails on the image


def _mean(counted: Mapping[int, bool] | None) -> float:
    assert counted is not None
    return sum(counted.values()) / len(counted)


def _published(questions: Sequence[Question], right: Mapping[int, bool]) -> float:
    """What compute_dpg_bench.py does, from its description in ELLA's repository."""
    scores = {one.number: float(right[one.number]) for one in questions}
    for one in questions:
        for parent in one.depends_on:
            if scores[parent] == 0:
                scores[one.number] = 0.0
    return sum(scores.values()) / len(scores)


def test_an_image_that_dpg_bench_drops_has_no_number(folder: Path, tmp_path: Path) -> None:
    rows = [
        ("p1", "a red dog", 1, "0", "Is there a dog?"),
        ("p1", "a red dog", 2, "1", "Is the dog red?"),
        ("p2", "two dogs", 1, "0", "Are there dogs?"),
        ("p2", "two dogs", 2, "1", "Are there exactly two dogs?"),
    ]
    file = tmp_path / "dpg_bench.csv"
    with file.open("w", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(
            ("item_id", "text", "proposition_id", "dependency", "question_natural_language")
        )
        table.writerows(rows)
    evalkit.generate(models="noise", prompts=["a red dog", "two dogs"], out=tmp_path / "run")
    names = ["dpg", "dpg_corrected"]
    options = {name: {"model": str(folder), "questions": str(file)} for name in names}
    rows = evalkit.score(tmp_path / "run", metrics=names, only=True, options=options, device="cpu")
    counts = {row.metric: (row.count, row.caution) for row in rows if row.metric in names}
    assert counts["dpg"][0] == 1
    assert "1 of 2 images has no answer" in counts["dpg"][1]
    assert counts["dpg_corrected"] == (2, "")


def test_words_without_a_token_are_refused_before_the_first_image(
    folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "questions.jsonl"
    line = {"prompt": "a", "questions": [{"question": "What is it?", "answers": ["xylophone"]}]}
    file.write_text(json.dumps(line))
    with pytest.raises(EvalkitError, match="no token for 'xylophone'"):
        _scorer(folder, questions=str(file))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(folder: Path, geneval2: str) -> None:
    scorer = QuestionAnswering(device="cuda", model=str(folder), questions=geneval2)
    assert scorer.dtype == "bfloat16"
    assert _answer(scorer).values["mean"] > 0
