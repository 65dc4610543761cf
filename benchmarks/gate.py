"""False alarms of the gate, and how often it finds damage, on images of a bundled model.

    python benchmarks/gate.py [STUDIES]

A/A: one model with two seeds on the same prompts, random subsets of the prompts. No margin at all
is the hardest case: each metric is worse or better by chance. Damage: the images of the second seed
are blurred, belong to other prompts, are compressed (JPEG, quality 10), or are copies of a quarter.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

import evalkit
from evalkit.features.image_sets import image_sets
from evalkit.gate.config import Rule
from evalkit.gate.decide import correct, decide
from evalkit.gate.rules import SHARE
from evalkit.gate.snapshot import Snapshot, state_of
from evalkit.prompts import read_prompts
from evalkit.run_folder import Run
from evalkit.score.evidence import Setup, encode_prompts, gather, part
from evalkit.score.resources import load
from evalkit.score.settings import Settings

METRICS = ("fid", "inception_score", "precision", "recall", "clip_score")
SIZES = (50, 100, 200)
Damage = Callable[[list[Image.Image]], list[Image.Image]]


def _jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=10)
    return Image.open(buffer).convert("RGB")


DAMAGES: dict[str, Damage] = {
    "none (A/A)": list,
    "blurred": lambda images: [one.filter(ImageFilter.GaussianBlur(1)) for one in images],
    "JPEG, quality 10": lambda images: [_jpeg(one) for one in images],
    "other prompts": lambda images: images[7:] + images[:7],
    "copies of a quarter": lambda images: [
        images[at % (len(images) // 4)] for at in range(len(images))
    ],
}


def evidence_of(images: list[Image.Image], prompts, root: Path, name: str):
    """Features of images in the order of the prompts."""
    folder = root / name
    folder.mkdir()
    for at, image in enumerate(images):
        image.save(folder / f"{at:05d}.png")
    run = Run(evalkit.generate({"m": str(folder)}, prompts, out=root / f"run-{name}").path)
    found = load(Settings(METRICS, "mini", "scenes"), bundled=True)
    _, [images_of], texts = image_sets(run.path)
    encoders = found.choice.encoders
    made = encode_prompts(run, texts, found.metrics, encoders)
    setup = Setup(run, found.metrics, encoders, found.references, found.why, made, 32)
    return gather(images_of, setup), setup


def snapshot(evidence, setup, prompts, chosen) -> Snapshot:
    keys = tuple((prompts[at].id, 0) for at in chosen)
    own = {kind: part(one, chosen) for kind, one in evidence.items()}
    states = {one.name: state_of(one, own, keys, setup) for one in setup.metrics}
    texts = {prompt.id: prompt.text for prompt in prompts}
    groups = dict.fromkeys(texts, "")
    return Snapshot("run:m", "m", texts, groups, {}, states, "")


def rule(state, margins: bool) -> Rule:
    if not margins:
        return Rule(margin=0.0)
    return Rule(margin=SHARE) if state.measure.range == (0.0, 1.0) else Rule(relative=0.05)


def main(studies: int) -> None:
    prompts = read_prompts("suite")
    random = np.random.RandomState(0)
    with tempfile.TemporaryDirectory() as place:
        root, images = Path(place), []
        for seed in (0, 1):
            run = evalkit.generate("gan", prompts, seed=seed, out=root / f"gan-{seed}")
            paths = [run.image_path("gan", record) for record in run.records("gan")]
            images.append([Image.open(path).convert("RGB") for path in paths])
        base, setup = evidence_of(images[0], prompts, root, "base")
        print("damage\tN\tmargins\tREGRESSED\tby metric")
        for place_of, (name, damage) in enumerate(DAMAGES.items()):
            other, _ = evidence_of(damage(images[1]), prompts, root, f"damage-{place_of}")
            for size in SIZES:
                alarms = {False: [], True: []}
                for _ in range(studies):
                    chosen = sorted(random.choice(len(prompts), size, replace=False))
                    a, b = (snapshot(one, setup, prompts, chosen) for one in (other, base))
                    for margins in (False, True):
                        rows = [
                            decide(a, b, metric, rule(a.states[metric], margins), 0.05)
                            for metric in METRICS
                        ]
                        found = [r.metric for r in correct(rows, 0.05) if r.verdict == "REGRESSED"]
                        alarms[margins].append(found)
                for margins, found in alarms.items():
                    share = np.mean([bool(one) for one in found])
                    by = {m: round(float(np.mean([m in one for one in found])), 3) for m in METRICS}
                    kind = "default" if margins else "none"
                    print(f"{name}\t{size}\t{kind}\t{share:.3f}\t{by}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
