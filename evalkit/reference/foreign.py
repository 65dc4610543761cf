"""Reference statistics in the files of evalkit and of other tools.

- pytorch-fid (TTUR), EDM: .npz with `mu`, `sigma`.
- clean-fid: the same, or `feats`; the file name states the encoder.
- ADM: .npz with `mu`, `sigma`, `mu_s`, `sigma_s`. dgm-eval: .npz with `reps`.
- EDM2: a pickle. torch-fidelity: .pt. CMMD: .npy.

A convention has the name of the evalkit encoder that follows it.
"""

from __future__ import annotations

import json
import pickle
import re
import tokenize
import warnings
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evalkit.core import EvalkitError, Moments
from evalkit.hints import plural
from evalkit.images.kinds import check_suffix, what_is
from evalkit.metrics import frechet
from evalkit.reference import restricted_pickle
from evalkit.sources.arrays import check_held, check_zip, read_header

EXPECTED = (
    "Expected .npz with mu and sigma (pytorch-fid, clean-fid, ADM, EDM), feats (clean-fid) or "
    "reps (dgm-eval); .pkl of EDM2; .pt of torch-fidelity; or .npy of CMMD."
)
DIMENSIONS = {
    "inception": 2048,
    "inception-torch": 2048,
    "inception-clean": 2048,
    "inception-antialias": 2048,
    "efficientnet-lite0": 1280,
    "mini-inception": 192,
    "mini-clip": 128,
    "clip-b32": 512,
    "clip-b32-openai": 512,
    "clip-b16": 512,
    "clip-l14": 768,
    "clip-l14-336": 768,
    "clip-l14-336-cmmd": 768,
    "dinov2-l14": 1024,
}
CLEAN_FID = {
    "clean": "inception-clean",
    "legacy_tensorflow": "inception",
    "legacy_pytorch": "inception-torch",
}
_CLEAN_FID_NAME = re.compile(
    r".+_(?P<mode>clean|legacy_tensorflow|legacy_pytorch)(?:_(?P<network>clip_vit_b_32))?"
    r"_[a-z0-9]+_(?:\d+|na)(?:_kid)?\.npz",
    re.I,
)
_TORCH_FIDELITY_NAME = re.compile(
    r".+-(?P<network>inception-v3-compat|vgg16|clip-[a-z0-9-]+?|dinov2-[a-z0-9-]+?)"
    r"-(?:features|stat-fid)-(?P<layer>[^-]+)\.pt"
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
    AttributeError,
    MemoryError,
    OverflowError,
    SyntaxError,
    tokenize.TokenError,
    zlib.error,
    pickle.UnpicklingError,
)


@dataclass(frozen=True)
class Statistics:
    """The statistics of a file for one encoder."""

    format: str  # the tool that writes such files
    convention: str  # the encoder; "" if the file does not say
    moments: dict[str, Moments]  # by name of the feature; count 0 if the file does not say
    features: dict[str, Tensor] = field(default_factory=dict)  # float32 [N, D]
    meta: dict[str, str] = field(default_factory=dict)  # only of evalkit's files

    @property
    def count(self) -> int:
        """The number of images; 0 if the file does not say."""
        return max((part.count for part in self.moments.values()), default=0)


def read(path: Path) -> list[Statistics]:
    """The statistics of a file, per encoder. Raises EvalkitError if there are no valid ones."""
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
        found = what_is(path) or "not readable"
        raise EvalkitError(
            f"{path} is {found}; expected a known file of statistics.",
            EXPECTED,
            code="reference-23",
        )
    check_suffix(path)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below
            found = reader(path)
    except _FAULTS as error:
        reason: object = f"it has no {error}" if isinstance(error, KeyError) else error
        if "allow_pickle" in str(error):  # numpy advises to load what may run code
            reason = "an array of it holds Python objects"
        raise EvalkitError(
            f"The reference file {path} cannot be read: {reason}.", EXPECTED, code="reference-24"
        ) from error
    for item in found:
        for feature, part in item.moments.items():
            check(part, f"{path}: {feature}" if feature != "pool" else str(path))
        for feature, rows in item.features.items():
            if not bool(torch.isfinite(rows).all()):
                raise EvalkitError(
                    f"The {feature} features in {path} are not all finite.",
                    "Create the file again.",
                    code="reference-25",
                )
        check_dimension(item, path)
    return found


