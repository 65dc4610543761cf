"""Where shards keep what they encode: files of the same name, in a folder of each shard.

`features/dalle/inception.npz` is the cache of the whole run, and
`features/dalle/shards/3-of-8/inception.npz` that of shard 3 of 8. No process writes to a file of
another one, and readers merge all of them, of whatever division.
"""

from __future__ import annotations

import glob
from pathlib import Path

from evalkit.shards import Shard

SHARDS = "shards"


def own(path: Path, shard: Shard) -> Path:
    """The file of a shard for a cache of the run."""
    return path if shard.is_whole else path.parent / SHARDS / shard.name / path.name


def beside(path: Path, shard: Shard) -> list[Path]:
    """The files of the other processes for a cache of the run, in order."""
    written = path.parent.glob(f"{SHARDS}/*/{glob.escape(path.name)}")
    return [one for one in (path, *sorted(written)) if one != own(path, shard)]
