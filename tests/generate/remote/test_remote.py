"""Images from services: outcomes, retries, stops, and what is written."""

from __future__ import annotations

import itertools
import json
import logging
import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import services_for_tests
from fake_service import FakeService, Fault, image_for, shares
from lock_holder import held
from PIL import Image
from services_for_tests import Memory, Script
from typer.testing import CliRunner

from evalkit.cli.app import app
from evalkit.config import Config
from evalkit.core import Answer, EvalkitError, IncompleteRunWarning, Record
from evalkit.generate import generate
from evalkit.prompts import prompts_from_list
from evalkit.remote import retry, send
from evalkit.run_folder import Run
from evalkit.shards import WHOLE, Shard

HTTP, MEMORY = "services_for_tests:http_service", "services_for_tests:load"
OK = Answer("ok", image_for("x"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waiting times have tests of their own; here they are a hundred times shorter."""
    backoff = retry.backoff
    monkeypatch.setattr(retry, "backoff", lambda failures: backoff(failures) / 100)


def run(
    path: Path,
    texts: int | list[str],
    spec: str = MEMORY,
    retry_ambiguous: bool = False,
    shard: Shard = WHOLE,
    **changes: object,
) -> Run:
    prompts = tuple(
        prompts_from_list(
            [f"prompt {at}" for at in range(texts)] if isinstance(texts, int) else texts
        )
    )
    config = Config(
        **({"models": (spec,), "prompts": prompts, "out": str(path), "device": "cpu"} | changes)
    )  # type: ignore[arg-type]
    return generate.generate(config, retry_ambiguous, shard=shard)


def service(
    script: Script | None = None, price: float | None = None, seconds: float = 0.0
) -> Memory:
    services_for_tests.memory[0] = Memory(script, price, seconds)
    return services_for_tests.memory[0]


def outcomes(records: list[Record]) -> Counter[str]:
    return Counter(record.status for record in records)


def test_a_thousand_requests_to_a_server_with_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every prompt has exactly one outcome, and is not sent again after it was accepted."""
    monkeypatch.setattr(
        os, "fsync", lambda handle: None
    )  # no process is killed here, and the disk is the slowest part
    faults: dict[Fault, float] = {
        "rate_limited": 0.1,
        "server_error": 0.1,
        "overloaded": 0.03,
        "dropped_before": 0.02,
        "dropped_after": 0.05,
    }
    faults |= {
        "malformed": 0.03,
        "truncated": 0.03,
        "html": 0.01,
        "refused_input": 0.05,
        "refused_output": 0.03,
        "bad_request": 0.02,
    }
    wanted: dict[Fault, str] = {
        "ok": "ok",
        "dropped_before": "ambiguous",
        "dropped_after": "ambiguous",
        "truncated": "malformed",
    }
    wanted |= {"html": "malformed", "server_error": "transient", "overloaded": "transient"}
    with FakeService(shares(faults), latency=lambda call: 0.0, retry_after="0.001") as server:
        made = run(tmp_path / "run", 1000, HTTP, options={HTTP: {"url": server.url, "price": 0.01}})
    records = made.records(HTTP)
    assert [record.index for record in records] == list(range(1000))
    last = {call.prompt: fault for call, fault in server.outcomes}
    assert {f"prompt {record.index}": record.status for record in records} == {
        text: wanted.get(fault, fault) for text, fault in last.items()
    }
    assert max(server.counts().values()) == 1
    sent = Counter(call.prompt for call in server.received)
    assert all(record.attempts == sent[f"prompt {record.index}"] for record in records)
    for text, fault in last.items():  # only these faults may be sent again
        before = [what for call, what in server.outcomes if call.prompt == text][:-1]
        assert set(before) <= {"rate_limited", "server_error", "overloaded"}, (text, fault)
    manifest = (made.image_folder(HTTP) / "manifest.0.jsonl").read_text().splitlines()
    assert len(manifest) == 1000
    for record in records:
        assert (record.cost == 0.01) == (record.status == "ok")
        assert record.possible_charges == (record.status in ("ambiguous", "malformed"))
        assert record.possible_cost == (0.01 if record.possible_charges else 0.0)
        if record.status == "ok":
            assert (
                Image.open(made.image_path(HTTP, record)).tobytes()
                == image_for(f"prompt {record.index}").tobytes()
            )


def test_the_fields_of_a_record(tmp_path: Path) -> None:
    asked = service(price=0.25, seconds=0.02)
    made = run(tmp_path / "run", ["a cat", "a dog"], per_prompt=2, seed=7)
    records = made.records(MEMORY)
    assert sorted(asked.calls) == sorted(
        (text, record.seed, record.sample)
        for record in records
        for text in [made.prompts()[record.index].text]
    )
    for record in records:
        text = made.prompts()[record.index].text
        assert (
            record.status,
            record.cost,
            record.attempts,
            record.possible_charges,
            record.possible_cost,
        ) == ("ok", 0.25, 1, 0, 0.0)
        assert 0.02 <= record.seconds < 1
        assert Image.open(made.image_path(MEMORY, record)).tobytes() == image_for(text).tobytes()
    rows = made.requests(MEMORY)
    assert [(row["status"], row["price"]) for row in rows] == [("sent", 0.25)] * 4


def test_the_journal_is_on_the_disk_before_a_request_is_sent(tmp_path: Path) -> None:
    made = Run(tmp_path / "run")

    def script(prompt: str, earlier: int) -> Answer:
        sent = [
            (row["index"], row["sample"])
            for row in made.requests(MEMORY)
            if row["status"] == "sent"
        ]
        assert sent.count((int(prompt.split()[1]), 0)) == earlier + 1
        return Answer("transient") if earlier < 2 and prompt != "prompt 0" else OK

    service(script)
    run(made.path, 12)
    assert outcomes(made.records(MEMORY)) == {"ok": 12}
    assert [record.attempts for record in made.records(MEMORY)] == [1] + [3] * 11


def test_attempts_are_limited_and_the_same_command_tries_again(tmp_path: Path) -> None:
    ill = service(
        lambda prompt, earlier: (
            Answer("transient", detail="overloaded") if prompt == "prompt 3" and earlier < 8 else OK
        )
    )
    made = run(tmp_path / "run", 6)
    assert outcomes(made.records(MEMORY)) == {"ok": 5, "transient": 1}
    assert (made.records(MEMORY)[3].attempts, made.records(MEMORY)[3].detail) == (
        retry.ATTEMPTS,
        "overloaded",
    )
    run(tmp_path / "run", 6)
    assert outcomes(made.records(MEMORY)) == {"ok": 6}
    assert made.records(MEMORY)[3].attempts == 9
    assert Counter(ill.asked) == {**{f"prompt {at}": 1 for at in range(6)}, "prompt 3": 9}


def test_final_outcomes_are_not_requested_again(tmp_path: Path) -> None:
    finals = ("refused_input", "refused_output", "bad_request", "malformed", "ambiguous")
    asked = service(
        lambda prompt, earlier: OK if prompt == "ok" else Answer(prompt, detail="why"), price=0.5
    )  # type: ignore[arg-type]
    made = run(tmp_path / "run", ["ok", *finals])
    assert [record.status for record in made.records(MEMORY)] == ["ok", *finals]
    assert [record.possible_charges for record in made.records(MEMORY)] == [0, 0, 0, 0, 1, 1]
    run(tmp_path / "run", ["ok", *finals])
    assert len(asked.asked) == 6


def test_retry_ambiguous_sends_again_and_keeps_the_possible_charges(tmp_path: Path) -> None:
    answers = {
        "lost": [Answer("ambiguous"), Answer("ambiguous"), OK],
        "broken": [Answer("malformed"), OK],
    }
    asked = service(lambda prompt, earlier: answers[prompt][earlier], price=0.5)
    with pytest.warns(IncompleteRunWarning, match="gave no image: 2 of 2 requests"):
        made = run(tmp_path / "run", ["lost", "broken"])
    assert outcomes(made.records(MEMORY)) == {"ambiguous": 1, "malformed": 1}
    run(tmp_path / "run", ["lost", "broken"], retry_ambiguous=True)
    lost, broken = made.records(MEMORY)
    assert (lost.status, lost.attempts, lost.cost, lost.possible_charges, lost.possible_cost) == (
        "ok",
        3,
        0.5,
        2,
        1.0,
    )
    assert (
        broken.status,
        broken.attempts,
        broken.cost,
        broken.possible_charges,
        broken.possible_cost,
    ) == ("ok", 2, 0.5, 1, 0.5)
    assert len(asked.asked) == 5


def test_an_unknown_price_is_not_zero(tmp_path: Path) -> None:
    service(lambda prompt, earlier: Answer("ambiguous") if prompt == "prompt 0" else OK)
    first, second = run(tmp_path / "run", 2).records(MEMORY)
    assert (first.cost, first.possible_charges, first.possible_cost) == (None, 1, None)
    assert (second.cost, second.possible_cost) == (None, 0.0)


def test_a_malformed_answer_with_a_known_cost_is_not_a_possible_charge(tmp_path: Path) -> None:
    service(lambda prompt, earlier: Answer("malformed", cost=0.03), price=0.04)
    with pytest.warns(IncompleteRunWarning, match="all with: malformed"):
        [record] = run(tmp_path / "run", 1).records(MEMORY)
    assert (record.cost, record.possible_charges) == (0.03, 0)


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        ("auth", r"load stopped: the service refused the key: no such key\. Check", 2),
        ("quota", r"load stopped: the quota is used up: no", 3),
    ],
)
def test_quota_and_key_stop_the_model_at_once(
    status: str, message: str, code: int, tmp_path: Path
) -> None:
    good = threading.Event()
    answer = Answer(status, detail="no such key")  # type: ignore[arg-type]
    asked = service(
        lambda prompt, earlier: OK if good.is_set() or int(prompt.split()[1]) < 5 else answer
    )
    with pytest.raises(EvalkitError, match=message) as error:
        run(tmp_path / "run", 500)
    assert error.value.exit_code == code
    assert "the same command" in error.value.hint
    made = Run(tmp_path / "run")
    assert len(asked.asked) <= 40
    assert outcomes(made.records(MEMORY)) == {"ok": 5, status: len(asked.asked) - 5}
    good.set()
    before = list(asked.asked)
    run(tmp_path / "run", 500)
    assert outcomes(made.records(MEMORY)) == {"ok": 500}
    assert len(asked.asked) == 500 + len(before) - 5


