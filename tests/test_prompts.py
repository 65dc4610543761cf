"""Prompt lists: four formats, and one clear error for every other file."""

import csv
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.core import EvalkitError, Prompt
from evalkit.prompts import duplicate_count, prompts_from_list, read_prompts
from evalkit.prompts.text import is_blank

TEXTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)
    .map(str.strip)
    .filter(lambda text: not is_blank(text)),
    min_size=1,
    max_size=8,
)
KEYS = ["id", "text", "group", "images", "annotations", "image_id", "caption"]
QUICK = settings(deadline=None, max_examples=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prompts")


def read(folder: Path, name: str, data: bytes | str) -> list[Prompt]:
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return read_prompts(folder / name)


def prompts_or_sentence(folder: Path, name: str, data: bytes | str) -> bool:
    """Whether the result is a list of prompts or an EvalkitError of one sentence."""
    try:
        prompts = read(folder, name, data)
    except EvalkitError as error:
        return error.exit_code == 2 and error.message.endswith(".") and "\n" not in error.message
    return len({prompt.id for prompt in prompts}) == len(prompts) > 0


@QUICK
@given(
    texts=TEXTS,
    end=st.sampled_from(["\n", "\r\n", "\n\n", "\r\n  \r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_txt_keeps_every_line(folder: Path, texts: list[str], end: str, mark: str) -> None:
    if texts[0].startswith("\ufeff") and not mark:  # indistinguishable from a byte order mark
        return
    prompts = read(folder, "a.txt", mark + end.join(texts) + end)
    assert [prompt.text for prompt in prompts] == texts
    assert [prompt.id for prompt in prompts] == [f"{at:05d}" for at in range(len(texts))]
    assert duplicate_count(prompts) == len(texts) - len(set(texts))


@QUICK
@given(texts=TEXTS, key=st.sampled_from(["text", "prompt", "caption"]))
def test_jsonl(folder: Path, texts: list[str], key: str) -> None:
    rows = [{"id": at, key: text, "group": "g"} for at, text in enumerate(texts)]
    expected = [Prompt(str(at), text, "g") for at, text in enumerate(texts)]
    assert read(folder, "a.jsonl", "\n".join(json.dumps(row) for row in rows)) == expected


@QUICK
@given(texts=TEXTS, key=st.sampled_from(["text", "Prompt", "caption"]))
def test_csv(folder: Path, texts: list[str], key: str) -> None:
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows(
        [("group", key, "extra"), *(("g", text, "1") for text in texts)]
    )
    assert read(folder, "a.csv", file.getvalue()) == [
        Prompt(f"{at:05d}", text, "g") for at, text in enumerate(texts)
    ]


def test_coco_gives_the_first_caption_of_each_image(folder: Path) -> None:
    captions = [(9, 7, "second of 7"), (3, 7, "first of 7"), (5, 2, "of 2")]
    data = {
        "images": [{"id": 7}, {"id": 2}, {"id": 4}],
        "annotations": [
            {"id": number, "image_id": image, "caption": text} for number, image, text in captions
        ],
    }
    assert read(folder, "coco.json", json.dumps(data)) == [
        Prompt("2", "of 2"),
        Prompt("7", "first of 7"),
    ]


@settings(deadline=None, max_examples=150)
@given(
    data=st.binary(max_size=200),
    name=st.sampled_from(["x.txt", "x.jsonl", "x.csv", "x.tsv", "x.json"]),
)
def test_any_bytes_give_prompts_or_one_error(folder: Path, data: bytes, name: str) -> None:
    assert prompts_or_sentence(folder, name, data)


@settings(deadline=None, max_examples=150)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    ),
    name=st.sampled_from(["x.jsonl", "x.json"]),
)  # fmt: skip
def test_any_json_gives_prompts_or_one_error(folder: Path, value: object, name: str) -> None:
    assert prompts_or_sentence(folder, name, json.dumps(value))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b"\xef\xbb\xbf\r\n \n", "is empty"),
        ("a.txt", b"a cat\nb\0c\n", "binary file"),
        ("a.txt", b"\x89PNG\r\n\x1a\n", "a PNG image"),
        ("a.txt", "a cat\n".encode("utf-16"), "UTF-16"),
        ("a.txt", b"a cat\na dog\nna\xefve\n", "Line 3 of .* not valid UTF-8"),
        (
            "a.txt",
            b"a cat\n" + b"x" * 1_000_000 + b"\n",
            "Line 2 of .* has 1000000 bytes; expected at most 65536",
        ),
        ("a.txt", b"a cat\na\x1b[31mdog\n", r"Line 2 of .* control character U\+001B"),
        ("a.txt", b"a cat\ra dog\r", r"control character U\+000D"),
        ("a.txt", "a\x85b\n".encode(), r"control character U\+0085"),
        (
            "a.jsonl",
            b'{"text": "a"}\n{"txt": "b"}\n',
            "Line 2 of .* has the columns txt; expected one of",
        ),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": \n', "Line 3 of .* not valid JSON"),
        ("a.jsonl", b'{"text": ""}\n', "Line 1 of .* is empty"),
        ("a.jsonl", b'{"text": 5}\n', "is not a text but 5"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', r"U\+D800"),
        (
            "a.jsonl",
            b'{"text": "a", "id": 1}\n{"text": "b", "id": "1"}\n',
            "Line 2 of .* id '1' of line 1",
        ),
        ("a.jsonl", b'{"text": "a", "id": true}\n', "has the id True"),
        ("a.jsonl", b"[" * 5000, "not valid JSON"),
        ("a.csv", b"prompt,id\na red, cat,3\n", "Line 2 of .* has 3 fields; expected 2"),
        ("a.csv", b"id|prompt\n1|a\n", r"has the columns id\|prompt; expected one of"),
        ("a.csv", b"Prompt,prompt\na,b\n", "expected each column once"),
        ("a.txt", b"prompt\tgroup\na\tb\n", "every line has tabs"),
        ("a.txt", b'{"prompt": "a"}\n{"prompt": "b"}\n', "every line has JSON objects"),
        ("a.txt", b'["a", "b"]', "but it is JSON"),
        ("a.txt", b'[\n"a",\n"b"\n]', "but it is JSON"),
        ("a.txt", b'{"prompt": "a"}', "but it is JSON"),
        ("a.txt", b"id;prompt\n1;a cat\n", "its first line is the header of a table"),
        ("a.txt", b"id,prompt\n1,a cat\n", "its first line is the header of a table"),
        ("a.parquet", b"PAR1 and more", "is not a readable parquet file"),
        ("a.json", b'{"a": 3}', "Item a of .* is 3; expected an object"),
        ("a.json", b"3", "contains an int as JSON"),
        ("a.csv", b'prompt\n"a\n', "not a valid table"),
        ("a.csv", b"prompt,id\n,3\n", "Line 2 of .* is empty"),
        ("a.csv", b"prompt\n", "no prompt"),
        ("a.json", b'{"annotations": [3]}', "does not contain COCO captions"),
        ("a.json", b'{"images": [], "annotations": []}', "no prompt"),
        (
            "a.json",
            b'{"images": [], "annotations": [{"id": 1, "image_id": 2, "caption": "a"}]}',
            "does not list",
        ),
    ],
)
def test_invalid_files_are_refused(folder: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(EvalkitError, match=message) as error:
        read(folder, name, data)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_are_refused(folder: Path) -> None:
    with pytest.raises(EvalkitError, match="There is no prompts file"):
        read_prompts(folder / "none.txt")
    (folder / "empty").mkdir()
    with pytest.raises(EvalkitError, match=r"The prompt folder .* has no \.txt files"):
        read_prompts(folder / "empty")


def test_a_line_of_the_largest_length_is_read(folder: Path) -> None:
    assert len(read(folder, "a.txt", "x" * 65_536 + "\n")[0].text) == 65_536


def test_lists_of_python() -> None:
    assert prompts_from_list([" a cat ", Prompt("x", "a dog", "g")]) == [
        Prompt("00000", "a cat"),
        Prompt("x", "a dog", "g"),
    ]
    for bad in (
        ["a", ""],
        ["a\nb"],
        [Prompt("1", "a"), Prompt("1", "b")],
        [],
        "a cat",
        ["\ud800"],
        [None],
    ):
        with pytest.raises(EvalkitError):
            prompts_from_list(bad)  # type: ignore[arg-type]


def test_the_first_of_several_captions_is_the_prompt(tmp_path: Path) -> None:
    path = tmp_path / "photos.jsonl"
    path.write_text(
        '{"id": "7", "captions": ["a cat", "a kitten"]}\n{"id": "8", "captions": []}\n',
        encoding="utf-8",
    )
    with pytest.raises(EvalkitError, match="Line 2 of "):
        read_prompts(path)
    path.write_text('{"id": "7", "captions": ["a cat", "a kitten"]}\n', encoding="utf-8")
    assert [(prompt.id, prompt.text) for prompt in read_prompts(path)] == [("7", "a cat")]


def test_tsv_as_partiprompts_has_it(folder: Path) -> None:
    text = 'Prompt\tCategory\tChallenge\na 5" cube\tAbstract\tBasic\r\na dog, red\tAnimals\tBasic\n'
    assert read(folder, "parti.tsv", text) == [
        Prompt("00000", 'a 5" cube', "Abstract"),
        Prompt("00001", "a dog, red", "Animals"),
    ]


@pytest.mark.parametrize("invisible", ["\u200b", "\ufeff\u200d ", "\u2060\u00a0"])
def test_lines_without_a_visible_character_are_blank(folder: Path, invisible: str) -> None:
    assert read(folder, "a.txt", f"a dog\n{invisible}\n") == [Prompt("00000", "a dog")]
    with pytest.raises(EvalkitError, match=r"Line 1 of .* is empty"):
        read(folder, "a.jsonl", json.dumps({"prompt": invisible}))


@pytest.mark.parametrize("name", ["a cat on a chair " * 20, "a\0b"])
def test_a_name_that_no_file_can_have_is_one_sentence(name: str) -> None:
    with pytest.raises(EvalkitError, match="There is no prompts file"):
        read_prompts(name)


GENEVAL = [
    {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a bench"},
    {"tag": "counting", "include": [], "prompt": "two cows"},
]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "geneval.jsonl",
            "\n".join(map(json.dumps, GENEVAL)),
            [Prompt("00000", "a bench", "single_object"), Prompt("00001", "two cows", "counting")],
        ),
        (
            "geneval2.jsonl",
            '{"prompt": "two red cows", "atom_count": 3, "skills": ["count", "colour", "count"]}',
            [Prompt("00000", "two red cows", "3 atoms")],
        ),
        (
            "dsg.csv",
            # Its category is that of the question and says nothing about the prompt.
            "item_id,text,proposition_id,category_broad,question_natural_language\n"
            'p1,"a cat, black",1,entity,Is there a cat?\n'
            'p1,"a cat, black",2,attribute,Is the cat black?\n'
            "p2,a dog,1,global,Is there a dog?\n",
            [Prompt("p1", "a cat, black"), Prompt("p2", "a dog")],
        ),
        (
            "tifa.json",
            '[{"id": "c1", "caption": "a cat", "question": "a cat?"},'
            ' {"id": "c1", "caption": "a cat", "question": "a dog?"}]',
            [Prompt("c1", "a cat")],
        ),
        ("list.json", '["a cat", {"prompt": "a dog"}]', [("00000", "a cat"), ("00001", "a dog")]),
        ("one.json", '{"prompt": "a", "id": "7"}', [("7", "a")]),
        ("in.json", '{"prompts": ["a cat"]}', [("00000", "a cat")]),
        (
            "ids.json",
            '{"x1": "a cat", "x2": {"text": "a dog"}}',
            [("x1", "a cat"), ("x2", "a dog")],
        ),
        (
            "hpsv2.json",
            '{"anime": ["a cat", "a dog"], "photo": ["a cat"]}',
            [
                Prompt("00000", "a cat", "anime"),
                Prompt("00001", "a dog", "anime"),
                Prompt("00002", "a cat", "photo"),
            ],
        ),
        ("short.tsv", "Prompt\tCategory\tNote\na cat\n", [("00000", "a cat")]),
        ("semicolons.csv", "id;prompt\n7;a cat\n", [("7", "a cat")]),
        ("challenge.csv", "prompt,challenge\na cat,hard\n", [Prompt("00000", "a cat", "hard")]),
    ],
)
def test_lists_of_benchmarks(folder: Path, name: str, text: str, expected: list) -> None:
    assert read(folder, name, text) == [
        item if isinstance(item, Prompt) else Prompt(*item) for item in expected
    ]


