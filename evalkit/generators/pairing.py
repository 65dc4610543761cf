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
from typing import Literal, NamedTuple, get_args

from evalkit.core import EvalkitError, Refusal, Request
from evalkit.escape import visible
from evalkit.generators.embedded import embedded_prompt
from evalkit.generators.file_names import exact, prompts_in_names
from evalkit.generators.midjourney import Grids, without_grids
from evalkit.images import natural

Rule = Literal["auto", "text", "embedded", "id", "from0", "from1", "order"]
RULES = get_args(Rule)
Matched = dict[Request, Path | Refusal]
_NUMBER = re.compile(r"(?P<before>.*?)(?P<number>\d+)(?:[-_](?P<second>\d+))?(?P<after>\D*)")


@dataclass
class Pairing:
    """The image of each request, and why other files have none."""

    found: Matched
    rule: str = ""  # in words, for the log
    left: dict[Path, str] = field(default_factory=dict)  # file -> reason


class Numbered(NamedTuple):
    """A file name as a number, and maybe a second one: a sample, or a seed."""

    file: Path
    number: int
    second: int | None


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
    rules: dict[str, tuple[str, Callable[[], Matched]]] = {
        "text": ("prompt text in the file name", lambda: _by_text(files, requests)),
        "embedded": ("prompt text in the file", lambda: _by_embedded(files, requests)),
        "id": ("prompt id in the file name", lambda: _by_id(files, requests)),
        "from0": ("index in the file name", lambda: _by_place(files, requests, 0)),
        "from1": ("number in the file name, counted from 1", lambda: _by_place(files, requests, 1)),
        "order": ("their order", lambda: dict(zip(requests, files, strict=False))),
    }
    if rule != "auto":
        words, function = rules[rule]
        return _with_left(Pairing(function(), words, left), files)
    found = {name: function() for name, (_, function) in rules.items() if name != "order"}
    best = _weighed(found, files, requests)
    if best:
        return _with_left(Pairing(found[best], rules[best][0], left), files)
    return _with_left(Pairing({}, "", left), files)


def _weighed(
    found: Mapping[str, Matched], files: Sequence[Path], requests: Sequence[Request]
) -> str:
    """The rule that decides, "" if none matches anything."""
    texts, inside = ({v: k for k, v in found[name].items()} for name in ("text", "embedded"))
    for file in texts.keys() & inside.keys():
        if texts[file].prompt.text != inside[file].prompt.text:
            raise _ambiguous(found, ("text", "embedded"), requests)
    proof = "text" if len(found["text"]) >= len(found["embedded"]) else "embedded"
    numbers = _best_number(found, files, requests, proved=len(found[proof]))
    if not numbers or len(found[numbers]) <= len(found[proof]):
        return proof if found[proof] else ""
    if any(found[numbers].get(request) != file for request, file in found[proof].items()):
        raise _ambiguous(found, (proof, numbers), requests)
    return numbers


def _best_number(
    found: Mapping[str, Matched], files: Sequence[Path], requests: Sequence[Request], proved: int
) -> str:
    """The rule for numbers in names: ids, else positions; "" if none matches more than `proved`."""
    most = max(len(found["from0"]), len(found["from1"]))
    if max(most, len(found["id"])) <= proved:
        return ""
    given_ids = any(item.prompt.id != f"{item.index:05d}" for item in requests)
    if given_ids and len(found["id"]) >= most:
        return "id"
    place = _place(found, files, requests)
    complete = len({item.index for item in found[place]}) == _count(requests)
    if given_ids and found["id"] and not complete and found["id"].items() - found[place].items():
        raise _ambiguous(found, ("id", place), requests)
    return place


def _place(found: Mapping[str, Matched], files: Sequence[Path], requests: Sequence[Request]) -> str:
    """Whether the numbers count from 0 or from 1, where the numbers show it."""
    numbered, count = numbered_files(files), _count(requests)
    numbers = {item.number for item in numbered}
    through = len(numbers) == len(numbered) == max(numbers) - min(numbers) + 1
    if through and len(numbered) > count and len(numbered) % count == 0:
        raise EvalkitError(
            f"The folder has {len(numbered)} images numbered from {min(numbers)} for {count}"
            " prompts: several images per prompt, or images of more prompts than the list has.",
            "Name the files PROMPT-SAMPLE (00000-0.png, 00000-1.png, …), or take each number as"
            f" the position of a prompt: `--set LABEL.match=from{min(min(numbers), 1)}`.",
        )
    if 0 in numbers:
        return "from0"
    covered = {item.index for item in found["from1"]}
    if max(numbers) == count or len(covered) == count or found["from0"] == found["from1"]:
        return "from1"
    raise _ambiguous(found, ("from0", "from1"), requests)