def test_other_models_continue_when_a_service_stops(tmp_path: Path) -> None:
    service(lambda prompt, earlier: Answer("quota", detail="used up"))
    with pytest.raises(EvalkitError, match="used up"):
        run(tmp_path / "run", 3, models=(MEMORY, "noise"))
    assert outcomes(Run(tmp_path / "run").records("noise")) == {"ok": 3}


@pytest.mark.parametrize("status", ["bad_request", "malformed", "ambiguous"])
def test_the_run_stops_after_ten_failures_in_a_row(status: str, tmp_path: Path) -> None:
    asked = service(
        lambda prompt, earlier: (
            OK if prompt == "prompt 0" else Answer(status, detail="size is wrong")
        )
    )  # type: ignore[arg-type]
    with pytest.raises(
        EvalkitError, match=f"requests in a row failed, the last one with {status}: size is wrong"
    ):
        run(tmp_path / "run", 1000)
    assert len(asked.asked) < 50


def test_an_unreachable_service_stops_the_run_early(tmp_path: Path) -> None:
    with FakeService() as server:
        url = server.url
    with pytest.raises(
        EvalkitError, match=r"6 requests in a row failed: no connection: .*refused"
    ) as error:
        run(tmp_path / "run", 100, HTTP, options={HTTP: {"url": url}})
    assert error.value.exit_code == 3
    assert len(Run(tmp_path / "run").requests(HTTP)) < 100


