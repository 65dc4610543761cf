"""`evalkit serve`: a local model as an HTTP endpoint. A key is optional on loopback only."""

from __future__ import annotations

import inspect
import logging
import os

from evalkit import plugins
from evalkit.config import Options
from evalkit.core import EvalkitError, Generator, Refusal
from evalkit.generators.calls import images_of
from evalkit.local_address import LOOPBACK, WILDCARDS, in_url, is_loopback, listen

log = logging.getLogger(__name__)


def serve(
    model: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str = "auto",
    options: Options | None = None,
    token_env: str = "",
) -> None:
    """Serve a model with the OpenAI Images API until Ctrl-C or SIGTERM.

    Requests that have started are answered before it ends. Prints the base URL as the last line on
    stdout when it is ready.

    Args:
        model: the name of a generator, or `package.module:attribute`.
        host: the address to listen on; any address except loopback needs `token_env`.
        port: the port; 0 chooses a free one.
        device: auto, cpu, cuda, cuda:1, mps or xpu.
        options: options of the model, by its label.
        token_env: the name of an environment variable with the key that callers must send as a
            bearer token.

    Raises:
        EvalkitError: the model cannot be loaded, the address is not available, or the key is
            missing.
    """
    from evalkit.local_server import run_server
    from evalkit.serve.images_api import ServedModel

    token = _token(host, token_env)
    with listen(host, port) as listener:
        label, generator = _load(model, device, options or {})
        names = dict.fromkeys((*LOOPBACK, in_url(host).lower()))
        hosts = () if host in WILDCARDS else tuple(names)
        app = ServedModel(label, generator, _image_size(generator, label), token, hosts).app()
        # The socket listens already: a client that connects now gets an answer.
        print(f"http://{in_url(host)}:{listener.getsockname()[1]}/v1", flush=True)
        try:
            run_server(app, listener)
        except KeyboardInterrupt:  # uvicorn has shut down and raises it again
            log.info("stopped")


def _token(host: str, name: str) -> str:
    if not name:
        if not is_loopback(host):
            raise EvalkitError(
                f"Other machines can reach the host {host}; expected a key for callers.",
                "Put a long random key into an environment variable and name it: "
                "`--token-env EVALKIT_SERVE_TOKEN`.",
                code="serve-1",
            )
        return ""
    token = os.environ.get(name, "")
    if not token:
        raise EvalkitError(
            f"The environment variable {name} is not set; expected the key for callers.",
            f"Set it: `export {name}=…`.",
            code="serve-2",
        )
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise EvalkitError(
            f"The key in {name} is too weak or not a valid header; expected 16 or more ASCII "
            "letters and digits.",
            "Try `openssl rand -hex 32`.",
            code="serve-3",
        )
    return token


def _load(model: str, device: str, options: Options) -> tuple[str, Generator]:
    """The label and the generator of a local model that makes images for any prompt."""
    [found] = plugins.models([model], options)
    parameter = inspect.signature(found.target).parameters.get("requests")
    needs_requests = parameter is not None and parameter.default is parameter.empty
    generator = None if needs_requests else plugins.load_generator(found, device, [])
    if not callable(generator):
        raise EvalkitError(
            f"{model} is a folder or a service; expected a local model.",
            "See `evalkit list generators`.",
            code="serve-4",
        )
    return found.label, generator


def _image_size(generator: Generator, label: str) -> tuple[int, int] | None:
    """Width and height of a first image. A model that does not work fails here, at the start."""
    [image], _ = images_of(generator, ["a red circle"], [0], label, place="on a first image")
    return None if isinstance(image, Refusal) else image.size
