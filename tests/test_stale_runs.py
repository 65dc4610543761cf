"""What a run states is believed only where it agrees with the images that the run has."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tomli_w

import evalkit
from evalkit.core import EvalkitError, Prompt
from evalkit.report.facts import read_facts
from evalkit.run_folder.results import Results

PROMPTS = [Prompt("x", "a red dog", "dogs"), Prompt("y", "a cat"), Prompt("z", "a tree")]


def make(path: Path, **more: object) -> evalkit.Run:
    settings = {"encoders": "pixels", "metrics": ["duplicates", "vendi"], **more}
    return evalkit.run({"a": "noise", "b": "noise"}, PROMPTS, out=path, **settings)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("stale") / "run", seed=3, per_prompt=2).path


@pytest.fixture
def run(scored: Path, tmp_path: Path) -> evalkit.Run:
    shutil.copytree(scored, tmp_path / "run")
    return evalkit.Run(tmp_path / "run")


EDITS: list[Callable[[dict], object]] = [
    lambda values: values.update(seed=5),
    lambda values: values.pop("seed"),
    lambda values: values.update(per_prompt=1),
    lambda values: values.update(models=["a=gan", "b=noise"]),
    lambda values: values.update(models=["a=noise"]),
    lambda values: values.update(model={"a": {"size": 16}}),
    lambda values: values.update(prompts="others.jsonl"),
]


@pytest.mark.parametrize("edit", EDITS)
def test_a_configuration_that_contradicts_the_images_is_refused(
    run: evalkit.Run, edit: Callable[[dict], object]
) -> None:
    values = tomllib.loads(run.config_path.read_text())
    edit(values)
    run.config_path.write_text(tomli_w.dumps(values))
    for call in (evalkit.score, evalkit.report, evalkit.tables):
        with pytest.raises(EvalkitError, match=r"run\.toml contradicts the images of the run"):
            call(run.path)
    with pytest.raises(EvalkitError, match=r"run\.toml contradicts the images of the run"):
        run.frame("images")


def test_a_table_of_images_from_a_manifest_with_lost_rows_says_so(
    run: evalkit.Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    assert set(run.frame("images").status) == {"ok"}
    assert not caplog.text
    [manifest] = run.image_folder("a").glob("manifest.*.jsonl")
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:2]))
    assert list(run.frame("images").status).count("missing") == 4
    assert "the images of a are not those that were scored" in caplog.text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": 5}, "with other seeds"),
        ({"per_prompt": 1}, "2 images per prompt"),
        ({"options": {"a": {"size": 16}}}, r"a\.size 32 -> 16"),
    ],
)
def test_a_lost_configuration_does_not_let_other_images_in(
    run: evalkit.Run, given: dict, message: str
) -> None:
    run.config_path.unlink()
    settings = {"seed": 3, "per_prompt": 2, **given}
    with pytest.raises(EvalkitError, match=message):
        evalkit.generate({"a": "noise", "b": "noise"}, PROMPTS, out=run.path, **settings)
    assert not run.config_path.exists()


def test_values_that_no_image_depends_on_may_be_edited(run: evalkit.Run) -> None:
    values = tomllib.loads(run.config_path.read_text()) | {"batch_size": 1, "metrics": ["vendi"]}
    run.config_path.write_text(tomli_w.dumps(values))
    assert evalkit.score(run.path)


@pytest.mark.parametrize(("field", "value"), [("text", "a blue dog"), ("group", "cats")])
def test_prompts_that_were_edited_after_the_images_were_made(
    run: evalkit.Run, field: str, value: str
) -> None:
    first, *rest = run.prompts_path.read_text().splitlines(keepends=True)
    run.prompts_path.write_text(
        "".join([json.dumps(json.loads(first) | {field: value}) + "\n", *rest])
    )
    for call in (
        lambda: evalkit.score(run.path),
        lambda: evalkit.report(run.path),
        lambda: evalkit.generate(out=run.path),
        lambda: evalkit.baseline_save(f"{run.path}:a", out=run.path / "b.json", reason="x"),
    ):
        with pytest.raises(EvalkitError, match=r"prompts\.jsonl has another text or group"):
            call()


FILES = ("metrics.json", "comparisons.json", "scores.csv", "protocol.json", "image_checks.json")


@pytest.mark.parametrize("name", [*FILES, "metrics.flat.json"])
def test_a_derived_file_of_another_scoring_is_refused_until_it_is_written_again(
    run: evalkit.Run, tmp_path: Path, name: str
) -> None:
    path = run.path / name
    before = path.read_bytes()
    path.write_bytes(before.rstrip() + b"\n\n")  # the same values: the hash alone tells
    call = evalkit.tables
    if name == "metrics.flat.json":
        call = lambda path: evalkit.export_tracker(path, Tracker())  # noqa: E731
    with pytest.raises(EvalkitError, match="it was edited, comes from another run") as found:
        call(run.path)
    assert str(path) in found.value.message
    assert found.value.hint == f"Write it again with `evalkit score {run.path}`."
    evalkit.score(run.path)
    assert path.read_bytes() == before
    call(run.path)


class Tracker:
    def log(self, metrics: object, files: object) -> None: ...


def test_a_scoring_that_was_stopped_leaves_no_file_that_counts(run: evalkit.Run) -> None:
    run.begin_scoring()
    with pytest.raises(EvalkitError, match="or the scoring was stopped"):
        run.metrics()
    assert evalkit.score(run.path) == run.metrics()


def test_the_page_says_which_images_are_not_those_that_were_scored(
    run: evalkit.Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    one, other = (run.image_folder(model) / "00000-0.png" for model in "ab")
    one.write_bytes((run.image_folder("a") / "00001-0.png").read_bytes())
    other.unlink()
    page = evalkit.report(run.path).read_text()
    for model in "ab":
        said = f"1 of 6 images of {model} are gone or have changed since they were made"
        assert said in page
        assert said in caplog.text
    assert "images/a/00000-0.png" not in page
    assert "images/a/00001-0.png" in page
    with pytest.raises(EvalkitError, match="2 of 12 images"):
        evalkit.export_imagefolder(run.path, out=run.path.parent / "exported")


def test_images_that_were_added_after_the_scoring(
    run: evalkit.Run, caplog: pytest.LogCaptureFixture
) -> None:
    evalkit.generate(out=run.path, per_prompt=3)
    caplog.set_level("WARNING", "evalkit")
    made = {path.name: path for path in evalkit.tables(run.path)}
    said = "The images of a are not those that were scored (6 then, 9 now): score it again."
    assert said in caplog.text
    assert said in made["metrics.tex"].read_text()
    page = evalkit.report(run.path)
    for text in (page.read_text(), (page.parent / "report.md").read_text()):
        banner = text.index("Scores of bundled encoders")
        assert 0 < text.index("The images have changed.") < text.index(said) < banner
    evalkit.score(run.path)
    caplog.clear()
    evalkit.tables(run.path)
    assert "not those that were scored" not in caplog.text


@pytest.mark.parametrize("content", ["", None], ids=["emptied", "deleted"])
def test_no_baseline_of_images_that_were_not_scored(run: evalkit.Run, content: str | None) -> None:
    manifest = run.image_folder("a") / "manifest.0.jsonl"
    manifest.unlink() if content is None else manifest.write_text(content)
    with pytest.raises(EvalkitError, match=r"images of 'a' in .* are not those that were scored"):
        evalkit.baseline_save(f"{run.path}:a", out=run.path.parent / "b.json", reason="x")


def test_features_of_other_values_are_encoded_again(run: evalkit.Run) -> None:
    before, path = run.metrics(), run.features_path("a", "pixels")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["feature.pool"] = arrays["feature.pool"][::-1] * 2
    np.savez(path, **arrays)
    shutil.rmtree(run.path / "features" / "a" / "measured", ignore_errors=True)
    assert evalkit.score(run.path) == before


def test_a_run_without_its_prompts_is_no_folder_of_images(run: evalkit.Run) -> None:
    run.prompts_path.unlink()
    with pytest.raises(EvalkitError, match=r"prompts\.jsonl is missing, and the folder has images"):
        evalkit.score(run.path)
    run.prompts_path.mkdir()
    with pytest.raises(EvalkitError, match=r"prompts\.jsonl is damaged"):
        evalkit.score(run.path)


def test_a_model_whose_folder_is_gone_is_named(
    run: evalkit.Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    other = shutil.copytree(run.path, tmp_path / "other")
    shutil.rmtree(run.image_folder("b"))
    said = "There is no folder images/b, and the model 'b' is in run.toml."
    assert "There is no folder images/b, and the model" in evalkit.report(run.path).read_text()
    assert said in caplog.text
    with pytest.raises(EvalkitError, match="There is no folder images/b") as found:
        evalkit.compare([run.path, other], out=tmp_path / "both")
    assert f"`evalkit run --config {run.config_path}`" in (found.value.hint or "")
    for name in ("", ":b"):
        with pytest.raises(EvalkitError, match=r"2 models|There is no folder images/b"):
            evalkit.baseline_save(f"{run.path}{name}", out=run.path / "b.json", reason="x")
    caplog.clear()
    assert {row.model for row in evalkit.score(run.path)} == {"a"}
    assert said in caplog.text
    assert f"`evalkit run --config {run.config_path}`" in caplog.text
    caplog.clear()
    evalkit.score(run.path, models="a")
    assert not caplog.text
    evalkit.run(config=run.config_path)
    assert run.models() == ["a", "b"]


def test_images_that_are_made_while_others_are_scored(
    run: evalkit.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table, the values and the hash of the images are about the same images."""
    manifest = run.image_folder("a") / "manifest.0.jsonl"
    every = manifest.read_bytes()
    manifest.write_bytes(b"".join(every.splitlines(keepends=True)[:4]))
    begin = Results.begin_scoring

    def finished_meanwhile(one: Results) -> None:
        manifest.write_bytes(every)
        begin(one)

    monkeypatch.setattr(Results, "begin_scoring", finished_meanwhile)
    rows = evalkit.score(run.path)
    assert len(run.records("a")) == 6
    assert {row.count for row in rows if row.model == "a" and row.metric == "vendi"} >= {4}
    assert run.is_stale("a")
    assert read_facts(run.path).outcomes["a"] == {"ok": 4, "refused": 0, "failed": 0, "missing": 2}