def test_a_service_that_fails_for_a_while_is_probed(tmp_path: Path) -> None:
    """Twenty requests succeed, thirty fail, then all succeed: no prompt is lost, and no burst."""
    lock, seen = threading.Lock(), [0]

    def script(prompt: str, earlier: int) -> Answer:
        with lock:
            seen[0] += 1
            ill = 20 < seen[0] <= 30
        return Answer("transient", detail="down") if ill else OK

    asked = service(script)
    made = run(tmp_path / "run", 200)
    assert outcomes(made.records(MEMORY)) == {"ok": 200}
    assert len(asked.asked) == 210


def test_retry_after_delays_all_requests(tmp_path: Path) -> None:
    times: list[float] = []
    lock = threading.Lock()

    def script(prompt: str, earlier: int) -> Answer:
        with lock:
            times.append(time.monotonic())
            first = len(times) == 10
        return Answer("rate_limited", retry_after=0.4) if first else OK

    service(script, seconds=0.005)
    made = run(tmp_path / "run", 60)
    assert outcomes(made.records(MEMORY)) == {"ok": 60}
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert max(gaps) > 0.35
    resumed = gaps.index(max(gaps)) + 1
    assert times[resumed + 3] - times[resumed] > 0  # one by one, not all at once
    assert len(times) == 61