def moments(mean: Any, cov: Any, count: int = 0) -> Moments:
    """Moments in float64 from arrays of float32 or float64, not checked yet (see `check`).

    Raises ValueError for another type: float16 changes FID by 1e-4 of it, or more.
    """
    types = [np.asarray(array).dtype for array in (mean, cov)]
    if not all(one.kind == "f" and one.itemsize >= 4 for one in types):
        raise ValueError(f"mu is {types[0]} and sigma {types[1]}, not float32 or float64")
    mean, cov = (torch.from_numpy(np.array(array, dtype=np.float64)) for array in (mean, cov))
    return Moments(mean, cov, count)


def check(part: Moments, place: str) -> None:
    """Raise EvalkitError unless these can be a mean and a covariance.

    They must be finite, of matching shapes, symmetric and without a negative variance.
    """
    mean, cov = part.mean, part.cov
    shapes = f"{place} has mu {list(mean.shape)} and sigma {list(cov.shape)}"
    if mean.ndim != 1 or len(mean) == 0 or cov.shape != (len(mean), len(mean)):
        raise EvalkitError(
            f"{shapes}; expected finite [D] and [D, D].", "Build it again.", code="reference-26"
        )
    if not bool(torch.isfinite(cov).all() and torch.isfinite(mean).all()):
        raise EvalkitError(
            f"{shapes} that are not all finite; expected finite [D] and [D, D].",
            "Build it again.",
            code="reference-27",
        )
    largest = float(cov.abs().max())
    off = float((cov - cov.T).abs().max())
    if off > 1e-5 * largest:
        raise EvalkitError(
            f"The covariance in {place} is not symmetric (off by {off:.3g}).",
            "It is damaged, or not a covariance.",
            code="reference-28",
        )
    # Rounding (also to float32) leaves eigenvalues slightly below 0. The shift makes Cholesky
    # accept these, but no clearly negative eigenvalue.
    shifted = (cov + cov.T) / 2 + (1e-5 * largest + 1e-300) * torch.eye(
        len(mean), dtype=torch.float64
    )
    if int(torch.linalg.cholesky_ex(shifted).info) != 0:
        lowest = float(torch.linalg.eigvalsh((cov + cov.T) / 2)[0])
        if lowest < -1e-3 * largest:
            raise EvalkitError(
                f"The covariance in {place} has a negative variance ({lowest:.3g}).",
                "It is damaged, or not a covariance.",
                code="reference-29",
            )


def check_dimension(item: Statistics, path: Path) -> None:
    """Raise EvalkitError if the encoder of the statistics has features of another dimension."""
    dimension = DIMENSIONS.get(item.convention)
    found = {rows.shape[1] for rows in item.features.values()}
    if "pool" in item.moments:
        found.add(len(item.moments["pool"].mean))
    if dimension is not None and found - {dimension}:
        wrong = min(found - {dimension})
        raise EvalkitError(
            f"{path} has {wrong} dimensions; {item.convention} has {dimension}.",
            "It was made with another encoder: name that one, or create the file again.",
            code="reference-30",
        )


def _npz(path: Path) -> list[Statistics]:
    clean = _CLEAN_FID_NAME.fullmatch(path.name)
    check_zip(path)
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        keys = set(file.files)
        if "meta" in keys:
            return [_own(file)]
        if "feats" in keys:
            return [_of_rows("clean-fid", _clean_fid_convention(clean), file["feats"])]
        if "reps" in keys:
            convention = "dinov2-l14" if "_dinov2_" in path.name else ""
            return [_of_rows("dgm-eval", convention, file["reps"])]
        if "arr_0" in keys and not {"mu", "sigma"} <= keys:
            raise EvalkitError(
                f"{path} contains images and no statistics (mu, sigma).",
                f"To compute them: `evalkit reference build {path}`.",
                code="reference-31",
            )
        if not {"mu", "sigma"} <= keys:
            raise EvalkitError(
                f"{path} contains {', '.join(sorted(keys)) or 'nothing'}; expected mu and sigma.",
                EXPECTED,
                code="reference-32",
            )
        found = {"pool": moments(file["mu"], file["sigma"])}
        if {"mu_s", "sigma_s"} <= keys:
            found["spatial"] = moments(file["mu_s"], file["sigma_s"])
            return [Statistics("ADM", "inception", found)]
    if not clean:
        return [Statistics("pytorch-fid or EDM", "", found)]
    features_file = path.with_name(f"{path.stem}_kid.npz")
    rows = _npz(features_file)[0].features if features_file.is_file() else {}
    return [Statistics("clean-fid", _clean_fid_convention(clean), found, rows)]


