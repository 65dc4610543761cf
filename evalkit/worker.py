"""What a worker of an engine does: one shard of `generate` or `encode`, in a process of its own.

`python -m evalkit.worker` reads tasks from stdin and writes to stdout how they ended, each as one
line of JSON.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from evalkit import api
from evalkit.core import (
    EvalkitError,
    FailedMetricWarning,
    IncompleteRunWarning,
    StoppedScorerWarning,
)
from evalkit.engines.task import Task
from evalkit.score.encode import encode


def perform(task: Task) -> tuple[str, int]:
    """Do the shard; returns why it failed, "" if it did not, and the exit code of the failure."""
    os.chdir(task.folder)  # where `plugins` looks for modules of the user
    task.log_path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(task.log_path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("evalkit")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always", IncompleteRunWarning)
            if task.stage == "generate":
                api.generate(out=task.run, shard=str(task.shard), **task.settings)
            else:
                encode(task.run, shard=str(task.shard), **task.settings)
        return _failures(given)
    except EvalkitError as error:
        text = " ".join(filter(None, (error.message, error.hint)))
        logger.error("%s", f"{text} [{error.code}]" if error.code else text)
        return text, error.exit_code
    except Exception as error:
        logger.exception("the shard failed")
        return f"{type(error).__name__}: {error} (see {task.log_path})", 2
    finally:
        logger.removeHandler(handler)
        handler.close()


def _failures(given: Sequence[warnings.WarningMessage]) -> tuple[str, int]:
    """What else failed while the rest was done; a shard is too small a part to be incomplete."""
    failed = [one for one in given if issubclass(one.category, FailedMetricWarning)]
    stopped = all(issubclass(one.category, StoppedScorerWarning) for one in failed)
    texts = dict.fromkeys(str(one.message) for one in failed)
    return " ".join(texts), (3 if stopped else 2) * bool(texts)


def main() -> None:
    """Perform the tasks of stdin, one per line; each answer is a line of stdout."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a model prints is no answer
    # A fork of the model must not keep the pipe open when this process dies.
    if sys.platform != "win32":
        os.register_at_fork(after_in_child=answers.close)
    for line in sys.stdin:
        print(json.dumps(perform(Task(**json.loads(line)))), file=answers, flush=True)


if __name__ == "__main__":
    main()
