"""Which image of a folder belongs to which prompt. Rules are weighed; none is guessed in silence.

Proof is what names a prompt: a list in the folder, the prompt's text in the file name, or the text
that the generator wrote into the file. Without proof, the numbers in the names count: ids of the
prompts before positions. If two readings of the numbers are possible, or there are no numbers, the
folder is refused, and the error shows both readings and the option that selects one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from evalkit.core import EvalkitError, Refusal, Request
from evalkit.escape import visible
from evalkit.generators.embedded import inside
from evalkit.generators.file_names import (
    LEAST,
    beginnings,
    exact,
    prompts_in_names,
    slug,
    stem_of,
)
from evalkit.generators.midjourney import Grids, without_grids
from evalkit.generators.numbers import Matched, Numbered, Series, match_numbers, series_of
from evalkit.generators.positions import ambiguous, by_place, first_of, length, places_of, shown
from evalkit.images import is_image_name

FURTHER = "a further image of its prompt"
CUT = f"its name is the beginning of a prompt, but shorter than {LEAST} letters"
BY_ORDER = "their order"
Rule = Literal["auto", "text", "embedded", "id", "from0", "from1", "order"]
RULES = get_args(Rule)


@dataclass
class Pairing:
    """The image of each request, and why other files have none."""

    found: Matched
    rule: str = ""  # in words, for the log
    left: dict[Path, str] = field(default_factory=dict)  # file -> reason
    by_position: bool = False  # in the prompt list
    by_number: str = ""  # the rule, if numbers decided
    lists: set[Path] = field(default_factory=set)  # files that state the pairing: used, not left


def pair(
    files: Sequence[Path],
    requests: Sequence[Request],
    rule: Rule = "auto",
    grids: Grids = "upscale",
) -> Pairing:
    """Match files to requests by their names and contents.

    Args:
        files: in natural order.
        requests: every image of the run.
        rule: `auto` weighs; another one is applied alone.
        grids: Midjourney's grids beside their upscales (see midjourney.py).

    Raises:
        EvalkitError: two rules match different images and neither is proved.
    """
    files, left = without_grids(files, grids)
    _check_formats(files)
    numbers = series_of(files)
    rules: dict[str, tuple[str, Callable[[], list[Matched]]]] = {
        "text": ("prompt text in the file name", lambda: [_by_text(files, requests)]),
        "embedded": ("prompt text in the file", lambda: [_by_embedded(files, requests)]),
        "id": ("prompt id in the file name", lambda: _by_id(files, numbers, requests)),
        "from0": ("index in the file name", lambda: by_place(numbers, requests, 0)),
        "from1": (
            "number in the file name, counted from 1",
            lambda: by_place(numbers, requests, 1),
        ),
        "order": (BY_ORDER, lambda: [dict(zip(requests, files, strict=False))]),
    }
    wanted = [name for name in rules if name != "order"] if rule == "auto" else [rule]
    found = {name: rules[name][1]() for name in wanted}
    named = _texts_in_names(files, requests)
    best = _weighed(found, numbers, requests, named) if rule == "auto" else rule
    if not best:
        return _with_left(Pairing({}, "", left), files, requests)
    first, *others = found[best]
    if rule == "auto":
        _check_series(first, others, requests)
    for other in others:
        left |= dict.fromkeys(_files(other), "numbered like other files that are taken")
    left = dict.fromkeys(_further(best, first, files, numbers, requests, named), FURTHER) | left
    numbered = best if best not in ("text", "embedded") and rule == "auto" else ""
    by_position = numbered in ("from0", "from1")
    return _with_left(Pairing(first, rules[best][0], left, by_position, numbered), files, requests)


def _further(
    rule: str,
    found: Matched,
    files: Sequence[Path],
    numbers: Sequence[Series],
    requests: Sequence[Request],
    named: Mapping[Path, str],
) -> set[Path]:
    """The files that are not taken because their prompts have enough other images."""
    left = [file for file in files if file not in _files(found)]
    texts, prompts = {exact(r.prompt.text) for r in found}, {r.prompt.text for r in found}
    if rule == "text":
        return {file for file in left if named.get(file) in prompts}
    if rule == "embedded":
        return {file for file in left if inside(file).prompt_of(texts)}
    if rule in ("from0", "from1") and numbers:
        places = {request.index + int(rule == "from1") for request in found}
        series = places_of(numbers[0], requests)
        return {item.file for item in series.files if item.number in places} & {*left}
    if rule == "id" and left:
        return _files(_by_id(left, series_of(left), [*found])[0])
    return set()


def _check_formats(files: Sequence[Path]) -> None:
    """Refuse `0.png` beside `0.jpg`: one of the two would be taken, or each for another sample."""
    stems: dict[Path, Path] = {}
    for file in files:
        other = stems.setdefault(file.with_suffix(""), file)
        if other is not file and is_image_name(file.name) and is_image_name(other.name):
            raise EvalkitError(
                f"The images {visible(other.name)} and {visible(file.name)} differ in the suffix"
                " only; expected one file per image.",
                "Keep one format in the folder, or add a metadata.csv with file_name and prompt.",
                code="generators-39",
            )


def _check_series(first: Matched, others: Sequence[Matched], requests: Sequence[Request]) -> None:
    """Refuse a second series of numbers that fits as well: either may be the images."""
    complete = len({request.index for request in first}) == length(requests)
    for other in others:
        shared = [request for request in other if request in first]
        if shared and (not complete or len(other) >= len(first)):
            one, two = shown(first[shared[0]]), shown(other[shared[0]])
            raise EvalkitError(
                f"The folder has two series of numbered images: {one} and {two} have the same"
                " number.",
                "Move one series to a folder of its own, or add a metadata.csv with file_name and"
                " prompt.",
                code="generators-40",
            )


def _weighed(
    all_found: Mapping[str, list[Matched]],
    numbers: Sequence[Series],
    requests: Sequence[Request],
    named: Mapping[Path, str],
) -> str:
    """The rule that decides, "" if none matches anything. `named`: the prompts in file names."""
    found = {name: matches[0] for name, matches in all_found.items()}
    texts, inside = ({v: k for k, v in found[name].items()} for name in ("text", "embedded"))
    for file in texts.keys() & inside.keys():
        if texts[file].prompt.text != inside[file].prompt.text:
            raise ambiguous(found, ("text", "embedded"), requests)
    proof = "text" if len(found["text"]) >= len(found["embedded"]) else "embedded"
    number = _best_number(found, numbers, requests, proved=len(found[proof]))
    if not number or len(found[number]) <= len(found[proof]):
        return proof if found[proof] else ""
    other = any(
        isinstance(file, Path) and named.get(file, request.prompt.text) != request.prompt.text
        for request, file in found[number].items()
    )
    if other or any(found[number].get(key) != file for key, file in found[proof].items()):
        raise ambiguous(found, (proof, number), requests)
    return number


def _best_number(
    found: Mapping[str, Matched],
    numbers: Sequence[Series],
    requests: Sequence[Request],
    proved: int,
) -> str:
    """The rule for numbers in names: ids, else positions; "" if none matches more than `proved`."""
    most = max(len(found["from0"]), len(found["from1"]))
    if max(most, len(found["id"])) <= proved:
        return ""
    given_ids = any(item.prompt.id != f"{item.index:05d}" for item in requests)
    if given_ids and len(found["id"]) >= most:
        return "id"
    place = first_of(found, numbers[0], requests)
    complete = len({item.index for item in found[place]}) == length(requests)
    by_chance = complete and 2 * len(found["id"]) < len(found[place])
    if given_ids and not by_chance and found["id"].items() - found[place].items():
        raise ambiguous(found, ("id", place), requests)
    return place


def _with_left(pairing: Pairing, files: Sequence[Path], requests: Sequence[Request]) -> Pairing:
    """Add the reason for each file that no request has."""
    used = _files(pairing.found)
    left = {file: stem_of(file) for file in files if file not in used}
    cut = beginnings(left.values(), (request.prompt.text for request in requests))
    for file, stem in left.items():
        pairing.left.setdefault(file, CUT if stem in cut else "no matching prompt")
    return pairing


# --- the rules ---
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


def _by_text(files: Sequence[Path], requests: Sequence[Request]) -> Matched:
    return by_texts(_texts_in_names(files, requests).items(), requests)


def _texts_in_names(files: Sequence[Path], requests: Sequence[Request]) -> dict[Path, str]:
    prompts = [request.prompt.text for request in requests]
    stems = {file: _text_stem(file) for file in files}
    found = prompts_in_names(list(stems.values()), prompts)
    return {file: text for file, stem in stems.items() if (text := found.get(stem))}


def _text_stem(file: Path) -> str:
    """The name without suffixes: some programs append one to the first one (`a dog.png.jpg`)."""
    stem = stem_of(file)
    return stem.rpartition(".")[0] if is_image_name(stem) else stem


def _by_embedded(files: Sequence[Path], requests: Sequence[Request]) -> Matched:
    prompts = {exact(request.prompt.text) for request in requests}
    texts = ((file, text) for file in files if (text := inside(file).prompt_of(prompts)))
    return by_texts(texts, requests)


def _by_id(
    files: Sequence[Path], numbers: Sequence[Series], requests: Sequence[Request]
) -> list[Matched]:
    """`ID.png`, `ID-SAMPLE.png`, `ID-SEED.png`; whole numbers also with zeros and words around."""
    ids, several = _ids_by_name(requests), any(request.sample for request in requests)
    named: list[Numbered] = []
    for file in files:
        stem = exact(stem_of(file))
        parts = re.fullmatch(r"(.+)[-_](\d+)", stem)
        if several and parts and stem in ids and parts[1] in ids:
            raise EvalkitError(
                f"The name {shown(file)} has two readings: the id of a prompt, or sample {parts[2]}"
                f" of the prompt {parts[1]!r}.",
                "Add a metadata.csv with file_name and prompt.",
                code="generators-41",
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


def _files(found: Matched) -> set[Path]:
    return {item for item in found.values() if isinstance(item, Path)}
