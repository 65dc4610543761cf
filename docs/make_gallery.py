"""Make the runs of docs/gallery.md and their pages: `python docs/make_gallery.py reports/gallery`.

The photos come with scikit-image (`pip install -c constraints.txt scikit-image`). Every number and
page comes from the commands in `PLAN`, which run in a temporary folder; only the inputs are made
here. Two runs of this script differ in timings and dates alone.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy
from PIL import Image, ImageFilter

# In the public domain or under CC0, as the documentation of skimage.data says.
PHOTOS = ("astronaut", "brick", "camera", "chelsea", "coffee", "grass", "gravel", "rocket")
TILE = 64  # pixels
PORT, PRICE = 8765, 0.04
SERVICE = (
    "--models painter=openai:painter-1,jpeg --prompts tiles.jsonl"
    f" --set painter.base_url=http://127.0.0.1:{PORT}/v1 --set painter.price={PRICE}"
)
PLAN = {
    "bundled": (
        "evalkit run --models dalle,gan,noise --prompts suite --out bundled",
        "evalkit report bundled --zip",
    ),
    "photos": (
        "evalkit reference build reference --name tiles --encoders efficientnet-lite0"
        " --licence 'CC0 and public domain' --out statistics",
        "evalkit run --models clean,jpeg,blur,noisy --prompts tiles.jsonl --reference statistics"
        " --metrics fid,kid,precision,recall --out photos",
        "evalkit report photos --zip",
    ),
    "service": (
        f"evalkit generate {SERVICE} --dry-run",
        f"evalkit run {SERVICE} --max-cost 20 --reference statistics"
        " --metrics fid,kid,precision,recall --out service",
        "evalkit run --out service --retry-ambiguous --max-cost 20",
        "evalkit report service --zip",
    ),
}
FAULTS = {
    "rate_limited": 0.15,
    "overloaded": 0.05,
    "server_error": 0.05,
    "dropped_before": 0.03,
    "dropped_after": 0.03,
    "malformed": 0.02,
    "truncated": 0.02,
    "refused_output": 0.03,
}


def main(out: Path) -> None:
    """Make the runs, and put the page of each with all that it links to into a folder of `out`."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_tiles(work)
        for run, commands in PLAN.items():
            start, spent = time.monotonic(), os.times()
            with faulty_service(work) if run == "service" else nullcontext():
                for command in commands:
                    evalkit(command, work)
            publish(work / run / "report" / f"{run}.zip", out)
            wall, used = time.monotonic() - start, os.times()
            cpu = sum(used[:4]) - sum(spent[:4])  # of this process and of the commands
            print(f"{run}: {wall:.0f} s, {cpu:.0f} s of CPU time", flush=True)


def make_tiles(work: Path) -> None:
    """Cut the photos into tiles like a chessboard: the black ones are the reference.

    Each white one gets a prompt, and is written four times: clean, jpeg, blur and noisy.
    """
    from skimage import data

    prompts, held = list[dict[str, str]](), 0
    for name in PHOTOS:
        photo = Image.fromarray(getattr(data, name)()).convert("RGB")
        for row in range(photo.height // TILE):
            for column in range(photo.width // TILE):
                left, top = column * TILE, row * TILE
                tile = photo.crop((left, top, left + TILE, top + TILE))
                if (row + column) % 2:
                    _save(tile, work / "reference" / f"{held:05}.png")
                    held += 1
                    continue
                number = len(prompts)
                text = f"{name}, row {row + 1}, column {column + 1}"
                prompts.append({"id": f"{number:05}", "prompt": text, "group": name})
                for copy, image in degraded(tile, number).items():
                    _save(image, work / copy / f"{number:05}.png")
    lines = (f"{json.dumps(prompt)}\n" for prompt in prompts)
    (work / "tiles.jsonl").write_text("".join(lines), encoding="utf-8")


def degraded(tile: Image.Image, seed: int) -> dict[str, Image.Image]:
    """The tile as it is, with JPEG quality 10, a blur of 2 pixels, and noise of 25 grey levels."""
    packed = io.BytesIO()
    tile.save(packed, "JPEG", quality=10)
    noise = numpy.random.default_rng([seed]).normal(0, 25, (TILE, TILE, 3))
    noisy = numpy.clip(numpy.asarray(tile) + noise, 0, 255).round().astype(numpy.uint8)
    return {
        "clean": tile,
        "jpeg": Image.open(packed),
        "blur": tile.filter(ImageFilter.GaussianBlur(2)),
        "noisy": Image.fromarray(noisy),
    }


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    image.save(path)


@contextmanager
def faulty_service(work: Path) -> Iterator[None]:
    """A service that answers a prompt with its clean tile, or with a fault.

    It refuses about half of the prompts about the rocket.
    """
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "helpers"))
    from fake_service import Call, FakeService, Fault, shares

    lines = (work / "tiles.jsonl").read_text(encoding="utf-8").splitlines()
    ids = {row["prompt"]: row["id"] for row in map(json.loads, lines)}
    refusals, faults = shares({"refused_input": 0.5}, seed=1), shares(FAULTS)

    def plan(call: Call) -> Fault:
        about = call.prompt.startswith("rocket")
        refused = refusals(replace(call, attempt=0)) if about else "ok"  # as at the first attempt
        return faults(call) if refused == "ok" else refused

    def draw(prompt: str, _: int) -> Image.Image:
        return Image.open(work / "clean" / f"{ids[prompt]}.png")

    with FakeService(plan, draw=draw, port=PORT, retry_after="0.05") as service:
        yield
    charged = len(service.accepted)
    print(f"the service: {len(service.received)} requests, {charged} charged: ", end="")
    print(f"${charged * PRICE:.2f}")


def evalkit(command: str, work: Path) -> None:
    """Run a command as it stands on the page, with the evalkit of this Python."""
    print(f"$ {command}", flush=True)
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
    subprocess.run(shlex.split(command), cwd=work, env={**os.environ, "PATH": path}, check=True)


def publish(archive: Path, out: Path) -> None:
    """Unpack a report with all that it links to into `out`, in place of an earlier one."""
    shutil.rmtree(out / archive.stem, ignore_errors=True)
    with zipfile.ZipFile(archive) as file:
        file.extractall(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
