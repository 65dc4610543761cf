"""Files of questions as they are published, and questions on bundled prompts."""

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit import EvalkitError, generate
from evalkit.scenes import dataset
from evalkit.scenes.captions import caption
from evalkit.scenes.tables import BACKGROUNDS, COUNT_WORDS
from evalkit.scorers.question import Question
from evalkit.scorers.questions import Questions
from evalkit.scorers.scene_questions import scene_questions


def _file(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def _lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


DSG = """item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,\
question_natural_language
whoops_5,A rubix cube with ten squares of purple,rubix cube,1,0,entity,whole,\
entity - whole (rubix cube),Is there a rubix cube?
whoops_5,A rubix cube with ten squares of purple,"rubix cube, purple",2,1,attribute,color,\
"attribute - color (rubix cube, purple)",Is the rubix cube purple?
vrd_57,bench near trees,bench,1,0,entity,whole,entity - whole (bench),Is there a bench?
vrd_57,bench near trees,trees,2,0,entity,whole,entity - whole (trees),Are there trees?
vrd_57,bench near trees,"bench, trees, near",3,"1,2",relation,spatial,\
"relation - spatial (bench, trees, near)",Is the bench near the trees?
"""


def test_dsg(tmp_path: Path) -> None:
    found = Questions(_file(tmp_path, "dsg-1k-anns.csv", DSG))
    assert found.for_prompt("bench  near trees\n") == [
        Question("Is there a bench?"),
        Question("Are there trees?", number=2),
        Question("Is the bench near the trees?", number=3, depends_on=(1, 2)),
    ]
    cube = found.for_prompt("A rubix cube with ten squares of purple")
    assert [one.first for one in cube] == [True, False]
    assert found.for_prompt("bench") == []


def test_tifa(tmp_path: Path) -> None:
    caption, other = "Three cats and two dogs sitting on the grass.", "a dog"
    rows = [
        {"id": "d_52", "caption": caption, "question": "are there cats?", "choices": ["yes", "no"],
         "answer": "yes", "element_type": "animal/human", "element": "cats"},
        {"id": "d_52", "caption": caption, "question": "how many cats are in the picture?",
         "choices": ["1", "2", "3"], "answer": "3", "element_type": "counting", "element": "3"},
        {"id": "d_53", "caption": other, "question": "is this a dog?", "choices": ["yes", "no"],
         "answer": "yes", "element_type": "animal/human", "element": "dog"},
    ]  # fmt: skip
    found = Questions(_file(tmp_path, "tifa.json", json.dumps(rows)))
    cats, count = found.for_prompt(caption)
    assert (cats.answers, count.answers, count.choices) == (("yes",), ("3",), ("1", "2", "3"))
    assert count.forms == ("3", " 3", "three", "Three", " three", " Three")
    assert (count.number, found.for_prompt(other)[0].number) == (2, 1)


def test_geneval2(tmp_path: Path) -> None:
    row = {"prompt": "seven green croissants", "vqa_list": [
        ["How many croissants are in the image?", "seven"], ["Are the croissants green?", "Yes"],
    ]}  # fmt: skip
    count, green = Questions(_file(tmp_path, "g.jsonl", _lines(row))).for_prompt(row["prompt"])
    assert count.forms == ("seven", "Seven", " seven", " Seven", "7", " 7")
    assert green.forms == ("Yes", "yes", " Yes", " yes")


def test_own_questions_by_the_id_of_the_prompt(tmp_path: Path) -> None:
    prompts = _file(tmp_path, "p.jsonl", _lines({"id": "x", "prompt": "a dog"}, {"prompt": "b"}))
    generate(models="noise", prompts=prompts, out=tmp_path / "run")
    questions = ["Is there a dog?", {"question": "Is it red?", "depends_on": 1, "answer": "No"}]
    file = _file(tmp_path, "q.jsonl", _lines({"id": "x", "questions": questions}))
    found = Questions(file, tmp_path / "run")
    assert found.for_prompt("a dog") == [
        Question("Is there a dog?"),
        Question("Is it red?", ("No",), number=2, depends_on=(1,)),
    ]
    assert found.for_prompt("b") == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"questions": ["a?"]}, "Line 1 of .* has neither a prompt nor an id"),
        ({"prompt": "a", "questions": []}, "expected a list of questions"),
        ({"prompt": "a", "questions": [7]}, "the question 7; expected an object"),
        ({"prompt": "a", "questions": [{"question": " "}]}, "expected a text"),
        (
            {"prompt": "a", "questions": [{"question": "b?", "depends_on": [2]}]},
            "on question 2",
        ),
        ({"prompt": "a", "questions": [{"question": "b?", "depends_on": "x"}]}, "the number of a"),
        ({"prompt": "a", "questions": [{"question": "b?", "answers": [None]}]}, "expected texts"),
        ({"prompt": "a"}, "the question None"),
    ],
    ids=lambda value: value.split(" ")[-1] if isinstance(value, str) else "",
)
def test_what_is_no_question_is_one_sentence(
    tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(EvalkitError, match=message):
        Questions(_file(tmp_path, "q.jsonl", _lines(row)))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match=r"are no \.csv, .* file"):
        Questions(_file(tmp_path, "q.txt", "a dog\n"))
    with pytest.raises(EvalkitError, match="There is no file of questions"):
        Questions(str(tmp_path / "absent.jsonl"))


def test_the_questions_on_a_caption_are_those_on_its_scene() -> None:
    """Each question names what the scene has, and a property depends on its objects."""
    for seed, scene in enumerate(dataset.scenes(dataset.HELD_OUT + 90_000, 400)):
        found = scene_questions(caption(scene, seed, complete=True))
        texts = [one.text for one in found]
        nouns = list(dict.fromkeys(item.noun for item in scene.items))
        objects, rest = found[: len(nouns)], found[len(nouns) :]
        assert all(one.text.startswith(("Is there a", "Are there ")) for one in objects)
        assert all(not one.depends_on for one in objects)
        for item in scene.items:
            assert not item.colour or any(f" {item.colour}?" in text for text in texts)
        count = len(scene.items)
        if scene.kind == "count":
            assert sum(f"exactly {COUNT_WORDS[count][0]} " in text for text in texts) == 1
        assert sum("exactly" in text for text in texts) == (scene.kind == "count")
        pair = [one for one in rest if len(one.depends_on) == 2]
        assert len(pair) == (scene.kind == "pair")
        assert texts[-1] == f"Is the scene {BACKGROUNDS[scene.background][0]}?"