def _own(file: Any) -> Statistics:
    meta = {str(key): str(value) for key, value in json.loads(str(file["meta"])).items()}
    count, keys = int(file["n"]) if "n" in file.files else 0, set(file.files)
    found = {"pool": moments(file["mu"], file["sigma"], count)} if {"mu", "sigma"} <= keys else {}
    if {"mu_s", "sigma_s"} <= keys:
        found["spatial"] = moments(file["mu_s"], file["sigma_s"], count)
    rows = {"pool": _rows(file["features"])} if "features" in keys else {}
    if rows and not found and len(rows["pool"]) == count > 1:  # a compact file has all features
        found = {"pool": frechet.moments(rows["pool"])}
    if not (found or rows):
        raise ValueError("it contains neither mu and sigma nor features")
    return Statistics("evalkit", meta.get("encoder", ""), found, rows, meta)


def _clean_fid_convention(name: re.Match[str] | None) -> str:
    if name is None:
        return ""
    network = name["network"]
    return f"clean-fid's {network.lower()}" if network else CLEAN_FID[name["mode"].lower()]


def _npy(path: Path) -> list[Statistics]:
    with path.open("rb") as opened:
        header = read_header(opened)
        check_held(header, path.stat().st_size)
        opened.seek(0)
        values = np.lib.format.read_array(opened, allow_pickle=False)
    if values.ndim != 2 or values.dtype.kind != "f":
        raise ValueError(f"it is {values.dtype} {list(values.shape)}, not float [N, D]")
    norms = np.linalg.norm(values[:100], axis=1)
    if values.shape[1] == DIMENSIONS["clip-l14-336-cmmd"] and np.allclose(norms, 1, atol=1e-2):
        return [_of_rows("CMMD", "clip-l14-336-cmmd", values)]
    return [_of_rows("an array of features", "", values)]


def _pickle(path: Path) -> list[Statistics]:
    loaded = restricted_pickle.load(path)
    if not isinstance(loaded, dict):
        raise ValueError("it is not a dict")
    count = int(loaded.get("num_images") or 0)
    found = []
    for key, convention in (("fid", "inception"), ("fd_dinov2", "dinov2-l14")):
        if key in loaded:
            part = moments(loaded[key]["mu"], loaded[key]["sigma"], count)
            found.append(Statistics("EDM2", convention, {"pool": part}))
    if not found:
        keys = ", ".join(map(str, loaded)) or "nothing"
        raise ValueError(f"it contains {keys}, not fid or fd_dinov2")
    return found


def _torch(path: Path) -> list[Statistics]:
    name = _TORCH_FIDELITY_NAME.fullmatch(path.name)
    if name is None:
        convention = ""
    elif (name["network"], name["layer"]) == ("inception-v3-compat", "2048"):
        convention = "inception"
    else:  # its DINOv2 and CLIP resize without antialiasing, which no encoder of evalkit does
        convention = f"torch-fidelity's {name['network']} {name['layer']}"
    if zipfile.is_zipfile(path):
        check_zip(path)
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch reads no checksums
                raise ValueError(f"wrong checksum of {damaged}")
    try:
        # torch warns about unusual pickle protocols; what follows is an error or a result.
        with warnings.catch_warnings(action="ignore"):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # it contains numpy arrays, which torch refuses
        with zipfile.ZipFile(path) as archive:
            data = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            if archive.getinfo(data).file_size > restricted_pickle.SIZE_LIMIT:
                raise ValueError("it is too large") from None
            loaded = restricted_pickle.loads(archive.read(data), str(path))
    if isinstance(loaded, Tensor):
        return [_of_rows("torch-fidelity", convention, loaded.numpy())]
    if not isinstance(loaded, dict) or not {"mu", "sigma"} <= loaded.keys():
        raise ValueError("it contains neither features nor mu and sigma")
    found = {"pool": moments(loaded["mu"], loaded["sigma"])}
    return [Statistics("torch-fidelity", convention, found)]


def _of_rows(tool: str, convention: str, values: NDArray[Any]) -> Statistics:
    rows = _rows(values)
    if len(rows) < 2:
        raise ValueError(f"it has features of {plural(len(rows), 'image')}; 2 are the least")
    found = {"pool": frechet.moments(rows)} if bool(torch.isfinite(rows).all()) else {}
    return Statistics(tool, convention, found, {"pool": rows})


def _rows(values: NDArray[Any]) -> Tensor:
    if values.ndim != 2 or values.dtype.kind != "f":
        raise ValueError(f"its features are {values.dtype} {list(values.shape)}, not float [N, D]")
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
