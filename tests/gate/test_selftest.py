"""The selftest of the gate: false alarms, planted damage, the smallest change, two devices."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gated_runs import prompts, score_folder
from PIL import Image
from typer.testing import CliRunner
from unchecked_runs import unchecked

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.gate.selftest.selftest import Selftest
from evalkit.gate.selftest.smallest import POWER

Runs = Callable[[str], Path]
DAMAGES = {"jpeg", "blur", "shuffled", "dropped", "collapse", "black"}


def content(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file but gate_selftest.json and the cache."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "gate_selftest.json" and "features" not in path.parts
    }


@pytest.fixture(scope="module")
def two_per_prompt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored run with two images for each of 80 prompts."""
    folder = tmp_path_factory.mktemp("two") / "run"
    texts = evalkit_prompts(80)
    evalkit.generate("gan", texts, per_prompt=2, out=folder)
    evalkit.score(folder, metrics=["fid", "clip_score"], encoders="mini")
    return folder


def evalkit_prompts(count: int) -> list[evalkit.Prompt]:
    from evalkit.prompts import read_prompts

    return read_prompts("suite")[:count]


@pytest.fixture(scope="module")
def tested(two_per_prompt: Path) -> Selftest:
    return evalkit.gate_selftest(two_per_prompt, splits=20)


def test_two_samples_are_paired_by_prompt(tested: Selftest) -> None:
    assert tested.pairing == "samples"
    assert (tested.images, tested.images_per_side, tested.prompts_per_side) == (160, 80, 80)
    assert "two seeds" in tested.stands_for


def test_false_alarms_are_at_most_alpha(tested: Selftest) -> None:
    configured, none = tested.false_alarms
    assert (configured.margins, none.margins) == ("configured", "none")
    assert configured.splits == none.splits == 20
    assert configured.alarms <= none.alarms
    for one in tested.false_alarms:
        assert one.low <= one.rate <= one.high
        assert one.low <= tested.alpha


def test_each_damage_is_found_by_the_metric_that_sees_it(tested: Selftest) -> None:
    found = {one.damage: one for one in tested.damages if one.prompts == 80}
    assert found.keys() == DAMAGES
    seen = {"blur": "sharpness", "shuffled": "clip_score", "collapse": "fid"}
    for damage, metric in seen.items():
        assert found[damage].found == 1.0
        assert found[damage].metrics[metric] == 1.0
    # The set of images is the same: no property of the set can see the exchange.
    assert {"fid", "sharpness", "missing_rate"} <= set(found["shuffled"].blind)
    assert "clip_score" not in found["shuffled"].blind
    assert {"fid", "clip_score"} <= set(found["dropped"].blind)
    assert sum(found["dropped"].metrics.values()) == found["dropped"].metrics["missing_rate"]
    assert found["dropped"].found == found["dropped"].metrics["missing_rate"] > 0.5
    assert found["black"].found >= found["black"].metrics["black_rate"] > 0.5


def test_fewer_prompts_find_less(tested: Selftest) -> None:
    sizes = sorted({one.prompts for one in tested.damages})
    assert sizes == [20, 40, 80]
    jpeg = {one.prompts: one for one in tested.damages if one.damage == "black"}
    assert jpeg[20].found <= jpeg[80].found


def test_damage_that_is_not_found_is_a_failure_with_its_own_exit_code(tested: Selftest) -> None:
    missed = {one.meaning for one in tested.damages if one.prompts == 80 and one.found < 0.95}
    assert tested.passed is not bool(missed)
    assert tested.exit_code == (3 if missed else 0)
    for meaning in missed:
        assert any(meaning in problem for problem in tested.problems)


def test_a_change_of_the_stated_size_is_found_as_often_as_stated(tested: Selftest) -> None:
    """The planned power, against a simulation of the test: a normal difference of this error."""
    [clip] = [one for one in tested.smallest if one.metric == "clip_score"]
    assert clip.change is not None
    assert clip.percent == pytest.approx(100 * clip.change / clip.value)
    assert clip.change > clip.margin
    rng = np.random.default_rng(0)
    tests, count = len(tested.smallest), 80
    values = rng.normal(clip.change, clip.error * count**0.5, (4000, count))
    from scipy import stats

    p = stats.ttest_1samp(values, clip.margin, axis=1, alternative="greater").pvalue
    assert np.mean(p <= tested.alpha / tests) == pytest.approx(POWER, abs=0.04)


