"""Local generation: what is written to the run folder, and which errors leave it untouched."""

import hashlib
import json
from pathlib import Path

import models_for_tests
import numpy
import pandas
import pytest
from models_for_tests import make_image

import evalkit
from evalkit import api
from evalkit.config import Config, load_config
from evalkit.core import EvalkitError, Prompt
from evalkit.generate.generate import generate
from evalkit.images import encode_png
from evalkit.prompts import prompts_from_list
from evalkit.run_folder import Run
from evalkit.seeds import image_seed
from evalkit.shards import Shard

MODEL = "models_for_tests:plain"
PROMPTS = tuple(prompts_from_list(["a cat", "a dog", "a \u2028 fish", "a cat", "bad"]))


def config(path: Path, *models: str, **changes: object) -> Config:
    return Config(
        **(
            {"models": models or (MODEL,), "prompts": PROMPTS, "out": str(path), "device": "cpu"}
            | changes
        )
    )  # type: ignore[arg-type]


def snapshot(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def images(run: Run, model: str = MODEL) -> dict[str, bytes]:
    return {
        name: data
        for name, data in snapshot(run.image_folder(model)).items()
        if name.endswith(".png")
    }


def test_every_image_has_its_row(tmp_path: Path) -> None:
    run = generate(config(tmp_path / "run", per_prompt=2, seed=7, batch_size=3))
    records = run.records(MODEL)
    assert [(record.index, record.sample) for record in records] == [
        (at, sample) for at in range(5) for sample in range(2)
    ]
    for record in records:
        prompt = PROMPTS[record.index]
        assert record.prompt == prompt.id
        assert record.seed == image_seed(7, prompt.id, record.sample)
        data = run.image_path(MODEL, record).read_bytes()
        assert data == encode_png(make_image(record.seed, prompt.text))
        assert record.sha256 == hashlib.sha256(data).hexdigest()
        assert record.seconds > 0
    assert run.prompts() == list(PROMPTS)
    assert run.models() == [MODEL]


def test_at_once_raises_the_batch_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setattr(models_for_tests.slow, "at_once", 4, raising=False)
    for batch_size in (2, 6):
        generate(
            config(
                tmp_path / str(batch_size),
                "models_for_tests:slow",
                per_prompt=2,
                batch_size=batch_size,
            )
        )
    assert (tmp_path / "calls").read_text().split() == ["4", "4", "2", "6", "4"]


def test_images_do_not_depend_on_batches_or_shards(tmp_path: Path) -> None:
    whole = generate(config(tmp_path / "whole", per_prompt=3, batch_size=32))
    single = generate(config(tmp_path / "single", per_prompt=3, batch_size=1))
    for rank in (3, 0, 2, 1):
        settings = config(tmp_path / "ranks", per_prompt=3, batch_size=2)
        ranks = generate(settings, shard=Shard(rank, 4))
        mine = (ranks.image_folder(MODEL) / f"manifest.{rank}.jsonl").read_text().splitlines()
        assert [
            json.loads(line)["index"] * 3 + json.loads(line)["sample"] for line in mine
        ] == list(range(rank, 15, 4))
    assert images(whole) == images(single) == images(ranks)
    assert len(images(whole)) == 15
    rows = [
        [(r.index, r.sample, r.seed, r.sha256) for r in run.records(MODEL)]
        for run in (whole, single, ranks)
    ]
    assert rows[0] == rows[1] == rows[2]


def test_a_shard_keeps_its_slice_when_another_has_started(tmp_path: Path) -> None:
    """Slice first, then skip: else shard 1 would slice the rest of shard 0 and lose images."""
    for at in range(2):
        run = generate(config(tmp_path / "run"), shard=Shard(at, 2))
    assert len(images(run)) == 5


def test_the_written_configuration_repeats_the_run_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("p.csv").write_text("prompt,id,group\na cat,x,g\na dog,y,g\n")
    first = generate(
        config(
            Path("runs/first"), "noise", prompts="p.csv", seed=5, options={"noise": {"size": "4"}}
        )
    )
    first_images = Path("runs/first/images/noise")
    both = generate(config(Path("runs/both"), str(first_images), "noise", prompts="p.csv", seed=5))
    text = both.config_path.read_text()
    assert str(tmp_path) not in text
    assert '# Prompts were read from "p.csv"' in text
    Path("p.csv").unlink()
    monkeypatch.chdir("/")
    again = generate(
        load_config(tmp_path / "here" / first.config_path, {"out": str(tmp_path / "again")})
    )
    assert (
        snapshot(again.image_folder("noise")).keys()
        == snapshot(tmp_path / "here" / first_images).keys()
    )
    assert images(again, "noise") == images(Run(tmp_path / "here/runs/first"), "noise")
    assert again.prompts() == [Prompt("x", "a cat", "g"), Prompt("y", "a dog", "g")]
    resumed = load_config(tmp_path / "here" / both.config_path, {})
    before = snapshot(tmp_path / "here/runs/both")
    generate(resumed)
    assert snapshot(tmp_path / "here/runs/both") == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, r"seed 0 -> 1\."),
        ({"per_prompt": 2, "seed": 1}, r"seed 0 -> 1\."),
        (
            {"prompts": (*PROMPTS, Prompt("x", "a cow"), Prompt("00000", "a hen"))[1:]},
            r"text of prompt 00000 'a cat' -> 'a hen'\.",
        ),
        ({"options": {"noise": {"size": 9}}}, r"noise\.size 32 -> 9\."),
        ({"models": (MODEL, "noise", "models_for_tests:slow"), "seed": 3}, r"seed 0 -> 3\."),
    ],
)
def test_another_configuration_is_refused_and_writes_nothing(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    generate(config(tmp_path / "run", MODEL, "noise"))
    before = snapshot(tmp_path)
    with pytest.raises(EvalkitError, match=message) as error:
        generate(config(tmp_path / "run", **({"models": (MODEL, "noise")} | changes)))
    assert error.value.exit_code == 2
    assert "run.toml" in error.value.hint
    assert snapshot(tmp_path) == before


def test_score_settings_and_more_models_are_accepted_in_the_same_folder(tmp_path: Path) -> None:
    run = generate(config(tmp_path / "run", MODEL, options={}))
    made = {
        path: path.stat().st_mtime_ns
        for path in run.image_folder(MODEL).iterdir()
        if path.suffix == ".png"
    }
    changes = {
        "metrics": ("fid",),
        "encoders": "mini",
        "reference": "scenes",
        "batch_size": 2,
        "device": "auto",
    }
    generate(config(tmp_path / "run", "noise", MODEL, **changes))
    assert run.models() == [MODEL, "noise"]
    assert {path: path.stat().st_mtime_ns for path in made} == made
    written = load_config(run.config_path, {})
    assert written.models == (MODEL, "noise")
    assert (written.metrics, written.encoders, written.reference, written.batch_size) == (
        ("fid",),
        "mini",
        "scenes",
        2,
    )
    generate(config(tmp_path / "run", MODEL))  # one of two: the other stays in the run
    assert load_config(run.config_path, {}).models == (MODEL, "noise")
    assert load_config(run.config_path, {}).options == {"noise": {"size": 32}}


def test_only_missing_and_damaged_images_are_made_again(tmp_path: Path) -> None:
    run = generate(config(tmp_path / "run"))
    whole = images(run)
    folder = run.image_folder(MODEL)
    (folder / "00001-0.png").unlink()
    (folder / "00003-0.png").write_bytes(b"short")
    rows = len((folder / "manifest.0.jsonl").read_text().splitlines())
    generate(config(tmp_path / "run"))
    assert images(run) == whole
    assert len((folder / "manifest.0.jsonl").read_text().splitlines()) == rows + 2


def test_the_image_of_a_cut_manifest_row_is_made_again(tmp_path: Path) -> None:
    run = generate(config(tmp_path / "run"))
    whole = images(run)
    manifest = run.image_folder(MODEL) / "manifest.0.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    assert len(run.records(MODEL)) == 4
    generate(config(tmp_path / "run"))
    assert len(run.records(MODEL)) == 5
    assert images(run) == whole


def test_one_image_is_counted_as_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "evalkit")
    generate(config(tmp_path / "run", "noise", prompts=PROMPTS[:1]))
    assert "noise: 1 image generated in" in caplog.text


