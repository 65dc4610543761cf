"""`evalkit serve`: a local model as an endpoint. Loopback without a key; any other address only
with one.
"""

from __future__ import annotations

import importlib.util
import inspect
import ipaddress
import logging
import os
import socket

from evalkit import plugins
from evalkit.config import Options
from evalkit.core import EvalkitError, Generator, Refusal

log = logging.getLogger(__name__)
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_WILDCARDS = ("0.0.0.0", "::")


def serve(
    model: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str = "auto",
    options: Options | None = None,
    token_env: str = "",
) -> None:
    """Serve a model by the OpenAI Images API until Ctrl-C or SIGTERM; requests that have begun are
    answered first.

    Args:
        model: the name of a generator, or `package.module:attribute`.
        host: the address to listen on; another than loopback needs `token_env`.
        port: the port; 0 takes a free one.
        device: auto, cpu, cuda, cuda:1, mps or xpu.
        options: options of the model, by its label.
        token_env: the name of an environment variable with the key that callers must send as a
            bearer token.

    Prints the base URL as the last line on stdout when requests are answered. Raises EvalkitError
    where the model cannot be loaded, the address is taken or not ours, or a key is needed and
    missing.
    """
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise EvalkitError(
            f"Serving needs {' and '.join(missing)}.",
            "Install it with `pip install 'evalkit[serve]'`.",
        )
    import uvicorn

    from evalkit.serve.images_api import ServedModel

    token = _token(host, token_env)
    with _listen(host, port) as listener:
        label, generator = _load(model, device, options or {})
        hosts = (
            () if host in _WILDCARDS else tuple(dict.fromkeys((*_LOOPBACK, _spelled(host).lower())))
        )
        app = ServedModel(label, generator, _first_picture(generator, label), token, hosts).app()
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, lifespan="off", ws="none"
        )
        print(
            f"http://{_spelled(host)}:{listener.getsockname()[1]}/v1", flush=True
        )  # it listens: who connects now is answered
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn has shut down and passes it on
            log.info("stopped")


def _token(host: str, name: str) -> str:
    if not name:
        if not _is_loopback(host):
            hint = "Put a long random key into a variable and name it: `--token-env EVALKIT_SERVE_TOKEN`."
            raise EvalkitError(
                f"The host {host} can be reached from other machines; expected a key that callers must send.",
                hint,
            )
        return ""
    token = os.environ.get(name, "")
    if not token:
        raise EvalkitError(
            f"The environment variable {name} is not set; expected the key that callers must send.",
            f"export {name}=…",
        )
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise EvalkitError(
            f"The key in {name} is too weak or not sendable; expected 16 or more ASCII letters and digits.",
            "Try `openssl rand -hex 32`.",
        )
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, before the model is loaded: a port that is taken is said at once."""
    if not 0 <= port <= 65535:
        raise EvalkitError(f"The port is {port}; expected 0 to 65535.")
    address = (
        "127.0.0.1" if host.lower() == "localhost" else host
    )  # what _is_loopback says, whatever a hosts file says
    try:
        family, _, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place[:2], family=family, backlog=128)
    except OSError as error:
        hint = (
            "Choose another with --port, or --port 0 for a free one." if port else "Check --host."
        )
        raise EvalkitError(
            f"Cannot listen on {host} port {port}: {error.strerror or error}.", hint
        ) from error


def _load(model: str, device: str, options: Options) -> tuple[str, Generator]:
    """The label and the generator of a model that draws here, for any prompt."""
    [found] = plugins.models([model], options)
    parameter = inspect.signature(found.target).parameters.get("requests")
    generator = (
        None
        if parameter and parameter.default is parameter.empty
        else plugins.load_generator(found, device, [])
    )
    if not callable(generator):
        raise EvalkitError(
            f"{model} draws nothing itself: it is a folder or a service; expected a local model.",
            "See `evalkit list generators`.",
        )
    return found.label, generator


def _first_picture(generator: Generator, label: str) -> tuple[int, int] | None:
    """Width and height of a first picture: a model that cannot draw is found out before anybody
    asks.
    """
    try:
        [picture] = generator(["a red circle"], [0])
    except EvalkitError:
        raise
    except Exception as error:  # somebody else's code
        raise EvalkitError(
            f"The model {label!r} failed on a first picture: {type(error).__name__}: {error}."
        ) from error
    return None if isinstance(picture, Refusal) else picture.size


def _spelled(host: str) -> str:
    return f"[{host}]" if ":" in host else host
