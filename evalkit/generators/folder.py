"""A folder of existing images as a model: its images are matched to the prompts.

The first of these that applies decides, and the log names it:

1. `prompts.jsonl` in the folder: {file, id or prompt}.
2. The folder is a model of a finished run: the prompts of that run.
3. The file names: the id of the prompt, its index (`00017-0.png`, `17.png`, from 0 or from 1), or
   its text (see file_names.py).
4. The order of the files, if there are as many as requested images.

Unmatched images, prompts without an image, and duplicate images are reported.
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
from evalkit.images import Alpha, check_images, file_sha256, list_images, read_decoded, read_image
from evalkit.prompts import TEXT_KEYS
from evalkit.run_folder import Run

log = logging.getLogger(__name__)
Matched = dict[Request, Path | Refusal]
MISSING = Refusal("bad_request", "no image in the folder for this prompt")
_NUMBERED = re.compile(r"(.+?)-(\d+)")
_LINE_BREAKS = {ord(letter): " " for letter in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"}


class Folder:
    """The images of a folder, by prompt and seed: samples of one prompt differ in the seed only.

    Attributes:
        ready_made: the reading time says nothing about a model.
        unmatched: the images without a prompt and the prompts without an image, one per line, for
            unmatched.txt in the model's folder of the run.
    """

    ready_made = True

    def __init__(
        self, found: Matched, hashes: Mapping[Path, str], alpha: Alpha, unmatched: str
    ) -> None:
        self._by_seed = {_key(request): item for request, item in found.items()}
        self._alpha: Alpha = alpha
        self._hashes = hashes
        self.unmatched = unmatched

    @property
    def fingerprint(self) -> str:
        """A hash of all images with their prompts and seeds."""
        digest = hashlib.sha256(self._alpha.encode())
        for (text, seed), item in sorted(self._by_seed.items(), key=lambda pair: pair[0]):
            content = item if isinstance(item, Refusal) else self._hashes[item]
            digest.update(f"{text}\0{seed}\0{content}\0".encode())
        return digest.hexdigest()

    def has(self, request: Request) -> bool:
        """Whether the folder has an image, or the outcome of an earlier run, for this request."""
        return _key(request) in self._by_seed

    def keep(self, made: Sequence[tuple[Request, Path]]) -> list[Request]:
        """Leave to requests the images that a run has of them; returns those without theirs.

        Samples of a prompt have its images in the order of their names, and an added file may come
        before an old one. Images of other prompts are never exchanged.
        """
        moved = [(request, path) for request, path in made if not self._is(_key(request), path)]
        fixed = {_key(request) for request, _ in made} - {_key(request) for request, _ in moved}
        lost: list[Request] = []
        for request, path in moved:
            key = _key(request)
            others = [k for k in self._by_seed if k[0] == key[0] and k not in fixed]
            same = next((k for k in others if self._is(k, path)), None)
            if same is None:
                lost.append(request)
                continue
            image = self._by_seed.pop(same)
            if key in self._by_seed:
                self._by_seed[same] = self._by_seed[key]
            self._by_seed[key] = image
            fixed.add(key)
        return lost

    def _is(self, key: tuple[str, int], path: Path) -> bool:
        """Whether the folder's image for a prompt and seed has the pixels of a file."""
        found, made = self._read(self._by_seed.get(key, MISSING)), read_image(path)
        if isinstance(found, Refusal):
            return False
        return found.size == made.size and found.tobytes() == made.tobytes()

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image | Refusal]:
        return [
            self._read(self._by_seed.get(key, MISSING)) for key in zip(prompts, seeds, strict=True)
        ]

    def _read(self, item: Path | Refusal) -> Image | Refusal:
        if isinstance(item, Refusal):
            return item
        found = read_decoded(item, self._alpha)
        if found.note:
            found.image.info["note"] = found.note
        return found.image


def _key(request: Request) -> tuple[str, int]:
    return request.prompt.text, request.seed


def load(*, folder: str, requests: Sequence[Request], alpha: str = "refuse") -> Folder:
    """Match the images of `folder` to the requests, and check each image that is used.

    Args:
        folder: the folder with the images.
        requests: every image that the run requests.
        alpha: for transparent images: "refuse", or composite on "white" or "black".
    """
    if alpha not in ("refuse", "white", "black"):
        raise EvalkitError(f"The option alpha is {alpha!r}; expected refuse, white or black.")
    path = Path(folder)
    files = list_images(path)
    if not files:
        hint = "Expected PNG, JPEG, WebP, BMP, GIF or TIFF files."
        if (path / "images").is_dir():
            hint = f"Did you mean {path / 'images'}/<model>?"
        raise EvalkitError(f"The folder {path} contains no images.", hint)
    found, rule = match(path, files, requests)
    used = {item for item in found.values() if isinstance(item, Path)}
    if not found:
        raise EvalkitError(
            f"None of the {len(files)} images in {path} match the {len(requests)} requested "
            "images.",
            "Name the files 00000.png, 00001.png, … in the order of the prompts, or add a "
            "prompts.jsonl with {file, prompt}.",
        )
    check_images(sorted(used), alpha)
    log.info(
        "%s: matched %d of %d requested images by %s", path.name, len(found), len(requests), rule
    )
    hashes = {file: file_sha256(file) for file in sorted(used)}
    _warn_of_duplicates(path.name, hashes)
    unmatched = [file.name for file in files if file not in used]
    missing = [
        f"{request.prompt.id}-{request.sample} {request.prompt.text}"
        for request in requests
        if request not in found
    ]
    for names, what in (
        (unmatched, "unmatched files (no matching prompt)"),
        (missing, "requested images are missing"),
    ):
        if names:
            log.warning("%s: %d %s: %s", path.name, len(names), what, _first_ten(names))
    lines = [f"image\t{name}" for name in unmatched] + [f"prompt\t{name}" for name in missing]
    listed = "".join(f"{line.translate(_LINE_BREAKS)}\n" for line in lines)
    return Folder(found, hashes, alpha, listed)


