"""Runs as an earlier version wrote them: without hashes, so that a test may edit their files."""

from __future__ import annotations

import json
from pathlib import Path

from evalkit.files import with_check
from evalkit.seeds import image_seed


def unchecked(path: Path) -> Path:
    """The run, without the hashes of its files and rows."""
    (path / "checksums.json").unlink(missing_ok=True)
    for file in (*path.glob("images/*/model.json"), path / "gate.json", path / "sources.json"):
        if file.is_file():
            content = json.loads(file.read_text(encoding="utf-8"))
            content.pop("check", None)
            file.write_text(json.dumps(content), encoding="utf-8")
    for file in path.glob("images/*/manifest.*.jsonl"):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        lines = [
            json.dumps({k: v for k, v in row.items() if k not in ("check", "prompt_sha256")})
            for row in rows
        ]
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def reseed(config: Path, seed: int) -> None:
    """Give a run another seed, in its run.toml and in its manifests; its images stay."""
    text = config.read_text(encoding="utf-8")
    lines = [f"seed = {seed}" if line.startswith("seed = ") else line for line in text.split("\n")]
    config.write_text("\n".join(lines), encoding="utf-8")
    for file in config.parent.glob("images/*/manifest.*.jsonl"):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for row in rows:
            row.pop("check", None)
            row["seed"] = image_seed(seed, row["prompt"], row["sample"])
        file.write_text("".join(f"{json.dumps(with_check(row))}\n" for row in rows), "utf-8")
