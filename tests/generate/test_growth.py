"""A run grows: prompts, samples, models. Nothing is made twice, and old files stay as they are."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import make_image
from typer.testing import CliRunner
from unchecked_runs import unchecked

import evalkit
from evalkit.cli.app import app
from evalkit.config import load_config
from evalkit.core import Answer, EvalkitError, Prompt
from evalkit.encoders.pixels import Pixels
from evalkit.images import encode_png, read_image
from evalkit.run_folder import Run

ONE, TWO = "models_for_tests:counted", "models_for_tests:counted_too"
BARE = {"encoders": "pixels", "metrics": ["duplicates"]}


@pytest.fixture(autouse=True)
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "calls"
    path.touch()
    monkeypatch.setenv("CALLS", str(path))
    return path


def files(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def images(run: Run) -> dict[str, bytes]:
    found = files(run.path / "images")
    return {name: data for name, data in found.items() if name.endswith(".png")}


def outcomes(run: Run, model: str) -> list[tuple[Any, ...]]:
    return [
        (r.index, r.prompt, r.sample, r.seed, r.status, r.file, r.sha256)
        for r in run.records(model)
    ]


def content(run: Run) -> dict[str, Any]:
    """Everything that a run of these settings has, without times and the order of the rows."""
    config = load_config(run.config_path, {"out": "", "prompts": "p"})
    return {
        "images": images(run),
        "prompts": run.prompts_path.read_bytes(),
        "config": config,
        "models": {model: (run.model(model), outcomes(run, model)) for model in run.models()},
    }


@st.composite
def growths(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Steps of a run: each has the prompts of the step before in any order, and as many samples."""
    texts = draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=3))
    steps: list[dict[str, Any]] = []
    per_prompt, models = draw(st.integers(1, 2)), [draw(st.sampled_from([ONE, TWO]))]
    for _ in range(draw(st.integers(1, 4))):
        steps.append({"models": list(models), "texts": list(texts), "per_prompt": per_prompt})
        texts = draw(
            st.permutations([*texts, *draw(st.lists(st.sampled_from("abcdefg"), max_size=2))])
        )
        per_prompt += draw(st.integers(0, 1))
        models = draw(st.sampled_from([[ONE], [TWO], [ONE, TWO], [TWO, ONE]]))
    return [*steps, {"models": [ONE, TWO], "texts": list(texts), "per_prompt": per_prompt}]


