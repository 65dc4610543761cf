"""The HTTP server of `serve` and `rate serve`: it waits for a request only so long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import h11
import uvicorn
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

LIMIT = 10.0  # seconds from the first byte of a request, or a new connection, to its last byte


class PromptProtocol(H11Protocol):
    """Closes a connection whose request is not complete in time.

    uvicorn waits without end for the rest of headers and bodies, and each such connection takes one
    of the open files that the process may have.
    """

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._limit = self.loop.call_later(LIMIT, transport.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._end_limit()
        elif self._limit is None and not self.transport.is_closing():
            self._limit = self.loop.call_later(LIMIT, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_limit()
        super().connection_lost(exc)

    def _end_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


def run_server(app: ASGIApp, listener: socket.socket, **settings: Any) -> None:
    """Answer requests until a signal ends it. Raises KeyboardInterrupt after Ctrl-C.

    settings: further ones of uvicorn.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(ClientDisconnect):  # nobody waits for an answer
            await app(scope, receive, send)

    config = uvicorn.Config(
        answer,
        http=PromptProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        **settings,
    )
    uvicorn.Server(config).run(sockets=[listener])
