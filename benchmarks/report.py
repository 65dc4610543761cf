"""Time, memory and size of a report, on invented values of small images.

    python benchmarks/report.py [PROMPTS MODELS [FOLDER]]

2,000 prompts and 4 models by default. `evalkit report` runs in its own process, whose CPU time and
maximum resident memory are those that the operating system counts. The goal is 60 s and 1 GB on two
cores, and 0.5 MB of HTML for 2,000 images (500 4). FOLDER keeps the run.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))

from report_runs import add_groups, make_comparisons, make_run


def main(prompts: int = 2000, models: int = 4, folder: str = "") -> None:
    with tempfile.TemporaryDirectory() as temporary:
        names = tuple(f"organisation/model-{place}" for place in range(models))
        run = make_run(Path(folder or temporary) / "run", prompts, names, hostile=False)
        add_groups(run)
        make_comparisons(run, names)
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-m", "evalkit", "report", str(run.path)], check=True)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{prompts * models:,} images of {models} models: {wall:.1f} s, {cpu:.1f} s of CPU")
        print(f"memory {after.ru_maxrss / 1024:.0f} MB")
        for name in ("index.html", "report.md"):
            print(f"{name} {(run.report_path / name).stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), folder="".join(sys.argv[3:4]))
