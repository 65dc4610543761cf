"""A folder of ready images as a model: pictures matched to prompts, never drawn.

In this order: a `prompts.jsonl` in the folder ({file, id or prompt}); a model's folder of a
finished run; else the file
names: the prompt's id, its index (`00017-0.png`, `17.png`, from 0 or from 1), its text (see
file_names.py: as Midjourney and others name downloads); and last the plain order, where there are
as many pictures as requests. The way that was taken is logged. Pictures and prompts left over are
named, and so are pictures that are there twice.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL.Image import Image

from evalkit.core import EvalkitError, Refusal, Request
from evalkit.generators.file_names import prompts_in_names, slug
from evalkit.images import Alpha, check_images, file_sha256, list_images, read_decoded
from evalkit.prompts import TEXT_KEYS
from evalkit.run_folder import Run

log = logging.getLogger(__name__)
Matched = dict[Request, Path | Refusal]
MISSING = Refusal("bad_request", "no image in the folder for this prompt")
_NUMBERED = re.compile(r"(.+?)-(\d+)")
_ONE_LINE = {ord(letter): " " for letter in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"}


class Folder:
    """The images of a folder, by seed: duplicates of a prompt and its samples differ in nothing
    else.

    `unmatched` lists every image and every request that have no partner, one a line; "" where all
    have one. It belongs into the model's folder of the run.
    """

    ready_made = True  # the time that reading takes says nothing about a model

    def __init__(
        self, found: Matched, hashes: Mapping[Path, str], alpha: Alpha, unmatched: str
    ) -> None:
        self._by_seed = {
            (request.prompt.text, request.seed): item for request, item in found.items()
        }
        self._alpha: Alpha = alpha
        self.unmatched = unmatched
        digest = hashlib.sha256(alpha.encode())
        for (text, seed), item in self._by_seed.items():
            digest.update(
                f"{text}\0{seed}\0{item if isinstance(item, Refusal) else hashes[item]}\0".encode()
            )
        self.fingerprint = digest.hexdigest()

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image | Refusal]:
        return [
            self._one(self._by_seed.get(key, MISSING)) for key in zip(prompts, seeds, strict=True)
        ]

    def _one(self, item: Path | Refusal) -> Image | Refusal:
        if isinstance(item, Refusal):
            return item
        found = read_decoded(item, self._alpha)
        if found.note:
            found.image.info["note"] = found.note
        return found.image


def load(*, folder: str, requests: Sequence[Request], alpha: str = "refuse") -> Folder:
    """Match the pictures of `folder` to the requests and check each one that is used, before
    anything is made.

    Args:
        folder: where the pictures are.
        requests: every image that the run asks for.
        alpha: what to do with transparency: "refuse", or composite it on "white" or "black".
    """
    if alpha not in ("refuse", "white", "black"):
        raise EvalkitError(f"The option alpha is {alpha!r}; expected refuse, white or black.")
    path = Path(folder)
    files = list_images(path)
    if not files:
        inside = (path / "images").is_dir()
        hint = (
            f"Did you mean {path / 'images'}/<model>?"
            if inside
            else "Expected PNG, JPEG, WebP, BMP, GIF or TIFF files."
        )
        raise EvalkitError(f"The folder {path} holds no images.", hint)
    found, way = match(path, files, requests)
    used = {item for item in found.values() if isinstance(item, Path)}
    if not found:
        hint = "Name the files 00000.png, 00001.png, … in the order of the prompts, or add a prompts.jsonl with {file, prompt}."
        raise EvalkitError(
            f"None of the {len(files)} images in {path} could be matched to the {len(requests)} requested ones.",
            hint,
        )
    check_images(sorted(used), alpha)
    log.info(
        "%s: matched %d of %d requested images by %s", path.name, len(found), len(requests), way
    )
    hashes = {file: file_sha256(file) for file in sorted(used)}
    _warn_of_twins(path.name, hashes)
    images = [file.name for file in files if file not in used]
    missing = [
        f"{request.prompt.id}-{request.sample} {request.prompt.text}"
        for request in requests
        if request not in found
    ]
    for names, what in (
        (images, "images belong to no requested prompt and are left out"),
        (missing, "requested images are not there"),
    ):
        if names:
            log.warning("%s: %d %s: %s", path.name, len(names), what, _some(names))
    lines = [f"image\t{name}" for name in images] + [f"prompt\t{name}" for name in missing]
    return Folder(found, hashes, alpha, "".join(f"{line.translate(_ONE_LINE)}\n" for line in lines))


def _warn_of_twins(folder: str, hashes: Mapping[Path, str]) -> None:
    """Name pictures that are the same file twice: a model may do that, a slip in copying does it
    more often.
    """
    by_hash: dict[str, list[str]] = {}
    for file, digest in hashes.items():
        by_hash.setdefault(digest, []).append(file.name)
    twins = [" = ".join(names) for names in by_hash.values() if len(names) > 1]
    if twins:
        log.warning(
            "%s: %d pictures are there more than once: %s", folder, len(twins), _some(twins)
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(name[:100] for name in names[:10]) + (", …" if len(names) > 10 else "")


def match(folder: Path, files: Sequence[Path], requests: Sequence[Request]) -> tuple[Matched, str]:
    """request -> picture, and in words how they were matched."""
    if (folder / "prompts.jsonl").is_file():
        return _by_list(folder, requests), "its prompts.jsonl"
    if (folder / "model.json").is_file() and (folder.parent.parent / "prompts.jsonl").is_file():
        return _by_run(folder, requests), "the prompts of its run"
    ways: dict[str, Callable[[Sequence[Path], Sequence[Request]], Matched]] = {
        "prompt id in the file name": _by_id,
        "index in the file name": _by_index(0),
        "number of the prompt id in the file name": _by_numeric_id,
        "number in the file name, counted from 1": _by_index(1),
        "prompt text in the file name": _by_text,
    }
    best: tuple[Matched, str] = ({}, "")
    for way, function in ways.items():
        found = function(files, requests)
        if len(found) > len(best[0]):  # the first way wins where two find as many
            best = found, way
    if not best[0] and len(files) == len(requests):
        return dict(
            zip(requests, files, strict=True)
        ), "their order alone (look whether that is right)"
    return best


def _by_list(folder: Path, requests: Sequence[Request]) -> Matched:
    ids: dict[str, list[Path | Refusal]] = {}
    texts: dict[str, list[Path | Refusal]] = {}
    lines: dict[Path, int] = {}
    for number, line in enumerate((folder / "prompts.jsonl").read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            file = folder / row["file"]
            if "id" in row:
                known, key = ids, str(row["id"])
            else:
                known, key = texts, next(row[name] for name in TEXT_KEYS if name in row).strip()
        except (
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            StopIteration,
            RecursionError,
        ) as error:
            message = f"Line {number} of {folder / 'prompts.jsonl'} is not an object with file, and id or prompt."
            raise EvalkitError(
                message, 'For example {"file": "a.png", "prompt": "a red cube"}.'
            ) from error
        if file.resolve().parent != folder.resolve() or not file.is_file():
            raise EvalkitError(
                f"Line {number} of {folder / 'prompts.jsonl'} names {row['file']!r}, which is not a file in that folder."
            )
        if lines.setdefault(file, number) != number:
            message = f"Line {number} of {folder / 'prompts.jsonl'} names {row['file']!r}, and so does line {lines[file]}."
            raise EvalkitError(message, "An image belongs to one prompt; name each file once.")
        known.setdefault(key, []).append(file)
    return _deal(texts, requests, _text) | _deal(ids, requests, lambda request: request.prompt.id)


def _by_run(folder: Path, requests: Sequence[Request]) -> Matched:
    run, label = (
        Run(folder.parent.parent),
        str(json.loads((folder / "model.json").read_text(encoding="utf-8"))["label"]),
    )
    prompts = run.prompts()
    texts: dict[str, list[Path | Refusal]] = {}
    for record in run.records(label):
        item = (
            folder / record.file if record.status == "ok" else Refusal(record.status, record.detail)
        )
        texts.setdefault(prompts[record.index].text, []).append(item)
    return _deal(texts, requests, _text)


def _deal(
    items: Mapping[str, Sequence[Path | Refusal]],
    requests: Sequence[Request],
    key: Callable[[Request], str],
) -> Matched:
    """Hand out the items of each key in order: the samples of a prompt, then those of its
    duplicates.
    """
    left = {name: iter(values) for name, values in items.items()}
    dealt = {
        request: next(left[key(request)], None) for request in requests if key(request) in left
    }
    return {request: item for request, item in dealt.items() if item is not None}


def _text(request: Request) -> str:
    return request.prompt.text


def _by_id(files: Sequence[Path], requests: Sequence[Request]) -> Matched:
    wanted = {(request.prompt.id, request.sample): request for request in requests}
    found: Matched = {}
    for file in files:
        numbered = _NUMBERED.fullmatch(file.stem)
        keys = [(file.stem, 0), *([(numbered[1], int(numbered[2]))] if numbered else [])]
        request = next((wanted[key] for key in keys if key in wanted), None)
        if request is not None:
            found.setdefault(request, file)
    return found


def _by_index(first: int) -> Callable[[Sequence[Path], Sequence[Request]], Matched]:
    return lambda files, requests: _by_number(
        files, {(request.index + first, request.sample): request for request in requests}
    )


def _by_numeric_id(files: Sequence[Path], requests: Sequence[Request]) -> Matched:
    return _by_number(
        files,
        {
            (int(request.prompt.id), request.sample): request
            for request in requests
            if request.prompt.id.isdecimal()
        },
    )


def _by_number(files: Sequence[Path], wanted: Mapping[tuple[int, int], Request]) -> Matched:
    found: Matched = {}
    for file in files:
        numbers = re.fullmatch(r"(\d+)(?:-(\d+))?", file.stem)
        request = wanted.get((int(numbers[1]), int(numbers[2] or 0))) if numbers else None
        if request is not None:
            found.setdefault(request, file)
    return found


def _by_text(files: Sequence[Path], requests: Sequence[Request]) -> Matched:
    held = prompts_in_names(
        [file.stem for file in files], [request.prompt.text for request in requests]
    )
    items: dict[str, list[Path | Refusal]] = {}
    for file in files:
        if file.stem in held:
            items.setdefault(held[file.stem], []).append(file)
    return _deal(items, requests, lambda request: slug(request.prompt.text))
