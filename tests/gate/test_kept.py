"""Values that a scoring keeps: the gate needs neither encoders nor features, and none is stale."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gated_runs import prompts, score_folder

import evalkit
from evalkit import plugins
from evalkit.features.image_sets import image_sets
from evalkit.metrics.frechet import FID
from evalkit.score.kept import Basis

Runs = Callable[[str], Path]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The encoders that are loaded."""
    names: list[str] = []
    load = plugins.encoder

    def counted(name: str, device: str = "auto"):
        names.append(name)
        return load(name, device)

    monkeypatch.setattr(plugins, "encoder", counted)
    return names


def test_a_gate_of_scored_runs_needs_no_encoder_and_no_feature(
    runs: Runs, copy: Runs, tmp_path: Path, loads: list[str]
) -> None:
    run, base = copy("blurred"), runs("none")
    loads.clear()  # of the scoring of these runs
    for features in run.rglob("*.npz"):
        features.unlink()
    made = evalkit.gate(run, baseline=base)
    assert made.outcome == "regressed"
    evalkit.baseline_save(run, out=tmp_path / "base.json", reason="first")
    assert loads == []


def test_values_from_features_give_the_same_file_and_encoders_load_once(
    runs: Runs, copy: Runs, loads: list[str]
) -> None:
    run = copy("blurred")
    evalkit.gate(run, baseline=runs("none"))
    kept = (run / "gate.json").read_bytes()
    base = copy("none")
    loads.clear()
    for folder in [*run.rglob("measured"), *base.rglob("measured")]:
        shutil.rmtree(folder)
    evalkit.gate(run, baseline=base)
    assert sorted(loads) == ["mini-clip", "mini-inception"]
    both = [json.loads(text) for text in (kept, (run / "gate.json").read_bytes())]
    for one in both:
        for field in ("baseline", "baseline_run", "sentence", "check"):  # they name the folder
            del one[field]
    assert both[0] == both[1]
    evalkit.gate(run, baseline=base)  # now they are kept
    assert len(loads) == 2


def test_other_images_load_encoders_once(runs: Runs, images, tmp_path: Path, loads) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for at, image in enumerate(images[:50]):
        image.save(folder / f"{at:05d}.png")
    fewer = score_folder(folder, prompts(), tmp_path / "fewer")
    loads.clear()
    made = evalkit.gate(fewer, baseline=runs("none"))
    assert {one.images for one in made.decisions if one.metric == "fid"} == {50}
    assert len(loads) == len(set(loads))


@pytest.mark.parametrize("change", ["fingerprint", "sha256", "damaged", "edited"])
def test_a_value_of_something_else_is_not_taken(change: str, copy: Runs, loads, runs: Runs) -> None:
    run = copy("none")
    loads.clear()
    if change == "damaged":
        for file in run.rglob("measured/*.json"):
            file.write_text(file.read_text()[:50])
    elif change == "edited":
        file = next(run.rglob("measured/fid.json"))
        content = json.loads(file.read_text())
        file.write_text(json.dumps(content | {"value": content["value"] * 9}))
    else:
        path = run / "protocol.json"
        content = json.loads(path.read_text())
        part = "encoders" if change == "fingerprint" else "references"
        content[part]["inception"][change] = "of something else"
        path.write_text(json.dumps(content))
    made = evalkit.gate(run, baseline=runs("none"))
    assert loads  # measured anew, with what is installed
    assert {one.verdict for one in made.decisions} == {"PASS"}
    loads.clear()
    if change in ("damaged", "edited"):  # now they are kept as measured
        evalkit.gate(run, baseline=runs("none"))
        assert not loads


def test_the_key_depends_on_everything_that_a_value_depends_on(runs: Runs) -> None:
    run = evalkit.Run(runs("none"))
    _, [images], _ = image_sets(run.path)
    protocol = run.protocol()
    key = Basis.of(images, protocol).key(FID)
    assert key == Basis.of(images, protocol).key(FID)

    def changed(part: str, field: str) -> str:
        content = json.loads(json.dumps(protocol))
        content[part]["inception"][field] = "other"
        return Basis.of(images, content).key(FID)

    first = dataclasses.replace(images.records[0], sha256="0" * 64)
    other_image = dataclasses.replace(images, records=[first, *images.records[1:]])
    other_text = dataclasses.replace(images, texts=["other", *(images.texts or [])[1:]])
    backwards = images.keep(list(range(len(images.files)))[::-1])
    keys = [
        changed("encoders", "fingerprint"),
        changed("references", "sha256"),
        *(Basis.of(one, protocol).key(FID) for one in (other_image, other_text, backwards)),
        *(
            Basis.of(images, protocol).key(dataclasses.replace(FID, **change))
            for change in ({"version": 2}, {"feature": "spatial"}, {"name": "other"}, {"most": 9})
        ),
    ]
    assert len({key, *keys}) == len(keys) + 1

    def mine(*, fake, real_moments):
        return FID.compute(fake=fake, real_moments=real_moments)

    own = dataclasses.replace(FID, compute=mine)
    assert Basis.of(images, protocol).key(own) == ""  # what it depends on cannot be seen


def test_two_processes_write_the_same_file(runs: Runs) -> None:
    """With other hash values, too."""
    command = [sys.executable, "-m", "evalkit", "gate", str(runs("blurred"))]
    done = subprocess.run(
        [*command, "--baseline", str(runs("none"))],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    there = (runs("blurred") / "gate.json").read_bytes()
    evalkit.gate(runs("blurred"), baseline=runs("none"))
    assert (runs("blurred") / "gate.json").read_bytes() == there
