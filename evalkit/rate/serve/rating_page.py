"""The rating page: its HTML, and JSON between it and the server.

GET /r/TOKEN, /join            a rater's link: sets the cookie, then /
GET /, /static/NAME            the page
GET /api/state                 the study, the progress and the next items of the rater
POST /api/votes                votes, on disk before the answer
GET /images/OPAQUE.png         an image of the rater's list
GET /admin/TOKEN, /admin       progress of all raters; JSON at /api/admin

No response has the name of a model. Everything is asked for with a cookie and refused without one.
"""

from __future__ import annotations

import html
import json
import os
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

import anyio
from anyio import to_thread
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from evalkit.core import EvalkitError
from evalkit.rate.serve.admin import admin_facts
from evalkit.rate.serve.ballot import MOST_VOTES, Ballot
from evalkit.rate.serve.guard import BODY_LIMIT, RefusedError, log
from evalkit.rate.serve.rated_study import RatedStudy
from evalkit.ratings.study_file import NAME

RATER_COOKIE, ADMIN_COOKIE = "evalkit-rater", "evalkit-admin"
_BODY_SECONDS = 30
_WRONG_TOKENS = 20  # a minute; then wrong ones are answered with 429
_TYPES = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_PID = re.compile(r"[A-Za-z0-9]{16,64}")
_NO_PID = (
    "The link has no participant id (PROLIFIC_PID, 16 or more letters and digits). Open the study"
    " from Prolific, or from the link of your invitation."
)
_YEAR = 366 * 24 * 3600  # seconds
Handler = Callable[[Request], Awaitable[Response]]


class RatingPage:
    """The HTTP application of one study.

    Args:
        rated: the study and its raters.
        prolific: whether people may join by the join link.
        secure: whether raters come by HTTPS only, so that cookies are never sent without it.
    """

    def __init__(self, rated: RatedStudy, prolific: bool = False, secure: bool = False) -> None:
        self._rated, self._prolific, self._secure = rated, prolific, secure
        self._wrong: deque[float] = deque(maxlen=_WRONG_TOKENS)
        # Votes have threads of their own, and one processor is left to them.
        self._image_threads = anyio.CapacityLimiter(max(1, (os.cpu_count() or 1) - 1))
        folder = resources.files("evalkit.rate.serve") / "static"
        self._static = {file.name: file.read_bytes() for file in folder.iterdir()}
        self._templates = Environment(
            loader=PackageLoader("evalkit.rate.serve"), autoescape=True, undefined=StrictUndefined
        )

    def app(self) -> Starlette:
        routes = [
            Route("/", self._page),
            Route("/r/{token}", self._rater_link),
            Route("/join", self._join_link),
            Route("/static/{name}", self._static_file),
            Route("/api/state", self._state),
            Route("/api/votes", self._votes, methods=["POST"]),
            Route("/images/{opaque}.png", self._image),
            Route("/admin", self._admin_page),
            Route("/admin/{token}", self._admin_link),
            Route("/api/admin", self._admin),
        ]
        return Starlette(
            routes=routes,
            exception_handlers={
                HTTPException: _http_error,
                RefusedError: _refused,
                Exception: _failed,
            },
        )

    # --- links and cookies ---
    async def _rater_link(self, request: Request) -> Response:
        token = request.path_params["token"]
        self._rater_of(token)
        return self._with_cookie("/", RATER_COOKIE, token)

    async def _join_link(self, request: Request) -> Response:
        """A participant of Prolific, or of a panel with the same parameters."""
        study, secret = self._rated.study.study, self._rated.secret
        given = request.query_params
        if not self._prolific:
            raise HTTPException(404)
        if not secret.is_token(given.get("t", ""), study, "join"):
            raise self._wrong_token()
        rater = given.get("PROLIFIC_PID", "")
        if not _PID.fullmatch(rater):
            raise RefusedError(400, _NO_PID)
        if await to_thread.run_sync(self._rated.ballot, rater, True) is None:
            raise RefusedError(403, "This participant cannot join the study.")
        return self._with_cookie("/", RATER_COOKIE, secret.token(study, "rater", rater))

    async def _admin_link(self, request: Request) -> Response:
        token = request.path_params["token"]
        self._check_admin(token)
        return self._with_cookie("/admin", ADMIN_COOKIE, token)

    def _with_cookie(self, place: str, name: str, token: str) -> Response:
        response = RedirectResponse(place, 303)
        response.set_cookie(
            name, token, max_age=_YEAR, httponly=True, samesite="strict", secure=self._secure
        )
        return response

    def _rater_of(self, token: str) -> str:
        """The rater whose token this is. Raises RefusedError."""
        rater = token.rpartition(".")[0]
        study, secret = self._rated.study.study, self._rated.secret
        if not NAME.fullmatch(rater) or not secret.is_token(token, study, "rater", rater):
            raise self._wrong_token()
        return rater

    def _check_admin(self, token: str) -> None:
        if not self._rated.secret.is_token(token, self._rated.study.study, "admin"):
            raise self._wrong_token()

    def _wrong_token(self) -> RefusedError:
        now, wrong = time.monotonic(), self._wrong
        often = len(wrong) == _WRONG_TOKENS and now - wrong[0] < 60
        wrong.append(now)
        if often:
            return RefusedError(429, "There were too many wrong links. Wait for a minute.")
        return RefusedError(403, "This link is not valid for this study. Open your own link again.")

    async def _ballot(self, request: Request) -> Ballot:
        rater = self._rater_of(_cookie(request, RATER_COOKIE))
        if rater in self._rated.ballots:
            return self._rated.ballots[rater]
        ballot = await to_thread.run_sync(self._rated.ballot, rater)
        if ballot is None:
            raise RefusedError(403, "The study has no place for further raters.")
        return ballot

    # --- the page ---
    async def _page(self, request: Request) -> Response:
        if RATER_COOKIE not in request.cookies and _from_another_site(request):
            return _again()
        self._rater_of(_cookie(request, RATER_COOKIE))
        study = self._rated.study
        page = self._templates.get_template("page.html")
        return HTMLResponse(page.render(title=study.title, instructions=study.instructions))

    async def _static_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._static:
            raise HTTPException(404)
        return Response(self._static[name], media_type=_TYPES.get(name.rpartition(".")[2]))

    async def _state(self, request: Request) -> Response:
        return JSONResponse(self._rated.state(await self._ballot(request)))

    async def _votes(self, request: Request) -> Response:
        ballot = await self._ballot(request)
        given = await _read_json(request)
        votes = given.get("votes")
        if given.get("session", ballot.session) != ballot.session:
            message = "Another rater's link was opened in this browser. Reload the page."
            raise RefusedError(409, message)
        if not isinstance(votes, list) or len(votes) > MOST_VOTES:
            raise RefusedError(400, f"votes is not a list of at most {MOST_VOTES} votes.")
        try:
            return JSONResponse(await to_thread.run_sync(self._rated.vote, ballot, votes))
        except EvalkitError as error:  # its text has the path of the run
            log.error("%s", error)
            message = "The answers could not be stored. They are kept in your browser."
            raise RefusedError(503, message) from error

    async def _image(self, request: Request) -> Response:
        shown = (await self._ballot(request)).image(request.path_params["opaque"])
        if shown is None:
            raise HTTPException(404)
        try:
            png = await to_thread.run_sync(
                self._rated.images.png, shown, limiter=self._image_threads
            )
        except EvalkitError as error:
            log.error("%s", error)
            raise RefusedError(500, "The image cannot be read.") from error
        headers = {"Cache-Control": "private, max-age=31536000, immutable"}
        return Response(png, media_type="image/png", headers=headers)

    # --- the admin page ---
    async def _admin_page(self, request: Request) -> Response:
        if ADMIN_COOKIE not in request.cookies and _from_another_site(request):
            return _again()
        self._check_admin(_cookie(request, ADMIN_COOKIE))
        page = self._templates.get_template("admin.html")
        return HTMLResponse(page.render(await to_thread.run_sync(admin_facts, self._rated)))

    async def _admin(self, request: Request) -> Response:
        self._check_admin(_cookie(request, ADMIN_COOKIE))
        return JSONResponse(await to_thread.run_sync(admin_facts, self._rated))