@settings(deadline=None, max_examples=30)
@given(steps=growths(), seed=st.integers(0, 3), own_ids=st.booleans(), ranks=st.integers(1, 3))
def test_any_growth_gives_the_run_of_its_final_settings(
    steps: list[dict[str, Any]], seed: int, own_ids: bool, ranks: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.environ["CALLS"] = str(place / "calls")
        (place / "calls").touch()
        run, last = Run(place / "grown"), {}
        try:
            for step in steps:
                os.environ["WORLD_SIZE"] = str(ranks)
                for rank in range(ranks):
                    os.environ["RANK"] = str(rank)
                    evalkit.generate(
                        step["models"],
                        prompts_of(step["texts"], own_ids),
                        per_prompt=step["per_prompt"],
                        seed=seed,
                        out=run.path,
                        device="cpu",
                    )
                now = images(run)
                assert last.items() <= now.items()
                last = now
        finally:
            os.environ.pop("WORLD_SIZE")
            os.environ.pop("RANK")
        made = (place / "calls").read_text().splitlines()
        assert len(made) == len(set(made)) == len(last)
        once = evalkit.generate(
            list(load_config(run.config_path, {}).models),
            run.prompts(),
            per_prompt=steps[-1]["per_prompt"],
            seed=seed,
            out=place / "once",
            device="cpu",
        )
        assert content(run) == content(once)


def prompts_of(texts: Sequence[str], own_ids: bool) -> list[str | Prompt]:
    """Plain texts, whose ids are positions; or prompts with the ids a-0, a-1, b-0, …"""
    if not own_ids:
        return list(texts)
    counts: dict[str, Iterator[int]] = {}
    return [
        Prompt(f"{text}-{next(counts.setdefault(text, itertools.count()))}", text) for text in texts
    ]


def test_prompts_keep_their_ids_in_any_order(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = evalkit.generate(ONE, ["b", "a", "a"], out=out)
    before = images(run)
    (tmp_path / "more.txt").write_text("a\nnew\nb\na\na\n")
    evalkit.generate(ONE, tmp_path / "more.txt", out=out)
    assert [(prompt.id, prompt.text) for prompt in run.prompts()] == [
        ("00000", "b"), ("00001", "a"), ("00002", "a"), ("00003", "new"), ("00004", "a"),
    ]  # fmt: skip
    assert before.items() <= images(run).items()
    assert "more.txt" in run.config_path.read_text().partition("\n")[0]
    assert evalkit.generate(ONE, tmp_path / "more.txt", out=out).prompts() == run.prompts()


def test_a_list_of_texts_extends_a_run_with_ids_of_its_own(tmp_path: Path) -> None:
    own = [Prompt("x", "a", "letters"), Prompt("00003", "b", "letters")]
    run = evalkit.generate(ONE, own, out=tmp_path / "run")
    table = tmp_path / "p.csv"
    table.write_text("prompt,group\nc,\nb,letters\nd,\na,letters\n")
    evalkit.generate(ONE, table, out=run.path)
    # 00003 is taken: the third and the fourth prompt get the next free ids.
    assert run.prompts() == [*own, Prompt("00002", "c"), Prompt("00004", "d")]


REFUSED = [
    (["a", "c", "a"], {}, r"lacks 1 of the 3 prompts of .*; the first one is 00001 'b'\."),
    (["c"], {}, r"lacks 3 of the 3 prompts of .*; the first one is 00000 'a'\."),
    (["a", "b"], {}, r"lacks 1 of the 3 prompts of .*; the first one is 00002 'a'\."),
    ([Prompt("x", "a"), Prompt("y", "b")], {}, r"lacks 3 of the 3 prompts"),
    (
        [Prompt("z", "z"), Prompt("00000", "a"), Prompt("00001", "B"), Prompt("00002", "a")],
        {},
        r"text of prompt 00001 'b' -> 'B'\.",
    ),
    (
        [Prompt("00000", "a"), Prompt("00001", "b", "g"), Prompt("00002", "a")],
        {},
        r"group of prompt 00001 '' -> 'g'\.",
    ),
    (["a", "b", "a"], {"per_prompt": 1}, r"per_prompt is 1, and .* has 2 images per prompt"),
    (["a", "b", "a"], {"seed": 3}, r"seed 0 -> 3\."),
]


@pytest.mark.parametrize(("prompts", "changes", "message"), REFUSED)
def test_what_is_not_growth_is_refused_and_writes_nothing(
    prompts: list[str | Prompt], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    evalkit.generate(ONE, ["a", "b", "a"], per_prompt=2, out=out)
    before = files(tmp_path)
    with pytest.raises(EvalkitError, match=message) as error:
        evalkit.generate(ONE, prompts, out=out, **({"per_prompt": 2} | changes))
    assert error.value.exit_code == 2
    assert "--out" in error.value.hint
    assert files(tmp_path) == before


def test_what_is_not_given_comes_from_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = evalkit.generate(
        ["noise", ONE], ["a", "b"], seed=5, out=out, options={"noise": {"size": 9}}
    )
    before = images(run)
    evalkit.generate(out=out, per_prompt=2)
    evalkit.generate(TWO, out=out)
    assert before.items() <= images(run).items()
    assert {model: len(run.records(model)) for model in run.models()} == {
        "noise": 4, ONE: 4, TWO: 4,
    }  # fmt: skip
    written = load_config(run.config_path, {})
    assert (written.seed, written.per_prompt) == (5, 2)
    assert written.options == {"noise": {"size": 9}}
    with pytest.raises(EvalkitError, match=r"noise\.size 9 -> 8"):
        evalkit.generate("noise", out=out, options={"noise": {"size": 8}})


def test_a_factory_is_bound_to_all_requests_of_the_run(tmp_path: Path) -> None:
    spec = "models_for_tests:bound"
    run = evalkit.generate(spec, ["a", "b"], out=tmp_path / "run")
    evalkit.generate(spec, ["c", "b", "a"], per_prompt=2, out=run.path)
    assert [record.status for record in run.records(spec)] == ["ok"] * 6


# --- folders of images ---
def taken(run: Run) -> list[bytes]:
    """The pixels of the images that the run took from the folder, in order."""
    records = run.records("photos")
    return [read_image(run.image_path("photos", record)).tobytes() for record in records]


def pixels(*numbers: int) -> list[bytes]:
    return [make_image(number, "").tobytes() for number in numbers]


def picture(path: Path, number: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encode_png(make_image(number, "")))
    return path


def test_a_folder_with_added_images_is_growth(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "run"
    for number in range(2):
        picture(photos / f"{number:05d}.png", number)
    run = evalkit.generate([photos], ["a", "b"], out=out)
    before = images(run)
    for number in (2, 3):
        picture(photos / f"{number:05d}.png", number)
    evalkit.generate([photos], ["b", "c", "a", "d"], out=out)
    assert before.items() <= images(run).items()
    assert taken(run) == pixels(0, 1, 2, 3)
    rows = len((run.image_folder("photos") / "manifest.0.jsonl").read_text().splitlines())
    assert rows == 4


@pytest.mark.parametrize("change", ["other image", "removed", "shifted"])
def test_a_folder_with_other_images_is_refused(change: str, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "run"
    for number in range(3):
        picture(photos / f"{number:05d}.png", number)
    evalkit.generate([photos], ["a", "b", "c"], out=out)
    picture(photos / "00003.png", 3)
    if change == "other image":
        picture(photos / "00001.png", 9)
    elif change == "removed":
        (photos / "00001.png").unlink()
    else:
        shutil.copy(photos / "00001.png", photos / "00003.png")
        picture(photos / "00001.png", 3)
    before = files(out)
    with pytest.raises(
        EvalkitError, match=r"for 1 of the 3 images .* sample 0 of prompt 00001 'b'"
    ):
        evalkit.generate([photos], ["a", "b", "c", "d"], out=out)
    assert files(out) == before


def test_more_samples_of_a_folder_keep_the_old_ones(tmp_path: Path) -> None:
    """The name of the added image sorts before the old one."""
    photos, out = tmp_path / "photos", tmp_path / "run"
    picture(photos / "a red cube-5.png", 5)
    picture(photos / "two dogs-1.png", 1)
    run = evalkit.generate([photos], ["a red cube", "two dogs"], out=out)
    before = images(run)
    picture(photos / "a red cube-2.png", 2)
    picture(photos / "two dogs-3.png", 3)
    evalkit.generate([photos], out=out, per_prompt=2)
    assert before.items() <= images(run).items()
    assert taken(run) == pixels(5, 2, 1, 3)


def test_an_added_image_does_not_take_the_place_of_an_old_one(tmp_path: Path) -> None:
    """Its name sorts first, and one image per prompt is used."""
    photos, out = tmp_path / "photos", tmp_path / "run"
    picture(photos / "a red cube-5.png", 5)
    run = evalkit.generate([photos], ["a red cube"], out=out)
    before = images(run)
    picture(photos / "a red cube-2.png", 2)
    picture(photos / "two dogs-1.png", 1)
    (photos / "notes.png").write_bytes(b"no image")
    evalkit.generate([photos], ["a red cube", "two dogs"], out=out)
    assert before.items() <= images(run).items()
    assert taken(run) == pixels(5, 1)
    unmatched = (run.image_folder("photos") / "unmatched.txt").read_text()
    assert "a red cube-2.png" in unmatched
    assert "a red cube-5.png" not in unmatched


def test_an_image_that_was_missing_is_taken_when_it_comes(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "run"
    for number in (0, 2):
        picture(photos / f"{number:05d}.png", number)
    run = evalkit.generate([photos], ["a", "b", "c"], out=out)
    assert [record.status for record in run.records("photos")] == ["ok", "missing", "ok"]
    before = files(out)
    evalkit.generate([photos], ["a", "b", "c"], out=out)
    assert files(out) == before
    picture(photos / "00001.png", 1)
    evalkit.generate([photos], ["a", "b", "c"], out=out)
    assert [record.status for record in run.records("photos")] == ["ok"] * 3
    assert not (run.image_folder("photos") / "unmatched.txt").exists()


def test_a_missing_image_in_a_manifest_of_an_earlier_version(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "run"
    picture(photos / "00000.png", 0)
    (photos / "notes").write_text("notes")
    run = evalkit.generate([photos], ["a", "b"], out=out)
    manifest = unchecked(out) / "images" / "photos" / "manifest.0.jsonl"
    manifest.write_text(manifest.read_text().replace('"missing"', '"bad_request"'))
    unmatched = run.image_folder("photos") / "unmatched.txt"
    unmatched.write_text(unmatched.read_text().replace("file\t", "image\t"))
    assert [record.status for record in run.records("photos")] == ["ok", "missing"]
    assert run.unmatched("photos") == [("notes", "not an image")]
    assert list(run.frame("images").status) == ["ok", "missing"]
    picture(photos / "00001.png", 1)
    evalkit.generate([photos], ["a", "b"], out=out)
    assert [record.status for record in run.records("photos")] == ["ok", "ok"]


def test_a_file_beside_the_images_is_listed_when_it_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "run"
    picture(photos / "00000.png", 0)
    run = evalkit.generate([photos], ["a", "b"], out=out)
    (photos / "notes").write_text("notes")
    evalkit.generate([photos], ["a", "b"], out=out)  # nothing to take
    assert run.unmatched("photos") == [("notes", "not an image")]
    picture(photos / "00001.png", 1)
    evalkit.generate([photos], ["a", "b"], out=out)
    caplog.clear()
    evalkit.generate([photos], ["a", "b"], out=out)  # the folder is not read again
    assert caplog.messages == ["photos: 1 file is not taken: 1 not an image (notes)"]


def test_a_folder_is_read_and_what_it_lacks_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "evalkit")
    picture(tmp_path / "photos/00000.png", 0)
    run = evalkit.run([tmp_path / "photos", "noise"], ["a", "b"], out=tmp_path / "run", **BARE)
    assert any(
        line.startswith("photos: 1 image read in ")
        and line.endswith(" s, 1 missing, 0 refused or failed")
        for line in caplog.messages
    )
    assert any(line.startswith("noise: 2 images generated in ") for line in caplog.messages)
    counts = run.protocol()["counts"]
    assert [counts["photos"][name] for name in ("ok", "refused", "failed", "missing")] == [
        *(1, 0, 0, 1)
    ]
    [rate] = [row for row in run.metrics() if (row.model, row.metric) == ("photos", "refusal_rate")]
    assert (rate.value, rate.count, rate.requested) == (0.0, 1, 2)
    assert rate.note == "0 of 1 requests; 1 missing, not counted"
    page = (run.report_path / "report.md").read_text("utf-8")
    assert "3 of 4 images were generated or read from folders (1 missing)" in page
    assert "| photos | 2 | 1 | 0 | 0 | 1 |" in page
    (run.path / "validation.json").touch()  # of an earlier version
    caplog.clear()
    evalkit.score(run.path)
    assert "photos: 1 of 2 requested images is missing (00001-0 b)" in caplog.messages
    assert not (run.path / "validation.json").exists()


def test_samples_are_never_exchanged_between_prompts(tmp_path: Path) -> None:
    path = tmp_path / "photos"
    for number in range(2):
        picture(path / f"{number:05d}.png", number)
    run = evalkit.generate([path], ["a", "b"], out=tmp_path / "run")
    picture(path / "00000.png", 1)
    picture(path / "00001.png", 0)
    before = files(run.path)
    with pytest.raises(EvalkitError, match="for 2 of the 2 images"):
        evalkit.generate([path], per_prompt=2, out=run.path)
    assert files(run.path) == before


# --- services and features ---
def test_a_service_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    class Paid:
        fingerprint, price = "paid/1", 0.25

        def request(self, prompt: str, seed: int, sample: int) -> Answer:
            asked.append((prompt, sample))
            return Answer("ok", make_image(seed, prompt), cost=0.25)

    monkeypatch.setattr("models_for_tests.paid", lambda: Paid(), raising=False)
    spec, out = "models_for_tests:paid", tmp_path / "run"
    run = evalkit.generate(spec, ["a", "b"], out=out, max_cost=10)
    before = images(run)
    [estimate] = evalkit.generate(spec, ["c", "b", "a"], out=out, per_prompt=2, dry_run=True)
    assert (estimate.missing, estimate.total) == (4, 1.0)
    evalkit.generate(spec, ["c", "b", "a"], out=out, per_prompt=2, max_cost=1.5)
    assert len(asked) == len(set(asked)) == 6
    assert before.items() <= images(run).items()


def test_only_new_images_are_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[Any] = []
    prepare = Pixels.prepare

    def counting(self: Pixels, image: Any) -> Any:
        encoded.append(image)
        return prepare(self, image)

    monkeypatch.setattr(Pixels, "prepare", counting)
    out = tmp_path / "run"
    evalkit.run([ONE, TWO], ["a", "b", "c"], out=out, **BARE)
    assert len(encoded) == 6
    evalkit.run([ONE], ["d", "c", "b", "a"], out=out)
    assert len(encoded) == 6 + 1
    evalkit.run([ONE], out=out, per_prompt=2)
    assert len(encoded) == 6 + 1 + 4


# --- after a kill ---
class Killed(BaseException):
    """In place of a kill: no code of evalkit handles it."""


def grow(out: Path) -> Run:
    return evalkit.run([ONE, TWO], ["x", "b", "a"], per_prompt=2, metrics=["vendi"], out=out)


def derived(run: Run) -> list[Any]:
    return [row for row in run.metrics() if row.encoder]


def at_write(act: Callable[[int, str], None]) -> Callable[[str, str], None]:
    """In place of os.replace: calls `act` with the number of the write and its target first."""
    count, replace = itertools.count(), os.replace

    def write(source: str, target: str) -> None:
        act(next(count), str(target))
        replace(source, target)

    return write


def test_a_growth_killed_at_any_write_is_completed_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    importlib.import_module("evalkit.compare.compare")  # has a name for `report`, replaced below
    begun = evalkit.run([ONE], ["a", "b"], out=tmp_path / "begun", **BARE)
    shutil.copytree(begun.path, tmp_path / "whole")
    writes: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", at_write(lambda _, target: writes.append(target)))
        whole = grow(tmp_path / "whole")
    expected, rows = content(whole), derived(whole)
    # The first and the last image of a model stand for all, and so do those files of the report.
    names = ["/".join(Path(target).parts[-3:-1]) for target in writes]
    points = [at for at, name in enumerate(names) if name not in names[at + 1 :] or at < 6]
    points += [at for at, target in enumerate(writes) if target.endswith(".json")]
    for point in sorted(set(points)):
        out = tmp_path / f"killed-{point}"
        shutil.copytree(begun.path, out)

        def kill(number: int, target: str, point: int = point) -> None:
            if number == point:
                raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", at_write(kill))
            with pytest.raises(Killed):
                grow(out)
        with monkeypatch.context() as patched:
            if "/report/" not in writes[point]:  # the page takes most of the time
                patched.setattr(sys.modules["evalkit.report.report"], "report", lambda path: path)
            run = grow(out)
        assert content(run) == expected, writes[point]
        assert derived(run) == rows, writes[point]
        if "/report/" in writes[point]:
            assert set(files(run.report_path)) == set(files(whole.report_path))


def test_a_real_kill_between_the_prompts_and_the_first_image(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = evalkit.generate("models_for_tests:plain", ["a", "b"], out=out)
    code = (
        "import os, signal, evalkit\n"
        "from evalkit.generate import local\n"
        "local.fill = lambda *rest: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"evalkit.generate(['models_for_tests:plain'], ['c', 'a', 'b'], out={str(out)!r})\n"
    )
    helpers = str(Path(__file__).parents[1] / "helpers")
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": helpers})
    assert done.returncode == -signal.SIGKILL
    assert [prompt.text for prompt in run.prompts()] == ["a", "b", "c"]
    assert len(images(run)) == 2
    evalkit.generate("models_for_tests:plain", ["c", "a", "b"], out=out)
    once = evalkit.generate("models_for_tests:plain", ["a", "b", "c"], out=tmp_path / "once")
    assert content(run) == content(once)


# --- the command line ---
def test_growth_on_the_command_line(tmp_path: Path, calls: Path) -> None:
    def call(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.stderr
        return result.stderr

    out = str(tmp_path / "run")
    (tmp_path / "p.txt").write_text("a\nb\n")
    (tmp_path / "q.txt").write_text("c\nb\na\n")
    command = ("run", "--out", out, "--models")
    call(*command, f"{ONE},{TWO}", "--prompts", str(tmp_path / "p.txt"), "--encoders", "pixels",
         "--metrics", "duplicates")  # fmt: skip
    said = call(*command, ONE, "--prompts", str(tmp_path / "q.txt"), "--metrics", "vendi",
                "--per-prompt", "2")  # fmt: skip
    assert f"not compared: {TWO}" in said
    made = calls.read_text().split("\n")
    assert len(made) - 1 == 2 + 2 + 4
    rows = json.loads((tmp_path / "run/metrics.json").read_text())["rows"]
    assert {row["model"] for row in rows} == {ONE}
    assert {"duplicates", "vendi"} <= {row["metric"] for row in rows}
