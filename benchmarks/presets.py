"""The cost of training: seconds per step and hours in all, for every preset.

    python benchmarks/presets.py [STEPS [MODEL ...]]    (default: 3 steps of image-tokenizer, dalle
                                                         and gan)

Takes some minutes, and several gigabytes for the largest presets.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from evalkit.training import presets, train


def seconds(model: str, folder: str, preset: str, steps: int) -> float:
    for path in Path(folder).glob(f"{model}*.pt"):
        path.unlink()
    start = time.perf_counter()
    train(model, out=folder, preset=preset, steps=steps)
    return time.perf_counter() - start


def each(model: str, folder: str, preset: str, steps: int) -> float:
    """Seconds per step, from runs of different lengths. A first run warms up and is not counted."""
    seconds(model, folder, preset, 1)
    return (seconds(model, folder, preset, 1 + steps) - seconds(model, folder, preset, 1)) / steps


def main(steps: int, models: tuple[str, ...]) -> None:
    for model in models:
        for name, chosen in presets.PRESETS[model].items():
            # The GAN at its largest size, at which it spends most steps. Few scenes: composing them
            # is not measured.
            options = chosen.options | (
                {"growing": False, "text_pretraining": 0} if model == "gan" else {}
            )
            few = replace(chosen, scenes=chosen.batch * (steps + 1), every=10**9, options=options)
            without_critics = round(options.get("discriminator_start", 0) * chosen.steps)
            total = 0.0
            for count, critics in ((without_critics, 0.99), (chosen.steps - without_critics, 0.0)):
                if not count:
                    continue
                presets.PRESETS[model][name] = replace(
                    few,
                    options=options | ({"discriminator_start": critics} if model == "gan" else {}),
                )
                with tempfile.TemporaryDirectory() as folder:
                    if (
                        model == "dalle" and "underspecified" not in options
                    ):  # those learn from the bundled one, and so with its tokenizer
                        train(
                            "image-tokenizer",
                            out=folder,
                            preset=name if name.isdigit() else "32",
                            steps=1,
                            batch=8,
                        )
                    if "teacher" in options:
                        train("dalle", out=folder, steps=1, batch=8)
                    took = each(model, folder, name, steps)
                total += took * count / 3600
                note = " without discriminators" if critics else ""
                cost = f"{took:7.2f} s per step of {chosen.batch}, {count:,} steps{note}"
                print(f"{model:16} {name:8} {cost}", flush=True)
            print(f"{model:16} {name:8} {total:7.1f} hours", flush=True)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 3,
        tuple(sys.argv[2:]) or ("image-tokenizer", "dalle", "gan"),
    )