def _cookie(request: Request, name: str) -> str:
    if not request.cookies.get(name):
        raise RefusedError(401, "Open the link that you were given.")
    return request.cookies[name]


def _from_another_site(request: Request) -> bool:
    return request.headers.get("sec-fetch-site") in ("cross-site", "same-site")


def _again() -> Response:
    """After a click in a mail or on another site, browsers leave out a strict cookie once."""
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Rating</title>'
        '<meta http-equiv="refresh" content="0"><p>Loading…</p></html>'
    )


async def _read_json(request: Request) -> dict[str, Any]:
    """The JSON object of a request, at most BODY_LIMIT bytes within _BODY_SECONDS."""
    content = bytearray()
    try:
        with anyio.fail_after(_BODY_SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > BODY_LIMIT:
                    raise RefusedError(413, f"The body has more than {BODY_LIMIT} bytes.")
    except (TimeoutError, ClientDisconnect) as error:
        raise RefusedError(408, "The body did not arrive in time.") from error
    try:
        value = json.loads(bytes(content))
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "The body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise RefusedError(400, "The body is not a JSON object.")
    return value


async def _refused(request: Request, error: Exception) -> Response:
    """One sentence: as a page for people who opened a link, as JSON for the page itself."""
    assert isinstance(error, RefusedError)
    asked_by_page = request.url.path.startswith(("/api/", "/images/", "/static/"))
    if asked_by_page or "text/html" not in request.headers.get("accept", ""):
        return error.response()
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Rating</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="/static/page.css">'
        f"<main><h1>This page cannot be opened</h1><p>{html.escape(error.message)}</p></main>"
        "</html>",
        error.status,
    )


async def _failed(_: Request, error: Exception) -> Response:  # `Guard` logs it
    return RefusedError(500, "The server failed; its log has the reason.").response()


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = "There is nothing here." if status == 404 else "The request is not allowed here."
    return await _refused(request, RefusedError(status, message))
