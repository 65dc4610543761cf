"""A local HTTP server that sends the exact bytes of a test, for unusual answers and faults."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Seen:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


# From a request to the bytes of the answer, or to a function that uses the connection.
Script = Callable[[Seen], "bytes | Callable[[socket.socket], None]"]


@dataclass
class Server:
    port: int
    scheme: str = "http"
    seen: list[Seen] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


def answer(
    status: int = 200,
    body: bytes | Any = b"",
    content_type: str = "application/json",
    **headers: str,
) -> bytes:
    """The bytes of an answer, JSON unless `body` is bytes. Headers: `Retry_After="3"`."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Type": content_type, "Content-Length": str(len(data))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} -\r\n{head}\r\n".encode() + data


def dripping(data: bytes, pause: float) -> Callable[[socket.socket], None]:
    """A script that sends an answer byte by byte."""

    def send(connection: socket.socket) -> None:
        for at in range(len(data)):
            connection.sendall(data[at : at + 1])
            time.sleep(pause)

    return send


@contextlib.contextmanager
def serving(script: Script, certificate: str = "", read_body: bool = True) -> Iterator[Server]:
    """Answer every connection by the script; over TLS with a PEM file of certificate and key."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(listener.getsockname()[1], "https" if certificate else "http")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
    if context:
        context.load_cert_chain(certificate)

    def one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(10)
            with (
                context.wrap_socket(connection, server_side=True)
                if context
                else contextlib.nullcontext(connection) as connection
            ):
                seen = _read(connection, read_body)
                server.seen.append(seen)
                result = script(seen)
                if callable(result):
                    result(connection)
                else:
                    connection.sendall(result)
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_WR)
                        connection.recv(1)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(2)


def _read(connection: socket.socket, read_body: bool) -> Seen:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            raise OSError("closed")
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }
    while read_body and len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    method, path, _ = first.split(" ", 2)
    return Seen(method, path, headers, body)
