"""A run that is killed at any moment, and what else may end or disturb a command.

Nothing is lost, half written or made twice. The whole campaign is `nox -s kill`.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import forked
import pytest
from killed_run import Stage, content, different, kill_and_resume, make_place, measure, stages
from lock_holder import held

from evalkit.run_folder import Run

PROMPTS = 20


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Stage]]:
    """A folder with an uninterrupted run, and its commands."""
    place = make_place(tmp_path_factory.mktemp("kill") / "whole", PROMPTS)
    return place, measure(place, stages("pixels", report=False))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return make_place(tmp_path / "place", PROMPTS)


def check_kills(whole: Path, planned: list[Stage], place: Path, kills: int) -> None:
    outcome = kill_and_resume(place, planned, kills)
    outcome.different = different(whole / "run", place / "run")
    images = sum(len(Run(place / "run").records(model)) for model in ("noise", "gan"))
    print(f"\n{images} images, {sum(outcome.kills.values())} kills: {outcome}")
    assert sum(outcome.kills.values()) >= 0.8 * kills
    assert (outcome.lost, outcome.again, outcome.different) == ([], [], [])


def test_a_run_that_is_killed_again_and_again_equals_an_uninterrupted_one(
    whole: tuple[Path, list[Stage]], place: Path
) -> None:
    check_kills(*whole, place, kills=7)


@pytest.mark.campaign
def test_fifty_kills_of_a_run_of_500_images(tmp_path: Path) -> None:
    one = make_place(tmp_path / "whole", 250)
    planned = measure(one, stages("mini", report=True))
    check_kills(one, planned, make_place(tmp_path / "place", 250), kills=50)


# --- two processes on one folder ---
def test_two_equal_commands_at_once_make_each_image_once(
    whole: tuple[Path, list[Stage]], place: Path
) -> None:
    generate = whole[1][0].arguments
    both = [forked.start(generate, place) for _ in range(2)]
    for process in both:
        process.join(300)
    assert sorted(process.exitcode or 0 for process in both) in ([0, 0], [0, 2])
    assert forked.finish(generate, place) == 0
    for model in ("noise", "gan"):
        manifest = f"images/{model}/manifest.0.jsonl"
        assert content(place / "run")[manifest] == content(whole[0] / "run")[manifest]


def test_images_that_another_process_makes_are_refused(
    whole: tuple[Path, list[Stage]], place: Path
) -> None:
    (place / "run").mkdir()
    with held(place / "run/.images.0-of-1.lock"):
        assert forked.finish(whole[1][0].arguments, place) == 2
    assert forked.said(place) == (
        "error: Another process is making the images of run. [locks-1]\n"
        "hint: Wait until it ends, or stop it.\n"
    )
    assert os.listdir(place / "run") == []


def test_results_are_written_by_one_process_after_the_other(
    whole: tuple[Path, list[Stage]], tmp_path: Path
) -> None:
    place = tmp_path / "place"
    shutil.copytree(whole[0], place)
    commands = [stage for stage in whole[1] if stage.arguments[0] in ("score", "gate")]
    running = [(stage, forked.start(stage.arguments, place)) for stage in 2 * commands]
    for stage, process in running:
        process.join(300)
        assert process.exitcode in stage.codes
    assert different(whole[0] / "run", place / "run") == []
    with held(place / "run/.results.lock"):
        waiting = forked.start(commands[0].arguments, place)
        while "waiting for another process that writes to run" not in forked.said(place):
            time.sleep(0.05)
            assert waiting.is_alive()
    waiting.join(300)
    assert waiting.exitcode == 0


def test_a_run_is_scored_while_its_images_are_made(
    whole: tuple[Path, list[Stage]], place: Path
) -> None:
    generate, score = (stage.arguments for stage in whole[1][:2])
    process = forked.start(generate, place)
    while process.is_alive():
        scoring = forked.start(score, place, said="score")
        scoring.join(300)
        said = (place.parent / "place.score").read_text()
        assert scoring.exitcode in (0, 2, 3), said  # 2: no run yet; 3: a model without images
        assert "Traceback" not in said
    assert process.exitcode == 0, forked.said(place)
    for stage in whole[1][1:]:
        assert forked.finish(stage.arguments, place) in stage.codes
    assert different(whole[0] / "run", place / "run") == []


# --- signals ---
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_with_one_line(
    whole: tuple[Path, list[Stage]], place: Path, number: int, code: int
) -> None:
    for stage in whole[1][:2]:
        process = forked.start(stage.arguments, place, "sync 4", signal=number)
        process.join(300)
        said = forked.said(place)
        assert (process.exitcode, said.splitlines()[-1]) == (
            code,
            "stopped: run the same command again to resume.",
        )
        assert "Traceback" not in said
        assert not list((place / "run").rglob(".*"))
    for stage in whole[1]:
        assert forked.finish(stage.arguments, place) in stage.codes
    assert different(whole[0] / "run", place / "run") == []


@pytest.mark.campaign
def test_signals_at_random_moments_of_a_whole_process(tmp_path: Path) -> None:
    """Python itself handles a signal before evalkit is imported and after the command has ended."""
    place, chance = make_place(tmp_path / "place", PROMPTS), random.Random(0)
    command = [sys.executable, "-m", "evalkit", "run", "--models", "noise,gan", "--prompts"]
    command += ["p.txt", "--encoders", "pixels", "--metrics", "vendi", "--out"]
    started = time.monotonic()
    subprocess.run([*command, "first"], cwd=place, check=True, capture_output=True)
    seconds, codes, wrong = time.monotonic() - started, [], []
    for at in range(16):
        number = (signal.SIGINT, signal.SIGTERM)[at % 2]
        process = subprocess.Popen(
            [*command, f"run-{at // 4}"], cwd=place, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        time.sleep(chance.uniform(0, seconds))
        process.send_signal(number)
        _, said = process.communicate(timeout=300)
        codes.append(process.returncode)
        if process.returncode not in (0, 128 + number) or "Traceback" in said:
            wrong.append((number, process.returncode, said))
    print(f"\nexit codes of {len(codes)} signals: {codes}; wrong: {wrong}")
    early = [one for one in wrong if one[1] == -one[0] or "import site" in one[2]]
    assert wrong == early


# --- the disk and the clock ---
def test_a_full_disk_leaves_complete_files_and_the_same_command_resumes(
    whole: tuple[Path, list[Stage]], place: Path
) -> None:
    """A limit on the size of files stands for a full disk: both fail in write(2)."""
    for stage in whole[1]:
        if stage.arguments[1] == "summary":
            continue
        before = content(place / "run")
        assert forked.finish(stage.arguments, place, limit=700) == 2, stage
        assert re.search(r"error: Could not write (\S*/)?run/", forked.said(place))
        assert "File too large" in forked.said(place)
        assert "Traceback" not in forked.said(place)
        assert not list((place / "run").rglob(".*"))
        now = content(place / "run")
        assert {name: now[name] for name in before if name in now} == before
        assert forked.finish(stage.arguments, place) in stage.codes
    assert forked.finish(whole[1][3].arguments, place) == 0
    assert different(whole[0] / "run", place / "run") == ["gate.json"]


@pytest.fixture
def read_only(whole: tuple[Path, list[Stage]], tmp_path: Path) -> Iterator[Path]:
    """A copy of the whole run that cannot be changed, also not by root."""
    place = tmp_path / "place"
    shutil.copytree(whole[0], place)
    for folder in (place, *place.rglob("*/")):
        folder.chmod(0o555)
    mount = ["mount", "-o", "ro,bind", str(place), str(place)]
    mounted = False
    if os.access(place, os.W_OK):
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("root may write everywhere, and nothing can be mounted here")
        mounted = True
    yield place
    if mounted:
        subprocess.run(["umount", str(place)], check=True)


def test_a_read_only_folder_is_refused_in_one_sentence(
    whole: tuple[Path, list[Stage]], read_only: Path
) -> None:
    place = read_only
    before = content(place / "run")
    for stage in whole[1]:
        if stage.arguments[1] == "import":
            continue
        code, said = forked.finish(stage.arguments, place), forked.said(place)
        assert (code, said.count("error: "), "Traceback" in said) == (2, 1, False), said
        assert any(why in said for why in ("Permission denied", "Read-only", "not a writable"))
    assert content(place / "run") == before


def test_a_clock_that_jumps_changes_nothing(whole: tuple[Path, list[Stage]], place: Path) -> None:
    for stage in whole[1]:
        assert forked.finish(stage.arguments, place, clock=90_000.0) in stage.codes
    assert different(whole[0] / "run", place / "run") == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.campaign
def test_a_disk_without_space(small_disk: Path) -> None:
    place = make_place(small_disk / "place", 100)
    command = ["generate", "--models", "noise", "--prompts", "p.txt", "--out", "run", "--set"]
    command.append("noise.size=64")
    assert forked.finish(command, place) == 2
    assert re.search(r"error: Could not write (\S*/)?run/", forked.said(place))
    assert "No space left on device" in forked.said(place)
    made = len(Run(place / "run").records("noise"))
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert forked.finish(command, place) == 0
    print(f"\nfull after {made} of 100 images")
    assert len(Run(place / "run").records("noise")) == 100
