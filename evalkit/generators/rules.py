"""The rules that match images of a folder to prompts, one function each; pairing.py weighs them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from evalkit.core import EvalkitError, Refusal, Request
from evalkit.escape import visible
from evalkit.generators.embedded import embedded_prompt
from evalkit.generators.file_names import exact, prompts_in_names, slug, stem_of
from evalkit.generators.numbers import Matched, Numbered, Series, match_numbers
from evalkit.images import is_image_name


def assign(
    items: Mapping[str, Sequence[Path | Refusal]],
    requests: Sequence[Request],
    key: Callable[[Request], str],
) -> Matched:
    """Assign the items of each key in order, first to the samples of a prompt."""
    left = {name: iter(values) for name, values in items.items()}
    assigned = {
        request: next(left[key(request)], None) for request in requests if key(request) in left
    }
    return {request: item for request, item in assigned.items() if item is not None}


def by_texts(texts: Iterable[tuple[Path, str]], requests: Sequence[Request]) -> Matched:
    """Match files with known texts to the prompts that have these texts (Unicode NFC)."""
    items: dict[str, list[Path | Refusal]] = defaultdict(list)
    for file, text in texts:
        items[exact(text)].append(file)
    return assign(items, requests, lambda request: exact(request.prompt.text))


def by_text(files: Sequence[Path], requests: Sequence[Request]) -> Matched:
    """Match files whose names hold the text of a prompt."""
    return by_texts(texts_in_names(files, requests).items(), requests)


def texts_in_names(files: Sequence[Path], requests: Sequence[Request]) -> dict[Path, str]:
    """The text of a prompt in the name of each file that has one."""
    prompts = [request.prompt.text for request in requests]
    found = prompts_in_names([stem_of(file) for file in files], prompts)
    return {file: text for file in files if (text := found.get(stem_of(file)))}


def by_embedded(files: Sequence[Path], requests: Sequence[Request]) -> Matched:
    """Match files into which the generator wrote the text of a prompt."""
    texts = ((file, text) for file in files if (text := embedded_prompt(file)))
    return by_texts(texts, requests)


def by_id(
    files: Sequence[Path], numbers: Sequence[Series], requests: Sequence[Request]
) -> list[Matched]:
    """`ID.png`, `ID-SAMPLE.png`, `ID-SEED.png`; whole numbers also with zeros and words around.

    Raises EvalkitError for a name that is one id as a whole, and another id with a sample.
    """
    ids, several = _ids_by_name(requests), any(request.sample for request in requests)
    named: list[Numbered] = []
    for file in files:
        stem = exact(stem_of(file))
        parts = re.fullmatch(r"(.+)[-_](\d+)", stem)
        if several and parts and stem in ids and parts[1] in ids:
            raise EvalkitError(
                f"The name {visible(file.name)} is the id of a prompt, and sample {parts[2]} of the"
                f" prompt {parts[1]!r}.",
                "Add a metadata.csv with file_name and prompt.",
            )
        known = next((name for name in (exact(file.name), stem, slug(stem)) if name in ids), None)
        if known is not None:
            named.append(Numbered(file, ids[known], None))
        elif parts and (known := next((n for n in (parts[1], slug(parts[1])) if n in ids), None)):
            named.append(Numbered(file, ids[known], int(parts[2])))
    found = [match_numbers(named, requests, lambda item: exact(item.prompt.id))]
    numeric = {item for item in requests if item.prompt.id.isdecimal()}
    if len({int(item.prompt.id) for item in numeric}) < len({item.prompt.id for item in numeric}):
        return found  # `1` and `01`
    known = {item.file for item in named}
    for series in numbers if numeric else ():
        left = Series([item for item in series.files if item.file not in known])
        matched = _with_int(left.files, requests)
        if not matched and left.files and left.files[0].second is not None:
            matched = _with_int(left.swapped.files, requests)  # COCO_val2014_000000000139
        if matched and not matched.keys() & found[0].keys():
            found[0] |= matched
        elif matched:
            found.append(matched)
    return found


def _ids_by_name(requests: Sequence[Request]) -> dict[str, str]:
    """The id that a name means: itself, or one without case, signs (`a/1`) or suffix (`a.jpg`)."""
    own = {exact(item.prompt.id) for item in requests}
    loose: dict[str, set[str]] = defaultdict(set)
    for name in own:
        loose[slug(name)].add(name)
        if is_image_name(name):
            loose[exact(Path(name).stem)].add(name)
    only = {name: next(iter(ids)) for name, ids in loose.items() if name and len(ids) == 1}
    return only | {name: name for name in own}


def _with_int(items: Sequence[Numbered], requests: Sequence[Request]) -> Matched:
    if not items:
        return {}
    return match_numbers(
        items, requests, lambda r: int(r.prompt.id) if r.prompt.id.isdecimal() else ""
    )


def by_place(numbers: Sequence[Series], requests: Sequence[Request], first: int) -> list[Matched]:
    """The number is a position."""
    return [at_places(places_of(item, requests), requests, first) for item in numbers] or [{}]


def at_places(series: Series, requests: Sequence[Request], first: int) -> Matched:
    """Match the numbers of a series to positions counted from `first`."""
    return match_numbers(series.files, requests, lambda request: request.index + first)


def places_of(series: Series, requests: Sequence[Request]) -> Series:
    """The series with the number that is a position: the second one in `sd15_0003`."""
    if series.prefix:
        swapped, count = series.swapped, prompt_count(requests)
        if any({*range(first, count + first)} <= swapped.numbers for first in (0, 1)):
            return swapped
    return series


def prompt_count(requests: Sequence[Request]) -> int:
    """The number of prompts."""
    return max(request.index for request in requests) + 1
