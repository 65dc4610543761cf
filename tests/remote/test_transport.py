"""One exchange: what is sent, the limits on time and size, and the status of every failure."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import struct
import threading
import time
import tracemalloc
from ipaddress import ip_address
from pathlib import Path

import pytest
from scripted_server import answer, dripping, serving

from evalkit.remote import transport
from evalkit.remote.addresses import Origin, Target, parse
from evalkit.remote.transport import Failed, Limits, exchange

LIMITS = Limits(total=5.0, size=100_000, connect=2.0)
PEM = str(Path(__file__).with_name("localhost_for_tests.pem"))


def post(url: str, limits: Limits = LIMITS, body: bytes = b'{"prompt": "a cat"}'):
    return exchange(
        "POST", parse(url), {"Content-Type": "application/json", "X-Key": "k"}, body, limits
    )


def failure(url: str, limits: Limits = LIMITS, body: bytes = b"{}") -> Failed:
    with pytest.raises(Failed) as caught:
        post(url, limits, body)
    return caught.value


def test_the_request_and_the_answer():
    with serving(lambda seen: answer(201, {"a": 1}, X_Kind="yes")) as server:
        reply = post(f"{server.url}/v1/things?x=1")
    assert (reply.status, json.loads(reply.body), reply.headers["x-kind"]) == (201, {"a": 1}, "yes")
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.body) == ("POST", "/v1/things?x=1", b'{"prompt": "a cat"}')
    assert seen.headers["host"] == f"127.0.0.1:{server.port}"
    assert seen.headers["x-key"] == "k"
    assert seen.headers["content-length"] == "19"
    assert seen.headers["user-agent"].startswith("evalkit/")


def test_a_refused_connection_is_transient():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = failure(f"http://127.0.0.1:{port}/")
    assert error.status == "transient"
    assert f"no connection to 127.0.0.1:{port}" in error.detail
    assert "refused" in error.detail.lower()


def test_an_unknown_host_is_transient(monkeypatch):
    def nothing(*given, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    error = failure("https://nowhere.example.com/")
    assert (error.status, error.detail) == (
        "transient",
        "no connection to nowhere.example.com (Name or service not known)",
    )


def test_a_connection_that_is_closed_after_the_request_is_ambiguous():
    def drop(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    for what in (drop, lambda connection: None):  # with RST and with FIN
        with serving(lambda seen, what=what: what) as server:
            error = failure(f"{server.url}/")
        assert error.status == "ambiguous"
        assert "was sent" in error.detail
        assert len(server.seen) == 1


def test_a_connection_that_is_lost_while_sending_is_transient():
    """The service has not read the whole request, so it cannot have accepted it."""
    released = threading.Event()

    def drop(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        released.set()

    with serving(lambda seen: drop, read_body=False) as server:
        error = failure(f"{server.url}/", body=b"x" * 60_000_000)
    assert released.wait(10)  # the client may see the reset before the server thread continues
    assert error.status == "transient"
    assert "while sending" in error.detail


@pytest.mark.parametrize("cut", [5, 20, 60, -1])
def test_a_truncated_answer_is_ambiguous(cut):
    whole = answer(200, b"x" * 500)
    with serving(lambda seen: whole[:cut]) as server:
        assert failure(f"{server.url}/").status == "ambiguous"


def test_chunked_answers_complete_and_truncated():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(lambda seen: head + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n") as server:
        assert post(f"{server.url}/").body == b"abcdefg"
    with serving(lambda seen: head + b"3\r\nabc\r\n4\r\nde") as server:
        assert failure(f"{server.url}/").status == "ambiguous"


def test_an_error_status_counts_even_if_its_body_is_truncated():
    with serving(lambda seen: answer(503, b"x" * 500)[:-100]) as server:
        assert post(f"{server.url}/").status == 503


def test_an_answer_that_is_not_http_is_malformed():
    for junk in (
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3, 5\r\n\r\nabc",
    ):
        with serving(lambda seen, junk=junk: junk) as server:
            assert failure(f"{server.url}/").status == "malformed"


def test_a_missing_answer_is_ambiguous_after_the_time_limit():
    begun = time.monotonic()
    with serving(lambda seen: lambda connection: time.sleep(1.0)) as server:
        error = failure(f"{server.url}/", LIMITS._replace(total=0.3))
    assert error.status == "ambiguous"
    assert "did not answer in time (limit 0.3 s)" in error.detail
    assert time.monotonic() - begun < 0.9 + 2


@pytest.mark.parametrize(
    "data", [answer(200, b"x" * 4000), b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 400]
)
def test_a_slow_answer_is_stopped_by_the_total_limit(data):
    """Byte by byte, so that no single read takes long, in the body and in the headers."""
    begun = time.monotonic()
    with serving(lambda seen: dripping(data, 0.01)) as server:
        assert failure(f"{server.url}/", LIMITS._replace(total=0.4)).status == "ambiguous"
    assert time.monotonic() - begun < 3


def test_a_pause_within_an_answer_is_stopped_by_the_idle_limit():
    def send(connection: socket.socket) -> None:
        connection.sendall(answer(200, b"x" * 500)[:200])
        time.sleep(1.5)

    begun = time.monotonic()
    with serving(lambda seen: send) as server:
        assert failure(f"{server.url}/", LIMITS._replace(idle=0.2)).status == "ambiguous"
    assert time.monotonic() - begun < 1.4


def test_a_large_answer_is_refused_with_and_without_a_content_length():
    sent: list[int] = []

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")
        sent.append(0)
        while True:  # until the client closes the connection
            connection.sendall(b"x" * 65536)
            sent[0] += 65536

    with serving(lambda seen: endless) as server:
        error = failure(f"{server.url}/")
    assert error.status == "malformed"
    assert "larger than" in error.detail
    assert sent[0] < 30_000_000
    announced = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
    with serving(lambda seen: announced) as server:
        assert failure(f"{server.url}/").status == "malformed"


def test_too_many_headers_and_too_long_ones_are_malformed():
    for head in (b"X-A: b\r\n" * 300, b"X-A: " + b"b" * 100_000 + b"\r\n"):
        with serving(lambda seen, head=head: b"HTTP/1.1 200 OK\r\n" + head + b"\r\n") as server:
            assert failure(f"{server.url}/").status == "malformed"


def test_gzip_answers_are_decompressed_within_the_size_limit():
    with serving(
        lambda seen: answer(200, gzip.compress(b'{"a": 1}'), Content_Encoding="gzip")
    ) as server:
        assert post(f"{server.url}/").body == b'{"a": 1}'
    bomb = gzip.compress(b"0" * 50_000_000)
    assert len(bomb) < LIMITS.size
    with serving(lambda seen: answer(200, bomb, Content_Encoding="gzip")) as server:
        tracemalloc.start()
        error = failure(f"{server.url}/")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 5_000_000  # never decompressed as a whole
    assert (error.status, "larger" in error.detail) == ("malformed", True)
    for encoding, data in (("br", b"x"), ("gzip", b"no gzip")):
        with serving(
            lambda seen, data=data, encoding=encoding: answer(200, data, Content_Encoding=encoding)
        ) as server:
            assert failure(f"{server.url}/").status == "malformed"


def test_redirects_are_not_followed():
    with serving(lambda seen: answer(307, b"", Location="http://127.0.0.1:1/")) as server:
        reply = post(f"{server.url}/")
    assert (reply.status, len(server.seen)) == (307, 1)


def test_a_header_cannot_contain_another_one():
    with serving(lambda seen: answer(200)) as server, pytest.raises(Failed) as caught:
        exchange("POST", parse(f"{server.url}/"), {"X-A": "b\r\nX-Evil: 1"}, b"", LIMITS)
    assert caught.value.status == "bad_request"
    assert server.seen == []


def test_the_connection_goes_to_the_checked_address_and_the_name_is_not_resolved_again(
    monkeypatch,
):
    """DNS rebinding: the name is checked once; a later change of its address has no effect."""
    with serving(lambda seen: answer(200, b"ok")) as server:
        real = socket.getaddrinfo
        looked_up: list[tuple[str, int]] = []

        def look_up(host, port, *rest, **options):
            looked_up.append((host, port))
            return real("127.0.0.1", server.port, *rest, **options)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        target = Target(
            Origin("http", "images.example.com", 80), "/", (ip_address("93.184.216.34"),)
        )
        reply = exchange("GET", target, {}, None, LIMITS)
    assert reply.body == b"ok"
    assert looked_up == [("93.184.216.34", 80)]
    assert server.seen[0].headers["host"] == "images.example.com"


def test_the_next_address_is_tried_if_one_does_not_answer():
    with serving(lambda seen: answer(200, b"ok")) as server:
        target = Target(
            Origin("http", "127.0.0.1", server.port),
            "/",
            (ip_address("127.0.0.9"), ip_address("127.0.0.1")),
        )
        assert exchange("GET", target, {}, None, LIMITS).body == b"ok"


def test_an_untrusted_certificate_is_refused_before_anything_is_sent():
    with serving(lambda seen: answer(200), certificate=PEM) as server:
        error = failure(f"{server.url}/")
    assert error.status == "transient"
    assert "certificate is not valid" in error.detail
    assert server.seen == []


def test_a_trusted_certificate_must_have_the_name_of_the_host(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", PEM)
    transport.tls_context.cache_clear()
    try:
        reply = answer(200, b"ok" * 40_000, Connection="close")  # longer than one TLS record
        with serving(lambda seen: reply, certificate=PEM) as server:
            good = Target(
                Origin("https", "localhost", server.port), "/", (ip_address("127.0.0.1"),)
            )
            assert exchange("GET", good, {}, None, LIMITS).body == b"ok" * 40_000
            other = Target(
                Origin("https", "images.example.com", server.port), "/", (ip_address("127.0.0.1"),)
            )
            with pytest.raises(Failed, match="certificate is not valid"):
                exchange("GET", other, {}, None, LIMITS)
    finally:
        transport.tls_context.cache_clear()


def test_https_to_a_plain_http_server_is_transient():
    with serving(lambda seen: answer(200)) as server:
        assert failure(f"https://127.0.0.1:{server.port}/").status == "transient"


def test_a_proxy_connects_to_the_checked_address(monkeypatch):
    """A tunnel to the address, TLS with the name inside it, and no login in errors."""
    monkeypatch.setenv("SSL_CERT_FILE", PEM)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    transport.tls_context.cache_clear()
    asked: list[bytes] = []

    def relay(listener: socket.socket, port: int) -> None:
        with listener.accept()[0] as connection:
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(1)
            asked.append(data)
            if port == 0:
                connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with socket.create_connection(("127.0.0.1", port)) as inner:
                back = threading.Thread(target=pump, args=(inner, connection), daemon=True)
                back.start()
                pump(connection, inner)
                back.join(5)

    def pump(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := one.recv(65536):
                other.sendall(part)
            other.shutdown(socket.SHUT_WR)

    try:
        with serving(lambda seen: answer(200, b"ok"), certificate=PEM) as server:
            target = Target(Origin("https", "localhost", 8443), "/", (ip_address("93.184.216.34"),))
            for port in (server.port, 0):
                listener = socket.create_server(("127.0.0.1", 0))
                monkeypatch.setenv(
                    "HTTPS_PROXY", f"http://me:secret-login@127.0.0.1:{listener.getsockname()[1]}"
                )
                relaying = threading.Thread(target=relay, args=(listener, port), daemon=True)
                relaying.start()
                if port:
                    assert exchange("GET", target, {}, None, LIMITS).body == b"ok"
                else:
                    with pytest.raises(Failed, match="Tunnel connection failed: 407") as caught:
                        exchange("GET", target, {}, None, LIMITS)
                    assert caught.value.status == "transient"
                    assert "secret" not in str(caught.value)
                relaying.join(5)
                listener.close()
    finally:
        transport.tls_context.cache_clear()
    assert all(data.startswith(b"CONNECT 93.184.216.34:8443 HTTP/1.") for data in asked)
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0LWxvZ2lu" in asked[0]
