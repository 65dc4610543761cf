"""Several runs in one folder: the values, what comes along, and what is refused."""

from __future__ import annotations

import dataclasses
import fcntl
import html
import importlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError, MetricRow, Prompt, Record
from evalkit.encoders.pixels import Pixels
from evalkit.features.growing import GrowingCache
from evalkit.files import write_atomically
from evalkit.prompts import read_prompts
from evalkit.ratings.files import append_ratings
from evalkit.ratings.rating import Rating
from evalkit.reference.build import build_from_images

PROMPTS = [
    Prompt("a", "a cat", "one"), Prompt("b", "a dog", "one"), Prompt("c", "two birds", "two"),
    Prompt("d", "two cats", "two"),
]  # fmt: skip
Make = Callable[..., Path]
RATING = Rating(
    "liking", "one", "human", "a/0", "a", "noise", "quality", "3", "", 0, "2026-01-01T00:00:00Z",
    1000, 0, "",
)  # fmt: skip


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a run folder `NAME` in the current folder, scored with the encoder pixels."""
    monkeypatch.chdir(tmp_path)

    def made(
        name: str, models: Any = "noise", *, metrics: str | None = "vendi", **settings: Any
    ) -> Path:
        prompts = settings.pop("prompts", PROMPTS)
        options: Mapping[str, Any] = {"noise": {"size": 8}} if models == "noise" else {}
        settings.setdefault("options", options)
        evalkit.generate(models, prompts, out=name, **settings)
        if metrics:
            evalkit.score(name, metrics=metrics, only=True, encoders="pixels")
        return Path(name)

    return made


@pytest.fixture
def quick_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty page, for tests that do not read it: its charts take seconds."""
    module = importlib.import_module("evalkit.compare.compare")
    page = "report/index.html"
    monkeypatch.setattr(module, "report", lambda path: write_atomically(Path(path, page), "page"))


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time of change and its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def of_images(rows: list[MetricRow]) -> list[MetricRow]:
    """Without speed and memory, which no two runs share."""
    return [row for row in rows if row.encoder]


def counts(rows: list[MetricRow]) -> dict[str, int]:
    """By model: the images behind its values on all prompts."""
    whole = [row for row in of_images(rows) if row.on == "answered" and not row.group]
    return {row.model: row.count for row in whole}


@pytest.mark.slow
def test_the_values_are_those_of_one_run_with_all_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prompts = read_prompts("suite:colour")[:12]
    measured: dict[str, Any] = {"metrics": "fid,clip_score,precision", "encoders": "mini"}
    for models, out in (("gan", "a"), ("dalle", "b"), (["gan", "dalle"], "both")):
        evalkit.generate(models, prompts, out=out)
        evalkit.score(out, **measured)
    before = content(Path("a")), content(Path("b"))
    monkeypatch.setattr(GrowingCache, "encode", None)  # every image is in a cache
    made = evalkit.compare(["a", "b"])
    whole = evalkit.load("both")
    assert made.models() == ["gan", "dalle"]
    assert of_images(made.metrics()) == of_images(whole.metrics())
    assert made.comparisons() == whole.comparisons()
    assert made.scores() == whole.scores()
    assert (content(Path("a")), content(Path("b"))) == before
    assert (made.report_path / "index.html").is_file()
    again = content(made.path)
    assert evalkit.compare(["a", "b"]).path == made.path
    assert content(made.path) == again


@pytest.mark.usefixtures("quick_page")
def test_records_come_along(make: Make) -> None:
    a = make("a", {"noise": "models_for_tests:plain"})
    b, run = make("b"), evalkit.load("b")
    old = Record("b", 1, 0, 0, "refused_input", detail="no", attempts=3, cost=0.5, seconds=2.0)
    rows = [old if one.index == 1 else one for one in run.records("noise")]
    (run.image_folder("noise") / "manifest.0.jsonl").unlink()
    run.append_records("noise", rows)
    evalkit.score(b)
    made = evalkit.compare([a, b], out="c")
    assert made.models() == ["a-noise", "b-noise"]
    assert made.records("b-noise") == run.records("noise")
    table = {(row.model, row.metric): row.value for row in made.metrics() if not row.group}
    assert table["b-noise", "refusal_rate"] == 0.25
    assert ("b-noise", "cost_per_image") in table
    seconds = made.frame("images").query("model == 'a-noise'").seconds
    assert list(seconds) == [one.seconds for one in evalkit.load(a).records("noise")]


