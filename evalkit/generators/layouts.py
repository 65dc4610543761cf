"""Folders within the folder of a model: one per prompt, or one per group of prompts.

- GenEval, HEIM and others: `00017/samples/0000.png`, `a red cube/1.png`. The name of a folder is
  matched to a prompt as that of a file is; its images are the samples.
- HPSv2: `anime/00000.jpg`. The folder is a group of prompts, and numbers count within the group.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evalkit.core import Request
from evalkit.generators.file_names import slug
from evalkit.generators.midjourney import Grids
from evalkit.generators.numbers import Matched
from evalkit.generators.pairing import Pairing, pair
from evalkit.sources import survey


def images_of(folder: Path) -> tuple[list[Path], dict[Path, str]]:
    """The images directly in the folder, else those below it; and why others are not taken."""
    images, left = survey(folder)
    direct = [image for image in images if image.parent == folder]
    if not direct:
        return images, left
    return direct, left | {image: "in a subfolder" for image in images if image.parent != folder}


def pair_folders(
    root: Path, files: Sequence[Path], requests: Sequence[Request], grids: Grids
) -> Pairing:
    """Like `pair`, for images in the folders of `root`."""
    by_folder: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_folder[file.relative_to(root).parts[0]].append(file)
    groups: dict[str, list[Request]] = defaultdict(list)
    for request in requests:
        groups[slug(request.prompt.group)].append(request)
    if all(slug(name) in groups for name in by_folder) and "" not in groups:
        whole = Pairing({})
        for name, images in by_folder.items():
            part = _in_group(images, groups[slug(name)], grids)
            whole.found |= part.found
            whole.left |= part.left
            whole.rule = f"{part.rule}, in folders of groups"
        return whole
    content = _by_content(files, requests, grids)
    seeds = all(_OF_SAMPLES.match(name) for name in by_folder)
    count = max(request.index for request in requests) + 1
    if content.found or seeds or (count > 1 and _numbered_alike(by_folder, count)):
        return content  # folders of seeds, each with an image of every prompt
    return _by_prompt(root, by_folder, requests) or content


_OF_SAMPLES = re.compile(r"(?i)(seed|sample|batch|run|rep|try)s?[\W_]*\d")


def _numbered_alike(by_folder: dict[str, list[Path]], count: int) -> bool:
    """Whether each of several numbered folders could hold one image of every prompt."""
    return len(by_folder) != count and all(
        name.isdecimal() and len(images) >= count for name, images in by_folder.items()
    )


def _in_group(files: Sequence[Path], requests: Sequence[Request], grids: Grids) -> Pairing:
    """The pairing within a group, whose prompts count from 0."""
    places = {index: at for at, index in enumerate(dict.fromkeys(r.index for r in requests))}
    within = {replace(request, index=places[request.index]): request for request in requests}
    paired = pair(files, list(within), grids=grids)
    return replace(paired, found={within[key]: item for key, item in paired.found.items()})


def _by_prompt(
    root: Path, by_folder: dict[str, list[Path]], requests: Sequence[Request]
) -> Pairing | None:
    """The images of each folder in order as the samples of its prompt."""
    named = {root / f"{name}.folder": images for name, images in by_folder.items()}
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
    return Pairing(found, paired.rule.replace("file", "folder"))


def _by_content(files: Sequence[Path], requests: Sequence[Request], grids: Grids) -> Pairing:
    """By texts only: numbers in several folders say nothing about positions."""
    for rule in ("text", "embedded"):
        paired = pair(files, requests, rule, grids)
        if paired.found:
            return paired
    return Pairing({})