def test_a_long_retry_after_stops_the_run(tmp_path: Path) -> None:
    service(lambda prompt, earlier: Answer("rate_limited", retry_after=3600.0))
    with pytest.raises(EvalkitError, match="asks to wait 3600 s; evalkit waits at most 120 s"):
        run(tmp_path / "run", 50)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (KeyError("data"), r"failed on prompt 00005: KeyError: 'data'\."),
        (Image.new("L", (2, 2)), "answered ok with an image in mode L"),
    ],
)
def test_an_exception_of_an_adapter_is_one_sentence_and_its_request_stays_open(
    broken: object, message: str, tmp_path: Path
) -> None:
    def script(prompt: str, earlier: int) -> Answer:
        if prompt != "prompt 5" or earlier:
            return OK
        if isinstance(broken, Exception):
            raise broken
        return Answer("ok", broken)  # type: ignore[arg-type]

    service(script, price=1.0)
    with pytest.raises(EvalkitError, match=message):
        run(tmp_path / "run", 8)
    run(tmp_path / "run", 8)
    records = Run(tmp_path / "run").records(MEMORY)
    assert outcomes(records) == {"ok": 8}
    assert [record.possible_charges for record in records] == [0, 0, 0, 0, 0, 1, 0, 0]
    assert records[5].possible_cost == 1.0


def test_another_service_in_the_same_folder_is_refused_with_the_fields(tmp_path: Path) -> None:
    asked = service()
    made = run(tmp_path / "run", 2)
    (made.image_folder(MEMORY) / "00000-0.png").unlink()
    asked.fingerprint = "memory/2 script=b size=9"
    with pytest.raises(
        EvalkitError, match=r"adapter memory/1 -> memory/2; script a -> b; size nothing -> 9\."
    ):
        run(tmp_path / "run", 2)
    asked.fingerprint = "memory/1 script=a"
    run(tmp_path / "run", 2)
    with pytest.raises(EvalkitError, match=r"services_for_tests:load\.size 16 -> 32\."):
        run(tmp_path / "run", 2, options={MEMORY: {"size": 32}})
    run(tmp_path / "run", 2, options={MEMORY: {"price": 0.5}})  # no image depends on a price


def test_two_processes_do_not_request_the_same_images(tmp_path: Path) -> None:
    service(
        lambda prompt, earlier: Answer("transient") if prompt == "prompt 1" and earlier < 7 else OK
    )
    made = run(tmp_path / "run", 3)
    with (
        held(made.path / ".images.0-of-1.lock"),
        pytest.raises(EvalkitError, match="Another process is making the images of"),
    ):
        run(made.path, 3)
    run(made.path, 3)
    assert outcomes(made.records(MEMORY)) == {"ok": 3}


def test_shards_divide_the_list(tmp_path: Path) -> None:
    asked = service(price=0.5)
    for at in (2, 0, 1):
        made = run(tmp_path / "run", 10, max_cost=6.0, shard=Shard(at, 3))
    assert outcomes(made.records(MEMORY)) == {"ok": 10}
    assert len(asked.asked) == 10