def _warn_of_duplicates(folder: str, hashes: Mapping[Path, str]) -> None:
    """A model may make the same image twice, but a mistake in copying is more likely."""
    by_hash: dict[str, list[str]] = {}
    for file, digest in hashes.items():
        by_hash.setdefault(digest, []).append(file.name)
    groups = [" = ".join(names) for names in by_hash.values() if len(names) > 1]
    if groups:
        log.warning("%s: %d duplicate images: %s", folder, len(groups), _first_ten(groups))


def _first_ten(names: Sequence[str]) -> str:
    return ", ".join(name[:100] for name in names[:10]) + (", …" if len(names) > 10 else "")


def match(folder: Path, files: Sequence[Path], requests: Sequence[Request]) -> tuple[Matched, str]:
    """The image of each request, and the rule by which they were matched."""
    if (folder / "prompts.jsonl").is_file():
        return _by_list(folder, requests), "its prompts.jsonl"
    if (folder / "model.json").is_file() and (folder.parent.parent / "prompts.jsonl").is_file():
        return _by_run(folder, requests), "the prompts of its run"
    rules: dict[str, Callable[[Sequence[Path], Sequence[Request]], Matched]] = {
        "prompt id in the file name": _by_id,
        "index in the file name": _by_index(0),
        "number of the prompt id in the file name": _by_numeric_id,
        "number in the file name, counted from 1": _by_index(1),
        "prompt text in the file name": _by_text,
    }
    best: tuple[Matched, str] = ({}, "")
    for rule, function in rules.items():
        found = function(files, requests)
        if len(found) > len(best[0]):  # of equal rules, the first one
            best = found, rule
    if not best[0] and len(files) == len(requests):
        return dict(zip(requests, files, strict=True)), "their order only (check that it is right)"
    return best


def _by_list(folder: Path, requests: Sequence[Request]) -> Matched:
    by_id: dict[str, list[Path | Refusal]] = {}
    by_text: dict[str, list[Path | Refusal]] = {}
    lines: dict[Path, int] = {}
    for number, line in enumerate((folder / "prompts.jsonl").read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        place = f"Line {number} of {folder / 'prompts.jsonl'}"
        try:
            row = json.loads(line)
            file = folder / row["file"]
            if "id" in row:
                group, key = by_id, str(row["id"])
            else:
                group, key = by_text, next(row[name] for name in TEXT_KEYS if name in row).strip()
        except (
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            StopIteration,
            RecursionError,
        ) as error:
            raise EvalkitError(
                f"{place} is not an object with file, and id or prompt.",
                'For example {"file": "a.png", "prompt": "a red cube"}.',
            ) from error
        if file.resolve().parent != folder.resolve() or not file.is_file():
            raise EvalkitError(f"{place} names {row['file']!r}, which is not a file in the folder.")
        if lines.setdefault(file, number) != number:
            raise EvalkitError(
                f"{place} names {row['file']!r}, and so does line {lines[file]}.",
                "An image has one prompt; name each file once.",
            )
        group.setdefault(key, []).append(file)
    return _assign(by_text, requests, _text) | _assign(by_id, requests, lambda item: item.prompt.id)


def _by_run(folder: Path, requests: Sequence[Request]) -> Matched:
    run = Run(folder.parent.parent)
    label = str(json.loads((folder / "model.json").read_text(encoding="utf-8"))["label"])
    prompts = run.prompts()
    by_text: dict[str, list[Path | Refusal]] = {}
    for record in run.records(label):
        item = (
            folder / record.file if record.status == "ok" else Refusal(record.status, record.detail)
        )
        by_text.setdefault(prompts[record.index].text, []).append(item)
    return _assign(by_text, requests, _text)


def _assign(
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
    wanted = {
        (int(request.prompt.id), request.sample): request
        for request in requests
        if request.prompt.id.isdecimal()
    }
    return _by_number(files, wanted)


def _by_number(files: Sequence[Path], wanted: Mapping[tuple[int, int], Request]) -> Matched:
    found: Matched = {}
    for file in files:
        numbers = re.fullmatch(r"(\d+)(?:-(\d+))?", file.stem)
        request = wanted.get((int(numbers[1]), int(numbers[2] or 0))) if numbers else None
        if request is not None:
            found.setdefault(request, file)
    return found


def _by_text(files: Sequence[Path], requests: Sequence[Request]) -> Matched:
    slugs = prompts_in_names(
        [file.stem for file in files], [request.prompt.text for request in requests]
    )
    items: dict[str, list[Path | Refusal]] = {}
    for file in files:
        if file.stem in slugs:
            items.setdefault(slugs[file.stem], []).append(file)
    return _assign(items, requests, lambda request: slug(request.prompt.text))
