"""A process with a real server, killed at random: finished images are not requested again."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from fake_service import FakeService, image_for
from forked import Command
from PIL import Image

from evalkit.run_folder import Run

HTTP = "services_for_tests:http_service"
COUNT, KILLS = 100, 5


def start(place: Path, url: str, *more: str) -> Command:
    command = ["generate", "--models", HTTP, "--prompts", "p.txt", "--out", "run"]
    command += ["--set", f"{HTTP}.url={url}", "--set", f"{HTTP}.price=0.01", *more]
    return Command(command, place)


def wait_for(condition: object, process: Command, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.001)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "p.txt").write_text("".join(f"prompt {at}\n" for at in range(COUNT)))
    return tmp_path


def test_after_many_kills_no_finished_image_is_charged_twice(place: Path) -> None:
    draw, run = random.Random(0), Run(place / "run")
    in_flight: Counter[int] = Counter()  # kills during a request for an image
    with FakeService(latency=lambda call: draw.uniform(0.005, 0.05)) as server:
        for _ in range(KILLS):
            finished = {record.index for record in run.records(HTTP)}
            before, journal = len(server.accepted), len(run.requests(HTTP))
            process = start(place, server.url)
            wanted = before + draw.randint(5, COUNT // KILLS)
            wait_for(lambda wanted=wanted: len(server.accepted) >= wanted, process)
            time.sleep(draw.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
            assert process.returncode == -signal.SIGKILL
            asked = {int(call.prompt.split()[1]) for call in server.accepted[before:]}
            assert not asked & finished
            for record in run.records(HTTP):  # a row means that the file is complete
                assert (
                    Image.open(run.image_path(HTTP, record)).tobytes()
                    == image_for(f"prompt {record.index}").tobytes()
                )
            rows = [row["index"] for row in run.requests(HTTP) if row["status"] == "sent"]
            sent = Counter(rows)
            assert all(
                sent[int(prompt.split()[1])] >= count for prompt, count in server.counts().items()
            )  # the journal has every request
            in_flight.update(set(rows[journal:]) - {record.index for record in run.records(HTTP)})
        done = start(place, server.url)
        output, errors = done.communicate(timeout=60)
        assert (done.returncode, output) == (0, "run\n"), errors
        counts = server.counts()
    records = run.records(HTTP)
    assert [record.status for record in records] == ["ok"] * COUNT
    for record in records:
        accepted = counts[f"prompt {record.index}"]
        assert accepted <= 1 + in_flight[record.index]  # only requests in flight are repeated
        assert record.attempts >= accepted
        assert (
            record.possible_charges == record.attempts - 1
        )  # and each request without an answer is recorded
        assert record.possible_cost == pytest.approx(0.01 * record.possible_charges)
    manifest = (run.image_folder(HTTP) / "manifest.0.jsonl").read_text().splitlines()
    assert len(manifest) == COUNT


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_wait_for_requests_in_flight(
    place: Path, number: signal.Signals, code: int
) -> None:
    run = Run(place / "run")
    with FakeService(latency=0.3) as server:
        process = start(place, server.url)
        wait_for(lambda: len(server.accepted) >= 6, process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == code
        assert "stopping; waiting up to 60 s for" in errors
        assert "run the same command again to resume" in errors
        assert "Traceback" not in errors
        accepted = {int(call.prompt.split()[1]) for call in server.accepted}
        assert {
            record.index for record in run.records(HTTP)
        } == accepted  # no image that was charged is lost
        assert len(accepted) < COUNT
        server.latency = 0.0
        done = start(place, server.url)
        done.communicate(timeout=60)
        assert max(server.counts().values()) == 1
    assert Counter(record.status for record in run.records(HTTP)) == {"ok": COUNT}
    assert not any(record.possible_charges for record in run.records(HTTP))


def test_a_second_ctrl_c_aborts_and_the_journal_has_the_requests(place: Path) -> None:
    run = Run(place / "run")
    with FakeService(latency=lambda call: 30.0 if call.prompt > "prompt 2" else 0.0) as server:
        process = start(place, server.url)
        wait_for(lambda: len(run.records(HTTP)) >= 3 and len(server.accepted) >= 6, process)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - started < 10
        assert process.returncode == 130
        assert "are still in flight and may be charged" in errors
        lost = len(server.accepted) - len(run.records(HTTP))
        server.latency = 0.0
        done = start(place, server.url)
        _, errors = done.communicate(timeout=60)
    assert f"{lost} requests were in flight when an earlier process ended" in errors
    records = run.records(HTTP)
    assert Counter(record.status for record in records) == {"ok": COUNT}
    assert sum(record.possible_charges for record in records) == lost


def test_max_cost_on_the_command_line(place: Path) -> None:
    run = Run(place / "run")
    with FakeService() as server:
        process = start(place, server.url, "--dry-run", "--max-cost", "0.2")
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert output.splitlines()[1:] == [
            f"{HTTP}\t100 of 100\t$0.01\t$1.00",
            "total\t100\t\t$1.00",
        ]
        assert (server.received, run.path.exists()) == ([], False)

        process = start(place, server.url, "--max-cost", "0.2")
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 3
        assert (
            f"error: {HTTP} stopped: the next image may cost $0.01, "
            "and $0.20 of max_cost $0.20 is spent. [remote-22]\n" in errors
        )
        assert "hint: Raise --max-cost and run the same command again" in errors
        assert len(server.accepted) == len(run.records(HTTP)) == 20

        process = start(place, server.url, "--max-cost", "2")
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "run\n"), errors
    assert max(server.counts().values()) == 1
    assert Counter(record.status for record in run.records(HTTP)) == {"ok": COUNT}
    assert "max_cost = 2.0" in run.config_path.read_text()
