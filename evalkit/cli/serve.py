"""The command `evalkit serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from evalkit.cli.options import Device, Settings
from evalkit.cli.output import clean


def serve(
    model: Annotated[
        str,
        typer.Argument(help="A generator that runs here: a name or package.module:attribute."),
    ],
    host: Annotated[
        str,
        typer.Option(help="The address to listen on; a non-loopback address needs --token-env."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.")] = 8000,
    token_env: Annotated[
        str,
        typer.Option(help="The environment variable with the key that callers must send."),
    ] = "",
    device: Device = "auto",
    options: Settings = None,
) -> None:
    """Put a local model behind the OpenAI Images API; prints its base URL when it is ready.

    \b
    Examples:
      evalkit serve dalle
      evalkit serve dalle --port 0 --set dalle.temperature=0.9
      evalkit serve gan --host 0.0.0.0 --token-env EVALKIT_SERVE_TOKEN
    """
    with clean():
        from evalkit.config import parse_settings
        from evalkit.serve.serve import serve as function

        function(
            model,
            host=host,
            port=port,
            device=device or "auto",
            options=parse_settings(options or ()),
            token_env=token_env,
        )