@pytest.mark.usefixtures("quick_page")
def test_images_are_links_and_where_that_fails_copies(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = make("a"), make("b", "models_for_tests:plain")
    linked = evalkit.compare([a, b], out="linked")
    [image] = (linked.path / "images/noise").glob("00000-*")
    assert image.samefile(a / "images/noise/00000-0.png")

    def fails(*args: Any, **more: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", fails)
    copied = evalkit.compare([a, b], out="copied")
    other = copied.path / "images/noise/00000-0.png"
    assert not other.samefile(image)
    assert other.read_bytes() == image.read_bytes()
    assert copied.metrics() == linked.metrics()


@pytest.mark.usefixtures("quick_page")
def test_prompts_in_another_order_are_the_same_prompts(make: Make) -> None:
    a = make("a")
    b = make("b", "models_for_tests:plain", prompts=PROMPTS[::-1])
    made = evalkit.compare([a, b], out="c")
    [first, second] = made.models()
    assert [one.prompt for one in made.records(second)] == ["a", "b", "c", "d"]
    paths = {
        r.prompt: evalkit.load(b).image_path(second, r) for r in evalkit.load(b).records(second)
    }
    for record in made.records(second):
        assert made.image_path(second, record).read_bytes() == paths[record.prompt].read_bytes()
    assert made.prompts() == PROMPTS
    assert len(made.records(first)) == 4


@pytest.mark.usefixtures("quick_page")
def test_a_run_that_changed_is_compared_anew(make: Make) -> None:
    a, b = make("a"), make("b", "models_for_tests:plain")
    out = evalkit.compare([a, b], out="c")
    assert out.metrics()[0].count == 4
    (out.path / "notes.txt").write_text("mine")
    more = [*PROMPTS, evalkit.Prompt("e", "a bus")]
    for name, model in (("a", "noise"), ("b", "models_for_tests:plain")):
        make(name, model, prompts=more)
    assert evalkit.compare([a, b], out="c").metrics()[0].count == 5
    assert (out.path / "notes.txt").read_text() == "mine"
    assert len(out.prompts()) == 5


@pytest.mark.usefixtures("quick_page")
def test_runs_that_were_scored_with_another_reference_are_scored_again(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = make("a"), make("b", "models_for_tests:plain")
    references = []
    for name, colours in (("first", range(0, 200, 20)), ("second", range(100, 200, 10))):
        images = [Image.new("RGB", (8, 8), (c, 255 - c, c // 2)) for c in colours]
        made = build_from_images(images, name=name, encoders=[Pixels()], out=tmp_path / name)
        references.append(str(made))

    def scored(reference: str) -> None:
        for run in (a, b):
            evalkit.score(run, metrics="fid", encoders="pixels", reference=reference)

    def fids(run: evalkit.Run) -> list[float | None]:
        return [row.value for row in run.metrics() if row.metric == "fid" and not row.group]

    scored(references[0])
    out = evalkit.compare([a, b], out="c")
    assert fids(out) == fids(evalkit.load(a)) + fids(evalkit.load(b))
    before = fids(out)
    scored(references[1])
    with monkeypatch.context() as patch:  # an interrupted scoring does not look complete
        patch.setattr(importlib.import_module("evalkit.compare.compare"), "score", None)
        with pytest.raises(TypeError):
            evalkit.compare([a, b], out="c")
    out = evalkit.compare([a, b], out="c")
    assert fids(out) == fids(evalkit.load(a)) + fids(evalkit.load(b)) != before
    written = content(out.path)
    assert content(evalkit.compare([a, b], out="c").path) == written


@pytest.mark.usefixtures("quick_page")
def test_ratings_and_added_images_of_a_comparison_are_not_replaced(make: Make) -> None:
    a, b = make("a"), make("b", "models_for_tests:plain")
    out = evalkit.compare([a, b], out="c")
    evalkit.generate(["noise", "models_for_tests:plain"], PROMPTS, out="c", per_prompt=2)
    assert evalkit.compare([a, b], out="c").path == out.path  # nothing has changed
    evalkit.score(a, metrics="vendi,fid")
    evalkit.score(b, metrics="vendi,fid")
    make("a", per_prompt=2)
    make("b", "models_for_tests:plain", per_prompt=2)
    with pytest.raises(EvalkitError, match="images that did not come from the compared runs"):
        evalkit.compare([a, b], out="c")
    assert len(out.records("noise")) == 8
    append_ratings(out.ratings_path / "one.csv", [RATING])
    with pytest.raises(EvalkitError, match="it has ratings"):
        evalkit.compare([a, b], out="c")
    again = evalkit.compare(["c:noise", b], out="d", allow_mismatch="per_prompt")
    assert any(
        note.startswith("The ratings of c are left out") for note in again.sources()["notes"]
    )
    assert not again.ratings_path.exists()


@pytest.mark.usefixtures("quick_page")
def test_an_interrupted_call_leaves_nothing_that_looks_complete(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = make("a"), make("b", "models_for_tests:plain")
    link, calls = os.link, []

    def stopped(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 6:
            raise KeyboardInterrupt
        link(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", stopped)
        with pytest.raises(KeyboardInterrupt):
            evalkit.compare([a, b], out="c")
    for command in (evalkit.report, lambda path: evalkit.gate(path, baseline=a)):
        with pytest.raises(EvalkitError, match=r"prompts\.jsonl is missing|c has no metrics"):
            command("c")
    made = evalkit.compare([a, b], out="c")
    assert [len(made.records(model)) for model in made.models()] == [4, 4]
    assert made.metrics()


def test_another_seed_is_refused_and_where_it_is_allowed_stated_everywhere(make: Make) -> None:
    a, b = make("a"), make("b", {"own": "models_for_tests:plain"}, seed=1)
    with pytest.raises(EvalkitError, match=r"seed: 0 \(noise\), 1 \(own\)") as refused:
        evalkit.compare([a, b], out="c")
    assert refused.value.exit_code == 4
    assert not Path("c").exists()
    made = evalkit.compare([a, b], out="c", allow_mismatch="seed")
    stated = "seed: 0 (noise), 1 (own)"
    assert made.protocol()["sources"]["allowed"] == [stated]
    evalkit.score(made.path, metrics="vendi")
    assert made.protocol()["sources"]["allowed"] == [stated]
    for name in ("index.html", "report.md"):
        lines = html.unescape((made.report_path / name).read_text()).splitlines()
        assert any(f"The runs differ, which was allowed: {stated}." in line for line in lines)
    with pytest.raises(EvalkitError, match="seed: 0, baseline 1"):
        evalkit.gate("c:noise", baseline="c:own")
    third = make("third", {"third": "models_for_tests:plain"})
    more = evalkit.compare(["c:noise", third], out="d")
    assert more.protocol()["sources"]["allowed"] == [stated]


@pytest.mark.usefixtures("quick_page")
@pytest.mark.parametrize("field", ["prompts", "per_prompt"])
def test_what_all_runs_have_is_compared_where_that_is_allowed(make: Make, field: str) -> None:
    a = make("a", prompts=PROMPTS[:3], per_prompt=1 + (field == "per_prompt"))
    given = PROMPTS[:3] if field == "per_prompt" else PROMPTS[1:]
    b = make("b", "models_for_tests:plain", prompts=given)
    with pytest.raises(EvalkitError, match=f"not comparable. {field}: ") as refused:
        evalkit.compare([a, b], out="c")
    assert refused.value.exit_code == 4
    made = evalkit.compare([a, b], out="c", allow_mismatch=[field])
    count = {"prompts": 2, "per_prompt": 3}[field]
    assert counts(made.metrics()) == {"noise": count, "models_for_tests:plain": count}
    assert {row.requested for row in made.metrics() if not row.group} == {count}
    assert any("compared" in note for note in made.sources()["notes"][1:])


@pytest.mark.usefixtures("quick_page")
def test_other_settings_of_one_generator_are_refused_and_those_of_others_are_not(
    make: Make,
) -> None:
    a = make("a")
    b = make("b", options={"noise": {"size": 16}})
    with pytest.raises(EvalkitError, match=r"generation.size: 8 \(a-noise\), 16 \(b-noise\)"):
        evalkit.compare([a, b])
    c = make("c", {"own": "models_for_tests:options"}, options={}, device="cpu")
    assert len(evalkit.compare([a, c], out="d").models()) == 2


def test_metrics_that_a_run_lacks_are_named(make: Make) -> None:
    a, b = make("a", metrics="vendi,inception_score"), make("b", "models_for_tests:plain")
    made = evalkit.compare([a, b], out="c")
    assert {row.metric for row in of_images(made.metrics())} == {"vendi"}
    assert "inception_score is left out: not measured in b." in made.sources()["notes"]
    assert "inception_score is left out" in (made.report_path / "index.html").read_text()


@pytest.mark.usefixtures("quick_page")
def test_values_that_are_not_those_of_a_run_are_mentioned(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = make("a"), make("b", "models_for_tests:plain")
    evalkit.compare([a, b], out="c")
    assert "other values" not in caplog.text
    rows = [dataclasses.replace(row, value=9.0) for row in evalkit.load(a).metrics()]
    evalkit.load(a).write_metrics(rows)
    evalkit.load(a).end_scoring()
    evalkit.compare([a, b], out="d")
    assert "noise: other values than in a" in caplog.text
    assert "vendi" in caplog.text


@pytest.mark.usefixtures("quick_page")
def test_a_folder_that_another_process_writes_or_nobody_may_write_is_refused(make: Make) -> None:
    a, b = make("a"), make("b", "models_for_tests:plain")
    Path("c").mkdir()
    handle = os.open("c", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(EvalkitError, match="Another process writes the comparison c"):
        evalkit.compare([a, b], out="c")
    os.close(handle)
    assert evalkit.compare([a, b], out="c").metrics()
    Path("file").write_text("kept")
    with pytest.raises(EvalkitError, match="Could not write file/c: Not a directory"):
        evalkit.compare([a, b], out="file/c")


@pytest.mark.usefixtures("quick_page")
def test_equal_images_under_two_names_are_mentioned(make: Make) -> None:
    a, b = make("a"), make("b")
    made = evalkit.compare([a, b], out="c")
    assert "a-noise and b-noise have the same images, byte for byte." in made.sources()["notes"]


@pytest.mark.usefixtures("quick_page")
def test_images_that_have_changed_are_not_called_the_same(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "evalkit")
    a, b = make("a"), make("b")
    first, other = sorted(b.glob("images/noise/*.png"))[:2]
    first.write_bytes(other.read_bytes())
    with pytest.raises(EvalkitError, match=r"00000-0\.png has changed"):
        evalkit.compare([a, b], out="c")
    for run in (a, b):
        evalkit.score(run, on_bad="skip")
    evalkit.compare([a, b], out="c")
    assert "the same images" not in caplog.text


@pytest.mark.usefixtures("quick_page")
def test_a_comparison_is_not_up_to_date_after_an_image_of_a_run_is_gone(make: Make) -> None:
    a, b = make("a"), make("b", "models_for_tests:plain")
    evalkit.compare([a, b], out="c")
    [path] = b.glob("images/*/00002-0.png")
    path.unlink()
    with pytest.raises(EvalkitError, match=r"00002-0\.png cannot be read"):
        evalkit.compare([a, b], out="c")


def test_a_damaged_image_of_a_run_is_named_and_nothing_is_written(make: Make) -> None:
    a, b = make("a"), make("b", "models_for_tests:plain")
    image = b / "images" / "models_for_tests-plain"
    [path] = b.glob("images/*/00002-0.png")
    path.write_bytes(b"other")
    with pytest.raises(EvalkitError, match=r"00002-0\.png has changed"):
        evalkit.compare([a, b], out="c")
    path.unlink()
    with pytest.raises(EvalkitError, match=r"00002-0\.png cannot be read"):
        evalkit.compare([a, b], out="c")
    assert not Path("c").exists()
    assert not image.exists()


@pytest.mark.usefixtures("quick_page")
def test_images_that_a_run_skipped_are_skipped_again(make: Make) -> None:
    a, b = make("a"), make("b", "models_for_tests:plain")
    [path] = b.glob("images/*/00002-0.png")
    path.write_bytes(b"other")
    evalkit.score(b, on_bad="skip")
    made = evalkit.compare([a, b], out="c")
    assert counts(made.metrics()) == {"noise": 4, "models_for_tests:plain": 3}


WRONG: list[tuple[list[str], dict[str, Any], str]] = [
    ([], {}, "No run is given; expected two or more"),
    (["a"], {}, "One run is given; expected two or more"),
    (["a", "./a"], {}, "'noise' of a is given twice"),
    (["a:noise", "x=a:noise"], {}, "'noise' of a is given twice"),
    (["a", "gone"], {}, "There is no run folder gone"),
    (["a", "b:gan"], {}, "b has no model 'gan'"),
    (["a", "empty"], {}, "empty is not a run folder"),
    (["a", "unscored"], {}, "unscored has no metrics.json"),
    (["a", "other"], {}, "no metric in common: a has vendi; other has duplicates"),
    (["a", "strangers"], {"allow_mismatch": "prompts"}, "no prompt in common"),
    (["x=a", "x=b"], {}, "Two models would have the name 'x'"),
    (["x=two", "b"], {}, "two has 2 models, and one name, 'x', is given"),
    (["a", "b"], {"allow_mismatch": "sed"}, "no condition 'sed' that may differ"),
    (["a", "b"], {"out": "a"}, "cannot be written to a: "),
    (["a", "b"], {"out": "b/inside"}, "cannot be written to b/inside: "),
    (["a", "b"], {"out": "."}, "cannot be written to .: "),
    (["a", "b"], {"out": "full"}, "full is not empty and is not a comparison: it holds mine"),
    (["a", "b"], {"out": "file"}, "file is a file; expected a folder"),
]


@pytest.mark.usefixtures("quick_page")
def test_wrong_input_is_one_sentence_and_changes_nothing(make: Make) -> None:
    make("a")
    make("b", "models_for_tests:plain")
    make("unscored", metrics=None)
    make("other", "models_for_tests:plain", metrics="duplicates")
    make("two", ["noise", "models_for_tests:plain"])
    make("strangers", "models_for_tests:plain", prompts=["another", "list"])
    Path("empty").mkdir()
    Path("full").mkdir()
    Path("full/mine").write_text("kept")
    Path("file").write_text("kept")
    before = content(Path())
    for runs, settings, message in WRONG:
        with pytest.raises(EvalkitError) as found:
            evalkit.compare(runs, **settings)
        assert message in found.value.message
        assert "\n" not in found.value.message
        assert found.value.hint, message
        assert found.value.exit_code == 2
    assert content(Path()) == before


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_command_prints_the_table_of_score_and_report_takes_several_runs(make: Make) -> None:
    make("a")
    make("b", "models_for_tests:plain", seed=1)
    code, out, err = call("compare", "a", "new=b", "--out", "c")
    assert (code, out) == (4, "")
    assert "--allow-mismatch seed" in err
    allowed = ("a", "new=b", "--out", "c", "--allow-mismatch", "seed")
    code, out, err = call("compare", *allowed)
    assert code == 0
    assert "which was allowed: seed: 0 (noise), 1 (new)" in err
    assert out.splitlines()[-1] == "c"
    assert out == call("score", "c")[1]
    assert json.loads(call("compare", *allowed, "--json")[1])[0]["model"] == "noise"
    assert call("report", *allowed)[1] == "c\n"
    page = Path("c/report/index.html").read_text()
    assert "noise and new on 4 prompts" in page
    assert call("report", "a")[1] == "a\n"
    code, _, err = call("report", "a", "--out", "c")
    assert code == 2
    assert "One run is given" in err


@pytest.mark.usefixtures("quick_page")
def test_names_say_where_a_label_is_not_unique(make: Make) -> None:
    for folder in ("x/run", "y/run", "z"):
        make(folder)
    make("w", {"my model": "models_for_tests:plain"})
    made = evalkit.compare(["x/run", "y/run", "w", "last=z"], out="c")
    assert made.models() == ["x-run-noise", "y-run-noise", "my model", "last"]
    assert evalkit.load("c").frame("images").model.nunique() == 4
    # The folder is a run as any other: it takes further models, and its run.toml is read.
    grown = evalkit.generate({"last": "noise", "new": "models_for_tests:plain"}, PROMPTS, out="c")
    assert grown.models() == ["x-run-noise", "y-run-noise", "my model", "last", "new"]
