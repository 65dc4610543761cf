"""How a run grows: further prompts, samples, and images of a folder. Nothing is made again.

An image is identified by the run seed, the id of its prompt and its sample. Prompts of a run keep
their id and position, whatever list they come in, and new ones follow them. Whatever would change
an existing image belongs to another run and is refused.
"""

from __future__ import annotations

import logging
import shlex
from collections import defaultdict, deque
from collections.abc import Sequence

from evalkit.core import EvalkitError, Prompt, Record, Request
from evalkit.generators.folder import Folder
from evalkit.remote.concurrency import FIRST, MOST
from evalkit.run_folder import Run, image_place

log = logging.getLogger(__name__)


def grown(run: Run, given: Sequence[Prompt]) -> list[Prompt]:
    """The prompts of the run in their order, then those of the list that it does not have.

    A list with ids of its own is matched by id. Where the ids are positions in the list, prompts
    are matched by text, the k-th of several equal ones with the k-th, and new ones get free ids.

    Raises EvalkitError if the list lacks a prompt of the run, or has another text or group for it.
    """
    old = run.prompts() if run.is_run else []
    if not old or old == list(given):
        return list(given)
    if any(prompt.id != _position(at) for at, prompt in enumerate(given)):
        return _grown_by_id(run, old, given)
    return _grown_by_text(run, old, given)


def _grown_by_id(run: Run, old: Sequence[Prompt], given: Sequence[Prompt]) -> list[Prompt]:
    listed = {prompt.id: prompt for prompt in given}
    for prompt in old:
        _check_equal(run, prompt, listed.get(prompt.id, prompt))
    lost = [prompt for prompt in old if prompt.id not in listed]
    if lost and lost[0].text in {prompt.text for prompt in given}:
        raise _lacking(run, old, lost, f"Give the prompts their ids in {run.prompts_path}")
    if lost:
        raise _lacking(run, old, lost)
    known = {prompt.id for prompt in old}
    return [*old, *(prompt for prompt in given if prompt.id not in known)]


def _grown_by_text(run: Run, old: Sequence[Prompt], given: Sequence[Prompt]) -> list[Prompt]:
    places: dict[tuple[str, str], deque[int]] = defaultdict(deque)
    for at, prompt in enumerate(given):
        places[prompt.text, prompt.group].append(at)
    found: set[int] = set()
    lost: list[Prompt] = []
    for prompt in old:
        left = places[prompt.text, prompt.group]
        if left:
            found.add(left.popleft())
        else:
            lost.append(prompt)
    new = [prompt for at, prompt in enumerate(given) if at not in found]
    by_text = {prompt.text: prompt for prompt in new}
    for prompt in lost:
        other = by_text.get(prompt.text, prompt)
        _check_equal(run, prompt, Prompt(prompt.id, other.text, other.group))
    if lost:
        raise _lacking(run, old, lost)
    result, taken, number = list(old), {prompt.id for prompt in old}, len(old)
    for prompt in new:
        while _position(number) in taken:
            number += 1
        result.append(Prompt(_position(number), prompt.text, prompt.group))
        number += 1
    return result


def _position(at: int) -> str:
    """The id of a prompt without an id, as `prompts.py` gives it."""
    return f"{at:05d}"


def _check_equal(run: Run, before: Prompt, after: Prompt) -> None:
    changed = [
        f"{key} of prompt {before.id} {getattr(before, key)!r:.80} -> {getattr(after, key)!r:.80}"
        for key in ("text", "group")
        if getattr(before, key) != getattr(after, key)
    ]
    if changed:
        raise other_run(run, changed)


def _lacking(
    run: Run, old: Sequence[Prompt], lost: Sequence[Prompt], remedy: str = ""
) -> EvalkitError:
    remedy = remedy or f"Keep all prompts of {run.prompts_path} in the list and add new ones"
    return EvalkitError(
        f"The prompt list lacks {len(lost)} of the {len(old)} prompts of {run.path}; the first one"
        f" is {lost[0].id} {lost[0].text!r:.80}. A run may grow, not shrink.",
        f"{remedy}, or choose another --out.",
        code="generate-4",
    )


def other_run(run: Run, changed: Sequence[str]) -> EvalkitError:
    """The error on settings that would change images that the run has."""
    command = f"evalkit run --config {shlex.quote(str(run.config_path))}"
    return EvalkitError(
        f"{run.path} was made with another configuration: {'; '.join(changed)}.",
        f"Choose another --out, or repeat that run with `{command}`.",
        code="generate-5",
    )


def may_be_added(record: Record) -> bool:
    """Whether a folder of images had none for this request: one may have been added since."""
    return record.status == "missing"


def still_missing(
    run: Run, label: str, folder: Folder, requests: Sequence[Request], todo: Sequence[Request]
) -> list[Request]:
    """The requests of `todo` that have no row yet, or whose image was added to the folder.

    Args:
        requests: all images of the run.
        todo: those of this process without a final outcome.

    Raises EvalkitError if the folder now has another image for a request, or none.
    """
    records = {(record.index, record.sample): record for record in run.records(label)}
    if run.model(label).get("fingerprint", folder.fingerprint) != folder.fingerprint:
        open_requests = {(request.index, request.sample) for request in todo}
        made = [
            (request, run.image_path(label, records[key]))
            for request in requests
            if (key := (request.index, request.sample)) in records.keys() - open_requests
            and records[key].status == "ok"
        ]
        if changed := folder.keep(made):
            first = changed[0]
            raise EvalkitError(
                f"The folder of {label!r} has another image, or none, for {len(changed)} of the"
                f" {len(made)} images that {run.path} took from it; the first one is sample"
                f" {first.sample} of prompt {first.prompt.id} {first.prompt.text!r:.80}.",
                "Leave the old images under their names and number added ones in the order of"
                f" {run.prompts_path}, or choose another --out.",
                code="generate-6",
            )
    return [
        request
        for request in todo
        if (record := records.get((request.index, request.sample))) is None
        or not may_be_added(record)
        or folder.has(request)
    ]


def mention_lost_rows(run: Run, label: str, todo: Sequence[Request], paid: bool) -> None:
    """A line in the log on images of `todo` that exist without a row: a kill or a loss left them.

    Raises EvalkitError for a service if these are more than a kill leaves: the rows are lost, and
    each image would be charged again. The limit of requests in flight grows with each answer.
    """
    folder, records = run.image_folder(label), run.records(label)
    known = {(record.index, record.sample) for record in records}
    here = {image_place(path.name) for path in folder.rglob("*.png")} - known
    lost = sum((request.index, request.sample) in here for request in todo)
    if not lost:
        return
    have = "image is" if lost == 1 else "images are"
    said = f"{lost} {have} in {folder} without a row in the manifest"
    if paid and lost > min(MOST, FIRST + len(records)):
        as_folder = f"--models {shlex.quote(f'{label}={folder}')}"
        as_folder += f" --prompts {shlex.quote(str(run.prompts_path))}"
        raise EvalkitError(
            f"{said}: rows are lost, and the service would be paid for these images again.",
            f"Restore {folder / 'manifest.0.jsonl'}; or take the images as they are, in another"
            f" run: `evalkit run {as_folder} --out NEW`; or delete the images to pay for new ones.",
            code="generate-7",
        )
    log.warning("%s: %s; made again: the row of an image is written after it", label, said)
