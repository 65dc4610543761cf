"""Folders within the folder of a model: one per prompt, or one per group of prompts.

- GenEval, HEIM and others: `00017/samples/0000.png`, `a red cube/1.png`. The name of a folder is
  matched to a prompt as that of a file is; its images are the samples.
- HPSv2: `anime/00000.jpg`. The folder is a group of prompts, and numbers count within the group
  or over all prompts.
- A large run of evalkit that lost its manifests: `000-0/00017-0.png`. Its subfolders say nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evalkit.core import EvalkitError, Refusal, Request
from evalkit.escape import visible
from evalkit.generators.file_names import FOLDER, slug
from evalkit.generators.midjourney import Grids
from evalkit.generators.numbers import Matched, series_of
from evalkit.generators.pairing import FURTHER, Pairing, Rule, pair
from evalkit.run_folder.names import MOST_IMAGES, image_file, image_place
from evalkit.sources import survey


def images_of(folder: Path) -> tuple[list[Path], dict[Path, str]]:
    """The images directly in the folder, else those below it; and why others are not taken."""
    images, left = survey(folder)
    of_samples = {image.parent.parent for image in images if image.parent.name == "samples"}
    grids = [image for image in images if image.stem == "grid" and image.parent in of_samples]
    if grids and folder not in of_samples:
        left |= dict.fromkeys(grids, "a grid beside its samples")  # GenEval
        images = [image for image in images if image not in left]
    direct = [image for image in images if image.parent == folder]
    if not direct or _is_of_run(folder, images):
        return images, left
    return direct, left | {image: "in a subfolder" for image in images if image.parent != folder}


def _is_of_run(root: Path, images: Sequence[Path]) -> bool:
    """Whether the images in subfolders are where a large run of evalkit has them."""
    return all(
        (place := image_place(image.name)) is not None
        and image == root / image_file(*place, requested=MOST_IMAGES + 1)
        for image in images
        if image.parent != root
    )


def pair_folders(
    root: Path, files: Sequence[Path], requests: Sequence[Request], grids: Grids
) -> Pairing:
    """Like `pair`, for images in the folders of `root`."""
    if _is_of_run(root, files):
        return pair(files, requests, grids=grids)
    by_folder: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_folder[file.relative_to(root).parts[0]].append(file)
    groups: dict[str, list[Request]] = defaultdict(list)
    for request in requests:
        groups[slug(request.prompt.group)].append(request)
    if all(slug(name) in groups for name in by_folder) and "" not in groups:
        return _by_group(by_folder, groups, grids)
    content = _by_content(files, requests, grids)
    of_samples = all(_OF_SAMPLES.match(name) for name in by_folder)
    if content.found or (of_samples and len(by_folder) > 1):
        return content  # folders of seeds, each with an image of every prompt
    count = max(request.index for request in requests) + 1
    geneval = all("samples" in file.relative_to(root).parts for file in files)
    ids = {r.prompt.id for r in requests if r.prompt.id != f"{r.index:05d}"}
    proved = geneval or ids >= by_folder.keys()
    if count > 1 and not proved and all(name.isdecimal() for name in by_folder):
        alike = all(len(images) >= count for images in by_folder.values())
        if alike and len(by_folder) != count:
            return content  # each could hold an image of every prompt
        if alike or not _beyond_samples(by_folder, requests):
            raise _of_prompts_or_samples(by_folder)
    paired = None if of_samples else _by_prompt(root, by_folder, requests)
    if paired is None and len({file.parent for file in files}) == 1:
        # One folder around all images says nothing, unless it is a number.
        numbered = any(_NUMBERED.search(name) for name in by_folder)
        paired = None if numbered else pair(files, requests, grids=grids)
    if paired and len(by_folder) > 1:
        whole = _over_all(files, requests)
        if not proved and whole.keys() - paired.found.keys():
            if len(whole) < len(requests):
                raise _of_prompts_or_samples(by_folder)
            rule = "index in the file name, over all folders"
            return Pairing(whole, rule, by_number="from0")
    return paired or content


def _over_all(files: Sequence[Path], requests: Sequence[Request]) -> Matched:
    """By numbers that go on from folder to folder (`001/1000.png`); {} where they begin again."""
    numbers = next(iter(series_of(files)), None)
    if numbers is None or len(numbers.numbers) < len(files) or 0 not in numbers.numbers:
        return {}
    places = {request.index: request for request in requests if request.sample == 0}
    return {places[item.number]: item.file for item in numbers.files if item.number in places}  # type: ignore[index]


_NUMBERED = re.compile(r"(?<!\d)(?<!\d[-_.])(?:^|[\W_])\d+$")  # `7`, `prompt_7`; no date
_OF_SAMPLES = re.compile(r"(?i)(seed|sample|batch|run|rep|try)s?[\W_]*\d")


def _beyond_samples(by_folder: dict[str, list[Path]], requests: Sequence[Request]) -> bool:
    """Whether a number of a folder is too large for a sample: it is that of a prompt."""
    numbers = {int(name) for name in by_folder}
    return max(numbers) - (0 not in numbers) > max(request.sample for request in requests)


def _of_prompts_or_samples(by_folder: dict[str, list[Path]]) -> EvalkitError:
    name, images = next(iter(by_folder.items()))
    return EvalkitError(
        f"The folders have two readings. {name}/{images[0].name} is a sample of a prompt with a"
        " folder of its own, or the image of a prompt in a folder of one sample.",
        "Name the folders by the texts of the prompts, prompt_0, … or seed_0, …, or add a"
        " metadata.csv with file_name and prompt.",
        code="generators-26",
    )


def _by_group(
    by_folder: dict[str, list[Path]], groups: dict[str, list[Request]], grids: Grids
) -> Pairing:
    """Each folder with the prompts of its group; numbers count in the group, or in the list."""
    total = sum(map(len, groups.values()))
    readings: list[Pairing] = []
    error: EvalkitError | None = None
    tried: tuple[tuple[str, Rule], ...] = (("group", "auto"), ("list", "from0"), ("list", "from1"))
    for where, rule in tried:
        whole = Pairing({})
        try:
            for name, images in by_folder.items():
                wanted = _in_group(groups[slug(name)], renumbered=where == "group")
                part = pair(images, list(wanted), rule, grids)
                whole.found |= {wanted[key]: item for key, item in part.found.items()}
                whole.left |= part.left
                whole.rule = f"{part.rule}, in folders of groups"
                whole.by_number = part.by_number if rule == "auto" else rule
        except EvalkitError as found:
            error = error or found
            continue
        readings.append(whole)
    best, *others = sorted(readings, key=lambda item: -len(item.found)) or [Pairing({})]
    if error and len(best.found) < total:
        raise error
    for other in others:
        certain = len(best.found) == total > len(other.found)
        if not certain and 2 * len(other.found) > len(best.found):
            _check_alike(best, other)
    return best


def _check_alike(first: Pairing, second: Pairing) -> None:
    for request, file in first.found.items():
        if second.found.get(request, file) != file:
            raise EvalkitError(
                "The numbers in the folders have two readings. The image of prompt"
                f" {request.prompt.id} is {_short(file)}, or {_short(second.found[request])}:"
                " numbers count within the group, or over all prompts.",
                "Name the images by the texts or ids of the prompts, or add a metadata.csv with"
                " file_name and prompt.",
                code="generators-27",
            )


def _short(file: Path | Refusal) -> str:
    return visible(f"{file.parent.name}/{file.name}") if isinstance(file, Path) else ""


def _in_group(requests: Sequence[Request], renumbered: bool) -> dict[Request, Request]:
    """The requests by themselves, or counted from 0 in the group, as are ids that are positions."""
    places = {index: at for at, index in enumerate(dict.fromkeys(r.index for r in requests))}
    found = {}
    for request in requests:
        at, prompt = places[request.index] if renumbered else request.index, request.prompt
        if prompt.id == f"{request.index:05d}":
            prompt = replace(prompt, id=f"{at:05d}")
        found[replace(request, index=at, prompt=prompt)] = request
    return found


def _by_prompt(
    root: Path, by_folder: dict[str, list[Path]], requests: Sequence[Request]
) -> Pairing | None:
    """The images of each folder in order as the samples of its prompt."""
    named = {root / f"{name}{FOLDER}": images for name, images in by_folder.items()}
    first = [request for request in requests if request.sample == 0]
    paired = pair(list(named), first)
    if not paired.found:
        return None
    images = {
        request.index: named[folder]
        for request, folder in paired.found.items()
        if isinstance(folder, Path)
    }
    found: Matched = {
        request: images[request.index][request.sample]
        for request in requests
        if request.sample < len(images.get(request.index, ()))
    }
    rule = paired.rule.replace("file", "folder")
    left = {image: FURTHER for own in images.values() for image in own[_samples(requests) :]}
    return Pairing(found, rule, left, by_number=paired.by_number)


def _samples(requests: Sequence[Request]) -> int:
    return max(request.sample for request in requests) + 1


def _by_content(files: Sequence[Path], requests: Sequence[Request], grids: Grids) -> Pairing:
    """By texts only: numbers in several folders say nothing about positions."""
    for rule in ("text", "embedded"):
        paired = pair(files, requests, rule, grids)
        if paired.found:
            return paired
    return Pairing({})
