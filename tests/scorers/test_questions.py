"""Files of questions as they are published, and questions on bundled prompts."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies_for_tests import NASTY

from evalkit import EvalkitError, generate
from evalkit.scenes import dataset
from evalkit.scenes.captions import caption
from evalkit.scenes.tables import BACKGROUNDS, COUNT_WORDS
from evalkit.scorers.question import Question
from evalkit.scorers.questions import Questions
from evalkit.scorers.scene_questions import scene_questions, unasked


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
        Question("Is there a bench?", category="entity"),
        Question("Are there trees?", number=2, category="entity"),
        Question("Is the bench near the trees?", number=3, depends_on=(1, 2), category="relation"),
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
    assert (cats.category, count.category) == ("animal/human", "counting")


def test_geneval2(tmp_path: Path) -> None:
    row = {"prompt": "seven green croissants", "vqa_list": [
        ["How many croissants are in the image?", "seven"], ["Are the croissants green?", "Yes"],
    ], "skills": ["count", "attribute"]}  # fmt: skip
    count, green = Questions(_file(tmp_path, "g.jsonl", _lines(row))).for_prompt(row["prompt"])
    assert count.forms == ("seven", "Seven", " seven", " Seven", "7", " 7")
    assert green.forms == ("Yes", "yes", " Yes", " yes")
    assert (count.category, green.category) == ("count", "attribute")


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


ONE = {"question": "What colour is it?", "choices": ["red", "black"]}
MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no prompt": ({"questions": ["a?"]}, "Line 1 of .* has neither a prompt nor an id"),
    "no questions": ({"prompt": "a", "questions": []}, "expected a list of questions"),
    "both lists": ({"prompt": "a", "questions": ["a?"], "vqa_list": []}, "has both 'questions'"),
    "a number": ({"prompt": "a", "questions": [7]}, "the question 7; expected an object"),
    "skills": (
        {"prompt": "a", "vqa_list": [["a?", "Yes"], ["b?", "Yes"]], "skills": ["count"]},
        r"the skills \['count'\] for 2 questions; expected a list with the skill of each",
    ),
    "no category": (
        {"prompt": "a", "questions": [{"question": "a?", "category": ["x"]}]},
        r"the category \['x'\]; expected a text",
    ),
    "two lines": (
        {"prompt": "a", "questions": [{"question": "a?", "category": "x\ny"}]},
        "the category 'x.*y'; expected a text of one line",
    ),
    "blank": ({"prompt": "a", "questions": [{"question": " "}]}, "the question ' '; expected a"),
    "half a character": ({"prompt": "a", "questions": ["\ud800?"]}, "expected a text"),
    "absent": ({"prompt": "a"}, "Line 1 of .* has no question; expected a text"),
    "typing error": (
        {"prompt": "a", "questions": ["a?", {"question": "b?", "dependancy": 1}]},
        "Line 1 of .* has the unknown key 'dependancy'.*Did you mean 'dependency'",
    ),
    "typing error in a prompt": ({"prompt": "a", "question": ["b?"]}, r"the question \['b\?'\]"),
    "no number": ({"prompt": "a", "questions": [{"question": "b?", "depends_on": "x"}]},
        "the number of a"),
    "true": ({"prompt": "a", "questions": [{"question": "b?", "depends_on": True}]},
        "the number of a"),
    **{
        f"answers {value}": (
            {"prompt": "a", "questions": [{"question": "b?", "answers": value}]},
            "Line 1 of .* has the answer",
        )
        for value in (None, True, "", " ", [], [None], [True], ["yes", ""], {"a": 1}, 1.5)
    },
    "true is no text": (
        {"prompt": "a", "questions": [{"question": "b?", "answers": True}]}, "the answer true;",
    ),
    "both answers": (
        {"prompt": "a", "questions": [{"question": "b?", "answers": "no", "answer": "yes"}]},
        "has both 'answers' and 'answer'",
    ),
    "no choice": (
        {"prompt": "a", "questions": [{**ONE, "answer": "green"}]},
        r"the answer 'green', which is none of its choices \(red, black\)",
    ),
    "not even yes": ({"prompt": "a", "questions": [ONE]}, "'yes', which is none of its choices"),
    "unknown parent": (
        {"prompt": "a", "questions": [{"question": "b?", "depends_on": [2]}]},
        "Line 1 of .* question 1, which depends on question 2, which its prompt does not have",
    ),
    "circle": (
        {"prompt": "a", "questions": [
            "a?", {"question": "b?", "depends_on": 3}, {"question": "c?", "depends_on": 2}]},
        "Line 1 of .* question 2, which depends on itself through 3\\.|question 3.* through 2\\.",
    ),
    "itself": (
        {"prompt": "a", "questions": [{"question": "b?", "depends_on": 1}]},
        "question 1, which depends on itself\\.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_no_question_is_one_sentence(tmp_path: Path, name: str) -> None:
    row, message = MISTAKES[name]
    with pytest.raises(EvalkitError, match=message):
        Questions(_file(tmp_path, "q.jsonl", _lines(row)))


def _table(*rows: str, header: str = "id,text,proposition_id,dependency,question") -> str:
    return "\n".join((header, *rows)) + "\n"


TABLES = {
    "the same question again": (
        _table("x,a dog,1,0,Is there a dog?", "x,a dog,1,0,Is it red?"),
        "Line 3 of .* has question 1 of line 2 again",
    ),
    "unknown parent": (
        _table("x,a dog,1,0,Is there a dog?", "x,a dog,2,3,Is it red?"),
        "Line 3 of .* has question 2, which depends on question 3, which",
    ),
    "circle": (
        _table("x,a dog,1,2,Is there a dog?", "x,a dog,2,1,Is it red?"),
        "Line [23] of .*, which depends on itself",
    ),
    "the number 0": (_table("x,a dog,0,0,Is there a dog?"), "Line 2 of .* has '0'; expected the"),
    "typing error": (
        _table("x,a dog,1,0,b?", header="id,text,proposition_id,dependancy,question"),
        "Line 2 of .* has the unknown key 'dependancy'.*Did you mean 'dependency'",
    ),
    "an empty answer": (
        _table("a dog,b?,", header="text,question,answer"), "Line 2 of .* has the answer ''",
    ),
    "one text for two": (
        _table("x,a dog,1,0,b?", "y,a  dog,1,0,c?"),
        "Line 3 of .* has the prompt 'a dog' of line 2 with another id and other questions",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_mistakes_in_tables(tmp_path: Path, name: str) -> None:
    text, message = TABLES[name]
    with pytest.raises(EvalkitError, match=message):
        Questions(_file(tmp_path, "q.csv", text))


def test_one_text_with_two_ids_has_the_questions_of_both_where_these_are_the_same(
    tmp_path: Path,
) -> None:
    table = _table("x,a dog,1,0,b?", "y,a dog,1,0,b?")
    found = Questions(_file(tmp_path, "q.csv", table)).for_prompt("a dog")
    assert [one.text for one in found] == ["b?"]


def test_a_prompt_is_there_once(tmp_path: Path) -> None:
    one = {"prompt": "a dog", "questions": ["Is there a dog?"]}
    row = {"prompt": "a  dog", "question": "Is it red?"}
    for rows in ((one, one), (one, row), (row, one)):
        file = _file(tmp_path, "q.jsonl", _lines({"prompt": "a", "questions": ["b?"]}, *rows))
        with pytest.raises(EvalkitError, match=r"Line 3 of .* has the prompt 'a dog' of line 2"):
            Questions(file)


def test_what_is_not_in_both_the_run_and_the_file_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    generate(models="noise", prompts=["a dog", "a cat", "a tree"], out=tmp_path / "run")
    rows = [{"prompt": text, "questions": ["b?"]} for text in ("a dog", "a cow", "x", "y")]
    for _ in range(2):  # several scorers read one file
        Questions(_file(tmp_path, "q.jsonl", _lines(*rows)), tmp_path / "run")
    assert caplog.text.count("2 of 3 prompts of the run have no questions") == 1
    assert caplog.text.count("3 of its 4 prompts are not in the run") == 1


_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=8)
_PLAIN = _WORDS.map(lambda text: " ".join(text.split())).filter(bool)


@st.composite
def _listed(draw: st.DrawFn) -> list[Question]:
    """Questions of a prompt, each of which depends on earlier ones only."""
    found: list[Question] = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        parents = draw(st.sets(st.integers(1, number - 1))) if number > 1 else set[int]()
        answers = tuple(draw(st.lists(_PLAIN, min_size=1, max_size=3)))
        choices = draw(st.sampled_from([(), (*answers, "other")]))
        category = draw(st.just("") | _PLAIN)
        found.append(
            Question(draw(_PLAIN), answers, number, tuple(sorted(parents)), choices, category)
        )
    return found


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_PLAIN, _listed(), min_size=1, max_size=3))
def test_questions_are_read_as_they_were_written(
    tmp_path: Path, prompts: dict[str, list[Question]]
) -> None:
    rows = [
        {"prompt": prompt, "questions": [
            {"question": one.text, "answers": one.answers, "choices": one.choices,
             "depends_on": one.depends_on, "category": one.category} for one in some]}
        for prompt, some in prompts.items()
    ]  # fmt: skip
    found = Questions(_file(tmp_path, "q.jsonl", _lines(*rows)))
    assert {prompt: found.for_prompt(prompt) for prompt in prompts} == prompts


_KEYS = st.sampled_from(
    ["prompt", "Text", "id", "questions", "vqa_list", "question", "answer", "answers", "choices",
     "depends_on", "dependency", "proposition_id", "dependancy", "category",
     "skills", "element_type"]
)  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | NASTY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=8,
)


def _questions_or_error(file: str) -> list[Question] | EvalkitError:
    try:
        return list(Questions(file))
    except EvalkitError as error:
        return error


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(_KEYS, _JSON, max_size=5), max_size=3))
def test_any_objects_are_questions_or_one_error(tmp_path: Path, rows: list[Any]) -> None:
    file = _file(tmp_path, "q.jsonl", _lines(*rows))
    found = _questions_or_error(file)
    if isinstance(found, EvalkitError):
        assert "q.jsonl" in found.message
        assert found.hint
    else:
        assert all(one.text and one.answers and all(one.answers) for one in found)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(NASTY, min_size=5, max_size=5), max_size=3), st.sampled_from(["csv", "tsv"])
)
def test_any_table_is_questions_or_one_error(tmp_path: Path, rows: Any, kind: str) -> None:
    mark = "," if kind == "csv" else "\t"
    header = mark.join(("id", "text", "proposition_id", "dependency", "question"))
    text = "\n".join((header, *(mark.join(row) for row in rows)))
    file = tmp_path / f"q.{kind}"
    file.write_text(text, "utf-8", "surrogatepass")
    found = _questions_or_error(str(file))
    assert f"q.{kind}" in found.message if isinstance(found, EvalkitError) else found


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvalkitError, match=r"is not a \.csv, .* file"):
        Questions(_file(tmp_path, "q.txt", "a dog\n"))
    for name, text in (("q.jsonl", "\n"), ("q.csv", ""), ("q.json", "{"), ("r.csv", "text\n")):
        with pytest.raises(EvalkitError) as found:
            Questions(_file(tmp_path, name, text))
        assert name in found.value.message
        assert "prompt" not in found.value.message + found.value.hint
    with pytest.raises(EvalkitError, match="There is no file of questions"):
        Questions(str(tmp_path / "absent.jsonl"))


def test_the_questions_on_a_caption_are_those_on_its_scene() -> None:
    """Each question names what the scene has, and a property depends on its objects."""
    for seed, scene in enumerate(dataset.scenes(dataset.HELD_OUT + 90_000, 400)):
        text = caption(scene, seed, complete=True)
        assert not unasked(text)
        found = scene_questions(text)
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


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ("a plate that has no bananas on it", "says by 'no' what is not there"),
        ("a red circle without a cat", "says by 'without' what is not there"),
        ("a cat, and there isn't a dog", "says by 'isnt' what is not there"),
        ("a photo of a red car", "a colour of something that is no shape"),
        ("a red and blue circle", "a colour of something that is no shape"),
        ("a cat that plays chess", "no question is about words of its prompt: plays, chess"),
        ("a wooden spoon", "no question is about words of its prompt: wooden"),
        ("a cat 猫", "no question is about words of its prompt: 猫"),
    ],
)
def test_no_questions_are_made_on_a_part_of_a_prompt(prompt: str, why: str) -> None:
    """They would be about another prompt, or the opposite."""
    assert scene_questions(prompt) == []
    assert why in Questions("scenes").why_none(prompt)


@pytest.mark.parametrize(
    ("prompt", "questions"),
    [
        ("an orange", ["Is there an orange in the image?"]),
        ("an orange circle", ["Is there a circle in the image?", "Is the circle orange?"]),
        ("a wine glass", ["Is there a wine glass in the image?"]),
    ],
)
def test_questions_on_all_of_a_prompt(prompt: str, questions: list[str]) -> None:
    assert [one.text for one in scene_questions(prompt)] == questions