def test_a_share_that_is_zero_has_a_smallest_change(tested: Selftest) -> None:
    [missing] = [one for one in tested.smallest if one.metric == "missing_rate"]
    assert missing.error == 0
    assert missing.change is not None
    assert 3 / 80 < missing.change < 0.5  # the rule of three is below it
    assert missing.percent is None


def test_a_small_group_may_be_absent_from_a_split(two_per_prompt: Path, tmp_path: Path) -> None:
    folder = unchecked(Path(shutil.copytree(two_per_prompt, tmp_path / "run")))
    prompts = [json.loads(line) for line in (folder / "prompts.jsonl").read_text().splitlines()]
    for at, prompt in enumerate(prompts):
        prompt["group"] = "small" if at < 3 else "large"
    (folder / "prompts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in prompts))
    config = tmp_path / "gate.toml"
    config.write_text("[metrics.clip_score]\nmax_drop = 1\n[groups]\nmax_drop = 2\n")
    made = evalkit.gate_selftest(folder, splits=20, config=config)
    for found in made.damages:
        assert "clip_score, large" in found.metrics
    assert {"small", "large"} <= {one.group for one in made.smallest}


def test_images_that_were_never_reached_are_missing(two_per_prompt: Path, tmp_path: Path) -> None:
    folder = unchecked(Path(shutil.copytree(two_per_prompt, tmp_path / "run")))
    manifest = folder / "images" / "gan" / "manifest.0.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:120]))
    made = evalkit.gate_selftest(folder, splits=20, metrics="missing_rate")
    [missing] = made.smallest
    assert (missing.value, made.images, made.prompts_per_side) == (0.25, 120, 80)


def test_the_same_file_again_and_nothing_else_changes(two_per_prompt: Path, tmp_path: Path) -> None:
    folder = unchecked(Path(shutil.copytree(two_per_prompt, tmp_path / "run")))
    before = content(folder)
    evalkit.gate_selftest(folder, splits=20, metrics="clip_score,sharpness")
    first = (folder / "gate_selftest.json").read_bytes()
    evalkit.gate_selftest(folder, splits=20, metrics="clip_score,sharpness")
    assert (folder / "gate_selftest.json").read_bytes() == first
    assert content(folder) == before


def test_the_temporary_folder_is_removed_also_on_failure(
    two_per_prompt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    evalkit.gate_selftest(two_per_prompt, splits=20, metrics="sharpness")
    assert not list(tmp_path.iterdir())

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    module = importlib.import_module("evalkit.gate.selftest.pool")  # evalkit.gate is the function
    monkeypatch.setattr(module, "gather", stop)
    with pytest.raises(KeyboardInterrupt):
        evalkit.gate_selftest(two_per_prompt, splits=20, metrics="sharpness")
    assert not list(tmp_path.iterdir())


def test_one_image_per_prompt_is_two_halves(runs: Runs) -> None:
    made = evalkit.gate_selftest(runs("none"), splits=20, metrics="clip_score")
    assert made.pairing == "halves"
    assert (made.images, made.images_per_side) == (60, 30)
    assert "independent" in made.stands_for
    found = {one.damage: one.found for one in made.damages if one.prompts == 30}
    assert found["shuffled"] == 1.0
    assert found["blur"] < 0.95  # named, as no gated metric sees it
    assert made.exit_code == 3


def test_margins_tiers_and_limits_of_the_configuration(
    two_per_prompt: Path, tmp_path: Path
) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(
        "[metrics.clip_score]\nmax_drop = 80\n[metrics.fid]\nmax = 1\n"
        "[metrics.sharpness]\nmax_relative_drop = 0.2\ntier = 'advisory'\n"
    )
    made = evalkit.gate_selftest(two_per_prompt, config=path, splits=20)
    assert "no margin" in made.not_tested["fid"]
    found = {one.damage: one for one in made.damages if one.prompts == 80}
    assert found["shuffled"].found == 0.0  # 80 points are allowed
    assert found["blur"].metrics["sharpness"] == 1.0
    assert found["blur"].found == 0.0  # an advisory metric does not decide


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"splits": 5}, "expected a whole number of at least 20"),
        ({"alpha": 0.7}, "below 0.5"),
        ({"metrics": "clip_scor"}, "There is no metric 'clip_scor'. Did you mean"),
        ({"metrics": "images_per_second"}, "can be tested: speed and cost have no interval"),
        ({"generate": True}, "run.toml states no guidance of 'gan'"),
        ({"devices": ["a"]}, "Expected one run, or two runs of two devices"),
    ],
)
def test_mistakes_are_one_sentence(
    settings: dict[str, object], message: str, two_per_prompt: Path
) -> None:
    with pytest.raises(EvalkitError, match=message) as error:
        evalkit.gate_selftest(two_per_prompt, **settings)  # pyright: ignore
    assert error.value.exit_code == 2


