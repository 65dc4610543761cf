"""Reference statistics from and to the files of other tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit import plugins
from evalkit.core import EvalkitError, Moments
from evalkit.files import atomic_file
from evalkit.images import file_sha256
from evalkit.reference import foreign as foreign_statistics
from evalkit.reference.build import features_of
from evalkit.reference.card import read_card, write_card
from evalkit.reference.files import find, user_folder
from evalkit.reference.foreign import CLEAN_FID, Statistics


def reference_import(
    file: Path | str,
    *,
    name: str,
    encoder: str = "",
    count: int = 0,
    source: str = "",
    licence: str = "not stated",
    description: str = "",
    out: Path | str | None = None,
    encode_images: bool = False,
    device: str = "auto",
) -> Path:
    """A reference folder, with a card, made of a file of another tool; returns the folder.

    Args:
        file: see `foreign_statistics.read` for what is known.
        name: of the new reference.
        encoder: the evalkit encoder whose convention the statistics follow; needed where the file
            cannot say. Where it can, another name is refused.
        count: of how many pictures they are, where the file cannot say; without it the small-sample
            floor stays unknown.
        source, licence, description: for the card.
        out: the folder to write; else one of that name in the user's data folder.
        encode_images: encode the pictures that ADM's files bring (`arr_0`), so that kid, precision
            and recall have features.
        device: where they are encoded.
    """
    path = Path(file)
    if not path.is_file():
        raise EvalkitError(f"There is no file {path}.", "Give a file of statistics.")
    held = foreign_statistics.read(path)
    taken = [item for item in held if item.convention in (encoder, "") or not encoder]
    if not taken:
        conventions = " and ".join(item.convention for item in held)
        raise EvalkitError(
            f"The statistics in {path} were made with {conventions}; {encoder} was named.",
            "Leave --encoder out.",
        )
    if any(not (item.convention or encoder) for item in taken):
        hint = "Say it with --encoder: inception (TensorFlow's resize), inception-torch (pytorch-fid), ..."
        raise EvalkitError(f"{path} does not say with which encoder it was made.", hint)
    folder, digest = Path(out) if out is not None else user_folder() / name, file_sha256(path)
    facts = []
    for item in taken:
        item = item._replace(
            convention=item.convention or encoder,
            moments={
                feature: part._replace(count=part.count or count)
                for feature, part in item.moments.items()
            },
        )
        if " " in item.convention or "/" in item.convention:
            hint = "Build a reference of the pictures themselves."
            raise EvalkitError(
                f"The statistics in {path} were made with {item.convention}; no encoder of evalkit follows that.",
                hint,
            )
        if encode_images:
            item = item._replace(
                features={"pool": features_of(path, plugins.encoder(item.convention, device))}
            )
        facts.append(_write(folder, name, item, digest))
    named = f"evalkit reference import {path.name} --name {name}" + (
        f" --encoder {encoder}" if encoder else ""
    )
    known = max(int(entry["count"]) for entry in facts)
    card = {
        "name": name,
        "description": description or f"statistics from {path.name} ({taken[0].format})",
        "count": known,
    }
    card |= {
        "source": source or path.name,
        "licence": licence,
        "command": named,
        "image_hash": "",
        "file_sha256": digest,
    }
    write_card(folder, card, facts)
    return folder


def _write(folder: Path, name: str, item: Statistics, digest: str) -> dict[str, Any]:
    fingerprint = item.meta.get("fingerprint", "")
    meta = {
        "name": name,
        "encoder": item.convention,
        "fingerprint": fingerprint,
        "image_hash": item.meta.get("image_hash", ""),
    }
    meta |= {"format": item.format, "file_sha256": digest}
    arrays: dict[str, Any] = {}
    for feature, ending in (("pool", ""), ("spatial", "_s")):
        if feature in item.moments:
            arrays |= {
                f"mu{ending}": item.moments[feature].mean.numpy(),
                f"sigma{ending}": item.moments[feature].cov.numpy(),
            }
    if "pool" in item.features:
        arrays["features"] = item.features["pool"].numpy()
    count = max((part.count for part in item.moments.values()), default=0)
    with atomic_file(folder / f"{item.convention}.npz") as file:
        np.savez(file, n=count, **arrays, meta=np.array(json.dumps(meta)))
    rows = len(item.features.get("pool", ()))
    return {
        "name": item.convention, "format": item.format, "fingerprint": fingerprint or "unknown", "count": count,
        "features": sorted(item.moments), "stored_rows": rows,
    }  # fmt: skip


def reference_export(
    name_or_path: str, format: str, *, encoder: str = "", out: Path | str | None = None
) -> list[Path]:
    """Write a reference as a file that another tool reads; returns what was written.

    Args:
        format: `pytorch-fid` and `edm` (mu, sigma), `clean-fid` (by its naming, with the kid file
            where features are stored), `adm` (mu, sigma, mu_s, sigma_s), `torch-fidelity` (its
            cache: point `cache_root` at the folder).
        encoder: which of the reference's; may be left out where only one fits the format.
        out: the file, or a folder for a file with the tool's own name; the current folder if not
            given.
    """
    if format not in _FORMATS:
        raise EvalkitError(f"There is no format {format!r}.", f"Known: {', '.join(_FORMATS)}.")
    tool, folder = _FORMATS[format], find(name_or_path)
    files = sorted(folder.glob("*.npz")) if folder.is_dir() else [folder]
    held = {
        item.convention or encoder: item for path in files for item in foreign_statistics.read(path)
    }
    label = read_card(folder).name if folder.is_dir() else folder.stem
    fitting = [key for key in held if key in tool.encoders and encoder in ("", key)]
    if len(fitting) != 1:
        found = f"The reference {name_or_path!r} is of {', '.join(sorted(held)) or 'no encoder'}"
        wanted = (
            f"{format} knows {', '.join(tool.encoders)}" if not fitting else "several of them fit"
        )
        raise EvalkitError(
            f"{found}; {wanted}.",
            "Name one that both have with --encoder." if fitting else "Build it with one of those.",
        )
    item = held[fitting[0]]
    if "pool" not in item.moments:
        raise EvalkitError(
            f"The reference {name_or_path!r} holds features only, no moments.", "Build it again."
        )
    place = Path(out) if out is not None else Path()
    own_name = tool.file_name(label, fitting[0])
    target = place / own_name if out is None or place.is_dir() else place
    return tool.write(target, item)


def _mu_sigma(item: Statistics, feature: str = "pool", ending: str = "") -> dict[str, Any]:
    part: Moments = item.moments[feature]
    return {f"mu{ending}": part.mean.numpy(), f"sigma{ending}": part.cov.numpy()}


def _savez(path: Path, **arrays: Any) -> Path:
    with atomic_file(path) as file:
        np.savez(file, **arrays)
    return path


def _write_plain(path: Path, item: Statistics) -> list[Path]:
    return [_savez(path, **_mu_sigma(item))]


def _write_clean(path: Path, item: Statistics) -> list[Path]:
    written = [_savez(path, **_mu_sigma(item))]
    if "pool" in item.features:
        written.append(
            _savez(path.with_name(f"{path.stem}_kid.npz"), feats=item.features["pool"].numpy())
        )
    return written


def _write_adm(path: Path, item: Statistics) -> list[Path]:
    if "spatial" not in item.moments:
        hint = "Build it again with an encoder that gives them (inception), or use --format pytorch-fid."
        raise EvalkitError(
            "ADM's file needs moments of spatial features, which this reference does not hold.",
            hint,
        )
    return [_savez(path, **_mu_sigma(item), **_mu_sigma(item, "spatial", "_s"))]


def _write_fidelity(path: Path, item: Statistics) -> list[Path]:
    import torch

    with atomic_file(path) as file:
        torch.save(_mu_sigma(item), file)
    return [path]


def _clean_name(name: str, encoder: str) -> str:
    mode = next(mode for mode, convention in CLEAN_FID.items() if convention == encoder)
    return f"{name}_{mode}_custom_na.npz".lower()


class _Tool(NamedTuple):
    encoders: tuple[str, ...]  # whose conventions the tool knows
    file_name: Callable[[str, str], str]
    write: Callable[[Path, Statistics], list[Path]]


_FORMATS = {
    "pytorch-fid": _Tool(("inception-torch",), lambda name, _: f"{name}.npz", _write_plain),
    "clean-fid": _Tool(tuple(CLEAN_FID.values()), _clean_name, _write_clean),
    "edm": _Tool(("inception",), lambda name, _: f"{name}.npz", _write_plain),
    "adm": _Tool(("inception",), lambda name, _: f"VIRTUAL_{name}.npz", _write_adm),
    "torch-fidelity": _Tool(
        ("inception",),
        lambda name, _: f"{name}-inception-v3-compat-stat-fid-2048.pt",
        _write_fidelity,
    ),
}
FORMATS = tuple(_FORMATS)