def test_images_that_have_changed_are_refused_with_what_can_be_done(
    run: evalkit.Run, tmp_path: Path
) -> None:
    (run.image_folder("b") / "00002-1.png").unlink()
    made_again = f"Make them again with `evalkit run --config {run.config_path}`."
    for call in (
        lambda: evalkit.score(run.path),
        lambda: evalkit.gate(f"{run.path}:b", baseline=f"{run.path}:a"),
        lambda: evalkit.baseline_save(f"{run.path}:b", out=tmp_path / "b.json", reason="x"),
    ):
        with pytest.raises(EvalkitError, match=r"is invalid \(1 cannot be read\)") as found:
            call()
        hint = found.value.hint
        assert hint == f"{made_again} To leave them out: `evalkit score {run.path} --on-bad skip`."
    with pytest.raises(EvalkitError, match="is invalid") as found:
        evalkit.export_imagefolder(run.path, out=tmp_path / "images")
    assert found.value.hint == made_again
    evalkit.score(run.path, on_bad="skip")
    evalkit.gate(f"{run.path}:b", baseline=f"{run.path}:a")


def test_lost_prompts_are_written_again_from_those_of_the_images(
    run: evalkit.Run, tmp_path: Path
) -> None:
    before = run.prompts_path.read_bytes()
    run.prompts_path.unlink()
    with pytest.raises(EvalkitError, match="their prompts are unknown") as found:
        evalkit.score(run.path)
    assert f"`evalkit generate --prompts PROMPTS --out {run.path}`" in (found.value.hint or "")
    for other in (PROMPTS[1:], [*PROMPTS[:2], Prompt("z", "a blue tree")]):
        with pytest.raises(EvalkitError, match=r"'a' was given another prompt '[xz]'"):
            evalkit.generate(prompts=other, out=run.path)
    with pytest.raises(EvalkitError, match="their prompts are unknown"):
        evalkit.generate(prompts=PROMPTS, out=run.path, dry_run=True)
    assert not run.prompts_path.exists()
    evalkit.generate(prompts=PROMPTS, out=run.path)
    assert run.prompts_path.read_bytes() == before
    assert evalkit.score(run.path)