def test_columns_are_named_where_their_names_say_nothing(folder: Path) -> None:
    (folder / "t.csv").write_text("what,kind,prompt\na cat,animal,x\n")
    assert read_prompts(folder / "t.csv", "what", "kind") == [Prompt("00000", "a cat", "animal")]
    with pytest.raises(EvalkitError, match=r"has no column 'wat'; it has what, kind, prompt"):
        read_prompts(folder / "t.csv", "wat")
    (folder / "t.txt").write_text("a cat\na dog\n")
    for path in (folder / "t.txt", "suite"):
        with pytest.raises(EvalkitError, match="columns"):
            read_prompts(path, "what")


def test_a_question_list_with_one_id_for_two_prompts_is_refused(folder: Path) -> None:
    text = "item_id,text,question\np1,a cat,x\np1,a dog,y\n"
    with pytest.raises(EvalkitError, match="has the id 'p1' of line 2"):
        read(folder, "dsg.csv", text)


def test_a_folder_of_one_prompt_per_file(folder: Path) -> None:
    place = folder / "dpg"
    place.mkdir()
    for name in ("10", "2"):
        (place / f"{name}.txt").write_text(f"a long prompt {name}\n")
    assert read_prompts(place) == [Prompt("10", "a long prompt 10"), Prompt("2", "a long prompt 2")]
    (place / "2.txt").write_text("a\nb\n")
    with pytest.raises(EvalkitError, match=r"2\.txt has 2 lines; in a folder, each file holds one"):
        read_prompts(place)


