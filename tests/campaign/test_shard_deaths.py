"""Workers of a sharded run that die, come late, run twice or divide the work in another way.

Afterwards each image has one row, and images and scores are those of one process.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import forked
import pytest

from evalkit.files import read_lines
from evalkit.run_folder import Run

PROMPTS, SAMPLES = 23, 2
MODELS = ("noise", "gan")


def generate(*more: str) -> list[str]:
    models = ["generate", "--models", ",".join(MODELS), "--prompts", "prompts.txt", "--out", "run"]
    return [*models, "--per-prompt", str(SAMPLES), "--batch-size", "3", "--device", "cpu", *more]


def encode(*more: str) -> list[str]:
    return ["encode", "run", "--metrics", "fid,clip_score", "--device", "cpu", *more]


def place_in(folder: Path) -> Path:
    folder.mkdir()
    prompts = "".join(f"a red cube number {at}\n" for at in range(PROMPTS))
    (folder / "prompts.txt").write_text(prompts)
    return folder


def score(place: Path) -> None:
    command = ["score", "run", "--metrics", "fid,clip_score", "--device", "cpu", "-q"]
    assert forked.finish(command, place) == 0, forked.said(place)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = place_in(tmp_path_factory.mktemp("shards") / "whole")
    assert forked.finish(generate(), place) == 0
    score(place)
    return place / "run"


def work(command: Sequence[str], place: Path, shards: Sequence[str], chance: random.Random) -> int:
    """Two workers do the shards, in any order and some twice; returns how many of them died."""
    waiting, deaths = [*shards, chance.choice(shards)], 0
    chance.shuffle(waiting)
    while waiting:
        running = []
        for shard in waiting[:2]:
            point = chance.choice(["", f"{chance.choice(forked.POINTS)} {chance.randrange(40)}"])
            arguments = [*command, "--shard", shard]
            name = f"{chance.randrange(10**9)}"
            running.append((shard, name, forked.start(arguments, place, point, said=name)))
        del waiting[:2]
        for shard, name, process in running:
            process.join(300)
            said = (place.parent / f"{place.name}.{name}").read_text()
            again = process.exitcode == -9
            if process.exitcode == 2:  # the same shard twice at once
                again = True
                assert "Another process is" in said
            else:
                assert process.exitcode in (0, -9), said
            deaths += process.exitcode == -9
            waiting += [shard] * again
    return deaths


def check(whole: Path, folder: Path, trials: int, seed: int) -> None:
    chance, deaths = random.Random(seed), 0
    for trial in range(trials):
        place = place_in(folder / f"{trial}")
        for command in (generate(), encode()):
            first, then = chance.randint(2, 5), chance.randint(2, 5)
            some = [f"{at}/{first}" for at in range(first)][: chance.randint(1, first)]
            deaths += work(command, place, some, chance)
            deaths += work(command, place, [f"{at}/{then}" for at in range(then)], chance)
        run = Run(place / "run")
        for model in MODELS:
            manifests = run.image_folder(model).glob("manifest.*.jsonl")
            # Without lines that a death has cut: their images are made again.
            rows = Counter(
                (one["index"], one["sample"]) for p in manifests for one in read_lines(p)
            )
            assert len(rows) == rows.total() == PROMPTS * SAMPLES  # none lost, none made twice
            made, expected = run.records(model), Run(whole).records(model)
            assert [(one.file, one.sha256) for one in made] == [
                (one.file, one.sha256) for one in expected
            ]
        score(place)
        assert run.scores_path.read_bytes() == Run(whole).scores_path.read_bytes()
    print(f"\n{trials} runs, {deaths} deaths")
    assert deaths >= trials


def test_workers_that_die_lose_no_image(whole: Path, tmp_path: Path) -> None:
    check(whole, tmp_path, 2, seed=1)


@pytest.mark.campaign
def test_thirty_runs_with_deaths(whole: Path, tmp_path: Path) -> None:
    check(whole, tmp_path, 30, seed=2)