@pytest.mark.parametrize(
    "lost", ["prompts.jsonl", "images/a/model.json", "images/a/manifest.0.jsonl"]
)
def test_images_of_a_run_that_has_lost_a_file_are_taken_into_another_run(
    run: evalkit.Run, tmp_path: Path, lost: str
) -> None:
    (run.path / lost).unlink()
    new = evalkit.generate(
        {"a": run.image_folder("a")}, PROMPTS, out=tmp_path / "new", per_prompt=2
    )
    assert sum(record.status == "ok" for record in new.records("a")) == 6


def test_a_folder_of_a_run_without_its_prompts_and_other_prompts(
    run: evalkit.Run, tmp_path: Path
) -> None:
    run.prompts_path.unlink()
    with pytest.raises(EvalkitError, match=r"of a run without its prompts\.jsonl") as found:
        evalkit.generate({"a": run.image_folder("a")}, ["x"], out=tmp_path / "new")
    assert str(run.prompts_path) in (found.value.hint or "")


def test_a_lost_or_damaged_configuration_and_the_way_out(run: evalkit.Run, tmp_path: Path) -> None:
    before = evalkit.gate(f"{run.path}:b", baseline=f"{run.path}:a")
    run.config_path.write_text("models = [")
    with pytest.raises(EvalkitError, match="is not valid TOML") as found:
        evalkit.score(run.path)
    assert "delete it and give the whole command again" in (found.value.hint or "")
    run.config_path.unlink()
    size = {"a": {"size": 8}}
    other = evalkit.generate("a=noise", PROMPTS, out=tmp_path / "x", seed=3, options=size)
    assert evalkit.gate(f"{run.path}:b", baseline=f"{run.path}:a") == before
    with pytest.raises(EvalkitError, match=r"has no run\.toml") as found:
        evalkit.generate(out=run.path)
    assert f"--prompts {run.prompts_path} --out {run.path}`" in (found.value.hint or "")
    whole = {"out": run.path, "seed": 3, "per_prompt": 2}
    evalkit.generate({"a": "noise", "b": "noise"}, run.prompts_path, **whole)
    assert run.config_path.is_file()
    evalkit.score(other.path, encoders="pixels", metrics="vendi", only=True)
    other.config_path.unlink()
    with pytest.raises(EvalkitError, match=r"generation\.size: 8"):
        evalkit.gate(f"{other.path}:a", baseline=f"{run.path}:a", metrics="vendi")


def test_a_model_folder_of_another_name_is_named(run: evalkit.Run) -> None:
    run.image_folder("b").rename(run.path / "images" / "c")
    with pytest.raises(EvalkitError, match="the model 'b', whose folder is images/b:") as found:
        evalkit.report(run.path)
    assert found.value.hint.startswith(f"Rename {run.path / 'images' / 'c'} to")
