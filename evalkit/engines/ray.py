"""Shards as tasks of a Ray cluster: `--engine ray`.

Ray starts workers and sees when they or their nodes die. `drive` decides which tasks are started
again, for all engines alike, so Ray itself repeats none.
"""

from __future__ import annotations

import json
import logging
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.core import EvalkitError
from evalkit.engines import Ended
from evalkit.engines.ray_cluster import Cluster
from evalkit.engines.runtime_env import one_line
from evalkit.engines.runtime_env import runtime_env as environment_of
from evalkit.engines.task import Task, as_json, perform
from evalkit.run_folder import Run

log = logging.getLogger(__name__)


class Made:
    """The engine.

    Args:
        address: host:port of a cluster; "": as RAY_ADDRESS says, else the cluster of this machine,
            else "local", one that is started here and ends with the command.
        cpus: cores per shard.
        gpus: per shard; "auto": 1 where the cluster has any and the device of the run is not cpu.
        memory_gb: GiB per shard that Ray sets aside; 0: none, so that cores limit the shards.
        runtime_env: the environment of the workers, see Ray: a JSON object, or the path of a JSON
            or YAML file with one.
    """

    def __init__(
        self,
        *,
        address: str = "",
        cpus: float = 1.0,
        gpus: float | str = "auto",
        memory_gb: float = 0.0,
        runtime_env: str | Mapping[str, Any] = "",
    ) -> None:
        try:
            import ray  # noqa: F401
        except ImportError:
            raise EvalkitError(
                "The engine ray needs ray, which is not installed.",
                "Type in the clone of evalkit: `pip install '.[ray]'`.",
                code="engines-8",
            ) from None
        self._cpus = _amount("cpus", cpus)
        self._gpus = None if gpus == "auto" else _amount("gpus", gpus)
        self._bytes = int(_amount("memory_gb", memory_gb) * 2**30)
        if not self._cpus:
            raise EvalkitError("ray.cpus is 0; expected more than 0.", code="engines-9")
        self._cluster = Cluster(address, environment_of(runtime_env))
        self._running: dict[Any, Task] = {}  # by Ray's reference to the result
        self._device: str | None = None
        self._said = False  # what a shard takes
        self._waiting = False  # for a node with room for a shard

    @property
    def workers(self) -> int:
        """The shards that the cluster has room for as it is now: nodes come and go."""
        return max(1, self._room())

    def start(self, tasks: Sequence[Task]) -> None:
        import ray

        self._device = tasks[0].settings.get("device")
        needs = self._needs()
        if not self._said:
            log.info("a shard takes %g CPUs and %g GPUs of Ray", needs["CPU"], needs["GPU"])
        self._said, self._gpus = True, needs["GPU"]  # also when the last node with a GPU is lost
        self._check_room()
        try:
            function = ray.remote(_perform).options(
                num_cpus=needs["CPU"],
                num_gpus=needs["GPU"],
                memory=self._bytes or None,
                max_retries=0,
                **self._cluster.options(),
            )
        except (TypeError, ValueError) as error:
            raise EvalkitError(
                f"Ray refuses its options: {one_line(error)}.",
                "See docs/ray.md for the options.",
                code="engines-10",
            ) from None
        for task in tasks:
            self._running[function.remote(as_json(task))] = task

    def ended(self) -> Iterable[Ended]:
        import ray

        waiting = list(self._running)
        found, _ = ray.wait(waiting, timeout=0.5)
        if found:  # and all others that ended, too
            found, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
        else:
            self._check_room()
        for reference in found:
            yield _how(reference, self._running.pop(reference))

    def stop(self) -> None:
        import ray

        if not self._cluster.connected:
            return
        references = list(self._running)
        for reference in references:
            ray.cancel(reference, force=True)
        if references:  # until nothing writes to the run any more
            ray.wait(references, num_returns=len(references), timeout=10)
        self._running.clear()
        self._cluster.close()

    def _needs(self) -> dict[str, float]:
        """What a shard takes, by Ray's names."""
        gpus = self._gpus
        if gpus is None:
            gpus = float(self._device != "cpu" and any(map(_has_gpu, self._cluster.nodes())))
        return {"CPU": self._cpus, "GPU": gpus, "memory": self._bytes}

    def _room(self) -> int:
        """The shards that all nodes can do at the same time."""
        needs = {name: amount for name, amount in self._needs().items() if amount}
        return sum(
            min(int(node.get(name, 0) / amount) for name, amount in needs.items())
            for node in self._cluster.nodes()
        )

    def _check_room(self) -> None:
        """Say it once if no node has room for a shard. A cluster may get another node."""
        room = self._room()
        if not room and not self._waiting:
            needs = ", ".join(f"{n:g} {name}" for name, n in self._needs().items() if n)
            said = f"No node of the Ray cluster has what a shard needs ({needs})."
            if self._cluster.is_local:
                hint = "Request less for a shard, for example with `--set ray.cpus=1`."
                raise EvalkitError(said, hint, code="engines-11")
            log.warning("%s Waiting for one.", said)
        self._waiting = not room


def _has_gpu(node: Mapping[str, float]) -> bool:
    return node.get("GPU", 0) > 0


def _amount(name: str, given: float | str) -> float:
    try:
        amount = float(given)
    except ValueError:
        amount = math.nan
    if not 0 <= amount < math.inf:
        raise EvalkitError(
            f"ray.{name} is {given!r}; expected a number of 0 or more.", code="engines-12"
        )
    if name == "gpus" and amount > 1 and amount % 1:
        raise EvalkitError(
            f"ray.gpus is {given}; expected a whole number or a part of one GPU.", code="engines-13"
        )
    return amount


def _perform(text: str) -> tuple[str, int]:
    """See `perform`. On a node of the cluster; the text is a task."""
    task = Task(**json.loads(text))
    for path in (Run(task.run).prompts_path, Path(task.folder)):
        if not path.exists():
            return (
                f"{path} does not exist on the node {platform.node()}; expected a file system that"
                " all nodes of the cluster share"
            ), 2
    return perform(task)


def _how(reference: Any, task: Task) -> Ended:
    """How a task ended."""
    import ray
    from ray import exceptions

    try:
        failure, exit_code = ray.get(reference)
        return Ended(task, failure, exit_code=exit_code)
    except exceptions.RuntimeEnvSetupError as error:
        with task.log_path.open("a", encoding="utf-8") as file:
            file.write(f"{error}\n")
        return Ended(task, f"ray.runtime_env cannot be set up (see {task.log_path})")
    except exceptions.RayTaskError as error:  # of the imports before `perform`
        return Ended(task, f"{str(error).strip().splitlines()[-1]} (see the logs of Ray)")
    except (exceptions.TaskCancelledError, exceptions.TaskUnschedulableError) as error:
        return Ended(task, f"{type(error).__name__}: {one_line(error)}")
    except exceptions.RayError as error:  # the worker or the node is gone
        sentences = ". ".join(one_line(error).split(". ")[:2])
        return Ended(task, f"{sentences} (see {task.log_path})", again=True)
