"""Numbers in file names: the number of a prompt, and maybe that of a sample, or a seed.

`00017-0`, `image_3`, `ComfyUI_00001_`, `sdxl-1.0_00003`, `prompt3_sample0`. Files whose names
differ in these numbers only are a series. Numbers of dates, versions and hashes are none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from evalkit.core import Refusal, Request
from evalkit.generators.file_names import stem_of
from evalkit.images import natural

Matched = dict[Request, Path | Refusal]
_DATE = re.compile(r"\d{4}[-_.]\d\d[-_.]\d\d")
_VERSION = re.compile(r"(?<![\d.])\d+\.\d+(?![\d.])")
_UUID = "[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_HASH = re.compile(rf"(?:{_UUID}|(?=[0-9a-f]*\d[a-f])[0-9a-f]{{8,}})$")  # but not `face00001`
_HEX = re.compile(rf"(?:{_UUID}|[0-9a-f]{{8,}})$")
_LETTERS = str.maketrans("0123456789", "abcdefghij")
_NAME = re.compile(
    r"(?P<before>.*?)(?P<number>\d+)(?:(?P<between>\D+)(?P<second>\d+))?(?P<after>\D*)"
)
_OF_SAMPLE = re.compile(r"(?i)(?:^|[\W_])(?:seed|sample|s|run|batch|try)s?[\W_]*$")
_OF_STEP = re.compile(r"(?i)(?:^|[\W_])(?:seed|epoch|step|iter|iteration|checkpoint|ckpt)s?[\W_]*$")
_OF_PROMPT = re.compile(r"(?i)(?:^|[\W_])(?:prompt|p|image|img|item|idx|index)s?[\W_]*$")


class Numbered(NamedTuple):
    """A file with the key of its prompt, and maybe a second number: a sample, or a seed."""

    file: Path
    number: Hashable
    second: int | None


class Series(NamedTuple):
    """Files whose names differ in one or two numbers only."""

    files: list[Numbered]
    prefix: bool = False  # the first number of all is the same, and belongs to a word: `sd15_3`
    of_samples: bool = False  # a single number, which is said to be that of a seed or a step
    proved: bool = False  # the first number is the prompt's: `00003-0`, `3_seed_0`

    @property
    def swapped(self) -> Series:
        """The second number as that of the prompt."""
        turned = [
            Numbered(item.file, item.second, item.number)  # type: ignore[arg-type]
            for item in self.files
        ]
        return Series(turned)

    @property
    def numbers(self) -> set[int]:
        return {item.number for item in self.files if isinstance(item.number, int)}


def series_of(files: Sequence[Path]) -> list[Series]:
    """The series among the files, the longest one first."""
    groups: dict[tuple[str, ...], list[tuple[Path, re.Match[str]]]] = defaultdict(list)
    stems = {file: stem_of(file).casefold() for file in files}
    hashed = sum(_HASH.search(stem) is not None for stem in stems.values())
    end = _HEX if 2 * hashed > len(files) else _HASH
    for file, stem in stems.items():
        if _DATE.search(file.stem):
            continue  # its last number says nothing about a position
        if tail := end.search(stem):
            if not re.search(r"\d[-_]$", stem[: tail.start()]):
                continue  # `img4d095eea`
            stem = f"{stem[: tail.start()]}hash"
        name = _VERSION.sub(lambda found: found[0].translate(_LETTERS), stem)
        if match := _NAME.fullmatch(name):
            key = tuple("" if match[part] is None else f"{part}{match[part]}" for part in _TEXTS)
            groups[key].append((file, match))
    bare = {stem_of(file).casefold(): file for file in files}
    series = [
        _with_first(_series(group), group[0][1], bare)
        for group in groups.values()
        if _counts(group)
    ]
    return sorted(series, key=lambda item: -len(item.files))


def _with_first(series: Series, match: re.Match[str], files: Mapping[str, Path]) -> Series:
    """`image`, `image (1)`, `image (2)`: the first download of a name has no number."""
    before = match["before"]
    counted = before.endswith("(") and match["second"] is None and match["after"] == ")"
    first = files.get(before[:-1].rstrip()) if counted else None
    if first is None or 0 in series.numbers:
        return series
    return series._replace(files=[Numbered(first, 0, None), *series.files])


_TEXTS = ("before", "between", "after")


def _counts(group: Sequence[tuple[Path, re.Match[str]]]) -> bool:
    """Whether the numbers count something, unlike those of a hash or a size."""
    match = group[0][1]
    if len(group) > 1:  # all share the digits before: `sd15_v2_0003`, but not `3_512x512`
        return not re.search(r"(?<![a-z\d])\d", match["before"])
    inside = match["before"][-1:].isalpha() and match["after"][:1].isalpha()  # `txt2img`
    plain = not re.search(r"\d", match["before"]) and match["between"] in (None, "-", "_")
    return plain and not inside


def _series(group: Sequence[tuple[Path, re.Match[str]]]) -> Series:
    matches = [match for _, match in group]
    files = [
        Numbered(file, int(match["number"]), int(match["second"]) if match["second"] else None)
        for file, match in group
    ]
    first = matches[0]
    if first["second"] is None:
        return Series(files, of_samples=bool(_OF_STEP.search(first["before"])))
    if _OF_SAMPLE.search(first["before"]) and _OF_PROMPT.search(first["between"]):
        return Series(files).swapped._replace(proved=True)  # `seed_1_prompt_2`
    same = len({match["number"] for match in matches}) == 1 < len(files)
    inside = first["before"][-1:].isalpha() and first["between"][:1].isalpha()
    if same and inside and not _OF_SAMPLE.search(first["between"]):  # `img2img_0003`
        return Series([Numbered(item.file, item.second, None) for item in files])
    # `prompt2_sample0` is all that is left of other prompts.
    same = same and not _OF_PROMPT.search(first["before"])
    widest = max(len(match["second"]) for match in matches)
    zeros = any(m["number"][0] == "0" and len(m["number"]) > widest for m in matches)
    return Series(
        files,
        prefix=same and first["before"][-1:].isalpha() and int(first["number"]) > 1,
        proved=zeros or bool(_OF_SAMPLE.search(first["between"])),
    )


def match_numbers(
    items: Sequence[Numbered], requests: Sequence[Request], key: Callable[[Request], Hashable]
) -> Matched:
    """The files whose number is the key of a request.

    Files of one number are its samples; the second number of a single file is a seed.
    """
    by_number: dict[Hashable, list[Numbered]] = defaultdict(list)
    for item in items:
        by_number[item.number].append(item)
    seconds = {item.second or 0 for group in by_number.values() for item in group}
    samples = max(request.sample for request in requests) + 1
    alone = all(len(group) == 1 for group in by_number.values())
    # One file per number: the second number is a seed unless each could be a sample.
    start = 1 if 0 not in seconds and max(seconds, default=0) <= samples else 0
    exactly = max(seconds, default=0) < samples + start and not (alone and samples == 1)
    found: Matched = {}
    wanted = {(key(item), item.sample): item for item in requests}
    for number, group in by_number.items():
        ordered = sorted(group, key=lambda item: (item.second or 0, natural(item.file.name)))
        for rank, item in enumerate(ordered):
            sample = (item.second or 0) - start if exactly and item.second is not None else rank
            request = wanted.get((number, sample))
            if request is not None:
                found.setdefault(request, item.file)
    return found
