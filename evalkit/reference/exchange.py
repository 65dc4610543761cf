"""Import reference statistics from the files of other tools, and export them to such files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit import plugins
from evalkit.core import EvalkitError
from evalkit.encoders.faster import parted
from evalkit.encoders.select import named
from evalkit.files import atomic_file
from evalkit.images import file_sha256
from evalkit.reference import foreign
from evalkit.reference.build import features_of
from evalkit.reference.card import read_card, write_card
from evalkit.reference.files import find, own_folder
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
    """Make a reference folder from a file of another tool; returns the folder.

    Args:
        file: see `foreign.read` for the known formats.
        name: of the new reference.
        encoder: the evalkit encoder whose convention the statistics follow, if the file does not
            say, as `evalkit.list_encoders()` has it, or your own as module:attribute. If the file
            says, another name is an error.
        count: the number of images, if the file does not say. Without it, the finite-sample
            baseline of FID is unknown.
        source: for the card.
        licence: for the card.
        description: for the card.
        out: the folder to write; by default one in the user's data folder.
        encode_images: encode the images in files of ADM (`arr_0`), so that kid, precision and
            recall have features.
        device: for the encoder of these images.
    """
    path = Path(file)
    if not path.is_file():
        raise EvalkitError(
            f"There is no file {path}.", "Give a file of statistics.", code="reference-7"
        )
    found = _with_encoder(path, encoder)
    folder, digest = Path(out) if out is not None else own_folder(name), file_sha256(path)
    facts = []
    for item in found:
        counted = {
            feature: part._replace(count=part.count or count)
            for feature, part in item.moments.items()
        }
        item = replace(item, moments=counted)
        if encode_images:
            features = features_of(path, plugins.encoder(item.convention, device))
            item = replace(item, features={"pool": features})
        facts.append(_write(folder, name, item, digest))
    command = f"evalkit reference import {path.name} --name {name}"
    card = {
        "name": name,
        "description": description or f"statistics from {path.name} ({found[0].format})",
        "count": max(int(entry["count"]) for entry in facts),
        "source": source or path.name,
        "licence": licence,
        "command": f"{command} --encoder {encoder}" if encoder else command,
        "file_sha256": digest,
    }
    write_card(folder, card, facts)
    return folder


def _with_encoder(path: Path, encoder: str) -> list[Statistics]:
    """The statistics of a file, each with the encoder of evalkit that it was made with."""
    held = foreign.read(path)
    if encoder:
        named(encoder)  # the usual sentence for an unknown name
        encoder = plugins.encoder(encoder).name if ":" in encoder else encoder
        exact, precision = parted(encoder)
        if precision != "exact":
            raise EvalkitError(
                f"The encoder {encoder} is {exact} in a faster arithmetic; expected an exact one:"
                " no other tool writes its features.",
                f"Name it: `--encoder {exact}`.",
                code="reference-36",
            )
    found = [item for item in held if item.convention in (encoder, "") or not encoder]
    if not found:
        conventions = " and ".join(item.convention for item in held)
        raise EvalkitError(
            f"The statistics in {path} were made with {conventions}, not with {encoder}.",
            "Omit --encoder.",
            code="reference-8",
        )
    found = [replace(item, convention=item.convention or encoder) for item in found]
    for item in found:
        if not item.convention:
            raise EvalkitError(
                f"{path} does not state the encoder that it was made with.",
                "Name it with --encoder: inception (TensorFlow's resize), inception-torch "
                "(pytorch-fid), ...",
                code="reference-9",
            )
        if " " in item.convention or "/" in item.convention:
            raise EvalkitError(
                f"The statistics in {path} were made with {item.convention}; no encoder of "
                "evalkit follows that convention.",
                "Build a reference from the images.",
                code="reference-10",
            )
        foreign.check_dimension(item, path)
    return found


def _write(folder: Path, name: str, item: Statistics, digest: str) -> dict[str, Any]:
    """Write the .npz file of one encoder; returns its facts for the card."""
    fingerprint = item.meta.get("fingerprint", "")
    meta = {
        "name": name,
        "encoder": item.convention,
        "fingerprint": fingerprint,
        "image_hash": item.meta.get("image_hash", ""),
        "format": item.format,
        "file_sha256": digest,
    }
    arrays = _mu_sigma(item, "pool") | _mu_sigma(item, "spatial")
    if "pool" in item.features:
        arrays["features"] = item.features["pool"].numpy()
    meta_array = np.array(json.dumps(meta))
    _savez(folder / f"{item.convention}.npz", n=item.count, **arrays, meta=meta_array)
    return {
        "name": item.convention,
        "format": item.format,
        "fingerprint": fingerprint or "unknown",
        "count": item.count,
        "features": sorted(item.moments),
        "stored_rows": len(item.features.get("pool", ())),
    }


def reference_export(
    name_or_path: str, format: str, *, encoder: str = "", out: Path | str | None = None
) -> list[Path]:
    """Write a reference as a file that another tool reads; returns the files.

    Args:
        name_or_path: of the reference.
        format: `pytorch-fid` and `edm` (mu, sigma), `clean-fid` (with its file names, and the kid
            file if features are stored), `adm` (mu, sigma, mu_s, sigma_s), `torch-fidelity` (its
            cache, with the features for KID if they are stored: `input2_cache_name` is the name,
            `cache_root` the folder, and `input2` any text, as it is not read).
        encoder: of the statistics; needed if several encoders of the reference fit the format.
        out: the file, or the folder for a file with the tool's usual name; by default the current
            folder.
    """
    if format not in _FORMATS:
        raise EvalkitError(
            f"There is no format {format!r}.",
            f"Formats: {', '.join(_FORMATS)}.",
            code="reference-11",
        )
    tool, folder = _FORMATS[format], find(name_or_path)
    files = sorted(folder.glob("*.npz")) if folder.is_dir() else [folder]
    held = {item.convention or encoder: item for path in files for item in foreign.read(path)}
    label = read_card(folder).name if folder.is_dir() else folder.stem
    fitting = [key for key in held if key in tool.encoders and encoder in ("", key)]
    if len(fitting) != 1:
        found = f"The reference {name_or_path!r} has {', '.join(sorted(held)) or 'no encoder'}"
        if fitting:
            raise EvalkitError(
                f"{found}; several of them fit {format}.",
                "Select one of them with --encoder.",
                code="reference-12",
            )
        raise EvalkitError(
            f"{found}; {format} needs {' or '.join(tool.encoders)}.",
            "Build the reference again with such an encoder.",
            code="reference-13",
        )
    item = held[fitting[0]]
    if "pool" not in item.moments:
        raise EvalkitError(
            f"The reference {name_or_path!r} has features but no moments.",
            "Build it again.",
            code="reference-14",
        )
    target = Path(out or ".")
    if target.is_dir():
        target /= tool.file_name(label, fitting[0])
    return tool.write(target, item)


def _mu_sigma(item: Statistics, feature: str) -> dict[str, Any]:
    """The arrays `mu`, `sigma` of pool features, or `mu_s`, `sigma_s` of spatial features."""
    if feature not in item.moments:
        return {}
    part, suffix = item.moments[feature], "_s" if feature == "spatial" else ""
    return {f"mu{suffix}": part.mean.numpy(), f"sigma{suffix}": part.cov.numpy()}


def _savez(path: Path, **arrays: Any) -> Path:
    with atomic_file(path) as file:
        np.savez(file, **arrays)
    return path


def _write_plain(path: Path, item: Statistics) -> list[Path]:
    return [_savez(path, **_mu_sigma(item, "pool"))]


def _write_clean(path: Path, item: Statistics) -> list[Path]:
    written = _write_plain(path, item)
    if "pool" in item.features:
        features_path = path.with_name(f"{path.stem}_kid.npz")
        written.append(_savez(features_path, feats=item.features["pool"].numpy()))
    return written


def _write_adm(path: Path, item: Statistics) -> list[Path]:
    if "spatial" not in item.moments:
        raise EvalkitError(
            "A file of ADM needs moments of spatial features; this reference has none.",
            "Build it again with an encoder that has them (inception), or use "
            "`--format pytorch-fid`.",
            code="reference-15",
        )
    return [_savez(path, **_mu_sigma(item, "pool"), **_mu_sigma(item, "spatial"))]


def _write_fidelity(path: Path, item: Statistics) -> list[Path]:
    """The files of the cache; torch-fidelity compares the types with those of its own features.

    Its mean of float32 features is float32, its covariance float64 (`fid_statistics_to_metric`).
    """
    import torch

    arrays = _mu_sigma(item, "pool")
    contents: dict[Path, Any] = {path: arrays | {"mu": arrays["mu"].astype(np.float32)}}
    if "pool" in item.features:
        features_path = path.with_name(path.name.replace("-stat-fid-", "-features-"))
        contents[features_path] = item.features["pool"]
    for place, content in contents.items():
        with atomic_file(place) as file:
            torch.save(content, file)
    return list(contents)


def _clean_name(name: str, encoder: str) -> str:
    mode = next(mode for mode, convention in CLEAN_FID.items() if convention == encoder)
    return f"{name}_{mode}_custom_na.npz".lower()


class _Tool(NamedTuple):
    encoders: tuple[str, ...]  # those that follow the tool's convention
    file_name: Callable[[str, str], str]  # from the reference and the encoder
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
