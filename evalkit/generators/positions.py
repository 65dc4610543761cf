"""Numbers in file names as positions in the prompt list: from 0 or from 1, where they show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from evalkit.core import EvalkitError, Refusal, Request
from evalkit.escape import visible
from evalkit.generators.file_names import FOLDER
from evalkit.generators.numbers import Matched, Series, match_numbers
from evalkit.hints import plural

_ORDER = "take the images in their order with `--set LABEL.match=order`, "


def first_of(found: Mapping[str, Matched], series: Series, requests: Sequence[Request]) -> str:
    """Whether the numbers count from 0 or from 1, where the numbers show it."""
    _check_swapped(found, series, requests)
    given, series, count = series, places_of(series, requests), length(requests)
    numbers, last = series.numbers, max(request.sample for request in requests)
    end = max(numbers) + (0 in numbers)
    alone = len(numbers) == len(series.files)
    more = len(numbers) > count and end % count == 0
    # NUMBER-SEED counts all images of all prompts: with fewer of them it looks like positions.
    seeds = series is given and any((item.second or 0) > last for item in series.files)
    counter = last > 0 and count > 1 and seeds
    if alone and (counter or (end > count and (last > 0 or more))):
        raise EvalkitError(
            f"The folder has {len(numbers)} images numbered from {min(numbers)} for"
            f" {plural(count, 'prompt')}: several images per prompt, or images of more prompts than"
            " the list has.",
            "Name the files PROMPT-SAMPLE (00000-0.png, 00000-1.png, …), or take each number as"
            f" the position of a prompt: `--set LABEL.match=from{min(min(numbers), 1)}`.",
            code="generators-56",
        )
    if series.of_samples and count > 1:
        raise EvalkitError(
            f"The file names number seeds or steps, not prompts: {shown(series.files[0].file)}.",
            "Take the numbers as positions of the prompts with `--set LABEL.match=from"
            f"{min(min(numbers), 1)}`, or add a metadata.csv with file_name and prompt.",
            code="generators-57",
        )
    _check_beyond(found, series, requests)
    if 0 in numbers:
        return "from0"
    covered = {item.index for item in found["from1"]}
    lone = len(series.files) == 1 < count and not series.files[0].file.stem.isdecimal()
    if lone and found["from0"] != found["from1"]:
        raise ambiguous(found, ("from0", "from1"), requests)
    if max(numbers) == count or len(covered) == count or found["from0"] == found["from1"]:
        return "from1"
    raise ambiguous(found, ("from0", "from1"), requests)


def _check_beyond(
    found: Mapping[str, Matched], series: Series, requests: Sequence[Request]
) -> None:
    """Refuse numbers that go beyond the list and leave out others: they are no positions."""
    count, first = length(requests), int(0 not in series.numbers)
    covered = {item.index for item in found[f"from{first}"]}
    beyond = sorted(number for number in series.numbers if number >= count + first)
    gaps = [at + first for at in range(count) if at not in covered]
    if beyond and gaps:
        raise EvalkitError(
            f"The numbers in the file names go to {beyond[-1]}, beyond the"
            f" {plural(count, 'prompt')}, and {_numbers(gaps)} missing; expected positions in the"
            " prompt list.",
            f"To take them as positions: `--set LABEL.match=from{first}`. Or {_ORDER}or add a"
            " metadata.csv with file_name and prompt.",
            code="generators-58",
        )


def _numbers(numbers: Sequence[int]) -> str:
    """`the numbers 3, 17 are`, with the first five of them."""
    first = ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")
    return f"the number {first} is" if len(numbers) == 1 else f"the numbers {first} are"


def _check_swapped(
    found: Mapping[str, Matched], series: Series, requests: Sequence[Request]
) -> None:
    """Refuse `A-B` that may be SAMPLE-PROMPT as well as PROMPT-SAMPLE."""
    seeds = len(series.numbers) == len(series.files) and series.proved  # WebUI: 00017-SEED
    if seeds or series.files[0].second is None or places_of(series, requests) is not series:
        return
    given = max((found["from0"], found["from1"]), key=len)
    prompts = {file: request.index for request, file in given.items()}
    for first in (0, 1):
        other = _at_places(series.swapped, requests, first)
        fits = len(other) > len(given) or (len(other) == len(given) and not series.proved)
        different = [
            item
            for item, file in other.items()
            if given.get(item, file) != file or prompts.get(file, item.index) != item.index
        ]
        if fits and (different or len(other) > len(given)):
            differs = (different or list(other.keys() - given.keys()))[0]
            raise EvalkitError(
                "The file names have two readings. The image of prompt"
                f" {differs.prompt.id} ({differs.prompt.text[:60]!r}): as PROMPT-SAMPLE, it is"
                f" {shown(given.get(differs))}; as SAMPLE-PROMPT, it is {shown(other[differs])}.",
                "Name the files PROMPT-SAMPLE (00000-0.png, 00000-1.png, …), take them as such"
                " with `--set LABEL.match=from0`, or add a metadata.csv with file_name and prompt.",
                code="generators-59",
            )


def length(requests: Sequence[Request]) -> int:
    return max(request.index for request in requests) + 1


def ambiguous(
    found: Mapping[str, Matched], names: tuple[str, str], requests: Sequence[Request]
) -> EvalkitError:
    """Two readings of the names, each with the first image that it matches differently."""
    first, second = (found[name] for name in names)
    different = [request for request in requests if first.get(request) != second.get(request)]
    differs = next((item for item in different if item in first and item in second), different[0])
    words = {
        "text": "by the text in the name",
        "embedded": "by the text in the file",
        "id": "by the prompt's id",
        "from0": "counted from 0",
        "from1": "counted from 1",
    }
    places = {*names} == {"from0", "from1"}
    options = " or ".join(f"`--set LABEL.match={name}`" for name in names)
    readings = "; ".join(
        f"{words[name]}, it is {shown(found[name].get(differs))}" for name in names
    )
    return EvalkitError(
        f"The file names have two readings. The image of prompt {differs.prompt.id}"
        f" ({differs.prompt.text[:60]!r}): {readings}.",
        f"Select one with {options}, {_ORDER if places else ''}or add a"
        " metadata.csv with file_name and prompt.",
        code="generators-60",
    )


def shown(item: Path | Refusal | None) -> str:
    return visible(item.name.removesuffix(FOLDER)) if isinstance(item, Path) else "missing"


def by_place(numbers: Sequence[Series], requests: Sequence[Request], first: int) -> list[Matched]:
    """The number is a position."""
    return [_at_places(places_of(item, requests), requests, first) for item in numbers] or [{}]


def _at_places(series: Series, requests: Sequence[Request], first: int) -> Matched:
    return match_numbers(series.files, requests, lambda request: request.index + first)


def places_of(series: Series, requests: Sequence[Request]) -> Series:
    """The series with the number that is a position: the second one in `sd15_0003`."""
    if series.prefix:
        swapped, count = series.swapped, length(requests)
        if any({*range(first, count + first)} <= swapped.numbers for first in (0, 1)):
            return swapped
    return series
