"""False alarms of the gate, and how often it finds planted damage: `evalkit gate selftest`, larger.

    python benchmarks/gate.py gan [--sizes 100 500 2000] [--splits 500] [--planted 100]
    python benchmarks/gate.py photos --folder PHOTOS [--sizes 100 400] …

gan: images of the bundled GAN with two seeds on held-out prompts of the bundled data set, with the
mini encoders. photos: two disjoint random sets of the photos of a folder stand for two seeds, with
efficientnet-lite0. Damages, splits and decisions are those of the selftest. Splits of one pool of
images overlap: they are not independent samples of all images that a model can make. Set
OMP_NUM_THREADS=1 on a machine that does other work.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import evalkit
from evalkit.gate.config import GateConfig
from evalkit.gate.decide import Decision
from evalkit.gate.selftest.decide import (
    FalseAlarms,
    Prepared,
    against_itself,
    planted,
    prepare,
    rate,
)
from evalkit.scenes.dataset import HELD_OUT, prompts_of, scenes

OF_SETS = "fid,inception_score,precision,recall"


def gan(out: Path, prompts: int) -> None:
    """A scored run of the GAN, two images for each of this many different prompts."""
    texts = dict.fromkeys(prompts_of(scenes(HELD_OUT, 2 * prompts)))
    evalkit.generate("gan", list(texts)[:prompts], per_prompt=2, out=out)
    evalkit.score(out, metrics=f"{OF_SETS},clip_score", encoders="mini")


def photos(out: Path, folder: Path) -> None:
    """A scored run of the photos; the prompts are their names."""
    names = [path.stem for path in sorted(folder.iterdir())]
    options = {"photos": {"match": "order"}}
    evalkit.generate({"photos": str(folder)}, names, out=out, options=options)
    evalkit.score(out, metrics=OF_SETS, encoders="efficientnet-lite0")


def say(*cells: object) -> None:
    print(*cells, f"{time.process_time():.0f} s", sep="\t", flush=True)


def itself(test: Prepared, size: int, splits: int) -> tuple[FalseAlarms, ...]:
    """False alarms, printed after every 20 splits to stderr, so that a long run can be stopped."""
    made: list[list[Decision]] = []
    bare: list[list[Decision]] = []
    for first in range(0, splits, 20):
        numbers = range(first, min(first + 20, splits))
        tables = against_itself(test, size, numbers)
        made += tables[0]
        bare += tables[1]
        found = rate("configured", made), rate("none", bare)
        counts = ", ".join(f"{one.alarms} of {one.splits}" for one in found)
        print(f"N = {size}: {counts} false alarms (margins, none)", file=sys.stderr, flush=True)
    return found


def shares(found: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.3f}" for name, share in found.items() if share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", choices=("gan", "photos"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--splits", type=int, default=500)
    parser.add_argument("--planted", type=int, default=100, help="splits for each damage; 0: none")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "run"
        if given.images == "gan":
            gan(out, max(given.sizes))
        else:
            photos(out, given.folder)
        test = prepare(str(out), GateConfig())
        say("against", "N", "splits", "regressed", "95% interval", "by metric", "CPU")
        for size in given.sizes:
            for one in itself(test, size, given.splits) if given.splits else ():
                ends = f"{one.low:.3f} to {one.high:.3f}"
                name = f"itself, margins {one.margins}"
                say(name, size, one.splits, f"{one.rate:.3f}", ends, shares(one.metrics))
            numbers = range(given.planted)
            for one in planted(test, size, numbers) if given.planted else ():
                say(one.damage, size, one.splits, f"{one.found:.3f}", "", shares(one.metrics))


if __name__ == "__main__":
    main()