def test_runs_that_cannot_be_tested_are_one_sentence(tmp_path: Path, runs: Runs) -> None:
    with pytest.raises(EvalkitError, match="There is no run folder"):
        evalkit.gate_selftest(tmp_path / "nowhere")
    evalkit.generate("noise", evalkit_prompts(6), out=tmp_path / "run")
    with pytest.raises(EvalkitError, match=r"has no metrics\.json"):
        evalkit.gate_selftest(tmp_path / "run")
    evalkit.score(tmp_path / "run", metrics="fid", encoders="mini")
    with pytest.raises(EvalkitError, match="6 prompts; a selftest needs at least 10"):
        evalkit.gate_selftest(tmp_path / "run", metrics="sharpness")
    with pytest.raises(EvalkitError, match="Expected one run"):
        evalkit.gate_selftest()


def test_encoders_that_do_not_know_the_images_are_not_tested(tmp_path: Path, runs: Runs) -> None:
    folder = unchecked(Path(shutil.copytree(runs("none"), tmp_path / "run")))
    note = folder / "images" / "model" / "model.json"
    note.write_text(note.read_text().replace('"bundled": true', '"bundled": false'))
    with pytest.raises(EvalkitError, match="no metric of images in common"):
        evalkit.gate_selftest(folder)


def test_half_the_guidance_is_found(tmp_path: Path) -> None:
    run = evalkit.run(
        "dalle",
        evalkit_prompts(24),
        out=tmp_path / "run",
        metrics="clip_score",
        encoders="mini",
        options={"dalle": {"guidance": 1.0}},
    )
    made = evalkit.gate_selftest(run, splits=20, generate=True, metrics="clip_score")
    [found] = [one for one in made.damages if one.damage == "half_guidance"]
    assert found.metrics["clip_score"] > 0.9


def test_devices_that_make_the_same_images_are_safe(runs: Runs) -> None:
    made = evalkit.gate_selftest(devices=[runs("none"), runs("none")])
    assert (made.safe, made.exit_code, made.images, made.different) == (True, 0, 60, 0)
    assert {one.worse for one in made.metrics} == {0.0}
    written = json.loads((runs("none") / "gate_devices.json").read_text())
    assert (written["schema"], written["safe"]) == (1, True)


