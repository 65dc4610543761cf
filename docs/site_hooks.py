"""What the site needs beside docs/: files of the repository that pages link to, and the Python API.

The pages are readable on a code host, so their links are relative paths in the repository. Here,
files outside of docs/ become pages of the site, and links to any other file become text.
"""

from __future__ import annotations

import json
import posixpath
import re
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

import evalkit
from evalkit import figures

ROOT = Path(__file__).resolve().parent.parent
REPORT = "reports/example"  # a run: the site shows its report
GALLERY = "reports/gallery"  # what docs/make_gallery.py made, or nothing: then its links are text
PAGES = {  # a file of the repository: its page
    "BENCHMARKS.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "evalkit/weights/README.md": "model-cards.md",
} | {
    f"examples/{name}": f"examples/{PurePosixPath(name).name.lstrip('.')}.md"
    for name in (
        "notebook.ipynb",
        "github/evalkit-gate.yml",
        "gitlab/.gitlab-ci.yml",
        "cluster/two-machines.sh",
        "cluster/slurm-array.sh",
        "cluster/slurm-step.sh",
        "cluster/kubernetes-job.yaml",
        "cluster/ray-job.sh",
    )
}
API = {  # a page: its title and the public names on it
    "api/runs.md": (
        "runs",
        "run generate encode score report compare init load Run Config Prompt EvalkitError",
    ),
    "api/gate.md": ("the gate", "gate gate_selftest baseline_save baseline_update"),
    "api/ratings.md": (
        "ratings",
        "rate_serve rate_import rate_export rate_summary rate_judge rate_plan",
    ),
    "api/publish.md": ("publish", "tables export_hub export_imagefolder export_tracker figures"),
    "api/plugins.md": ("plug-ins", "Metric Scorer Answer NoAnswer encoder reference"),
    "api/lists.md": (
        "weights, references and lists",
        "doctor list_metrics list_scorers list_encoders list_generators list_suites list_runs"
        " list_scenes list_training weights_list weights_fetch weights_verify weights_import"
        " reference_build reference_import reference_export reference_list reference_show",
    ),
    "api/tools.md": (
        "other tools, serving and training",
        "conventions crosscheck serve train judge appraise",
    ),
}
TRAINING_LOOP = ("FID", "KID", "InceptionScore", "Precision", "Recall", "ClipScore", "SetMetric")
LINK = re.compile(r"(?<!!)\[([^\[\]]+)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *```.*?^ *```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the files of the repository that belong to the site, and the pages of the API."""
    made = {page: _page(source) for source, page in PAGES.items()} | api_pages()
    for page, content in made.items():
        files.append(File.generated(config, page, content=content))
    for path in sorted((ROOT / REPORT).rglob("*")):
        if path.is_file() and path.suffix != ".md":
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    for path in sorted((ROOT / GALLERY).rglob("*")):
        if path.is_file() and path.suffix != ".md":
            name = f"gallery/{path.relative_to(ROOT / GALLERY).as_posix()}"
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that leave docs/ lead to the pages of these files; those without a page are text."""
    name = page.file.src_uri
    if name.startswith("metrics/"):
        page.meta["search"] = {"boost": 4}  # above the pages that mention a metric
    source = next((file for file, made in PAGES.items() if made == name), f"docs/{name}")

    def link(found: re.Match[str]) -> str:
        text, target = found.groups()
        path, hash_sign, anchor = target.partition("#")
        if not path or re.match(r"\w+:", path):
            return found[0]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        place = (
            f"{REPORT}/report/index.html"
            if file == REPORT
            else PAGES.get(file) or (file.removeprefix("docs/") if file.startswith("docs/") else "")
        )
        report = place.partition("gallery/")[2]
        if not place or (report and not (ROOT / GALLERY / report).is_file()):
            return text
        start = posixpath.dirname(name) or "."
        return f"[{text}]({posixpath.relpath(place, start)}{hash_sign}{anchor})"

    parts = FENCE.split(markdown)
    parts[::2] = [LINK.sub(link, part) for part in parts[::2]]
    return "".join(parts)


def on_post_build(config: Any) -> None:
    """Put report.md beside the page of the report: to mkdocs it would be a page of its own."""
    place = Path(config.site_dir) / REPORT / "report" / "report.md"
    shutil.copyfile(ROOT / REPORT / "report" / "report.md", place)
    for path in (ROOT / GALLERY).glob("*/report/report.md"):
        shutil.copyfile(path, Path(config.site_dir) / "gallery" / path.relative_to(ROOT / GALLERY))


def api_pages() -> dict[str, str]:
    """The pages of the Python API, which mkdocstrings fills from the docstrings."""
    pages = {
        page: _members(
            title,
            [(f"evalkit.{name}", f"{evalkit._PUBLIC[name]}.{name}") for name in names.split()],
        )
        for page, (title, names) in API.items()
    }
    loop = [(f"evalkit.torchmetrics.{name}",) * 2 for name in TRAINING_LOOP]
    pages["api/torchmetrics.md"] = _members("metrics in a training loop", loop)
    drawn = [
        (f"evalkit.figures.{name}", f"evalkit.figures.{module}.{name}")
        for name, module in figures._PUBLIC.items()
    ]
    pages["api/figures.md"] = _members("figures", drawn)
    return pages


def _members(title: str, members: Iterable[tuple[str, str]]) -> str:
    """A page of functions and classes: the name that users write, and where it is defined."""
    parts = [f"# Python: {title}\n"]
    for name, place in members:
        # The figures of a run: a room that can itself be called.
        place = "evalkit.figures.write.write_figures" if name == "evalkit.figures" else place
        parts.append(f"## {name}\n\n::: {place}\n")
    return "\n".join(parts)


def _page(source: str) -> str:
    """A file of the repository as Markdown."""
    text = (ROOT / source).read_text(encoding="utf-8")
    kind = PurePosixPath(source).suffix
    if kind == ".md":
        return text
    if kind == ".ipynb":
        cells = ((cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"])
        parts = (f"```python\n{cell}\n```" if type == "code" else cell for type, cell in cells)
        return "\n\n".join(parts)
    language = {".sh": "bash", ".yml": "yaml", ".yaml": "yaml"}[kind]
    return f"# {PurePosixPath(source).name}\n\n```{language}\n{text.rstrip()}\n```\n"