def test_money_is_reserved_and_a_larger_limit_continues_the_run(tmp_path: Path) -> None:
    asked = service(price=0.1, seconds=0.002)
    with pytest.raises(
        EvalkitError,
        match=r"the next image may cost \$0\.10, and \$1\.20 of max_cost \$1\.25 is spent",
    ) as error:
        run(tmp_path / "run", 40, max_cost=1.25)
    assert error.value.exit_code == 3
    assert "--max-cost" in error.value.hint
    assert len(asked.asked) == 12
    made = Run(tmp_path / "run")
    assert outcomes(made.records(MEMORY)) == {"ok": 12}
    with pytest.raises(
        EvalkitError, match=r"\$1\.20 of max_cost \$1\.25 is spent"
    ):  # the limit is for the folder, not for the command
        run(tmp_path / "run", 40, max_cost=1.25)
    assert len(asked.asked) == 12
    run(tmp_path / "run", 40, max_cost=4.0)
    assert outcomes(made.records(MEMORY)) == {"ok": 40}
    assert len(asked.asked) == 40


def test_costs_below_the_price_leave_more_money(tmp_path: Path) -> None:
    asked = service(lambda prompt, earlier: Answer("ok", image_for(prompt), cost=0.01), price=0.1)
    with pytest.raises(EvalkitError, match="max_cost"):
        run(tmp_path / "run", 100, max_cost=0.5)
    assert len(asked.asked) == 41  # 0.40 + 0.1 is within the limit, 0.41 + 0.1 is not


def test_possible_charges_count_as_spent(tmp_path: Path) -> None:
    asked = service(
        lambda prompt, earlier: Answer("ambiguous") if prompt in ("prompt 0", "prompt 1") else OK,
        price=1.0,
    )
    with pytest.raises(EvalkitError, match=r"\$5\.00 of max_cost \$5\.00 is spent"):
        run(tmp_path / "run", 20, max_cost=5.0)
    assert len(asked.asked) == 5


def test_a_limit_needs_a_price(tmp_path: Path) -> None:
    service(price=None)
    with pytest.raises(EvalkitError, match=r"max_cost 5 needs a price") as error:
        run(tmp_path / "run", 3, max_cost=5.0)
    assert f"--set {MEMORY}.price=" in error.value.hint
    assert not (tmp_path / "run").exists()
    run(tmp_path / "run", 3, models=("noise",), max_cost=5.0)  # a local model costs nothing


def test_the_estimate_sends_and_writes_nothing(tmp_path: Path) -> None:
    asked = service(price=0.25)
    prompts = tuple(prompts_from_list([f"prompt {at}" for at in range(8)]))
    config = Config(
        models=(MEMORY, "noise"),
        prompts=prompts,
        out=str(tmp_path / "run"),
        per_prompt=2,
        device="cpu",
        max_cost=1.0,
    )
    assert generate.estimate(config) == [(MEMORY, 16, 16, 0.25, 4.0), ("noise", 16, 16, 0.0, 0.0)]
    assert asked.asked == []
    assert not (tmp_path / "run").exists()
    with pytest.raises(EvalkitError):
        generate.generate(config)
    assert generate.estimate(config) == [(MEMORY, 16, 12, 0.25, 3.0), ("noise", 16, 0, 0.0, 0.0)]
    asked.price = None
    assert generate.estimate(config)[0] == (MEMORY, 16, 12, None, None)


