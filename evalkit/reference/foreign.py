"""Reference statistics in the files of other tools: what they hold, and with which encoder they
were made as far as the file says.

Facts on the formats: TTUR / pytorch-fid and EDM `mu, sigma`; clean-fid's file names; ADM's `mu_s,
sigma_s`; EDM2's pickle; torch-fidelity's cache; dgm-eval's `reps`; CMMD's array. A convention is
named by the encoder of evalkit that follows it.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evalkit.core import EvalkitError, Moments
from evalkit.metrics import frechet
from evalkit.reference import restricted_pickle

EXPECTED = (
    "Expected .npz with mu and sigma (pytorch-fid, clean-fid, ADM, EDM), feats (clean-fid) or reps (dgm-eval); .pkl of EDM2; "
    ".pt of torch-fidelity; or .npy of CMMD."
)
# Dimensions by encoder and feature, where the convention fixes them.
_INCEPTION = dict.fromkeys(
    ("inception", "inception-torch", "inception-clean", "inception-antialias"), 2048
)
DIMENSIONS = _INCEPTION | {
    "clip-b32": 512,
    "clip-b16": 512,
    "clip-l14": 768,
    "clip-l14-336": 768,
    "dinov2-l14": 1024,
}
CLEAN_FID = {
    "clean": "inception-clean",
    "legacy_tensorflow": "inception",
    "legacy_pytorch": "inception-torch",
}
_CLEAN_FID = re.compile(
    r"(.+)_(clean|legacy_tensorflow|legacy_pytorch)(?:_(clip_vit_b_32))?_([a-z0-9]+)_(\d+|na)(_kid)?\.npz",
    re.I,
)
_FIDELITY = re.compile(
    r"(.+)-(inception-v3-compat|vgg16|clip-[a-z0-9-]+?|dinov2-[a-z0-9-]+?)-(?:features|stat-fid)-([^-]+)\.pt"
)
_FAULTS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    EOFError,
    zipfile.BadZipFile,
    RuntimeError,
    pickle.UnpicklingError,
)


class Statistics(NamedTuple):
    """What a file holds for one encoder."""

    format: str  # the tool that writes such files
    convention: str  # the encoder that it was made with; "" where the file does not say
    moments: dict[str, Moments]  # by name of the feature; count 0 where the file does not say
    features: dict[str, Tensor]  # float32 [N, D]
    meta: dict[str, str]  # evalkit's own files only


def read(path: Path) -> list[Statistics]:
    """All that a file holds, for each encoder. Raises EvalkitError where it is damaged, no
    statistics, or not possible as such.
    """
    readers = {
        ".npz": _npz,
        ".npy": _npy,
        ".pkl": _pickle,
        ".pickle": _pickle,
        ".pt": _torch,
        ".pth": _torch,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise EvalkitError(f"{path} is no file of statistics that is known.", EXPECTED)
    try:
        found = reader(path)
    except _FAULTS as error:
        raise EvalkitError(
            f"The reference file {path} cannot be read: {error}.", EXPECTED
        ) from error
    for item in found:
        for feature, part in item.moments.items():
            check(part, f"{path}: {feature}" if feature != "pool" else str(path))
        for feature, rows in item.features.items():
            if not bool(torch.isfinite(rows).all()):
                raise EvalkitError(
                    f"The {feature} features in {path} are not all finite.", "Make the file again."
                )
        _check_dimension(item, path)
    return found


def moments(mean: Any, cov: Any, count: int = 0) -> Moments:
    """Moments in float64 of arrays of any float type; `check` says whether they can be true."""
    mean, cov = (torch.from_numpy(np.array(array, dtype=np.float64)) for array in (mean, cov))
    return Moments(mean, cov, count)


def check(part: Moments, place: str) -> None:
    """Raise EvalkitError where these cannot be the mean and covariance of anything: shapes, finite,
    symmetric, no negative variance.
    """
    mean, cov = part.mean, part.cov
    shapes = f"{place} has mu {list(mean.shape)} and sigma {list(cov.shape)}"
    if mean.ndim != 1 or len(mean) == 0 or cov.shape != (len(mean), len(mean)):
        raise EvalkitError(f"{shapes}; expected finite [D] and [D, D].", "Build it again.")
    if not bool(torch.isfinite(cov).all() and torch.isfinite(mean).all()):
        raise EvalkitError(
            f"{shapes} that are not all finite; expected finite [D] and [D, D].", "Build it again."
        )
    largest = float(cov.abs().max())
    off = float((cov - cov.T).abs().max())
    if off > 1e-5 * largest:
        raise EvalkitError(
            f"The covariance in {place} is not symmetric (off by {off:.3g}).",
            "It is damaged, or no covariance.",
        )
    # Rounding (float32 files too) leaves eigenvalues slightly below 0; the shift lets Cholesky pass
    # them, and nothing worse.
    shifted = (cov + cov.T) / 2 + (1e-5 * largest + 1e-300) * torch.eye(
        len(mean), dtype=torch.float64
    )
    if int(torch.linalg.cholesky_ex(shifted).info) != 0:
        lowest = float(torch.linalg.eigvalsh((cov + cov.T) / 2)[0])
        if lowest < -1e-3 * largest:
            raise EvalkitError(
                f"The covariance in {place} has a negative variance ({lowest:.3g}).",
                "It is damaged, or no covariance.",
            )


def _check_dimension(item: Statistics, path: Path) -> None:
    dimension = DIMENSIONS.get(item.convention)
    found = {len(part.mean) for name, part in item.moments.items() if name == "pool"} | {
        rows.shape[1] for rows in item.features.values()
    }
    if dimension is not None and found - {dimension}:
        wrong = min(found - {dimension})
        raise EvalkitError(
            f"{path} has {wrong} dimensions; {item.convention} has {dimension}.",
            "It was made with another encoder.",
        )


def _npz(path: Path) -> list[Statistics]:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        keys = set(file.files)
        if "meta" in keys:
            return [_own(file)]
        clean = _CLEAN_FID.fullmatch(path.name)
        if "feats" in keys:
            return [_of_rows("clean-fid", _clean_convention(clean), file["feats"])]
        if "reps" in keys:
            return [
                _of_rows(
                    "dgm-eval",
                    "dinov2-l14" if re.search(r"_dinov2_", path.name) else "",
                    file["reps"],
                )
            ]
        if not {"mu", "sigma"} <= keys:
            if "arr_0" in keys:
                hint = f"Make them: `evalkit reference build {path}`."
                raise EvalkitError(f"{path} holds images and no statistics (mu, sigma).", hint)
            raise EvalkitError(
                f"{path} holds {', '.join(sorted(keys)) or 'nothing'}; expected mu and sigma.",
                EXPECTED,
            )
        found = {"pool": moments(file["mu"], file["sigma"])}
        if {"mu_s", "sigma_s"} <= keys:
            return [
                Statistics(
                    "ADM",
                    "inception",
                    found | {"spatial": moments(file["mu_s"], file["sigma_s"])},
                    {},
                    {},
                )
            ]
    rows: dict[str, Tensor] = {}
    if clean:
        beside = path.with_name(f"{path.stem}_kid.npz")
        rows = _npz(beside)[0].features if beside.is_file() else {}
    tool = "clean-fid" if clean else "pytorch-fid or EDM"
    return [Statistics(tool, _clean_convention(clean), found, rows, {})]


def _own(file: Any) -> Statistics:
    meta = {str(key): str(value) for key, value in json.loads(str(file["meta"])).items()}
    count, keys = int(file["n"]) if "n" in file.files else 0, set(file.files)
    found = {"pool": moments(file["mu"], file["sigma"], count)} if {"mu", "sigma"} <= keys else {}
    if {"mu_s", "sigma_s"} <= keys:
        found["spatial"] = moments(file["mu_s"], file["sigma_s"], count)
    rows = {"pool": _rows(file["features"])} if "features" in keys else {}
    if not (found or rows):
        raise ValueError("it holds neither mu and sigma nor features")
    return Statistics("evalkit", meta.get("encoder", ""), found, rows, meta)


def _clean_convention(clean: re.Match[str] | None) -> str:
    if clean is None:
        return ""
    return f"clean-fid's {clean[3].lower()}" if clean[3] else CLEAN_FID[clean[2].lower()]


def _npy(path: Path) -> list[Statistics]:
    with path.open("rb") as opened:
        values = np.lib.format.read_array(opened, allow_pickle=False)
    if values.ndim != 2 or values.dtype.kind != "f":
        raise ValueError(f"it is {values.dtype} {list(values.shape)}, not float [N, D]")
    is_cmmd = values.shape[1] == DIMENSIONS["clip-l14-336"] and bool(
        np.allclose(np.linalg.norm(values[:100], axis=1), 1, atol=1e-2)
    )
    return [
        _of_rows(
            "CMMD" if is_cmmd else "an array of features", "clip-l14-336" if is_cmmd else "", values
        )
    ]


def _pickle(path: Path) -> list[Statistics]:
    loaded = restricted_pickle.load(path)
    if not isinstance(loaded, dict):
        raise ValueError("it is no dict")
    count = int(loaded.get("num_images") or 0)
    found = []
    for key, convention in (("fid", "inception"), ("fd_dinov2", "dinov2-l14")):
        if key in loaded:
            part = moments(loaded[key]["mu"], loaded[key]["sigma"], count)
            found.append(Statistics("EDM2", convention, {"pool": part}, {}, {}))
    if not found:
        raise ValueError(
            f"it holds {', '.join(map(str, loaded)) or 'nothing'}, not fid or fd_dinov2"
        )
    return found


def _torch(path: Path) -> list[Statistics]:
    named = _FIDELITY.fullmatch(path.name)
    convention = "" if named is None else _fidelity_convention(named[2], named[3])
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no zip file, as torch.save writes them")
    try:
        with warnings.catch_warnings(
            action="ignore"
        ):  # on protocols that it may not know: an error follows, or a result
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # numpy arrays in it, which torch takes for code
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            if archive.getinfo(name).file_size > restricted_pickle.SIZE_LIMIT:
                raise ValueError("it is too large") from None
            loaded = restricted_pickle.loads(archive.read(name), str(path))
    if isinstance(loaded, Tensor):
        return [_of_rows("torch-fidelity", convention, loaded.numpy())]
    if not isinstance(loaded, dict) or not {"mu", "sigma"} <= loaded.keys():
        raise ValueError("it holds neither features nor mu and sigma")
    return [
        Statistics(
            "torch-fidelity", convention, {"pool": moments(loaded["mu"], loaded["sigma"])}, {}, {}
        )
    ]


def _fidelity_convention(extractor: str, layer: str) -> str:
    """Its DINOv2 and CLIP resize as TensorFlow 1 does, without antialiasing: no encoder of evalkit
    follows that.
    """
    return (
        "inception"
        if (extractor, layer) == ("inception-v3-compat", "2048")
        else f"torch-fidelity's {extractor} {layer}"
    )


def _of_rows(tool: str, convention: str, values: NDArray[Any]) -> Statistics:
    rows = _rows(values)
    enough = len(rows) >= 2 and bool(torch.isfinite(rows).all())
    return Statistics(
        tool, convention, {"pool": frechet.moments(rows)} if enough else {}, {"pool": rows}, {}
    )


def _rows(values: NDArray[Any]) -> Tensor:
    if values.ndim != 2 or values.dtype.kind != "f":
        raise ValueError(f"its features are {values.dtype} {list(values.shape)}, not float [N, D]")
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
