"""Files of runs, of ratings, of the gate and of models, each with the command that reads it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from fuzz_formats import SCORE, TEXTS, Format, picture, run
from rating_files import rated_run, scale_rows, table

from evalkit.ratings.files import ratings_of
from evalkit.run_folder import Run


# --- run folders ---
@cache
def _scored() -> Path:
    folder = Path(mkdtemp(prefix="scored-"))
    (folder / "p.jsonl").write_text(
        "".join(json.dumps({"prompt": text, "group": text[2:5]}) + "\n" for text in TEXTS)
    )
    place = str(folder / "run")
    run("generate", "--models", "noise,gan", "--prompts", str(folder / "p.jsonl"), "--out", place,
        "--set", "noise.size=8", "--set", "gan.truncation=0.5")  # fmt: skip
    run("score", place, *SCORE[:-2], "vendi,duplicates")
    return folder


def copy_scored(folder: Path) -> None:
    shutil.copytree(_scored(), folder, dirs_exist_ok=True)


def rows_of(folder: Path, stdout: str) -> Any:
    return json.loads(stdout)


def nothing(folder: Path, stdout: str) -> Any:
    return None


def tables_of(folder: Path, stdout: str) -> Any:
    return {
        path.name: path.read_text() for path in sorted((folder / "run/report/tables").iterdir())
    }


def of_run(file: str, command: Sequence[str], result: Callable, **more: Any) -> Format:
    return Format(copy_scored, f"run/{file}", command, result, **more)


_SCORE = ("score", "run", *SCORE)
_TABLES = ("tables", "run")
RUNS = {
    # Without a checksum: a damaged text may be another text.
    **{
        f"run-{place.rpartition('/')[2]}": of_run(place, _SCORE, rows_of, checked=False)
        for place in (
            *("run.toml", "prompts.jsonl", "images/noise/model.json"),
            "images/noise/manifest.0.jsonl",
        )
    },
    "run-image": of_run("images/noise/00002-0.png", _SCORE, rows_of),
    "run-features": of_run("features/noise/pixels.npz", _SCORE, rows_of),
    "run-facts": of_run("features/noise/validation.json", _SCORE, rows_of),
    "run-measured": of_run("features/noise/measured/vendi.json", _SCORE, rows_of),
    **{
        f"run-{place}": of_run(place, _TABLES, tables_of, checked=False)
        for place in ("metrics.json", "comparisons.json", "protocol.json", "scores.csv")
    },
    **{
        f"report-{place}": of_run(place, ("report", "run"), nothing, checked=False, weight=0.2)
        for place in (
            *("metrics.json", "comparisons.json", "protocol.json", "scores.csv"),
            *("image_checks.json", "run.toml", "prompts.jsonl"),
        )
    },
}  # fmt: skip


# --- the gate ---
def with_baseline(folder: Path) -> None:
    copy_scored(folder)
    run("baseline", "save", "run:noise", "--out", "baseline.json", "--reason", "the first one")
    (folder / "gate.toml").write_text(
        'baseline = "baseline.json"\nalpha = 0.05\n[metrics.vendi]\nmax_relative_drop = 0.03\n'
        'tier = "critical"\n[metrics.duplicates]\nmax_increase = 0.25\ntier = "advisory"\n'
    )


_GATE = ("gate", "run:noise", "--no-report", "--json")
GATES = {
    "baseline": Format(
        with_baseline, "baseline.json", (*_GATE, "--baseline", "baseline.json"), rows_of
    ),
    "gate-toml": Format(
        with_baseline, "gate.toml", (*_GATE, "--config", "gate.toml"), rows_of, checked=False
    ),
}


# --- ratings ---
def with_ratings(folder: Path) -> None:
    """A run with a table of ratings beside it, and the same in JSON."""
    rated_run(folder / "run")
    rows = scale_rows()
    (folder / "votes.csv").write_text(table(rows))
    (folder / "votes.json").write_text(json.dumps(rows))


def with_imported(folder: Path) -> None:
    with_ratings(folder)
    run("rate", "import", "votes.csv", "--run", "run")
    [path] = (folder / "run" / "ratings").glob("import-*.csv")
    path.rename(path.with_name("import-votes.csv"))


def imported(folder: Path, stdout: str) -> Any:
    return sorted(map(repr, ratings_of(Run(folder / "run"))))


def every_row(folder: Path, data: bytes) -> bool:
    """Whether each row is imported or, as unanswered or repeated, listed: none vanishes."""
    text = data.decode("utf-8-sig", "replace")
    if text.lstrip().startswith("["):
        count = len(json.loads(text))
    else:
        rows = list(csv.reader(text.splitlines(keepends=True)))[1:]
        count = sum(1 for row in rows if any(field.strip() for field in row))
    made = ratings_of(Run(folder / "run"))
    listed = Run(folder / "run").rejected_path
    left = len(list(csv.DictReader(listed.open(newline="")))) if listed.exists() else 0
    return count == len(made) + left


def rated(name: str) -> Format:
    command = ("rate", "import", name, "--run", "run")
    return Format(with_ratings, name, command, imported, checked=False, says=every_row)


RATINGS = {
    "ratings-csv": rated("votes.csv"),
    "ratings-json": rated("votes.json"),
    "run-ratings": Format(
        with_imported, "run/ratings/import-votes.csv", ("rate", "summary", "run", "--json"),
        rows_of, checked=False,
    ),
    "run-study": Format(
        with_imported, "run/ratings/imported.toml", ("rate", "summary", "run", "--json"),
        rows_of, checked=False,
    ),
}  # fmt: skip


# --- models ---
def with_images(folder: Path) -> None:
    """A folder of images with lists that say which prompt each was made for."""
    (folder / "images").mkdir()
    for at in range(len(TEXTS)):
        picture(at, 8).save(folder / "images" / f"{at}.png")
    (folder / "p.txt").write_text("\n".join(TEXTS))


def listed_as(name: str, content: str) -> Format:
    def make(folder: Path) -> None:
        with_images(folder)
        (folder / "images" / name).write_text(content)

    def pairs(folder: Path, stdout: str) -> Any:
        made = Run(folder / "run")
        prompts = [prompt.text for prompt in made.prompts()]
        return {one.source: prompts[one.index] for one in made.records("images") if one.source}

    def as_listed(folder: Path, data: bytes) -> bool:
        """Every pair stands in one line of the list."""
        lines = data.decode("utf-8-sig").splitlines()
        return all(
            any(file in line and text in line for line in lines)
            for file, text in pairs(folder, "").items()
        )

    command = ("generate", "--models", "images", "--prompts", "p.txt", "--out", "run")
    return Format(make, f"images/{name}", command, pairs, checked=False, says=as_listed)


def with_weights(folder: Path) -> None:
    """A GAN of few weights, as an own training writes it."""
    from evalkit.models.load import BUNDLED

    shutil.copy(BUNDLED / "gan.safetensors", folder / "gan.safetensors")
    (folder / "p.txt").write_text(TEXTS[0])


def images_of(folder: Path, stdout: str) -> Any:
    return [path.read_bytes() for path in sorted(folder.glob("run/images/*/*.png"))]


def without_nan(folder: Path, data: bytes) -> bool:
    """Whether all weights are finite: with others, an image is noise that nobody asked for."""
    from safetensors.torch import load

    return all(bool(value.isfinite().all()) for value in load(data).values())


TEMPLATE = """name = "mine"
checked = "never"
method = "POST"
url = "http://127.0.0.1:9/images"
model = "m"
price = 0.01
body = { prompt = "{prompt}", seed = "{seed}" }
headers = { Authorization = { env = "MINE_KEY", prefix = "Bearer " } }
[answer]
image = "data.0.url"
as = "url"
"""


def with_template(folder: Path) -> None:
    (folder / "t.toml").write_text(TEMPLATE)
    (folder / "p.txt").write_text(TEXTS[0])


_LISTED = [{"file_name": f"{at}.png", "text": text} for at, text in enumerate(reversed(TEXTS))]
MODELS = {
    "metadata-csv": listed_as("metadata.csv", table(_LISTED)),
    "metadata-jsonl": listed_as(
        "metadata.jsonl", "".join(json.dumps(row) + "\n" for row in _LISTED)
    ),
    "weights": Format(
        with_weights, "gan.safetensors",
        ("generate", "--models", "gan", "--set", "gan.weights=gan.safetensors", "--prompts",
         "p.txt", "--out", "run"),
        images_of, checked=False, says=without_nan, names="gan", weight=0.5,
    ),
    "template-toml": Format(
        with_template, "t.toml",
        ("generate", "--models", "http-template:t.toml", "--prompts", "p.txt", "--dry-run"),
        nothing, checked=False,
    ),
}  # fmt: skip
