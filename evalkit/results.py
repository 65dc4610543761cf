"""A run folder for Python users: data frames, and a table with images in a notebook.

    run = evalkit.load("reports/first")
    run.frame().query("metric == 'fid'")

pandas is imported where a frame is made: `import evalkit` stays fast.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from evalkit import run_folder
from evalkit.core import (
    AgreementRow,
    ComparisonRow,
    EvalkitError,
    MetricRow,
    Prompt,
    Record,
)
from evalkit.hints import did_you_mean
from evalkit.ratings.files import ratings_of
from evalkit.ratings.rating import Rating
from evalkit.run_config import run_config
from evalkit.seeds import image_seed

if TYPE_CHECKING:
    import pandas

Kind = Literal["metrics", "scores", "images", "comparisons", "ratings", "agreement", "pairs"]
_PROMPT = ("prompt", "text", "group", "sample")
PAIRS = (
    "prompt", "model_a", "model_b", "metric", "encoder", "better", "raters", "study",
    "difference", "preference",
)  # fmt: skip
SCORES = ("model", *_PROMPT, "metric", "encoder", "value")
IMAGES = (
    "model", *_PROMPT, "seed", "status", "seconds", "cost", "attempts", "detail", "extra", "path",
)  # fmt: skip

log = logging.getLogger(__name__)


class Run(run_folder.Run):
    """What `evalkit.run`, `evalkit.generate` and `evalkit.load` return: a run folder.

    `path` is its only state, so it shows what the folder holds now. In a notebook it is a table of
    the metrics with a strip of images.
    """

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def frame(self, kind: Kind = "metrics") -> pandas.DataFrame:
        """A file of the run as a data frame. What is unknown or was not measured is NaN.

        Args:
            kind: "metrics", one row per model and metric, with the columns of metrics.json: on all
                prompts (`group` is ""), then on each group of prompts;
                "scores", one row per image and metric that has a value for each image, with the
                image's prompt; "images", one row per requested image with seed, status, time, cost
                and path, with the status "missing" where there is none; "comparisons", one
                row per metric and pair of models; "ratings", one row per answer of a rater (see
                docs/ratings/files.md); "agreement", one row per metric and question of raters;
                "pairs", one row per metric and pair of images that raters compared.

        Raises:
            EvalkitError: the run was not scored yet, a file of it is damaged, or the kind is
                unknown.
        """
        import pandas

        if kind == "metrics":
            return _of_dataclass(MetricRow, self.metrics())
        if kind == "comparisons":
            found = self.comparisons()
            return _of_dataclass(ComparisonRow, found.rows if found else ())
        if kind == "scores":
            self.metrics()  # a run that was not scored is an error, as for "metrics"
            return pandas.DataFrame(self._scores(), columns=list(SCORES)).astype({"value": float})
        if kind == "images":
            return pandas.DataFrame(self._images(), columns=list(IMAGES)).astype({"cost": float})
        if kind == "ratings":
            return _of_dataclass(Rating, ratings_of(self))
        if kind == "agreement":
            return _of_dataclass(AgreementRow, self.agreement())
        if kind == "pairs":
            from evalkit.ratings.rows import pair_rows  # imports torch

            return pandas.DataFrame(pair_rows(self), columns=list(PAIRS))
        raise EvalkitError(
            f"There is no frame {kind!r}.",
            did_you_mean(str(kind), get_args(Kind)),
            code="results-1",
        )

    def _scores(self) -> Iterator[dict[str, Any]]:
        prompts = self._prompts()
        for row in self.scores():
            prompt = prompts.get(int(row["index"]))
            value = float(row["value"] or "nan")
            yield {**row, **_about(prompt), "sample": int(row["sample"]), "value": value}

    def _images(self) -> Iterator[dict[str, Any]]:
        prompts, (seed, per_prompt) = self._prompts(), self._requested()
        for model in self.models():
            records = self.records(model)
            if self.is_stale(
                model, records
            ):  # also with the manifest of another model, or a part of it
                log.warning("%s: the images of %s are not those that were scored", self.path, model)
            rows = {
                (index, number): {
                    **asdict(Record(prompt.id, index, number, 0, "ok")),
                    "seed": image_seed(seed, prompt.id, number),
                    "status": "missing",
                }
                for index, prompt in prompts.items()
                for number in range(per_prompt)
            }
            for record in records:
                path = str(self.image_path(model, record)) if record.file else ""
                rows[record.index, record.sample] = {**asdict(record), "path": path}
            for place in sorted(rows):
                about = _about(prompts.get(place[0]), rows[place]["prompt"])
                yield {"path": "", **rows[place], **about, "model": model}

    def _prompts(self) -> Mapping[int, Prompt]:
        """The prompts by position; {} for scored images that are not of a run."""
        return dict(enumerate(self.prompts())) if self.is_run else {}

    def _requested(self) -> tuple[int, int]:
        """The run's seed and the images per prompt, as run.toml states them."""
        config = run_config(self)
        return config.get("seed", 0), config.get("per_prompt", 1)

    def _repr_html_(self) -> str:
        from evalkit.report.notebook import to_notebook

        return to_notebook(self.path)


def load(path: os.PathLike[str] | str) -> Run:
    """An existing run, or the results of scored images; `load(path).frame()` is its data.

    Several runs as one frame, with the run as the index:

        pandas.concat({path: evalkit.load(path).frame() for path in ("reports/a", "reports/b")})

    Raises EvalkitError if the path is not a run folder.
    """
    run = Run(path)
    if not run.path.is_dir():
        raise EvalkitError(
            f"There is no folder {run.path}.", "See `evalkit list runs`.", code="results-2"
        )
    if not run.is_run and not run.is_scored:
        raise EvalkitError(
            f"{run.path} is not a run folder: it has neither prompts.jsonl nor metrics.json.",
            "`evalkit list runs FOLDER` shows the run folders in a folder.",
            code="results-3",
        )
    return run


def _about(prompt: Prompt | None, known: str = "") -> dict[str, str]:
    """The columns about a prompt; of one that the list does not have, what is known of its id."""
    if prompt is None:
        return {"prompt": known, "text": "", "group": ""}
    return {"prompt": prompt.id, "text": prompt.text, "group": prompt.group}


def _of_dataclass(kind: type[Any], rows: Sequence[Any]) -> pandas.DataFrame:
    """One column per field; numbers that may be None are floats, with NaN for None."""
    import pandas

    optional = [field.name for field in fields(kind) if "None" in str(field.type)]
    frame = pandas.DataFrame(map(asdict, rows), columns=[field.name for field in fields(kind)])
    return frame.astype(dict.fromkeys(optional, float))