def test_images_without_rows_are_named_before_they_are_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    run = generate(config(tmp_path / "run"))
    whole = images(run)
    (run.image_folder(MODEL) / "manifest.0.jsonl").unlink()
    generate(config(tmp_path / "run"))
    assert f"5 images are in {run.image_folder(MODEL)} without a row in the manifest" in caplog.text
    assert images(run) == whole


def test_refusals_are_final_and_transient_failures_are_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = tuple(prompts_from_list(["a gun", "a rare bird", "a cat"]))
    spec = "models_for_tests:refuses"
    for at in range(2):
        run = generate(config(tmp_path / "run", spec, prompts=prompts), shard=Shard(at, 2))
    assert [(r.status, r.detail, r.file) for r in run.records(spec)][:2] == [
        ("refused_input", "policy", ""),
        ("quota", "", ""),
    ]
    monkeypatch.setenv("QUOTA", "1")
    generate(config(tmp_path / "run", spec, prompts=prompts))
    manifests = {
        rank: (run.image_folder(spec) / f"manifest.{rank}.jsonl").read_text() for rank in (0, 1)
    }
    assert "quota" in manifests[1]  # read after manifest.0; still the image there wins
    assert [record.status for record in run.records(spec)] == ["refused_input", "ok", "ok"]
    assert len(manifests[0].splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", "failed on prompts 00004 to 00004: RuntimeError: CUDA out of memory"),
        ("says", "My own sentence."),
        ("few", "returned 1 result on prompts 00000 to 00001; expected 2"),
        ("gray", "an image in mode L"),
        ("none", "returned None on prompts 00000 to 00001; expected a list of 2 images"),
        ("floats", r"returned an array of float64 \[8, 8, 3\]"),
        ("channels_first", r"returned an array of uint8 \[3, 8, 8\]"),
        ("lazy", "failed on prompts 00000 to 00001: KeyError: 'weights'"),
    ],
)
def test_a_failing_model_is_named_and_leaves_complete_batches(
    name: str, message: str, tmp_path: Path
) -> None:
    spec = f"models_for_tests:{name}"
    with pytest.raises(EvalkitError, match=message) as error:
        generate(config(tmp_path / "run", spec, batch_size=2))
    assert name == "says" or spec in error.value.message
    run = Run(tmp_path / "run")
    assert len(images(run, spec)) == len(run.records(spec)) == (4 if name == "fails" else 0)
    if name == "fails":
        assert isinstance(error.value.__cause__, RuntimeError)
        assert "--batch-size" in error.value.hint


