"""The gate on runs: what passes, what fails, what is refused; and every output says the same."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from gated_runs import prompts, score_folder
from typer.testing import CliRunner
from unchecked_runs import reseed

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.gate import github

Runs = Callable[[str], Path]


def test_the_same_images_pass_and_the_file_is_the_same_again(runs: Runs) -> None:
    made = evalkit.gate(runs("none"), baseline=runs("none"))
    assert (made.outcome, made.exit_code) == ("pass", 0)
    assert {one.verdict for one in made.decisions} == {"PASS"}
    before = (runs("none") / "gate.json").read_bytes()
    evalkit.gate(runs("none"), baseline=runs("none"))
    assert (runs("none") / "gate.json").read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "metric"),
    [("black", "black_rate"), ("shuffled", "clip_score"), ("blurred", "fid"), ("collapsed", "fid")],
)
def test_planted_damage_is_a_regression(damage: str, metric: str, runs: Runs) -> None:
    made = evalkit.gate(runs(damage), baseline=runs("none"))
    assert (made.outcome, made.exit_code) == ("regressed", 1)
    [found] = [one for one in made.decisions if one.metric == metric]
    assert found.verdict == "REGRESSED"
    assert found.low is not None
    assert found.margin is not None
    assert found.low > found.margin
    assert metric in made.sentence


def test_shuffled_prompts_are_invisible_to_a_property_of_the_set(runs: Runs) -> None:
    made = evalkit.gate(runs("shuffled"), baseline=runs("none"), metrics="fid")
    assert made.outcome != "regressed"


def test_the_prompts_that_lost_most_are_named(runs: Runs) -> None:
    made = evalkit.gate(runs("shuffled"), baseline=runs("none"), metrics=["clip_score"])
    assert made.changed
    changes = [item.change for item in made.changed]
    assert changes == sorted(changes)
    assert changes[0] < 0
    text = {prompt.id: prompt.text for prompt in prompts()}
    scores = [
        {
            (row["index"], row["sample"]): float(row["value"])
            for row in run.scores()
            if row["metric"] == "clip_score"
        }
        for run in (evalkit.Run(runs("shuffled")), evalkit.Run(runs("none")))
    ]
    for item in made.changed:
        assert item.text == text[item.prompt]
        assert item.change == pytest.approx(item.candidate - item.baseline)
        key = str([prompt.id for prompt in prompts()].index(item.prompt)), str(item.sample)
        assert [side[key] for side in scores] == pytest.approx([item.candidate, item.baseline])


def test_the_images_that_lost_most_on_a_metric_that_is_better_low(copy: Runs) -> None:
    """All images of a collapsed model are copies of each other."""
    sides = copy("collapsed"), copy("none")
    for side in sides:
        evalkit.score(side, metrics="duplicates", only=True, encoders="mini")
    lost = evalkit.gate(sides[0], baseline=sides[1]).changed
    assert [(one.metric, one.change) for one in lost] == [("duplicates", 1.0)] * 10
    assert evalkit.gate(sides[1], baseline=sides[0]).changed == ()


def test_the_file_names_what_was_gated(runs: Runs, tmp_path: Path) -> None:
    made = evalkit.gate(runs("blurred"), baseline=runs("none"))
    gated = hashlib.sha256((runs("blurred") / "metrics.json").read_bytes()).hexdigest()
    assert made.metrics_sha256 == gated
    assert (made.candidate_label, made.baseline_label) == ("model", "model")
    assert (runs("blurred") / made.baseline_run).resolve() == runs("none").resolve()
    path = evalkit.baseline_save(runs("none"), out=tmp_path / "base.json", reason="first")
    assert evalkit.gate(runs("blurred"), baseline=path).baseline_run == made.baseline_run
    moved = shutil.copytree(runs("none"), tmp_path / "moved")
    path = evalkit.baseline_save(moved, out=path, reason="second")
    shutil.rmtree(moved)
    assert evalkit.gate(runs("blurred"), baseline=path).baseline_run == ""


def test_a_baseline_file_decides_as_the_run_does(runs: Runs, tmp_path: Path) -> None:
    path = evalkit.baseline_save(runs("none"), out=tmp_path / "base.json", reason="first")
    whole = evalkit.gate(runs("blurred"), baseline=runs("none"))
    filed = evalkit.gate(runs("blurred"), baseline=path)
    assert filed.decisions == whole.decisions
    evalkit.baseline_save(runs("none"), out=path, reason="second")
    history = json.loads(path.read_text())["history"]
    assert [entry["reason"] for entry in history] == ["first", "second"]


def test_a_part_of_the_metrics_is_gated_from_a_baseline_file(
    copy: Runs, runs: Runs, tmp_path: Path
) -> None:
    path = evalkit.baseline_save(runs("none"), out=tmp_path / "base.json", reason="first")
    made = evalkit.gate(runs("none"), baseline=path, metrics=" clip score, FID")
    assert [one.metric for one in made.decisions] == ["clip_score", "fid"]
    with pytest.raises(EvalkitError, match=r"'recall' is not measured for .*base\.json"):
        evalkit.gate(runs("none"), baseline=path, metrics="recall")


def test_a_rule_without_margin_has_the_default_margin(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text("[metrics.fid]\ntier = 'supporting'\n")
    [made] = evalkit.gate(runs("none"), baseline=runs("none"), config=path).decisions
    assert made.tier == "supporting"
    assert made.margin == pytest.approx(0.05 * (made.baseline or 0.0))


def test_a_baseline_is_read_from_a_git_revision(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    evalkit.baseline_save(runs("none"), out="base.json", reason="first")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "base.json"], ["commit", "-qm", "base"]):
        subprocess.run([*git, *arguments], check=True)
    Path("base.json").unlink()
    assert evalkit.gate(runs("none"), baseline="git:HEAD:base.json").exit_code == 0
    with pytest.raises(EvalkitError, match=r"git has no 'other\.json' in 'HEAD'"):
        evalkit.gate(runs("none"), baseline="git:HEAD:other.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"value": ', '"value": 1', 1), "was edited"),
        (lambda text: "{}", "is not a baseline"),
        (lambda text: text[:100], "is not JSON"),
        (lambda text: text.replace('"schema": 2', '"schema": 0', 1), "has the schema 0"),
        (lambda text: text.replace('"value": 0.0', '"value": NaN', 1), "value NaN, which is not"),
        (lambda text: text.replace('"history": [{', '"history": [1, {'), "was edited"),
        (lambda text: "[" * 100_000, "is not JSON"),
    ],
)
def test_a_file_that_is_no_baseline_is_refused(
    change: Callable[[str], str], message: str, runs: Runs, tmp_path: Path
) -> None:
    path = evalkit.baseline_save(runs("none"), out=tmp_path / "base.json", reason="first")
    path.write_text(change(path.read_text()))
    with pytest.raises(EvalkitError, match=message) as error:
        evalkit.gate(runs("none"), baseline=path)
    assert error.value.exit_code == 2


def test_other_conditions_are_refused_field_by_field(copy: Runs, runs: Runs) -> None:
    other = copy("none")
    config = other / "run.toml"
    reseed(config, 7)
    with pytest.raises(EvalkitError, match="seed: 7, baseline 0") as error:
        evalkit.gate(other, baseline=runs("none"))
    assert error.value.exit_code == 4
    made = evalkit.gate(other, baseline=runs("none"), allow_mismatch=["seed"])
    assert [one.field for one in made.allowed] == ["seed"]
    assert "seed" in json.loads((other / "gate.json").read_text())["allowed"][0]["field"]
    with pytest.raises(EvalkitError, match="condition 'sede'") as error:
        evalkit.gate(other, baseline=runs("none"), allow_mismatch=["sede"])
    assert error.value.exit_code == 2


@pytest.mark.parametrize("content", ["{}", None, "[]", '{"schema": 99}', '{"encoders": []}'])
def test_a_run_without_its_protocol_is_refused(content: str | None, copy: Runs, runs: Runs) -> None:
    run = copy("none")
    if content is None:
        (run / "protocol.json").unlink()
    else:
        (run / "protocol.json").write_text(content)
    message = r"protocol\.json (does not state what the images were scored with|is damaged)"
    for call in (
        lambda: evalkit.gate(run, baseline=runs("none")),
        lambda: evalkit.gate(runs("none"), baseline=run),
        lambda: evalkit.compare([run, runs("none")], out=run.parent / "both"),
    ):
        with pytest.raises(EvalkitError, match=message) as error:
            call()
        assert "evalkit score" in error.value.hint
        assert error.value.exit_code == 2


def test_other_prompts_are_refused_and_their_order_does_not_matter(
    runs: Runs, images, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for at, image in enumerate(reversed(images)):
        image.save(folder / f"{at:05d}.png")
    same = score_folder(folder, prompts()[::-1], tmp_path / "same")
    made = evalkit.gate(same, baseline=runs("none"))
    assert {one.verdict for one in made.decisions} == {"PASS"}
    assert all(abs(one.worse or 0) < 1e-6 for one in made.decisions)
    for file in sorted(folder.iterdir())[30:]:
        file.unlink()
    fewer = score_folder(folder, prompts()[::-1][:30], tmp_path / "fewer")
    with pytest.raises(EvalkitError, match="prompts: 30 prompts, baseline 60 prompts, 30 of them"):
        evalkit.gate(fewer, baseline=runs("none"))
    shared = evalkit.gate(fewer, baseline=runs("none"), allow_mismatch=["prompts"])
    assert {one.images for one in shared.decisions if one.metric == "fid"} == {30}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[metrics.fdi]\nmax_increase = 1",
            r"gate\.toml: There is no metric 'fdi'. Did you mean 'fid'",
        ),
        ("[metrics.fid]\nmax_drop = 1", "a regression is an increase"),
        ("[metrics.fid]\nmax_increase = -1", "expected a number of at least 0"),
        ("[metrics.fid]\nmax_increase = nan", "expected a number"),
        ("[metrics.fid]\nmax_incraese = 1", "unknown key 'max_incraese'"),
        ("[metrics.fid]\ntier = 'crtical'", "expected critical, supporting or advisory"),
        ("[metrics.fid]\nmax_increase = 1\nmax_drop = 1", "one direction only"),
        ("[metrics.fid]\nmin = 2\nmax = 1", "has a min above its max"),
        ("[metrics.kid]", "kid has no natural zero"),
        ("[metrics.fid]\n[groups]\nmax_drop = 1", "has nothing to decide"),
        ("[groups]", "groups has no margin"),
        ("alhpa = 0.1", "unknown key 'alhpa'"),
        ("alpha = 0.7", "below 0.5"),
        ("alpha = 1e-9", "alpha is 1e-09; expected a number of at least 1e-06, below 0.5"),
        ("alpha = 1e-320", "at least 1e-06"),
        ("[metrics.fid]\nmax_relative_increase = 1e308", "a number up to 1e"),
        (f"[metrics.fid]\nmax_increase = {'9' * 400}", "max_increase is 9.*a number up to 1e"),
        (f"[metrics.fid]\nmax_increase = {'9' * 5000}", "is not TOML"),
        ("[metrics.precision]\nmax_drop = 5", r"precision allows every change.* from 0 to 1\."),
        ("[metrics.precision]\nmax_relative_drop = 1", "precision allows every change"),
        ("[metrics.refusal_rate]\nmax_increase = 1", "refusal_rate allows every change"),
        ("[metrics.precision]\n[groups]\nmax_drop = 1", "has nothing to decide"),
        ("on_inconclusive = 'warn'", "expected pass or fail"),
        ("metrics = [", "is not TOML"),
    ],
)
def test_a_mistake_in_the_configuration_is_never_a_pass(
    text: str, message: str, runs: Runs, tmp_path: Path
) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(EvalkitError, match=message) as error:
        evalkit.gate(runs("none"), baseline=runs("none"), config=path)
    assert error.value.exit_code == 2


@pytest.mark.parametrize("alpha", [0, 1e-9, 0.5, True, float("nan"), "0.05"])
def test_an_alpha_that_is_out_of_range_is_refused(alpha, runs: Runs) -> None:
    with pytest.raises(EvalkitError, match=r"^alpha is .*at least 1e-06, below 0\.5"):
        evalkit.gate(runs("none"), baseline=runs("none"), alpha=alpha)
    with pytest.raises(EvalkitError, match=r"^alpha is .*at least 1e-06, below 0\.5"):
        evalkit.gate_selftest(runs("none"), alpha=alpha)


def test_a_margin_of_groups_is_not_applied_where_it_is_the_whole_range(
    runs: Runs, tmp_path: Path
) -> None:
    path = tmp_path / "gate.toml"
    path.write_text("[groups]\nmax_drop = 1.0\n")
    made = evalkit.gate(runs("none"), baseline=runs("none"), config=path)
    grouped = {one.metric for one in made.decisions if one.group}
    assert "clip_score" in grouped
    assert "precision" not in grouped
    [said] = [remark for remark in made.remarks if "[groups]" in remark]
    assert "precision" in said
    assert "clip_score" not in said


def test_an_earlier_decision_is_gone_where_the_gate_refuses(copy: Runs, runs: Runs) -> None:
    other = copy("none")
    config, decided = other / "run.toml", other / "gate.json"
    for arguments, error in (({}, 4), ({"metrics": "fdi"}, 2), ({"alpha": 7}, 2)):
        reseed(config, 0)
        assert evalkit.gate(other, baseline=runs("none")).outcome == "pass"
        assert decided.is_file()
        reseed(config, 7)
        with pytest.raises(EvalkitError) as refused:
            evalkit.gate(other, baseline=runs("none"), **arguments)
        assert refused.value.exit_code == error
        assert not decided.exists()


def test_metrics_that_only_one_side_has_are_named_in_every_output(copy: Runs, runs: Runs) -> None:
    fewer = copy("none")
    evalkit.score(fewer, metrics=["fid"], only=True, encoders="mini")
    for sides in ((fewer, runs("none")), (runs("none"), fewer)):
        made = evalkit.gate(sides[0], baseline=sides[1])
        [said] = [remark for remark in made.remarks if "only one" in remark]
        assert {"clip_score", "precision"} <= set(said.rstrip(".").replace(":", ",").split(", "))
        assert said in json.loads((sides[0] / "gate.json").read_text())["remarks"]
    made = evalkit.gate(fewer, baseline=runs("none"), metrics="fid")
    assert not any("only one" in remark for remark in made.remarks)


def test_a_run_that_is_gated_against_itself_says_so(runs: Runs, tmp_path: Path) -> None:
    path = evalkit.baseline_save(runs("none"), out=tmp_path / "base.json", reason="first")
    for baseline in (runs("none"), path):
        made = evalkit.gate(runs("none"), baseline=baseline)
        assert "All images of the two are the same, byte for byte." in made.remarks
    made = evalkit.gate(runs("blurred"), baseline=runs("none"))
    assert not any("byte for byte" in remark for remark in made.remarks)


def test_prompts_without_ids_of_their_own_are_refused(copy: Runs, runs: Runs) -> None:
    other = copy("none")
    lines = (other / "prompts.jsonl").read_text().splitlines()
    id_ = json.loads(lines[0])["id"]
    lines[1] = json.dumps({**json.loads(lines[1]), "id": id_})
    (other / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    manifest = other / "images" / "model" / "manifest.0.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows = [{**row, "prompt": id_} if row["index"] == 1 else row for row in rows]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for sides in ((other, runs("none")), (runs("none"), other)):
        with pytest.raises(EvalkitError, match=r"prompts\.jsonl has the id .* 2 times") as error:
            evalkit.gate(sides[0], baseline=sides[1])
        assert error.value.exit_code == 2


def test_tiers_tripwires_and_groups(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(
        "[metrics.clip_score]\nmax_drop = 1\ntier = 'advisory'\n[metrics.fid]\nmax = 1000\n"
    )
    made = evalkit.gate(runs("shuffled"), baseline=runs("none"), config=path)
    verdicts = {one.metric: one.verdict for one in made.decisions}
    assert verdicts == {"clip_score": "REGRESSED", "fid": "PASS"}
    assert made.exit_code == 0  # an advisory metric does not decide
    path.write_text("[metrics.fid]\nmax = 1\n")
    made = evalkit.gate(runs("none"), baseline=runs("none"), config=path)
    assert made.exit_code == 1
    assert made.decisions[0].basis == "tripwire"


def test_undecided_is_an_exit_code_only_where_it_is_asked_for(runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text("on_inconclusive = 'fail'\n[metrics.fid]\nmax_increase = 0.0001\n")
    made = evalkit.gate(runs("shuffled"), baseline=runs("none"), config=path)
    other = evalkit.gate(
        runs("shuffled"), baseline=runs("none"), config=path, metrics=["precision"]
    )
    for one in (made, other):
        expected = {"pass": 0, "inconclusive": 3, "regressed": 1}[one.outcome]
        assert one.exit_code == expected


def test_every_output_says_the_same(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("of another step\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    arguments = ["gate", str(runs("shuffled")), "--baseline", str(runs("none")), "--junit"]
    found = CliRunner().invoke(app, [*arguments, str(tmp_path / "gate.xml")])
    assert found.exit_code == 1, found.stderr
    assert "clip_score" in found.stdout
    assert "::error title=evalkit gate::clip_score" in found.stdout
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["clip_score mini-clip"]
    assert suite.get("failures") == "1"
    text = summary.read_text()
    assert text.startswith("of another step\n")
    assert "### evalkit gate: regressed" in text
    decided = json.loads((runs("shuffled") / "gate.json").read_text())
    assert (decided["schema"], decided["outcome"], decided["exit_code"]) == (1, "regressed", 1)


def test_the_step_summary_stays_below_the_limit(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("x" * (github.LIMIT - 200))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    evalkit.gate(runs("none"), baseline=runs("none"))
    assert github.LIMIT - 200 < summary.stat().st_size <= github.LIMIT


def test_a_defect_never_has_the_exit_code_of_a_regression(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> None:
        raise ZeroDivisionError

    module = importlib.import_module("evalkit.gate.gate")  # evalkit.gate is the function
    monkeypatch.setattr(module, "read_config", broken)
    arguments = ["gate", str(runs("none")), "--config", str(tmp_path / "gate.toml")]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 2
    assert "ZeroDivisionError" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"candidate": None}, "candidate is None; expected a text or a path: RUN or RUN:LABEL"),
        ({"candidate": ["r1"]}, r"candidate is \['r1'\]; expected a text or a path"),
        ({"candidate": b"r1"}, "candidate is b'r1'; expected"),
        ({"baseline": 3}, "baseline is 3; expected a text or a path"),
        ({"config": 3}, "config is 3; expected a path"),
        ({"junit": 3}, "junit is 3; expected"),
        ({"metrics": 3}, "metrics is 3; expected a text or a list of names of metrics"),
        ({"metrics": [1]}, r"metrics is \[1\]; expected"),
        ({"allow_mismatch": [3]}, r"allow_mismatch is \[3\]; expected a text or a list of names"),
        ({"allow_mismatch": "sed"}, "There is no condition 'sed' that may differ"),
    ],
)
def test_arguments_of_another_type_are_one_sentence(
    arguments: dict[str, object], message: str, runs: Runs
) -> None:
    given = {"candidate": runs("none"), "baseline": runs("none"), **arguments}
    with pytest.raises(EvalkitError, match=message):
        evalkit.gate(given.pop("candidate"), **given)  # type: ignore[arg-type]


def test_one_condition_that_may_differ_is_a_text(runs: Runs) -> None:
    settings = {"baseline": runs("none"), "metrics": "fid"}
    assert evalkit.gate(runs("none"), **settings, allow_mismatch="seed").exit_code == 0


def test_a_summary_that_cannot_be_written_changes_nothing(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    assert evalkit.gate(runs("none"), baseline=runs("none")).exit_code == 0


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_table_never_cuts_a_verdict_or_a_number(
    columns: int, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    arguments = ["gate", str(runs("shuffled")), "--baseline", str(runs("none"))]
    shown = CliRunner().invoke(app, arguments).stdout
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= columns
    for word in ("REGRESSED", "clip_score", "refusal_rate"):
        assert word in shown


def test_encoders_that_do_not_know_the_images_decide_nothing(copy: Runs, runs: Runs) -> None:
    other = copy("none")
    note = other / "images" / "model" / "model.json"
    note.write_text(note.read_text().replace('"bundled": true', '"bundled": false'))
    with pytest.raises(EvalkitError, match="no metric of images in common"):
        evalkit.gate(other, baseline=runs("none"))
    with pytest.raises(EvalkitError, match="nothing may be concluded from fid"):
        evalkit.gate(other, baseline=runs("none"), metrics="fid")


def test_a_run_that_was_interrupted_lacks_what_it_did_not_reach(copy: Runs, runs: Runs) -> None:
    cut = copy("none")
    manifest = cut / "images" / "model" / "manifest.0.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:30]))
    evalkit.score(cut)
    made = evalkit.gate(cut, baseline=runs("none"))
    found = {one.metric: one for one in made.decisions}["missing_rate"]
    assert (found.candidate, found.baseline, found.verdict) == (0.5, 0.0, "REGRESSED")
    assert made.exit_code == 1
    assert any(f"30 of 60 requested images of {cut}:model" in remark for remark in made.remarks)


def test_samples_that_were_never_reached_are_missing(copy: Runs, runs: Runs) -> None:
    cut = copy("none")
    config = cut / "run.toml"
    config.write_text(config.read_text().replace("per_prompt = 1", "per_prompt = 2"))
    with pytest.raises(EvalkitError, match="per_prompt: 2, baseline 1"):
        evalkit.gate(cut, baseline=runs("none"))
    made = evalkit.gate(cut, baseline=runs("none"), allow_mismatch=["per_prompt"])
    found = {one.metric: one for one in made.decisions}["missing_rate"]
    assert (found.images, found.candidate) == (60, 0.0)  # of the images that both were to have
    made = evalkit.gate(cut, baseline=cut)
    assert {one.metric: one.candidate for one in made.decisions}["missing_rate"] == 0.5


def test_names_of_runs_and_models(runs: Runs, copy: Runs, tmp_path: Path) -> None:
    run = evalkit.Run(copy("none").rename(tmp_path / "a b:c.json"))
    assert evalkit.gate(run, baseline=run).exit_code == 0
    assert evalkit.gate(f"{run.path}:model", baseline=f"{run.path}:model").exit_code == 0
    with pytest.raises(EvalkitError, match="There is no run folder nowhere"):
        evalkit.gate("nowhere:model", baseline=run)
    with pytest.raises(EvalkitError, match="has no model 'modle'"):
        evalkit.gate(f"{runs('none')}:modle", baseline=runs("none"))
    with pytest.raises(EvalkitError, match=r"has no metrics\.json"):
        evalkit.gate(tmp_path, baseline=runs("none"))
    with pytest.raises(EvalkitError, match="No baseline is given"):
        evalkit.gate(runs("none"))
    with pytest.raises(EvalkitError, match="No reason is given"):
        evalkit.baseline_save(runs("none"), out=tmp_path / "base.json")


def test_a_model_that_lacks_images_is_compared_on_those_that_both_have(
    copy: Runs, runs: Runs, images, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for at, image in enumerate(images):
        if at % 6 != 5:
            image.save(folder / f"{at:05d}.png")
    fewer = score_folder(folder, prompts(), tmp_path / "fewer")
    made = evalkit.gate(fewer, baseline=runs("none"))
    [fid] = [one for one in made.decisions if one.metric == "fid"]
    assert (fid.images, fid.worse) == (50, 0.0)  # of the same images, so of the same features
    lost = [one.metric for one in made.decisions if one.verdict == "REGRESSED"]
    assert lost == ["missing_rate"]
    assert {one.verdict for one in made.decisions} == {"PASS", "REGRESSED"}
    path = evalkit.baseline_save(runs("none"), out=tmp_path / "base.json", reason="first")
    filed = {one.metric: one for one in evalkit.gate(fewer, baseline=path).decisions}
    assert filed["clip_score"].verdict == "PASS"
    assert filed["fid"].verdict == "INCONCLUSIVE"
    assert "cannot be measured on a part" in filed["fid"].reason


def test_a_model_without_any_image_is_not_decided_but_for_what_is_missing(
    copy: Runs, runs: Runs
) -> None:
    empty = copy("none")
    [manifest] = empty.rglob("manifest.0.jsonl")
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    gone = [{**line, "status": "missing", "sha256": ""} for line in lines]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in gone))
    made = evalkit.gate(empty, baseline=runs("none"), allow_mismatch="image_size")
    found = {one.metric: one for one in made.decisions}
    assert (found["missing_rate"].candidate, found["missing_rate"].verdict) == (1.0, "REGRESSED")
    for metric in ("fid", "clip_score", "precision"):
        assert (found[metric].candidate, found[metric].verdict) == (None, "INCONCLUSIVE")
        assert found[metric].reason == "there are no images"
