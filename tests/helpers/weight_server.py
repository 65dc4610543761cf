"""Small weight files and an HTTP server, for tests of the weight cache."""

from __future__ import annotations

import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer

CONTENT = {
    "one": b"the first file" * 100,
    "one-hub": b"the same tensors, another format",
    "two": b"the second file" * 77,
}


class Server:
    """An HTTP server on the loopback, in a thread."""

    def __init__(
        self, handler: type[BaseHTTPRequestHandler] | partial[SimpleHTTPRequestHandler]
    ) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class QuietFiles(SimpleHTTPRequestHandler):
    """Serves a folder without log lines."""

    def log_message(self, format: str, *args: object) -> None:
        pass


class HalfFile(BaseHTTPRequestHandler):
    """Announces the whole file "one" and sends its first 500 bytes."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT["one"])))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(CONTENT["one"][:500])

    def log_message(self, format: str, *args: object) -> None:
        pass
