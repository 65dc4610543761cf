"""Raters who vote at once while the server is killed again and again."""

import datetime
import http.client
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rating_server import Rater, Server, make_rated_run, serving

from evalkit.ratings.files import read_ratings

START = datetime.datetime(2026, 1, 31, 12)


@dataclass
class Outcome:
    """What the raters know, and what is in the files."""

    acknowledged: set[tuple[str, str]] = field(default_factory=set)  # rater, started_at
    stored: Counter = field(default_factory=Counter)  # rater, started_at
    keys: Counter = field(default_factory=Counter)  # rater, item, question, check, revision
    kills: int = 0

    @property
    def lost(self) -> int:
        return len(self.acknowledged - set(self.stored))

    @property
    def duplicates(self) -> int:
        votes = sum(count - 1 for count in self.stored.values())
        return votes + sum(count - 1 for count in self.keys.values())


def rate_and_kill(folder: Path, votes: int, raters: int, kills: int, seed: int = 0) -> Outcome:
    """Let raters give so many votes together, while the server is killed (SIGKILL) so many times.

    A rater repeats a request until it is answered, as the page does. Some requests have two votes,
    and some votes change an earlier answer.
    """
    names = [f"rater-{number}" for number in range(raters)]
    prompts = 2 * votes // raters  # some raters are quicker than others
    run = make_rated_run(folder, prompts)
    arguments = (run.path, "--raters", ",".join(names), "--items", str(prompts))
    outcome, lock, over = Outcome(), threading.Lock(), threading.Event()
    failures: list[BaseException] = []

    def rate(name: str, link: str) -> None:
        chance = random.Random(f"{seed}:{name}")
        try:
            rater = _retried(lambda: Rater(link))
            state = _retried(rater.state)
            number, answered = 0, []
            while not over.is_set():
                items = state["items"][: chance.choice((1, 1, 1, 2))]
                if answered and chance.random() < 0.2:
                    items.append(chance.choice(answered))
                made = []
                for item in items:
                    number += 1
                    at = f"{(START + datetime.timedelta(seconds=number)).isoformat()}Z"
                    made.append(rater.make_vote(item, "left", started_at=at))
                state = _retried(lambda made=made: rater.vote(*made))
                assert len(state["accepted"]) == len(made), state
                answered += items
                with lock:
                    outcome.acknowledged |= {(name, vote["started_at"]) for vote in made}
                    if len(outcome.acknowledged) >= votes:
                        over.set()
        except BaseException as error:
            failures.append(error)
            over.set()

    port, threads = 0, []
    chance = random.Random(seed)
    for life in range(kills + 1):
        with serving(*arguments, links=raters, port=port) as server:
            if not threads:
                port = server.port
                threads = [
                    threading.Thread(target=rate, args=pair)
                    for pair in zip(names, server.links, strict=True)
                ]
                for thread in threads:
                    thread.start()
            goal = votes * (life + 1) // (kills + 1)
            if life < kills:
                _kill_later(server, lambda goal=goal: len(outcome.acknowledged) >= goal, over)
                time.sleep(chance.random() / 50)  # somewhere in a request
                server.kill()
                outcome.kills += 1
            else:
                for thread in threads:
                    thread.join()
    if failures:
        raise failures[0]
    for name in names:
        for row in read_ratings(run.rater_path(name))[0]:
            outcome.stored[name, row.started_at] += 1
            outcome.keys[name, row.item, row.question, row.check, row.revision] += 1
    return outcome


def _kill_later(server: Server, reached, over: threading.Event) -> None:
    while not reached() and not over.is_set():
        assert server.process.poll() is None, "the server ended by itself"
        time.sleep(0.002)


def _retried(ask):
    """The answer of a server that may be away at the moment."""
    for _ in range(3000):
        try:
            return ask()
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
    raise TimeoutError("the server did not come back")