def test_a_dry_run_lists_unknown_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = service(price=None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.txt").write_text("a cat\na dog\n")
    shown = CliRunner().invoke(
        app, ["run", "--models", f"{MEMORY},noise", "--prompts", "p.txt", "--dry-run"]
    )
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[1:] == [
        f"{MEMORY}\t2 of 2\tunknown\tunknown",
        "noise\t2 of 2\t$0.00\t$0.00",
        "total\t4\t\t$0.00 and more",
    ]
    assert (
        f"The price of {MEMORY} is not known: give it with `--set {MEMORY}.price=0.04`."
        in shown.stderr
    )
    shown = CliRunner().invoke(
        app, ["run", "--models", MEMORY, "--prompts", "p.txt", "--dry-run", "--json"]
    )
    assert json.loads(shown.stdout) == [
        {"model": MEMORY, "requested": 2, "missing": 2, "price": None, "total": None}
    ]
    assert asked.asked == []
    assert [path.name for path in tmp_path.iterdir()] == ["p.txt"]


def test_the_log_has_a_summary(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "evalkit")
    answers: dict[str, Answer] = {
        "gun": Answer("refused_input", detail="not\nallowed"),
        "lost": Answer("ambiguous", detail="gone"),
    }
    service(lambda prompt, earlier: answers.get(prompt, OK), price=0.5)
    run(tmp_path / "run", ["a", "b", "gun", "lost"])
    line = caplog.messages[-1]
    assert f"{MEMORY}: 2 images in" in line
    assert "cost $1.00; 1 ambiguous (gone); 1 refused_input (not allowed); " in line
    assert "1 requests without a usable answer may have been charged" in line
    assert "($0.50)" in line


def test_debug_logs_the_history_of_the_concurrency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service(
        lambda prompt, earlier: (
            Answer("rate_limited", retry_after=0.01) if prompt == "a dog" and not earlier else OK
        )
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.txt").write_text("a cat\na dog\n")
    arguments = ["generate", "--models", MEMORY, "--prompts", "p.txt", "--out"]
    assert "429, at most" not in CliRunner().invoke(app, [*arguments, "quiet"]).stderr
    services_for_tests.memory[0].asked.clear()
    shown = CliRunner().invoke(app, ["--debug", *arguments, "shown"])
    assert f"{MEMORY}: 429, at most" in shown.stderr
    assert "pause of 0.01 s" in shown.stderr


def test_threads_end_with_the_run(tmp_path: Path) -> None:
    service(seconds=0.01)
    before = set(threading.enumerate())
    run(tmp_path / "run", 40)
    assert services_for_tests.memory[0].most_in_flight > 4
    end = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < end:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def test_the_progress_shows_refusals_and_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import contextlib
    from collections.abc import Iterator

    notes: list[str] = []

    @contextlib.contextmanager
    def progress(description: str, total: int, unit: str) -> Iterator[object]:
        yield lambda count, note="": notes.append(note)

    monkeypatch.setattr(send, "progress", progress)
    service(lambda prompt, earlier: Answer("refused_output") if prompt == "no" else OK, price=0.5)
    run(tmp_path / "run", ["a", "b", "no"])
    assert len(notes) == 3
    assert notes[-1] == "1 refused, $1.00"


def test_old_manifests_are_read(tmp_path: Path) -> None:
    service()
    made = run(tmp_path / "run", 2)
    manifest = made.image_folder(MEMORY) / "manifest.0.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    new = ("attempts", "cost", "possible_charges", "possible_cost", "check")
    manifest.write_text(
        "".join(
            json.dumps({key: value for key, value in row.items() if key not in new}) + "\n"
            for row in rows
        )
    )
    assert [
        (r.attempts, r.cost, r.possible_charges, r.possible_cost) for r in made.records(MEMORY)
    ] == [(0, None, 0, 0.0)] * 2
    run(tmp_path / "run", 2)


@pytest.mark.parametrize("kept", [0, 2])
def test_images_without_rows_are_not_paid_for_again(tmp_path: Path, kept: int) -> None:
    asked = service().asked
    made = run(tmp_path / "run", 12)
    manifest = made.image_folder(MEMORY) / "manifest.0.jsonl"
    rows = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(rows[:kept]))
    with pytest.raises(EvalkitError, match=f"^{12 - kept} images are in .* without a row") as found:
        run(tmp_path / "run", 12)
    assert str(manifest) in (found.value.hint or "")
    assert len(asked) == 12
    manifest.write_bytes(b"".join(rows[:8]))  # as a kill may leave them
    run(tmp_path / "run", 12)
    assert len(asked) == 16
