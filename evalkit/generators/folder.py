"""A folder of existing images as a model: its images are matched to the prompts.

A list in the folder decides (listed.py), else the names and contents of the files (pairing.py).
Unmatched files with the reason, prompts without an image, and duplicate images are reported.
"""

from __future__ import annotations

import hashlib
import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast, get_args

from PIL.Image import Image

from evalkit.core import EvalkitError, Refusal, Request
from evalkit.escape import visible
from evalkit.generators.contradicted import check_texts
from evalkit.generators.file_names import LEAST
from evalkit.generators.layouts import images_of, pair_folders
from evalkit.generators.listed import check_own_list, listed
from evalkit.generators.midjourney import Grids
from evalkit.generators.numbers import Matched
from evalkit.generators.pairing import BY_ORDER, CUT, FURTHER, RULES, Pairing, Rule, pair
from evalkit.hints import plural
from evalkit.images import (
    PIXEL_LIMIT,
    Alpha,
    check_images,
    file_sha256,
    read_decoded,
    read_image,
)
from evalkit.run_folder import NO_IMAGE
from evalkit.sources import absent, missing_images, not_taken
from evalkit.sources.absent import name_of
from evalkit.terminal import shorten

log = logging.getLogger(__name__)
Key = tuple[str, int]  # text of the prompt and seed of the image
MISSING = Refusal("missing", NO_IMAGE)