def test_devices_that_differ_by_rounding_or_by_more(runs: Runs, images, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for at, image in enumerate(images):
        pixels = np.asarray(image).copy()
        pixels[0, 0, 0] ^= at % 2  # one value of every second image, by one
        Image.fromarray(pixels).save(folder / f"{at:05d}.png")
    other = score_folder(folder, prompts(), tmp_path / "run")
    made = evalkit.gate_selftest(devices=[other, runs("none")])
    assert (made.safe, made.different) == (True, 30)
    worse = evalkit.gate_selftest(devices=[runs("none"), runs("shuffled")])
    assert (worse.safe, worse.exit_code) == (False, 3)
    within = {one.metric: one.within for one in worse.metrics}
    assert (within["clip_score"], within["sharpness"]) == (False, True)


def test_a_better_device_is_not_safe_either(runs: Runs) -> None:
    better = evalkit.gate_selftest(devices=[runs("none"), runs("shuffled")], metrics="clip_score")
    worse = evalkit.gate_selftest(devices=[runs("shuffled"), runs("none")], metrics="clip_score")
    assert not better.safe
    assert not worse.safe


def test_two_checkpoints_are_not_two_devices(two_per_prompt: Path, tmp_path: Path) -> None:
    other = unchecked(Path(shutil.copytree(two_per_prompt, tmp_path / "other")))
    settings = {"devices": [two_per_prompt, other], "metrics": "sharpness"}
    assert evalkit.gate_selftest(**settings).safe  # pyright: ignore
    [note] = other.glob("images/*/model.json")
    content = json.loads(note.read_text())
    note.write_text(json.dumps(content | {"fingerprint": "sha256:0123"}))
    with pytest.raises(EvalkitError, match=r"the weights or code are .* sha256:0123") as one:
        evalkit.gate_selftest(**settings)  # pyright: ignore
    assert one.value.exit_code == 4


def test_the_command_prints_every_part_and_no_exit_code_is_1(
    two_per_prompt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ["gate", "selftest", str(two_per_prompt), "--splits", "20"]
    found = CliRunner().invoke(app, [*arguments, "--metrics", "clip_score"])
    assert found.exit_code == 3  # clip_score alone does not see a blur
    for word in ("False alarms", "Planted damage", "smallest change", "blind", "FAIL"):
        assert word in found.stdout
    assert max(map(len, found.stdout.splitlines())) <= 80
    shown = CliRunner().invoke(app, [*arguments, "--metrics", "sharpness", "--json"])
    written = (two_per_prompt / "gate_selftest.json").read_text()
    assert shown.stdout == written
    assert json.loads(written)["schema"] == 1
    devices = ["gate", "selftest", "--devices", str(two_per_prompt), str(two_per_prompt)]
    assert CliRunner().invoke(app, devices).exit_code == 0


def test_a_run_folder_called_selftest_is_reached_by_its_path(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(runs("none"), tmp_path / "selftest")
    monkeypatch.chdir(tmp_path)
    arguments = ["--baseline", str(runs("none")), "--metrics", "sharpness"]
    assert CliRunner().invoke(app, ["gate", "./selftest", *arguments]).exit_code == 0
    assert CliRunner().invoke(app, ["gate", *arguments, "selftest"]).exit_code == 0


@pytest.fixture(scope="module")
def few(two_per_prompt: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Selftest, Path]:
    """Few prompts, limits, an advisory metric that sees the blur, and groups of prompts."""
    root = tmp_path_factory.mktemp("few")
    evalkit.generate("gan", evalkit_prompts(16), per_prompt=2, out=root / "run")
    evalkit.score(root / "run", metrics=["clip_score"], encoders="mini")
    path = root / "gate.toml"
    path.write_text(
        "[metrics.clip_score]\nmax_drop = 80\nmin = 3\n[metrics.missing_rate]\n"
        "[metrics.sharpness]\ntier = 'advisory'\n[groups]\nmax_drop = 80\n"
    )
    return evalkit.gate_selftest(root / "run", config=path, splits=20), root


def test_what_is_not_tested_is_said(few: tuple[Selftest, Path]) -> None:
    made, _ = few
    assert {one.prompts for one in made.damages} == {16}
    assert "8 on each side, fewer than 10" in made.not_tested["a half of the prompts"]
    assert "4 on each side, fewer than 10" in made.not_tested["a quarter of the prompts"]
    assert "clip_score: min, max" in made.not_tested
    assert "sharpness: min, max" not in made.not_tested


def test_the_value_of_a_group_is_that_of_the_run(few: tuple[Selftest, Path]) -> None:
    made, root = few
    run = evalkit.Run(root / "run")
    groups = [prompt.group for prompt in run.prompts()]
    shown = {one.group: one.value for one in made.smallest if one.metric == "clip_score"}
    assert set(shown) == {"", *groups}
    for group in set(groups):
        values = [
            float(row["value"])
            for row in run.scores()
            if row["metric"] == "clip_score" and groups[int(row["index"])] == group
        ]
        assert shown[group] == pytest.approx(np.mean(values))


def test_too_few_prompts_are_not_blindness(few: tuple[Selftest, Path]) -> None:
    made, _ = few
    [dropped] = [one for one in made.damages if one.damage == "dropped"]
    assert dropped.metrics["missing_rate"] == 0
    assert "missing_rate" not in dropped.blind
    assert 40 < dropped.needed["missing_rate"] < 400
    assert "clip_score" in dropped.blind


def test_the_end_says_what_to_do(
    few: tuple[Selftest, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, root = few
    assert made.tiers["sharpness"] == "advisory"
    assert made.tiers["missing_rate"] == "critical"
    assert len(made.advice) == len(made.problems)
    advice = {line.partition(":")[0]: line for line in made.advice}
    assert advice["blur"] == 'blur: sharpness sees it and does not decide: set tier = "critical".'
    assert "use more prompts: missing_rate needs about" in advice["dropped"]
    monkeypatch.setenv("COLUMNS", "200")
    arguments = [str(root / "run"), "--config", str(root / "gate.toml"), "--splits", "20"]
    shown = CliRunner().invoke(app, ["gate", "selftest", *arguments]).stdout
    assert shown.splitlines()[-len(made.advice) :] == list(made.advice)
    for text in ("sharpness (advisory)", "too few", "advisory: the metric is shown"):
        assert text in shown


def test_a_damage_that_no_metric_sees_needs_another_metric(runs: Runs) -> None:
    made = evalkit.gate_selftest(runs("none"), splits=20, metrics="clip_score")
    assert "dropped: gate a metric that sees it, as critical." in made.advice
