"""Why sending stops before everything is answered, and what the user can do."""

from __future__ import annotations

from evalkit.core import EvalkitError
from evalkit.remote.budget import Budget
from evalkit.remote.jobs import Answer, Job, Outcome
from evalkit.remote.retry import LONGEST
from evalkit.remote.tally import in_one_line
from evalkit.remote.workers import Work
from evalkit.terminal import dollars

_BAD_RECORDS = 10  # consecutive outcomes that are neither what was requested nor a refusal
# Consecutive failures (see Concurrency), before the service has ever answered and after that.
_FAILURES_AT_START, _FAILURES_LATER = 6, 20


def stopped(work: Work, reason: str, action: str = "Run", exit_code: int = 3) -> EvalkitError:
    hint = f"{action} the same command again to continue; finished {work.unit}s are kept."
    return EvalkitError(
        f"{work.label} stopped: {reason.rstrip('.')}.", hint, exit_code, code="remote-22"
    )


def after_answer(work: Work, answer: Answer, failures: int, reached: bool) -> EvalkitError | None:
    """The reason to stop after an answer that the next requests would get too, or None.

    Args:
        failures: consecutive failures of the service, this one included.
        reached: whether the service has ever answered.
    """
    detail = in_one_line(answer.detail)
    if answer.status == "auth":
        action = "Check the key and its permissions, then run"
        return stopped(work, f"the service refused the key: {detail}", action, exit_code=2)
    if answer.status == "quota":
        return stopped(work, f"the quota is used up: {detail}", "Increase it, then run")
    if answer.status == "rate_limited" and (answer.retry_after or 0.0) > LONGEST:
        reason = f"the service asks to wait {answer.retry_after:.0f} s"
        return stopped(work, f"{reason}; evalkit waits at most {LONGEST:.0f} s", "Wait, then run")
    if failures >= (_FAILURES_LATER if reached else _FAILURES_AT_START):
        action = "Check the address and the network, or wait, then run"
        return stopped(work, f"{failures} requests in a row failed: {detail}", action)
    return None


def after_record(work: Work, record: Outcome, failed_in_a_row: int) -> EvalkitError | None:
    if failed_in_a_row < _BAD_RECORDS:
        return None
    last = f"{record.status}: {in_one_line(record.detail)}"
    return stopped(work, f"{failed_in_a_row} requests in a row failed, the last one with {last}")


def out_of_money(work: Work, price: float | None, budget: Budget) -> EvalkitError:
    spent = f"{dollars(budget.spent)} of max_cost {dollars(budget.most)} is spent"
    reason = f"the next {work.unit} may cost {dollars(price)}, and {spent}"
    return stopped(work, reason, f"Raise {budget.option} and run")


def after_exception(work: Work, job: Job, error: BaseException | None) -> EvalkitError:
    """The error of a thread: an EvalkitError as it is, another exception with its prompt."""
    if isinstance(error, EvalkitError):
        return error
    result = EvalkitError(
        f"The model {work.label!r} failed on {job.name}: {type(error).__name__}: {error}.",
        "Fix the model, then run the same command again to continue with the missing"
        f" {work.unit}s.",
        code="remote-23",
    )
    result.__cause__ = error
    return result