class Folder:
    """The images of a folder, by prompt and seed: samples of one prompt differ in the seed only.

    Attributes:
        ready_made: the reading time says nothing about a model.
        at_most: the largest batch, by the pixels of the largest image.
        unmatched: the files that are not taken and the prompts without an image, one per line, for
            unmatched.txt in the model's folder of the run.
    """

    ready_made = True

    def __init__(
        self,
        folder: Path,
        found: Matched,
        hashes: Mapping[Path, str],
        alpha: Alpha,
        left: Mapping[Path, str],
        missing: Mapping[Key, Request],
        at_most: int = 32,
    ) -> None:
        self.at_most = at_most
        self._by_seed = {_key(request): item for request, item in found.items()}
        self._alpha: Alpha = alpha
        self._names = {
            file: visible(file.relative_to(folder).as_posix()) for file in (*hashes, *left)
        }
        self._hashes, self._left, self._missing = dict(hashes), dict(left), dict(missing)

    @property
    def unmatched(self) -> str:
        lines = [f"file\t{self._names[file]}\t{reason}" for file, reason in self._left.items()]
        lines += [f"prompt\t{name_of(request)}" for request in self._missing.values()]
        return "".join(f"{line}\n" for line in lines)

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
        before an old one, or take its place. Images of other prompts are never exchanged.
        """
        moved = [(request, path) for request, path in made if not self._is(_key(request), path)]
        fixed = {_key(request) for request, _ in made} - {_key(request) for request, _ in moved}
        lost: list[Request] = []
        for request, path in moved:
            key = _key(request)
            others = [other for other in self._by_seed if other[0] == key[0] and other not in fixed]
            same = next((other for other in others if self._is(other, path)), None)
            if same is not None:
                self._exchange(key, same)
            elif file := next((file for file in self._left if self._same(file, path)), None):
                self._take(key, file)
            else:
                lost.append(request)
                continue
            fixed.add(key)
        return lost

    def _exchange(self, key: Key, other: Key) -> None:
        image = self._by_seed.pop(other)
        if key in self._by_seed:
            self._by_seed[other] = self._by_seed[key]
        self._by_seed[key] = image

    def _take(self, key: Key, file: Path) -> None:
        """Use a file that was left out, in place of the one that was matched."""
        before = self._by_seed.get(key)
        if isinstance(before, Path):
            self._left[before] = "the run has another image for its prompt"
        del self._left[file]
        self._missing.pop(key, None)
        self._by_seed[key], self._hashes[file] = file, file_sha256(file)

    def _is(self, key: Key, path: Path) -> bool:
        return self._same(self._by_seed.get(key, MISSING), path)

    def _same(self, item: Path | Refusal, path: Path) -> bool:
        """Whether an image of the folder has the pixels of an image of the run."""
        try:
            found, made = self._read(item), read_image(path)
        except EvalkitError:  # a file that was left out need not be an image
            return False
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
        found.image.info["source"] = self._names[item]
        return found.image


def _key(request: Request) -> Key:
    return request.prompt.text, request.seed


def load(
    *,
    folder: str,
    requests: Sequence[Request],
    alpha: str = "refuse",
    match: str = "auto",
    midjourney: str = "upscale",
) -> Folder:
    """Match the images of `folder` to the requests, and check each image that is used.

    Args:
        folder: the folder with the images.
        requests: every image that the run requests.
        alpha: for transparent images: "refuse", or composite on "white" or "black".
        match: how files are matched to prompts: "auto", or by the "text" in the name, the text
            "embedded" in the file, the prompt's "id", its position counted "from0" or "from1", or
            the "order" of the files.
        midjourney: of a grid and the single images taken from it, use the "upscale" or the "grid".
    """
    for name, value, values in (
        ("alpha", alpha, get_args(Alpha)),
        ("match", match, RULES),
        ("midjourney", midjourney, get_args(Grids)),
    ):
        if value not in values:
            expected = f"{', '.join(values[:-1])} or {values[-1]}"
            raise EvalkitError(
                f"The option {name} is {value!r}; expected {expected}.", code="generators-16"
            )
    path = Path(folder)
    files, elsewhere = images_of(path)
    if not files:
        hint = "Expected PNG, JPEG, WebP, BMP, GIF or TIFF files."
        if (path / "images").is_dir():
            hint = f"Did you mean {path / 'images'}/<model>?"
        raise EvalkitError(f"The folder {path} contains no images.", hint, code="generators-17")
    paired = listed(path, files, requests) if match == "auto" else None
    if paired is None and match == "auto" and any(file.parent != path for file in files):
        paired = pair_folders(path, files, requests, cast(Grids, midjourney))
    if paired is None:
        paired = pair(files, requests, cast(Rule, match), cast(Grids, midjourney))
    if not paired.found:
        cut = sum(why == CUT for why in paired.left.values())
        names = plural(cut, "name begins", "names begin")
        too_short = f" {names} a prompt, but with fewer than {LEAST} letters."
        raise EvalkitError(
            f"No image in {path} matches a requested image; found {plural(len(files), 'image')},"
            f" requested {len(requests)}." + too_short * bool(cut),
            "Name the files 00000.png, 00001.png, … in the order of the prompts, or add a"
            " metadata.csv with file_name and prompt. If the sorted names follow the prompts, take"
            " the files in their order: `--set LABEL.match=order`.",
            code="generators-18",
        )
    check_own_list(path, paired, requests)
    check_texts(path, paired)
    unused = {file: why for file, why in elsewhere.items() if file not in paired.lists}
    paired.left = unused | paired.left
    return _checked(path, files, requests, paired, cast(Alpha, alpha))


def _checked(
    path: Path, files: Sequence[Path], requests: Sequence[Request], paired: Pairing, alpha: Alpha
) -> Folder:
    """Report what is not used and what is missing, and decode the images that are used."""
    # The manifest of another run may say that an image is missing.
    found = {key: item for key, item in paired.found.items() if not _is_missing(item)}
    used = {item for item in found.values() if isinstance(item, Path)}
    log.info(
        "%s: matched %d of %d requested images by %s",
        *(path.name, len(found), len(requests), paired.rule),
    )
    if paired.rule == BY_ORDER:
        log.warning(
            "%s: nothing shows which image belongs to which prompt: check that the sorted file"
            " names follow the prompts",
            path.name,
        )
    for file in files:
        if file not in used:
            paired.left.setdefault(file, "no matching prompt")
    missing = {_key(request): request for request in requests if request not in found}
    left = [(file.relative_to(path).as_posix(), reason) for file, reason in paired.left.items()]
    gone = missing_images(missing.values(), len(requests))
    for line in absent({"not_taken": not_taken(left), "missing": gone}):
        log.warning("%s: %s", path.name, line)
    if FURTHER in paired.left.values():
        log.info("%s: `--per-prompt N` takes N images of each prompt", path.name)
    skip = f"evalkit score {shlex.quote(str(path))} --on-bad skip"
    without = f"Move the files elsewhere; or measure the rest, without prompts: `{skip}`."
    largest = check_images(sorted(used), alpha, without)
    hashes = {file: file_sha256(file) for file in sorted(used)}
    _warn_of_duplicates(path.name, hashes)
    at_most = max(1, PIXEL_LIMIT // max(1, largest))
    return Folder(path, found, hashes, alpha, paired.left, missing, at_most)


def _is_missing(item: Path | Refusal) -> bool:
    return isinstance(item, Refusal) and item.status == "missing"


def _warn_of_duplicates(folder: str, hashes: Mapping[Path, str]) -> None:
    """A model may make the same image twice, but a mistake in copying is more likely."""
    by_hash: dict[str, list[str]] = {}
    for file, digest in hashes.items():
        by_hash.setdefault(digest, []).append(file.name)
    groups = [" = ".join(names) for names in by_hash.values() if len(names) > 1]
    if groups:
        log.warning("%s: %d duplicate images: %s", folder, len(groups), _first_ten(groups))


def _first_ten(names: Sequence[str]) -> str:
    shown = ", ".join(shorten(visible(name), 100) for name in names[:10])
    return shown + (", …" if len(names) > 10 else "")
