"""The server of `evalkit rate serve`: how quickly it answers, and what survives when it is killed.

    python benchmarks/ratings.py speed [RATERS] [SECONDS] [PAUSE]   (default: 30 raters, 20 s, 1 s)
    python benchmarks/ratings.py kills [VOTES] [RATERS] [KILLS]     (default: 1000, 8, 20)

`speed`: each rater loads two images of 512 pixels, waits for the pause, and votes; the times are
those of the votes as the clients see them, on disk included. Clients run in one other process on
the same cores, so they slow the server down. `kills`: raters vote without pauses while the server
gets SIGKILL at random moments; every acknowledged vote must be in the files once.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests" / "helpers"))


def speed(raters: int, seconds: float, pause: float) -> None:
    import numpy
    from rating_server import Rater, make_rated_run, serving

    names = [f"rater-{number}" for number in range(raters)]
    votes: list[float] = []
    images: list[float] = []

    def rate(link: str, place: int) -> None:
        rater = Rater(link)
        state = rater.state()
        time.sleep(pause * place / raters)
        end = time.monotonic() + seconds
        while state["items"] and time.monotonic() < end:
            item = state["items"][0]
            for image in item["images"]:
                started = time.perf_counter()
                assert rater.ask(image["url"]).status == 200
                images.append(time.perf_counter() - started)
            time.sleep(pause)
            started = time.perf_counter()
            state = rater.vote(rater.make_vote(item))
            votes.append(time.perf_counter() - started)

    with tempfile.TemporaryDirectory() as folder:
        run = make_rated_run(Path(folder) / "run", prompts=100, size=(512, 512))
        with serving(run.path, "--raters", ",".join(names), links=raters) as server:
            threads = [
                threading.Thread(target=rate, args=(link, place))
                for place, link in enumerate(server.links)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    for name, times in (("votes", votes), ("images", images)):
        middle, late, last = (1000 * numpy.quantile(times, share) for share in (0.5, 0.95, 1))
        rate_ = len(times) / seconds
        print(
            f"{name}: {len(times)}, {rate_:.0f} per second; p50 {middle:.1f} ms,"
            f" p95 {late:.1f} ms, longest {last:.0f} ms"
        )


def kills(votes: int, raters: int, count: int) -> None:
    from killed_server import rate_and_kill

    with tempfile.TemporaryDirectory() as folder:
        outcome = rate_and_kill(Path(folder) / "run", votes, raters, count)
    print(
        f"{outcome.kills} kills: {len(outcome.acknowledged)} votes acknowledged,"
        f" {len(outcome.stored)} stored, {outcome.lost} lost, {outcome.duplicates} duplicates"
    )


if __name__ == "__main__":
    mode, given = sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:]
    if mode == "speed":
        raters, seconds, pause = (*map(float, given), *(30, 20, 1)[len(given) :])
        speed(int(raters), seconds, pause)
    elif mode == "kills":
        kills(*(*map(int, given), *(1000, 8, 20)[len(given) :]))
    else:
        sys.exit(__doc__)