def test_arrays_of_uint8_are_images(tmp_path: Path) -> None:
    plain, arrays = "models_for_tests:plain", "models_for_tests:arrays"
    run = generate(config(tmp_path / "run", plain, arrays))
    made = [images(run, spec) for spec in (plain, arrays)]
    assert len(made[0]) == 5
    assert made[0] == made[1]


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = "models_for_tests:Weights"
    monkeypatch.setenv("WEIGHTS", "first")
    run = generate(config(tmp_path / "run", spec))
    (run.image_folder(spec) / "00000-0.png").unlink()
    before = snapshot(tmp_path)
    monkeypatch.setenv("WEIGHTS", "second")
    with pytest.raises(EvalkitError, match="other weights") as error:
        generate(config(tmp_path / "run", spec))
    assert str(run.image_folder(spec)) in error.value.hint
    assert snapshot(tmp_path) == before
    monkeypatch.setenv("WEIGHTS", "first")
    assert len(images(generate(config(tmp_path / "run", spec)), spec)) == 5


def test_a_complete_model_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHTS", "x")
    generate(config(tmp_path / "run", "models_for_tests:Weights"))
    monkeypatch.delenv("WEIGHTS")  # loading would raise KeyError
    before = snapshot(tmp_path)
    generate(config(tmp_path / "run", "models_for_tests:Weights"))
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"prompts": "none.txt"},
        {"models": (MODEL, "no-such-model")},
        {"models": (MODEL, "models_for_tests:broken")},
        {"options": {MODEL: {"x": 1}}},
        {"options": {"other": {"x": 1}}},
    ],
)
def test_errors_are_found_before_the_folder_is_made(
    changes: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(EvalkitError):
        generate(config(tmp_path / "run", **changes))
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_not_a_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.tex").write_text("x")
    before = snapshot(tmp_path)
    for out, message in (
        ("file", "is a file"),
        ("file/run", "is not a writable folder"),
        ("other", "it holds thesis.tex"),
    ):
        with pytest.raises(EvalkitError, match=message):
            generate(config(tmp_path / out))
    assert snapshot(tmp_path) == before


def test_too_little_disk_space_is_found_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=5000))
    with pytest.raises(EvalkitError, match="expected room for 5 images"):
        generate(config(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    generate(config(tmp_path / "run"))
    assert "may be too little for 5 images" in caplog.text


def test_the_default_folder_is_found_again_and_differs_for_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = generate(config(Path(), "noise", out="")).path
    assert first.parent == Path("reports")
    assert first.name.startswith("noise-prompts-")
    assert generate(config(Path(), "noise", out="", batch_size=1, metrics=("fid",))).path == first
    others = [
        {"seed": 1},
        {"per_prompt": 2},
        {"prompts": PROMPTS[:2]},
        {"options": {"noise": {"size": 4}}},
    ]
    assert (
        len(
            {generate(config(Path(), "noise", **({"out": ""} | other))).path for other in others}
            | {first}
        )
        == 5
    )


def test_duplicate_prompts_are_kept_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = generate(config(tmp_path / "run"))
    assert "1 of 5 prompts repeat an earlier one" in caplog.text
    shots = images(run)
    assert shots["00000-0.png"] != shots["00003-0.png"]


def test_old_temporary_files_are_removed(tmp_path: Path) -> None:
    import os

    run = generate(config(tmp_path / "run"))
    old, young = (run.image_folder(MODEL) / f".00000-0.png.{name}" for name in ("old", "young"))
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    generate(config(tmp_path / "run"))
    assert (old.exists(), young.exists()) == (False, True)


def test_labels_are_kept_and_one_model_may_come_twice(tmp_path: Path) -> None:
    options = {"hot": {"size": 4}}
    first = config(tmp_path / "run", "cold=noise", "hot=noise", options=options)
    run = generate(first)
    assert run.models() == ["cold", "hot"]
    assert len(images(run, "cold")) == len(images(run, "hot")) == len(PROMPTS)
    before = snapshot(run.path)
    assert load_config(run.config_path, {}).models == ("cold=noise", "hot=noise")
    generate(load_config(run.config_path, {}))  # the written configuration repeats the run
    generate(config(tmp_path / "run", "hot=noise", options=options))
    assert snapshot(run.path) == before
    with pytest.raises(EvalkitError, match=r"hot.size 4 -> 32"):
        generate(config(tmp_path / "run", "hot=noise"))


def test_the_label_of_a_folder_survives_a_move_of_both(tmp_path: Path) -> None:
    folder = tmp_path / "at/downloads"
    folder.mkdir(parents=True)
    for at in range(len(PROMPTS)):
        make_image(at, "x").save(folder / f"{at:05d}.png")
    run = generate(config(tmp_path / "at/run", f"mj={folder}"))
    assert run.models() == ["mj"]
    assert run.model("mj")["spec"] == "../downloads"
    before = snapshot(run.path)
    (tmp_path / "at").rename(tmp_path / "moved")
    moved = Run(tmp_path / "moved/run")
    generate(load_config(moved.config_path, {}))
    generate(config(moved.path, str(tmp_path / "moved/downloads")))  # the label is remembered
    assert snapshot(moved.path) == before


def test_a_folder_beside_a_bundled_model_does_not_stop_the_repetition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noise").mkdir()
    for at in range(len(PROMPTS)):
        make_image(at, "x").save(tmp_path / f"noise/{at:05d}.png")
    with pytest.raises(EvalkitError, match="also a folder here"):
        generate(config(tmp_path / "run", "noise"))
    assert not (tmp_path / "run").exists()
    run = generate(config(tmp_path / "run", "evalkit:noise", "mine=./noise"))
    assert run.models() == ["noise", "mine"]
    assert [run.model(label)["bundled"] for label in run.models()] == [True, False]
    assert "noise: bundled with evalkit" in caplog.text
    before = snapshot(run.path)
    generate(load_config(run.config_path, {}))
    assert snapshot(run.path) == before


def test_functions_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls = []

    def mine(prompts, seeds):
        calls.append(len(prompts))
        return models_for_tests.plain(prompts, seeds)

    given = {"prompts": list(PROMPTS), "device": "cpu"}
    run = api.generate([mine, models_for_tests.plain], **given)
    assert run.models() == ["mine", MODEL]
    assert images(run, "mine") == images(run, MODEL)
    assert sum(calls) == len(PROMPTS)
    assert api.generate([mine, models_for_tests.plain], **given).path == run.path
    assert sum(calls) == len(PROMPTS)
    with pytest.raises(EvalkitError, match="'mine' is a Python function"):
        generate(load_config(run.config_path, {}))
    labelled = api.generate({"a": mine, "b": lambda p, s: mine(p, s)}, **given, out="two")
    assert images(labelled, "a") == images(labelled, "b")

    def other(prompts, seeds): ...

    with pytest.raises(EvalkitError, match=r"'a' of this run is .*; .* is another one"):
        api.generate({"a": other}, **given, out="two")

    def mine(prompts, seeds):  # as in a notebook: edited and run again
        return models_for_tests.plain(prompts, seeds)[::-1]

    with pytest.raises(EvalkitError, match="'a' has other code than when two was begun"):
        api.generate({"a": mine}, **given, out="two")
    assert api.generate([mine, models_for_tests.plain], **given).path != run.path


def test_more_images_of_a_function_come_with_a_warning_that_it_may_have_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evalkit.generate("models_for_tests:plain", ["a", "b"], out=tmp_path / "run")
    assert "earlier call" not in caplog.text
    evalkit.generate("models_for_tests:plain", ["a", "b"], per_prompt=2, out=tmp_path / "run")
    assert "2 of 4 images are of an earlier call" in caplog.text


def test_numbers_of_numpy_and_prompts_of_pandas_are_taken(tmp_path: Path) -> None:
    prompts = pandas.Series(["a", "b"])
    made = evalkit.generate("noise", prompts, per_prompt=numpy.int64(2), out=tmp_path / "run")  # pyright: ignore[reportArgumentType]
    assert len(made.records("noise")) == 4
    with pytest.raises(EvalkitError, match="names no prompts"):
        evalkit.generate("noise", pandas.Series([], dtype=str), out=tmp_path / "none")  # pyright: ignore[reportArgumentType]


def test_a_loop_of_links_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one").symlink_to("other")
    Path("other").symlink_to("one")
    for call in (lambda: evalkit.score("one"), lambda: evalkit.generate("noise", ["a"], out="one")):
        with pytest.raises((EvalkitError, OSError)):  # the command line says OSErrors in a sentence
            call()
