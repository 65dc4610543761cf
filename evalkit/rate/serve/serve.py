"""`evalkit rate serve`: a local page on which people rate the images of a run."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from evalkit.core import EvalkitError
from evalkit.escape import visible
from evalkit.features.changed import mention_lost, refuse_changes
from evalkit.local_address import LOOPBACK, WILDCARDS, in_url, is_loopback, listen
from evalkit.locks import lock, open_folder
from evalkit.rate.serve.assignments import read_assignments
from evalkit.rate.serve.new_study import open_study, read_config
from evalkit.rate.serve.pool import Pool, read_pool
from evalkit.ratings.files import rater_id
from evalkit.ratings.study import Study
from evalkit.run_folder import Run

if TYPE_CHECKING:  # numpy and Starlette load when a server starts
    from evalkit.rate.serve.rated_study import RatedStudy

log = logging.getLogger(__name__)
_RATER = "rater-1"  # where none is named


def rate_serve(
    runs: os.PathLike[str] | str | Sequence[os.PathLike[str] | str],
    *,
    study: str = "",
    mode: str = "",
    models: str | Sequence[str] = (),
    config: Path | str | None = None,
    items: int | None = None,
    seed: int | None = None,
    raters: str | Sequence[str] = (),
    prolific: str = "",
    host: str = "127.0.0.1",
    port: int = 8010,
    url: str = "",
    open_page: bool | None = None,
) -> None:
    """Serve a page on which people rate the images of a run, until Ctrl-C or SIGTERM.

    Ratings are kept in the run, in `ratings/`. Prints the links of the raters on stdout, the last
    one in the last line.

    Args:
        runs: a run folder; or several with the same prompts and different models: ratings are kept
            in the first one.
        study: the name of the study; "" is `preference`, `opinion` or `checklist`, by its mode. A
            study that exists is continued.
        mode: pairwise, scale or checklist; "" is pairwise for two or more models.
        models: labels of the models, a list or joined by commas; () is all of them.
        config: a study file (TOML) with the same keys; the other parameters win.
        items: items per rater, without checks; None is all of them, at most 100.
        seed: of orders and sides; None is 0.
        raters: names of raters, a list or joined by commas; each one gets a link.
        prolific: a completion code: participants of Prolific may join by one link and see the
            code at the end.
        host: the address to listen on; any address except loopback needs `raters` or `prolific`.
        port: the port; 0 chooses a free one.
        url: where raters reach the page, if it is another address, such as that of a proxy.
        open_page: whether to open the first link in the browser; None does so on loopback if there
            is a display.

    Raises:
        EvalkitError: a folder is not a run, images are missing, the study exists with another
            design, another server is rating the run, or the address is not available.
    """
    paths = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
    names = _raters(raters)
    if not paths:
        raise EvalkitError("runs is empty; expected at least one run folder.", code="rate-50")
    if not (is_loopback(host) or names or prolific):
        raise EvalkitError(
            f"Other machines can reach the host {host}; expected the names of the raters.",
            "Each rater gets a link: `--raters anna,ben`.",
            code="rate-51",
        )
    public = _checked_url(url)
    pool = read_pool([Run(path) for path in paths])
    for one in map(Run, paths):
        refuse_changes(one, one.models())
        mention_lost(one)
    given = {} if config is None else read_config(config)
    keys = ("study", "mode", "models", "items_per_rater", "seed")
    flags = (study or None, mode or None, _listed(models) or None, items, seed)
    given |= {key: value for key, value in zip(keys, flags, strict=True) if value is not None}
    run = Run(paths[0])
    with only_server(run), listen(host, port) as listener:
        found = open_study(run, pool, given, str(config or "The study"))
        known = read_assignments(run, found.study)
        came = [rater for rater, item in known.items() if not item.prolific]
        invited = list(dict.fromkeys([*names, *came])) or ([] if prolific else [_RATER])
        rated = _rated(run, found, pool, prolific, invited)
        base = public or f"http://{_reached(host)}:{listener.getsockname()[1]}"
        first = _print_links(rated, base, bool(prolific))
        if first and (open_page or (open_page is None and is_loopback(host) and _has_display())):
            threading.Thread(target=webbrowser.open, args=[first], daemon=True).start()
        _answer(rated, listener, host, public, bool(prolific))


def _rated(run: Run, study: Study, pool: Pool, code: str, invited: Sequence[str]) -> RatedStudy:
    from evalkit.rate.serve.rated_study import RatedStudy
    from evalkit.rate.serve.secret import read_secret
    from evalkit.rate.serve.shown_images import ShownImages

    images = ShownImages(pool.of(study), study.seed)
    return RatedStudy(run, study, read_secret(run), images, pool.prompts, code, invited)


def _answer(
    rated: RatedStudy, listener: socket.socket, host: str, public: str, prolific: bool
) -> None:
    """Answer requests until a signal ends it."""
    from evalkit.local_server import run_server
    from evalkit.rate.serve.guard import Guard
    from evalkit.rate.serve.rating_page import RatingPage

    page = RatingPage(rated, prolific, secure=public.startswith("https:"))
    app = Guard(page.app(), _host_names(host, public), any_address=host in WILDCARDS)
    try:  # the socket listens already: a browser that connects now gets an answer
        run_server(app, listener, proxy_headers=False, timeout_graceful_shutdown=5)
    except KeyboardInterrupt:  # uvicorn has shut down and raises it again
        given = {rater: ballot.ratings() for rater, ballot in rated.ballots.items()}
        answers = sum(not rating.check for own in given.values() for rating in own)
        told = sum(map(bool, given.values()))
        log.info(
            "stopped with %s of %s; the same command continues the study",
            f"{answers} answer{'s' * (answers != 1)}",
            f"{told} rater{'s' * (told != 1)}",
        )
        if answers:
            log.info("next: evalkit rate summary %s", shlex.quote(str(rated.run.path)))


@contextlib.contextmanager
def only_server(run: Run) -> Iterator[None]:
    """Lock the ratings of a run: two servers would not see each other's votes.

    Raises EvalkitError if another process holds the lock.
    """
    try:
        run.ratings_path.mkdir(parents=True, exist_ok=True)
        handle = open_folder(run.ratings_path)
    except OSError as error:
        raise EvalkitError(
            f"Could not make or open {run.ratings_path}: {error.strerror}.",
            "Ratings are kept in the run folder: it must be writable.",
            code="rate-52",
        ) from error
    try:
        if not lock(handle, run.ratings_path):
            raise EvalkitError(
                f"Another process is already serving the ratings of {run.path}.",
                "Use its links, or stop it.",
                code="rate-53",
            )
        yield
    finally:
        os.close(handle)


def _listed(names: str | Sequence[str]) -> list[str]:
    parts = names.split(",") if isinstance(names, str) else names
    return [part.strip() for part in parts if part.strip()]


def _raters(names: str | Sequence[str]) -> list[str]:
    """The ids of the raters. Raises EvalkitError if two have the same."""
    ids = [rater_id(name) for name in _listed(names)]
    for name, known in zip(_listed(names), ids, strict=True):
        if name != known:
            log.info("%s = %s", visible(name), known)
    if len({name.lower() for name in ids}) < len(ids):  # file systems may ignore the case
        raise EvalkitError(
            f"raters is {', '.join(ids)}; expected each name once.",
            "Give names that differ in more than upper and lower case.",
            code="rate-54",
        )
    return ids


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/")):
        raise EvalkitError(
            f"url is {url!r}; expected an address without a path.",
            "For example `--url https://rate.example.org`.",
            code="rate-55",
        )
    return f"{parts.scheme}://{parts.netloc}" if url else ""


def _host_names(host: str, public: str) -> set[str]:
    """What may stand in the Host header."""
    names = {*LOOPBACK, in_url(host).lower()}
    if host in WILDCARDS:
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return names | ({(urlsplit(public).hostname or "").lower()} if public else set())


def _reached(host: str) -> str:
    """The host in links: where a wildcard is listened on, the name of this machine."""
    return socket.gethostname() if host in WILDCARDS else in_url(host)


def _print_links(rated: RatedStudy, base: str, prolific: bool) -> str:
    """Print the links of the raters and the join link; returns the first rater's link."""
    study, secret = rated.study.study, rated.secret
    log.info("progress: %s/admin/%s", base, secret.token(study, "admin"))
    links = {rater: f"{base}/r/{secret.token(study, 'rater', rater)}" for rater in rated.invited}
    for rater, link in links.items():
        print(link if len(links) == 1 and not prolific else f"{rater}\t{link}", flush=True)
    if prolific:
        asked = ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID")
        query = "&".join(f"{name}={{{{%{name}%}}}}" for name in asked)
        print(f"{base}/join?t={secret.token(study, 'join')}&{query}", flush=True)
    return next(iter(links.values()), "")


def _has_display() -> bool:
    return sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
