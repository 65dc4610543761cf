"""The connection to a Ray cluster: one that runs, or one that is started here for a command."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError
from evalkit.engines.runtime_env import one_line

log = logging.getLogger(__name__)
LOCAL = "local"  # Ray's name for a cluster that is started here
_LATEST = Path("/tmp/ray/ray_current_cluster")  # where Ray writes the address of a new cluster


class Cluster:
    """A cluster, connected to when the first question about it is asked.

    Args:
        address: see `ray.Made`.
        environment: the runtime_env of all tasks.
    """

    def __init__(self, address: str, environment: Mapping[str, Any]) -> None:
        if "://" in address:
            raise EvalkitError(
                f"ray.address is {address!r}; expected host:port.",
                "Start the command on a node of the cluster, for example with `ray job submit`.",
                code="engines-14",
            )
        self._address, self._environment = address, environment
        self.connected = False
        self.is_local = False
        self._own = False  # connected here, and not by the program that calls
        self._at_sigterm: Any = None

    def nodes(self) -> list[dict[str, float]]:
        """What each node has, by Ray's names. Nodes come and go."""
        import ray

        self._connect()
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def options(self) -> dict[str, Any]:
        """Of each task, where the environment is not that of the connection."""
        return {"runtime_env": self._environment} if self._environment and not self._own else {}

    def close(self) -> None:
        import ray

        if self._own:
            ray.shutdown()
            _set_messages(True)
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, self._at_sigterm or signal.SIG_DFL)
        self.connected = self._own = False

    def _connect(self) -> None:
        import ray

        if self.connected or ray.is_initialized():
            self.connected = True
            return
        address = _answering(self._address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._at_sigterm = signal.getsignal(signal.SIGTERM)  # Ray sets its own
        self._own = True  # from here on, there may be something to close
        _set_messages(False)
        try:
            ray.init(
                address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env=dict(self._environment) or None,
            )
        except Exception as error:  # of many types
            self.close()
            raise EvalkitError(
                f"Ray does not connect to {address}: {one_line(error)}.",
                "`ray status` shows the cluster of a machine.",
                code="engines-15",
            ) from None
        self.connected, self.is_local = True, address == LOCAL
        where = "started on this machine" if self.is_local else f"at {address}"
        log.info("Ray cluster %s, nodes: %d", where, len(self.nodes()))


def _answering(given: str) -> str:
    """The address that is meant. Ray itself waits for minutes where nothing answers.

    Raises EvalkitError if nothing answers at an address that somebody has named.
    """
    named = given or os.environ.get("RAY_ADDRESS", "")
    address = named if named not in ("", "auto") else _latest()
    if address in ("", LOCAL):
        return LOCAL
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), 10).close()
    except (OSError, ValueError, OverflowError) as error:
        if address != named:
            return LOCAL
        raise EvalkitError(
            f"No Ray cluster answers at {address!r}: {one_line(error)}.",
            "The address is host:port of the head node, as `ray start` prints it there.",
            code="engines-16",
        ) from None
    return address


def _latest() -> str:
    """The address of the latest cluster that this user or root has started on this machine."""
    if sys.platform == "win32":
        return ""
    with contextlib.suppress(OSError, UnicodeError):  # there is none
        if _LATEST.stat().st_uid in (0, os.getuid()):
            return _LATEST.read_text(encoding="utf-8").strip()
    return ""


def _set_messages(shown: bool) -> None:
    """Whether Ray prints messages on stdout, where the results of commands are. `log_to_driver`
    does not concern those of a lost node or worker. All are in the logs of Ray, too.
    """
    import ray._private.worker

    ray._private.worker._worker_logs_enabled = shown
