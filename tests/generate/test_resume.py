"""A process killed at any moment loses at most the batch in flight; the same command resumes."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked import Command

import evalkit
from evalkit.core import EvalkitError, Record
from evalkit.run_folder import Run

MODEL = "models_for_tests:slow"
PROMPTS, SAMPLES, BATCH = 30, 2, 3
EVALKIT = [sys.executable, "-c", "from evalkit.cli.app import main; main()"]


def command(*more: str) -> list[str]:
    return [
        "generate",
        "--models",
        MODEL,
        "--prompts",
        "p.txt",
        "--per-prompt",
        str(SAMPLES),
        "--batch-size",
        str(BATCH),
        *more,
    ]


def environment(calls: Path) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1] / "helpers"),
        "CALLS": str(calls),
        "OMP_NUM_THREADS": "1",
    }


def images(run: Run, model: str = MODEL) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.image_folder(model).glob("[!.]*.png")}


def facts(records: list[Record]) -> list[tuple[object, ...]]:
    return [(r.index, r.sample, r.prompt, r.seed, r.status, r.file, r.sha256) for r in records]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("a folder with spaces")
    (place / "p.txt").write_text("".join(f"prompt {at}\n" for at in range(PROMPTS)))
    return place


@pytest.fixture(scope="module")
def whole(place: Path) -> Run:
    assert Command(command("--out", "whole"), place, environment(place / "whole-calls")).wait() == 0
    run = Run(place / "whole")
    assert len(images(run)) == PROMPTS * SAMPLES
    return run


def interrupt(place: Path, after: int, how: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Start the command and send a signal once it has made `after` more images."""
    run = Run(place / "killed")
    wanted = len(images(run)) + after
    halting = environment(place / "calls") | {
        "HALT": str(after // BATCH + 3)
    }  # it cannot finish before the signal comes
    process = Command(command("--out", "killed"), place, halting)
    deadline = time.monotonic() + 120
    while len(images(run)) < wanted and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(how)
    return process.done()


def test_after_several_kills_the_run_equals_an_uninterrupted_one(place: Path, whole: Run) -> None:
    kills = 4
    run = Run(place / "killed")
    for after in (1, 7, 11, 4)[:kills]:
        assert interrupt(place, after, signal.SIGKILL).returncode == -signal.SIGKILL
        for record in run.records(MODEL):  # a row means that the file is complete
            assert (run.image_folder(MODEL) / record.file).read_bytes() == (
                whole.image_folder(MODEL) / record.file
            ).read_bytes()
    stopped = interrupt(place, 2, signal.SIGINT)
    assert stopped.returncode == 130
    assert "run the same command again" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    done = Command(command("--out", "killed"), place, environment(place / "calls")).done()
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "killed"

    assert images(run) == images(whole)
    assert facts(run.records(MODEL)) == facts(whole.records(MODEL))
    assert run.prompts_path.read_bytes() == whole.prompts_path.read_bytes()
    assert run.config_path.read_bytes() == whole.config_path.read_bytes()
    generated = sum(int(line) for line in (place / "calls").read_text().split())
    assert (
        generated <= PROMPTS * SAMPLES + (kills + 1) * BATCH
    )  # each interruption cost one batch at most


def test_a_finished_run_generates_nothing(place: Path, whole: Run) -> None:
    before = (place / "whole-calls").read_bytes()
    manifest = (whole.image_folder(MODEL) / "manifest.0.jsonl").read_bytes()
    assert Command(command("--out", "whole"), place, environment(place / "whole-calls")).wait() == 0
    assert (place / "whole-calls").read_bytes() == before
    assert (whole.image_folder(MODEL) / "manifest.0.jsonl").read_bytes() == manifest


def test_a_full_disk_is_reported_in_one_sentence_and_the_run_resumes(place: Path) -> None:
    """A limit on the size of files stands for a full disk: both fail in write(2)."""
    noise = [
        "generate",
        "--models",
        "noise",
        "--prompts",
        "p.txt",
        "--set",
        "noise.size=64",
        "--out",
        "full",
    ]
    limit = (8_000, 8_000)  # an image takes 12 kB
    process = subprocess.run(
        [*EVALKIT, *noise],
        cwd=place,
        env=environment(place / "calls"),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert process.returncode == 2
    assert process.stderr.startswith(
        "error: Could not write full/images/noise/00000-0.png: File too large. [files-1]\n"
        "hint: Free some space"
    )
    run = Run(place / "full")
    assert images(run, "noise") == {}
    assert not list((place / "full").rglob(".*"))
    assert run.records("noise") == []
    done = Command(noise, place, environment(place / "calls")).done()
    assert (done.returncode, done.stdout) == (0, "full\n")
    assert len(images(run, "noise")) == PROMPTS


def test_images_of_another_seed_are_refused_without_run_toml(tmp_path: Path):
    out = tmp_path / "run"
    evalkit.generate(["noise"], ["a", "b"], out=out)
    (out / "run.toml").unlink()
    with pytest.raises(EvalkitError, match="has images of 'noise' with other seeds"):
        evalkit.generate(["noise"], ["a", "b"], seed=5, out=out)
    assert evalkit.generate(["noise"], ["a", "b"], out=out).path == out
