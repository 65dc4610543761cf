"""Encode the images of a run without scoring them, as one of several processes or all alone.

What `score` needs of each image, its features and the answers of scorers, is added to the caches of
the run. A later `score` reads them and opens no image again but to check its hash.
"""

from __future__ import annotations

import logging
import os

from evalkit.config import Options
from evalkit.core import EvalkitError, Precision
from evalkit.engines.drive import workers_of
from evalkit.features.image_sets import image_sets
from evalkit.features.validation import OnBad
from evalkit.run_folder import Run
from evalkit.score.evidence import Setup, encode_prompts, fill
from evalkit.score.resources import load, mention, only_bundled
from evalkit.score.settings import Names, resolve
from evalkit.shards import shard_of

log = logging.getLogger(__name__)


def encode(
    path: os.PathLike[str] | str,
    *,
    metrics: Names = None,
    models: Names = None,
    encoders: Names = None,
    reference: str | None = None,
    precision: Precision | None = None,
    on_bad: OnBad = "refuse",
    device: str = "auto",
    batch_size: int | None = None,
    options: Options | None = None,
    shard: str | None = None,
    engine: str | None = None,
    shards: int | None = None,
) -> Run:
    """Encode the images of a run for a later `score`, which takes the same parameters.

    What is encoded already is left as it is, whichever process did it.

    Args:
        path: a run folder.
        metrics: names or presets; those of run.toml are encoded for in any case.
        models: labels of the models of the run; the default is all of them.
        encoders: see `score`.
        reference: see `score`; it may decide on the encoders.
        precision: see `score`.
        on_bad: invalid images "refuse" the encoding, or are "skip"ped.
        device: `auto`, `cpu`, `cuda`, ...
        batch_size: images per batch.
        options: options of scorers by name, and of the engine by its name.
        shard: `i/N`, the images of every N-th prompt from place i on; by default as torchrun, Slurm
            or Kubernetes put it into the environment, else all images.
        engine: encode in other processes: `local`, `ray` or `slurm`; its options are in `options`.
        shards: into how many parts the engine divides the run (default: 4 per worker).

    Raises:
        EvalkitError: not a run; else as `score`.
    """
    given = {name: value for name, value in locals().items() if name not in ("path", "engine")}
    workers, options = workers_of(engine, options, shards, shard)
    run = Run(path)
    if not run.is_run:
        raise EvalkitError(
            f"{run.path} is not a run folder.",
            "For other images use `evalkit score`, or import them into a run with `evalkit generate"
            " --models NAME=FOLDER`.",
            code="score-11",
        )
    if workers is not None:
        del given["shard"], given["shards"]
        with workers:
            workers.encode(run, **given | {"options": options})
        return run
    mine = shard_of(shard)
    chosen = resolve(
        run.path,
        metrics=metrics,
        models=models,
        encoders=encoders,
        reference=reference,
        options=options,
        precision=precision,
    )
    with run.encoding(mine):
        found = load(chosen, only_bundled(run, chosen.models or run.models()), device, run.path)
        mention(found)
        _, sets, prompts = image_sets(run.path, on_bad, chosen.models, mine)
        table, known = found.metrics, found.choice.encoders
        encode_prompts(run, mine.of(prompts), table, known, mine)
        setup = Setup(run, table, known, found.references, found.why, {}, batch_size, mine)
        for images in sets:
            fill(images, setup)
            images.validation.complete(images.files)
            log.info("%s: %d images encoded", images.model, len(images.files))
    return run
