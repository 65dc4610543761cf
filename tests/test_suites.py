"""Published prompt lists: what a file claims to be, and what it is."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

import evalkit
from evalkit import EvalkitError, Prompt
from evalkit.prompts import read_prompts, shipped_prompts
from evalkit.prompts.suites import claimed, doubt, identity, stated, suites, texts_sha256


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("PartiPrompts.tsv", "parti"),
        ("data/parti-prompts_v2.csv", "parti"),
        ("DrawBench.csv", "drawbench"),
        ("geneval2_data.jsonl", "geneval2"),
        ("evaluation_metadata.jsonl", "geneval"),
        ("coco_30k.txt", "coco-30k"),
        ("party_prompts_of_mine.txt", ""),
        ("prompts.txt", ""),
    ],
)
def test_the_name_of_a_file_says_which_list_it_is(file: str, name: str) -> None:
    found = claimed(file)
    assert (found.name if found else "") == name


def test_a_list_that_is_not_what_its_name_says_is_said_to_be_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    file = tmp_path / "PartiPrompts.tsv"
    file.write_text("Prompt\tCategory\na red cat\tAnimals\na blue dog\tAnimals\n")
    evalkit.generate("noise", file, out=tmp_path / "part")
    assert "PartiPrompts.tsv has 2 prompts and PartiPrompts has 1,632" in caplog.text
    caplog.clear()
    evalkit.generate("noise", file.rename(tmp_path / "mine.tsv"), out=tmp_path / "mine")
    assert not caplog.text


def test_the_protocol_tells_two_lists_apart(tmp_path: Path) -> None:
    hashes = []
    for at, prompts in enumerate((["a cat", "a dog"], ["a dog", "a cat"], ["a cat", "a dog"])):
        run = evalkit.generate("noise", prompts, out=tmp_path / str(at))
        evalkit.score(run.path, encoders="pixels")
        hashes.append(run.protocol()["prompts"]["sha256"])
    assert hashes[0] == hashes[2] != hashes[1]


def test_bundled_lists_hold_what_is_stated() -> None:
    rows = {row["name"]: row for row in evalkit.list_suites()}
    assert rows.keys() == suites().keys()
    for name, row in rows.items():
        if suites()[name].is_bundled:
            assert row["use"] == f"ships with evalkit: `--prompts {name}`"
            prompts = read_prompts(name)
            assert len(prompts) == suites()[name].prompts
            assert texts_sha256([one.text for one in prompts]) == suites()[name].sha256
            assert row["recognised by"] == "content"
        assert row["use"].startswith("ships") == (
            name in ("suite", "geneval", "parti", "t2i-compbench")
        )
        assert row["licence"]


def test_other_groups_of_a_bundled_list() -> None:
    challenges = Counter(one.group for one in read_prompts("parti", group_column="Challenge"))
    assert len(challenges) == 11
    assert sum(challenges.values()) == 1632
    part = read_prompts("parti:Quantity", group_column="Challenge")
    assert len(part) == challenges["Quantity"] > 0
    with pytest.raises(EvalkitError, match="geneval have no columns"):
        read_prompts("geneval", group_column="tag")
    with pytest.raises(EvalkitError, match="no columns"):
        read_prompts("parti", text_column="Prompt")


def test_a_run_records_which_list_its_prompts_are(tmp_path: Path) -> None:
    parti = read_prompts("parti")

    def said(source: str, texts: list[str]) -> str:
        return stated(source, [Prompt("", text) for text in texts])

    texts = [one.text for one in parti]
    known = "PartiPrompts, by the SHA-256 of its prompts; licence: Apache-2.0"
    assert said("parti", texts) == said("mine.txt", texts) == said("", texts) == known
    part = "PartiPrompts (Animals), as evalkit has it; licence: Apache-2.0"
    assert said("parti:Animals", texts[:3]) == part
    assert said("mine.txt", texts[:3]) == said("", texts[:3]) == ""
    by_name = "DrawBench, by its name and the number of its prompts only; licence: not stated"
    assert said("a/DrawBench.csv", [f"text {at}" for at in range(200)]) == by_name
    doubted = "DrawBench.csv has 3 prompts and DrawBench has 200: values on it are not values on"
    assert said("a/DrawBench.csv", texts[:3]).startswith(doubted)
    listed = tmp_path / "DrawBench.txt"
    listed.write_text("\n".join(f"text {at}" for at in range(200)))
    run = evalkit.run("noise", listed, metrics="duplicates", encoders="pixels", out=tmp_path / "r")
    assert run.protocol()["prompts"]["list"] == by_name
    page = evalkit.report(run.path)
    assert by_name in page.read_text()
    assert by_name in (page.parent / "report.md").read_text()


def test_parti_and_compbench_have_their_groups(tmp_path: Path) -> None:
    parti = read_prompts("parti")
    assert (parti[0].text, parti[0].group) == ("bond", "Abstract")
    assert len({prompt.group for prompt in parti}) == 12
    animals = read_prompts("parti:Animals")
    assert len(animals) == 314
    assert all(prompt.group == "Animals" for prompt in animals)
    groups = ["color", "shape", "texture", "spatial", "3d_spatial", "numeracy", "non_spatial"]
    assert list(suites()["t2i-compbench"].parts) == [*groups, "complex"]
    for group, known in suites()["t2i-compbench"].parts.items():
        part = read_prompts(f"t2i-compbench:{group}")
        assert len(part) == 300
        assert texts_sha256([prompt.text for prompt in part]) == known
    assert read_prompts("t2i-compbench:color")[0].text == "a green bench and a blue bowl"
    with pytest.raises(EvalkitError, match="have no group 'colour'"):
        read_prompts("t2i-compbench:colour")
    run = evalkit.generate("noise", "t2i-compbench:numeracy", out=tmp_path / "run")
    assert len(run.prompts()) == 300


@pytest.mark.parametrize(
    ("name", "list_", "said"),
    [
        ("PartiPrompts.tsv", "parti", "has the prompts of PartiPrompts, by"),
        ("x.tsv", "parti", "has the prompts of PartiPrompts, by"),
        ("color_val.txt", "t2i-compbench:color", "has the prompts of T2I-CompBench (color), by"),
        ("compbench.txt", "t2i-compbench:complex", "of T2I-CompBench (complex), by"),
    ],
)
def test_copies_of_shipped_lists_are_recognised(
    tmp_path: Path, name: str, list_: str, said: str
) -> None:
    texts = [prompt.text for prompt in read_prompts(list_)]
    header, end = ("Prompt\tCategory\n", "\tc\n") if name.endswith(".tsv") else ("", "\r\n")
    file = tmp_path / name
    file.write_bytes((header + "".join(f"{text}{end}" for text in texts)).encode())
    prompts = read_prompts(file)
    assert said in identity(str(file), prompts)
    assert not doubt(str(file), prompts)
    assert not identity(str(tmp_path / "y.txt"), prompts[1:])


@pytest.mark.parametrize("name", ["color_val.txt", "t2i-compbench-color.txt", "mine.txt"])
def test_a_changed_copy_of_one_list_of_compbench_is_said_to_differ(
    tmp_path: Path, name: str
) -> None:
    texts = [prompt.text for prompt in read_prompts("t2i-compbench:color")]
    file = tmp_path / name
    said = f"{name} has 300 prompts, {{}} of the 300 of T2I-CompBench (color), and is another list"
    for changed, same in ((["a mauve bench", *texts[1:]], 299), (texts[::-1], 300)):
        file.write_text("\n".join(changed))
        prompts = read_prompts(file)
        assert said.format(same) in doubt(str(file), prompts)
        assert not identity(str(file), prompts)
    file.write_text("\n".join(texts[:150]))
    assert "another list" not in doubt(str(file), read_prompts(file))


def test_variants_do_not_make_a_list_another_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [prompt.text for prompt in read_prompts("t2i-compbench:color")]
    (file := tmp_path / "color_val.txt").write_text("\n".join(texts))
    with caplog.at_level("INFO", "evalkit"):
        evalkit.generate("noise", file, out=tmp_path / "run", perturb="uppercase")
    assert "color_val.txt has the prompts of T2I-CompBench (color)" in caplog.text


def _geneval_file(path: Path, change: bool = False) -> Path:
    texts = [prompt.text for prompt in read_prompts("geneval")]
    if change:
        texts[0], texts[1] = texts[1], texts[0]
    path.write_text("\n".join(texts) + "\n")
    return path


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("mine.txt", False, "mine.txt has the prompts of GenEval, by their SHA-256"),
        ("mine.txt", True, ""),
        ("generation_prompts.txt", False, "has the prompts of GenEval, by their SHA-256"),
        ("generation_prompts.txt", True, "has as many prompts as GenEval, but others, or in"),
        ("geneval2.txt", False, "has the prompts of GenEval, by their SHA-256"),
    ],
)
def test_a_list_is_recognised_by_its_content(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, change: bool, said: str
) -> None:
    file = _geneval_file(tmp_path / name, change)
    caplog.set_level("INFO", "evalkit")
    evalkit.generate("noise", file, out=tmp_path / "run")
    assert said in caplog.text
    assert ("GenEval" in caplog.text) == bool(said)
    wrong = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("not values on" in text for text in wrong) == ("but others" in said or "2" in name)


def test_of_a_list_without_a_hash_the_name_and_the_number_are_checked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "evalkit")
    file = tmp_path / "DrawBench.txt"
    file.write_text("".join(f"text {at}\n" for at in range(200)))
    evalkit.generate("noise", file, out=tmp_path / "run")
    assert "only its name and the number of its prompts (200) were checked" in caplog.text
    rows = {row["name"]: row for row in evalkit.list_suites()}
    assert rows["drawbench"]["recognised by"] == "name and number"


def test_the_list_of_suites_says_how_to_get_each() -> None:
    for row in evalkit.list_suites():
        suite = suites()[row["name"]]
        assert row["sha256 of prompts"] == (suite.sha256 or "not known")
        if suite.is_bundled:
            assert row["use"] == f"ships with evalkit: `--prompts {suite.name}`"
            assert len(read_prompts(suite.name)) == int(row["prompts"])
        else:
            assert suite.published
            assert row["use"] == f"get {suite.published} from the address: `--prompts FILE`"


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_the_package_is_read_packed_or_not(tmp_path: Path, packed: bool) -> None:
    text = "Prompt\tCategory\na red cat\tAnimals\na blue hut\tBuildings\n"
    file = tmp_path / ("list.tsv.gz" if packed else "list.tsv")
    file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert shipped_prompts(file) == [
        Prompt("00000", "a red cat", "Animals"),
        Prompt("00001", "a blue hut", "Buildings"),
    ]


@pytest.mark.parametrize("name", ["drawbench", "drawbench:Colors"])
def test_a_known_list_that_does_not_come_with_evalkit_says_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EvalkitError) as found:
        evalkit.generate("noise", name, out="run")
    assert "DrawBench is a known list of 200 prompts" in found.value.message
    assert suites()["drawbench"].address in found.value.hint
    assert suites()["drawbench"].licence in found.value.hint
    Path(name).write_text("a cat\n")  # a file of this name is a file
    assert len(read_prompts(name)) == 1