def _count(requests: Sequence[Request]) -> int:
    return max(request.index for request in requests) + 1


def _ambiguous(
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
    options = " or ".join(f"`--set LABEL.match={name}`" for name in names)
    readings = "; ".join(
        f"{words[name]}, it is {_name(found[name].get(differs))}" for name in names
    )
    return EvalkitError(
        f"The file names have two readings. The image of prompt {differs.prompt.id}"
        f" ({differs.prompt.text[:60]!r}): {readings}.",
        f"Select one with {options}, where LABEL is the model, or add a metadata.csv with"
        " file_name and prompt.",
    )


def _name(item: Path | Refusal | None) -> str:
    return visible(item.name) if isinstance(item, Path) else "missing"


def _with_left(pairing: Pairing, files: Sequence[Path]) -> Pairing:
    """Add the reason for each file that no request has."""
    used = {item for item in pairing.found.values() if isinstance(item, Path)}
    for file in files:
        if file not in used:
            pairing.left.setdefault(file, "no matching prompt")
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
    prompts = [request.prompt.text for request in requests]
    found = prompts_in_names([file.stem for file in files], prompts)
    bare = {file: found.get(file.name) or found.get(file.stem) for file in files}
    return by_texts(((file, text) for file, text in bare.items() if text), requests)


def _by_embedded(files: Sequence[Path], requests: Sequence[Request]) -> Matched:
    texts = ((file, text) for file in files if (text := embedded_prompt(file)))
    return by_texts(texts, requests)


def _by_id(files: Sequence[Path], requests: Sequence[Request]) -> Matched:
    """`ID.png` and `ID-SAMPLE.png`; for whole numbers as ids, with any zeros before them."""
    wanted = {(exact(item.prompt.id), item.sample): item for item in requests}
    numeric = {
        (int(item.prompt.id), item.sample): item for item in requests if item.prompt.id.isdecimal()
    }
    found: Matched = {}
    for file in files:
        stem = exact(file.stem)
        sampled = re.fullmatch(r"(.+?)[-_](\d+)", stem)
        request = wanted.get((stem, 0))
        if request is None and sampled:
            request = wanted.get((sampled[1], int(sampled[2])))
        if request is None and (plain := re.fullmatch(r"(\d+)(?:[-_](\d+))?", stem)):
            request = numeric.get((int(plain[1]), int(plain[2] or 0)))
        if request is not None:
            found.setdefault(request, file)
    return found


def numbered_files(files: Sequence[Path]) -> list[Numbered]:
    """The files whose names are a number between texts that all of them share.

    `00017-0`, `image_3`, `ComfyUI_00001_`. Digits before the number, as in a date, are not
    accepted: such a number says nothing about a position.
    """
    groups: dict[tuple[str, str], list[Numbered]] = defaultdict(list)
    for file in files:
        match = _NUMBER.fullmatch(file.stem)
        if match and not re.search(r"\d", match["before"]):
            second = None if match["second"] is None else int(match["second"])
            key = (match["before"].casefold(), match["after"].casefold())
            groups[key].append(Numbered(file, int(match["number"]), second))
    return max(groups.values(), key=len, default=[])


def _by_place(files: Sequence[Path], requests: Sequence[Request], first: int) -> Matched:
    """The number is a position; files of one number are samples, or one file with a seed."""
    by_number: dict[int, list[Numbered]] = defaultdict(list)
    for item in numbered_files(files):
        by_number[item.number].append(item)
    seconds = {item.second or 0 for items in by_number.values() for item in items}
    samples = max(request.sample for request in requests) + 1
    alone = all(len(items) == 1 for items in by_number.values())
    # One file per number: the second number is a seed unless each could be a sample.
    start = 1 if 0 not in seconds and max(seconds, default=0) <= samples else 0
    exactly = max(seconds, default=0) < samples + start and not (alone and samples == 1)
    found: Matched = {}
    wanted = {(item.index + first, item.sample): item for item in requests}
    for number, items in by_number.items():
        ordered = sorted(items, key=lambda item: (item.second or 0, natural(item.file.name)))
        for rank, item in enumerate(ordered):
            sample = (item.second or 0) - start if exactly and item.second is not None else rank
            request = wanted.get((number, sample))
            if request is not None:
                found.setdefault(request, item.file)
    return found
