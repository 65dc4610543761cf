"""Rows and comparisons by group of prompts are those of the group's prompts alone."""

from __future__ import annotations

import dataclasses
import json
import shutil
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unchecked_runs import unchecked

import evalkit
from evalkit.core import MetricRow, Prompt
from evalkit.prompts.perturb import KINDS, with_variants
from evalkit.run_folder import Run
from evalkit.score import groups as stage
from evalkit.score.groups import MOST_GROUPS, groups_of

METRICS = ("kid", "clip_score", "precision", "retrieval_precision", "fid", "vendi")
GROUPS = ("Animals", "Food", "", "Indoor Scenes")
EXACT = ("value", "low", "high", "count", "requested", "encoder", "reference", "interval", "note")


def list_of(count: int = 48) -> list[Prompt]:
    """Prompts whose groups alternate; one text occurs in two groups."""
    nouns = ("dogs", "cups", "trees", "cars")
    texts = [f"{at} {nouns[at % 3]} beside a blue circle" for at in range(count)]
    texts[5] = texts[0]
    return [Prompt(f"p{at}", text, GROUPS[at % 4]) for at, text in enumerate(texts)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two models; the second one refused all prompts of "Food" and one of "Animals"."""
    folder = tmp_path_factory.mktemp("groups")
    made = evalkit.generate(["noise", "gan"], list_of(), per_prompt=2, out=folder / "run")
    manifest = made.image_folder("gan") / "manifest.0.jsonl"
    records = made.records("gan")
    manifest.unlink()
    refused = [
        dataclasses.replace(one, status="refused_input", file="", sha256="")
        if one.index % 4 == 1 or one.index == 8
        else one
        for one in records
    ]
    made.append_records("gan", refused)
    evalkit.score(made.path, encoders="mini", metrics=METRICS, only=True)
    return made


def of_group(rows: list[MetricRow], group: str) -> dict[tuple[str, str], MetricRow]:
    return {
        (row.model, row.metric): row for row in rows if row.group == group and row.on == "answered"
    }


def alone(run: Run, group: str, folder: Path) -> Run:
    """A run with the prompts and images of one group only."""
    made, prompts = Run(folder), run.prompts()
    chosen = [at for at, prompt in enumerate(prompts) if prompt.group == group]
    made.write_prompts([prompts[at] for at in chosen])
    for order, model in enumerate(run.models()):
        made.register_model(model, model, order, bundled=True)
        records = []
        for record in run.records(model):
            if record.index in chosen:
                own = dataclasses.replace(record, index=chosen.index(record.index))
                if record.file:
                    png = run.image_path(model, record).read_bytes()
                    own = made.save_image(model, own, png)
                records.append(own)
        made.append_records(model, records)
    return made


@pytest.mark.parametrize("group", ["Animals", "Indoor Scenes"])
def test_rows_and_comparisons_are_those_of_a_run_of_these_prompts(
    run: Run, group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "LEAST_IMAGES", 2)
    shutil.copytree(run.path, tmp_path / "whole")
    run = Run(tmp_path / "whole")
    whole = evalkit.score(run.path, encoders="mini", metrics=METRICS, only=True)
    single = alone(run, group, tmp_path / "alone")
    rows = evalkit.score(single.path, encoders="mini", metrics=METRICS, only=True)
    found, expected = of_group(whole, group), of_group(rows, "")
    names = {*METRICS, "refusal_rate"}
    assert {metric for _, metric in found} == names  # no times
    for key, row in found.items():
        for field in EXACT:
            value = getattr(expected[key], field)
            if field == "note":
                value = value.partition("; finite-sample")[0].removeprefix("finite-sample")
                value = "" if value.startswith(" baseline") else value
            assert getattr(row, field) == (
                pytest.approx(value, rel=1e-5, abs=1e-6) if isinstance(value, float) else value
            ), (key, field)
        assert row.baseline is None
    compared, own = run.comparisons(), single.comparisons()
    assert compared is not None
    assert own is not None
    by_metric = {row.metric: row for row in own.rows}
    rows_of_group = [row for row in compared.rows if row.group == group]
    assert {row.metric for row in rows_of_group} == {
        "clip_score",
        "precision",
        "retrieval_precision",
    }
    for row in rows_of_group:
        for field in ("value_a", "value_b", "difference", "low", "high", "p", "prompts", "images"):
            value = getattr(by_metric[row.metric], field)
            assert getattr(row, field) == pytest.approx(value, rel=1e-5, abs=1e-6), field


def test_groups_are_a_family_of_their_own(run: Run, tmp_path: Path) -> None:
    grouped = run.comparisons()
    assert grouped is not None
    whole = tuple(row for row in grouped.rows if not row.group)
    by_group = [row for row in grouped.rows if row.group]
    assert grouped.rows == (*whole, *by_group)
    assert grouped.family == sum(row.p is not None for row in whole)
    assert grouped.group_family == sum(row.p is not None for row in by_group) > 0
    assert f"these {grouped.group_family} comparisons" in grouped.statement
    assert "Food" not in {row.group for row in by_group}  # one model has no image of it
    # Without groups, the comparisons on all prompts are the same.
    plain = Run(tmp_path / "plain")
    plain.write_prompts([dataclasses.replace(prompt, group="") for prompt in run.prompts()])
    shutil.copytree(run.path / "images", plain.path / "images")
    unchecked(plain.path)  # the manifests have hashes of the prompts, groups included
    rows = evalkit.score(plain.path, encoders="mini", metrics=METRICS, only=True)
    found = plain.comparisons()
    assert found is not None
    assert (found.rows, found.family, found.group_family) == (whole, grouped.family, 0)
    assert [row for row in run.metrics() if not row.group] == rows
    assert plain.protocol()["groups"] == {}


def test_a_model_that_refused_all_prompts_of_a_group(run: Run) -> None:
    rows = of_group(run.metrics(), "Food")
    assert rows["noise", "clip_score"].value is not None
    for metric in METRICS:
        row = rows["gan", metric]
        assert (row.value, row.low, row.count, row.requested) == (None, None, 0, 24)
        assert row.note == "not measured: there are no images"
    assert rows["gan", "refusal_rate"].value == 1.0
    assert rows["noise", "refusal_rate"].value == 0.0


def test_properties_of_few_images_say_why_they_have_no_value(run: Run) -> None:
    rows = of_group(run.metrics(), "Animals")
    assert rows["noise", "fid"].value is None
    assert rows["noise", "fid"].note == "not measured: 24 images of this group, fewer than 1,000"
    kid, precision = rows["noise", "kid"], rows["noise", "precision"]
    assert kid.value is not None
    assert "not of this group's subjects only" in kid.caution
    assert "depends on the number of images" in precision.caution
    assert rows["noise", "clip_score"].caution == ""


def test_rows_of_all_prompts_come_first_and_groups_in_their_order(run: Run) -> None:
    order = list(dict.fromkeys(row.group for row in run.metrics()))
    assert order == ["", "Animals", "Food", "Indoor Scenes"]
    before = run.metrics_path.read_bytes(), run.comparisons_path.read_bytes()
    evalkit.score(run.path, encoders="mini", metrics=METRICS, only=True)
    assert (run.metrics_path.read_bytes(), run.comparisons_path.read_bytes()) == before
    assert run.protocol()["groups"] == {
        "measured": {"Animals": 12, "Food": 12, "Indoor Scenes": 12},
        "left_out": [],
        "reason": "",
        "prompts_without_group": 12,
    }


def test_the_files_follow_their_schemas(run: Run) -> None:
    for path in (run.metrics_path, run.comparisons_path):
        schema = resources.files("evalkit.score").joinpath(f"{path.stem}.schema.json").read_text()
        jsonschema.validate(json.loads(path.read_text()), json.loads(schema))


def test_a_table_of_prompts_with_categories(tmp_path: Path) -> None:
    """The columns of PartiPrompts."""
    nouns = [*"abc", "d " * 100, *"ef"]
    rows = [f"a {noun}\t{kind}\tBasic\t" for kind, noun in zip("AABBBC", nouns, strict=True)]
    (tmp_path / "list.tsv").write_text("Prompt\tCategory\tChallenge\tNote\n" + "\n".join(rows))
    run = evalkit.run(
        ["noise"], tmp_path / "list.tsv", encoders="mini", metrics="clip_score", out=tmp_path / "r"
    )
    frame = evalkit.load(run.path).frame().query("metric == 'clip_score'")
    assert list(zip(frame.group, frame["count"], strict=True)) == [
        ("", 6), ("A", 2), ("B", 3), ("C", 1),
    ]  # fmt: skip
    text = (run.report_path / "report.md").read_text("utf-8")
    assert "<summary>By group of prompts</summary>" in text
    page = (run.report_path / "index.html").read_text("utf-8")
    groups = page[page.index('id="groups"') :]
    limits = groups.index("<details>")
    assert groups.index("<table") < limits  # the values come first
    assert "1 prompt exceeds" not in groups[:limits]
    for form in (text, groups[limits:]):
        assert ", B: 1 prompt exceeds the encoder" in form
    assert (run.report_path / "tables/groups.tex").is_file()


@pytest.mark.parametrize(
    ("names", "measured", "left_out", "without"),
    [
        ("", [], [], 0),
        ("aaaa", [], [], 0),
        ("----", [], [], 0),
        ("aa--", ["a"], [], 2),
        ("abcd", [], [*"abcd"], 0),
        ("baab", ["b", "a"], [], 0),
    ],
)
def test_which_groups_are_measured(
    names: str, measured: list[str], left_out: list[str], without: int
) -> None:
    prompts = [Prompt(str(at), "x", name.strip("-")) for at, name in enumerate(names)]
    found = groups_of(prompts)
    assert (list(found.members), list(found.left_out), found.without) == (
        measured, left_out, without,
    )  # fmt: skip
    assert bool(found.notes()) == bool(left_out or without)


@pytest.mark.parametrize("group", ["", "animals"])
def test_variants_of_prompts_give_their_originals_no_group(group: str) -> None:
    prompts = with_variants([Prompt(str(at), f"a cat {at}", group) for at in range(3)], KINDS, 0)
    found = groups_of(prompts)
    assert "uppercase" in found.members
    assert group not in found.members
    assert (found.without, found.notes()) == (0, [])


@given(st.lists(st.integers(0, 60), max_size=300))
@settings(max_examples=60, deadline=None)
def test_the_largest_groups_are_measured_in_the_order_of_the_prompts(numbers: list[int]) -> None:
    prompts = [Prompt(str(at), "x", f"g{number}") for at, number in enumerate(numbers)]
    found = groups_of(prompts)
    order = list(dict.fromkeys(prompt.group for prompt in prompts))
    assert list(found.members) == [name for name in order if name in found.members]
    if len(order) < 2:
        assert not found.members
        assert not found.left_out
        return
    assert sorted([*found.members, *found.left_out]) == sorted(order)
    assert len(found.members) <= MOST_GROUPS
    sizes = {name: sum(prompt.group == name for prompt in prompts) for name in order}
    if found.members:
        assert min(map(len, found.members.values())) >= max(
            (sizes[name] for name in found.left_out), default=0
        )
        assert bool(found.left_out) == (len(order) > MOST_GROUPS)
    for name, places in found.members.items():
        assert {prompts[at].group for at in places} == {name}
        assert len(places) == sizes[name]


def test_left_out_groups_are_in_the_log_and_in_the_protocol(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    count = MOST_GROUPS + 2
    prompts = [Prompt(str(at), f"text {at}", f"g{at % count}") for at in range(2 * count)]
    run = evalkit.generate(["noise"], prompts, out=tmp_path / "run")
    with caplog.at_level("INFO", logger="evalkit"):
        rows = evalkit.score(run.path, encoders="mini", metrics="clip_score", only=True)
    assert len({row.group for row in rows}) == MOST_GROUPS + 1
    said = "2 groups are not measured (only the 24 with the most prompts are): g24, g25"
    assert said in caplog.messages
    assert run.protocol()["groups"]["left_out"] == ["g24", "g25"]
    evalkit.report(run.path)
    text = (run.report_path / "report.md").read_text("utf-8")
    assert "Not measured: 2 more groups" in text
