"""Remote generation against a faulty server: outcomes, throughput under a rate limit, and kills.

    python benchmarks/remote.py            # all three, some minutes
    python benchmarks/remote.py throughput

The server is tests/helpers/fake_service.py on the loopback, the client is the adapter `openai`;
both run on this machine. Prints one line per figure.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))
from fake_service import FakeService, Fault, shares

from evalkit.config import Config
from evalkit.core import Record
from evalkit.generate.generate import generate
from evalkit.prompts import prompts_from_list
from evalkit.run_folder import Run

MODEL = "openai:gpt-image-1-mini"
FAULTS: dict[Fault, float] = {
    "rate_limited": 0.05,
    "server_error": 0.08,
    "overloaded": 0.02,
    "dropped_before": 0.02,
    "dropped_after": 0.05,
    "malformed": 0.03,
    "truncated": 0.03,
    "html": 0.01,
    "refused_input": 0.05,
    "refused_output": 0.03,
    "bad_request": 0.02,
}
CHARGED_OR_UNKNOWN = ("ok", "dropped_before", "dropped_after", "malformed", "truncated", "html")


def make(folder: Path, url: str, count: int) -> list[Record]:
    prompts = tuple(prompts_from_list([f"prompt {at}" for at in range(count)]))
    options = {MODEL: {"base_url": url, "price": 0.01}}
    config = Config((MODEL,), prompts, str(folder), device="cpu", options=options)
    return generate(config).records(MODEL)


def outcomes(folder: Path) -> None:
    """1,000 requests to a server that fails two times in five."""
    with FakeService(
        shares(FAULTS), latency=lambda call: random.uniform(0.005, 0.05), retry_after="0.2"
    ) as server:
        started = time.perf_counter()
        records = make(folder, server.url, 1000)
        seconds = time.perf_counter() - started
    faults_met = Counter(fault for _, fault in server.outcomes)
    by_prompt: dict[str, list[Fault]] = {}
    for call, fault in server.outcomes:
        by_prompt.setdefault(call.prompt, []).append(fault)
    resent = sum(
        any(fault in CHARGED_OR_UNKNOWN for fault in faults[:-1]) for faults in by_prompt.values()
    )
    statuses = dict(Counter(record.status for record in records))
    print(
        f"outcomes: {len(records)} of 1000 prompts with one outcome in {seconds:.1f} s: {statuses}"
    )
    print(f"outcomes: faults: {dict(faults_met)}")
    print(f"outcomes: {resent} requests sent again after a possibly accepted one", flush=True)


def throughput(folder: Path) -> None:
    """Images per second as a share of the rate limit, from the first request to the last image."""
    cases = [  # requests per second, seconds of latency, burst, Retry-After
        (20.0, 0.5, 20, None),
        (20.0, 0.5, 20, "1"),
        (50.0, 0.2, 10, None),
        (50.0, 0.05, 50, "1"),
        (100.0, 0.1, 10, None),
        (10.0, 2.0, 10, ""),
    ]
    for number, (rate, latency, burst, retry_after) in enumerate(cases):
        count = round(rate * 30)
        slow = random.Random(0)
        with FakeService(
            latency=lambda call, s=slow, m=latency: m * s.uniform(0.7, 1.3),
            rate=rate,
            burst=burst,
            retry_after=retry_after,
        ) as server:
            make(folder / str(number), server.url, count)
        seconds = server.accepted[-1].at - server.received[0].at
        share = (count - burst) / rate / seconds
        header = {None: "exact", "1": "1 s", "": "none"}[retry_after]
        refused = len(server.received) - len(server.accepted)
        print(
            f"throughput: limit {rate:g}/s (burst {burst}), latency {latency:g} s, "
            f"Retry-After {header}: {share:.0%} of the limit; {refused} of {len(server.received)} "
            f"requests answered with 429, at most {server.most_working} in flight",
            flush=True,
        )


def kills(folder: Path, count: int = 500, times: int = 20) -> None:
    """SIGKILL at random moments of a run of 500 images."""
    folder.mkdir(parents=True)
    (folder / "p.txt").write_text("".join(f"prompt {at}\n" for at in range(count)))
    draw, run = random.Random(1), Run(folder / "run")
    code = "from evalkit.cli.app import main; main()"
    in_flight: Counter[int] = Counter()
    again = lost = 0
    with FakeService(latency=lambda call: draw.uniform(0.02, 0.2)) as server:
        options = f"--models {MODEL} --prompts p.txt --out run".split()
        options += ["--set", f"{MODEL}.base_url={server.url}", "--set", f"{MODEL}.price=0.01"]
        command = [sys.executable, "-c", code, "generate", *options]
        for number in range(times + 1):
            finished, before = {record.index for record in run.records(MODEL)}, len(server.accepted)
            journal = len(run.requests(MODEL))
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stderr=subprocess.DEVNULL,
                text=True,
            )
            if number < times:
                wanted = before + draw.randint(
                    1, round(1.6 * (count - len(finished)) / (times - number + 1))
                )
                while len(server.accepted) < wanted and process.poll() is None:
                    time.sleep(0.001)
                time.sleep(draw.uniform(0, 0.1))
                process.send_signal(signal.SIGKILL)
            process.wait()
            again += sum(
                int(call.prompt.split()[1]) in finished for call in server.accepted[before:]
            )
            rows = [row["index"] for row in run.requests(MODEL) if row["status"] == "sent"]
            sent = Counter(rows)
            lost += sum(
                sent[int(prompt.split()[1])] < times_ for prompt, times_ in server.counts().items()
            )
            if number < times:
                in_flight.update(
                    set(rows[journal:]) - {record.index for record in run.records(MODEL)}
                )
        counts = server.counts()
    records = run.records(MODEL)
    repeated = sum(counts.values()) - len(counts)
    known = sum(record.possible_charges for record in records)
    beyond = sum(counts[f"prompt {at}"] > 1 + in_flight[at] for at in range(count))
    made = sum(record.status == "ok" for record in records)
    print(
        f"kills: {times} kills, {made} of {count} images; {again} finished images requested again"
    )
    print(
        f"kills: {repeated} requests repeated of {sum(in_flight.values())} in flight; "
        f"{beyond} images repeated more often than in flight"
    )
    print(
        f"kills: {known} possible charges recorded; {lost} accepted requests not in the journal",
        flush=True,
    )


def main() -> None:
    parts = {"outcomes": outcomes, "throughput": throughput, "kills": kills}
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or parts:
            parts[name](Path(folder) / name)


if __name__ == "__main__":
    main()