def test_parquet_as_hugging_face_has_it(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = {"prompt": ["a cat", "a dog"], "category": ["x", "y"], "image": [b"1", b"2"]}
    parquet.write_table(pyarrow.table(table), folder / "t.parquet")
    assert read_prompts(folder / "t.parquet") == [
        Prompt("00000", "a cat", "x"),
        Prompt("00001", "a dog", "y"),
    ]


def test_a_key_twice_loses_no_prompt(folder: Path) -> None:
    for name, text in (
        ("a.json", '{"x": "a cat", "x": "a dog"}'),
        ("a.jsonl", '{"id": 1, "id": 2}'),
    ):
        with pytest.raises(EvalkitError, match=r"has the key '(x|id)' twice in one object"):
            read(folder, name, text)


def test_parti_prompts(folder: Path) -> None:
    """Its 1,632 rows and 12 categories, with quotes that are not closed and texts that repeat."""
    kinds = ['a "sign', 'the dog\'s "hat"', '"Fly" on a wall', "42", "a photo of x. ", "a, b; c"]
    rows = [
        f"{kinds[at % 6]} {at % 816}\tCategory {at % 12}\tBasic\t{chr(34) * (at % 3)}"
        for at in range(1632)
    ]
    prompts = read(folder, "P.tsv", "Prompt\tCategory\tChallenge\tNote\n" + "\n".join(rows) + "\n")
    assert [f"{p.text}\t{p.group}" for p in prompts] == [
        row[: row.index("\tBasic")] for row in rows
    ]
    assert len(prompts) == 1632
    assert len({prompt.group for prompt in prompts}) == 12
    assert duplicate_count(prompts) > 0


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="pipes have no names")
def test_a_pipe_is_read_as_often_as_a_command_needs_it() -> None:
    ends = os.pipe()
    os.write(ends[1], b"a cat\na dog\n")
    os.close(ends[1])
    try:
        for _ in range(2):
            found = read_prompts(f"/dev/fd/{ends[0]}")
            assert [prompt.text for prompt in found] == ["a cat", "a dog"]
    finally:
        os.close(ends[0])
