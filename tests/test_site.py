"""The documentation site: structure, links, search. What needs mkdocs is skipped without it."""

from __future__ import annotations

import ast
import functools
import html
import itertools
import json
import re
from pathlib import Path

import pytest
import yaml
from documentation import BUILDS, MISSING, build
from pages import PAGES, ROOT, below

import evalkit
from evalkit import plugins

LONGEST, LONGEST_MADE = 200, 300  # lines of pages by hand, and of pages of commands
MADE_BY_THE_SITE = ("api/", "examples/")  # and of files outside of docs/, see docs/site_hooks.py
OUTSIDE = {
    "benchmarks.md": "BENCHMARKS.md",
    "changelog.md": "CHANGELOG.md",
    "model-cards.md": "evalkit/weights/README.md",
    "security.md": "SECURITY.md",
}
FOUND_BY = {  # what people type: the page and the section that have to be found
    "FID": "metrics/distance.html#fid-fid",
    "FID-30K": "metrics/distance.html#fid-fid",
    "Fréchet Inception Distance": "metrics/distance.html#fid-fid",
    "FID∞": "metrics/distance.html#fid-fid_infinity",
    "KID": "metrics/distance.html#kid-kid",
    "CMMD": "metrics/distance.html#cmmd-cmmd",
    "FDD": "metrics/distance.html#fd-dinov2-fd_dinov2",
    "IS": "metrics/variety.html#inception-score-is-inception_score",
    "Inception score": "metrics/variety.html#inception-score-is-inception_score",
    "Vendi score": "metrics/variety.html#vendi-score-vendi",
    "LPIPS": "metrics/variety.html#lpips-diversity-lpips_diversity",
    "CLIPScore": "metrics/prompt-agreement.html#clip-score-clipscore-clip_score",
    "CLIP score": "metrics/prompt-agreement.html#clip-score-clipscore-clip_score",
    "R-precision": "metrics/prompt-agreement.html#"
    "retrieval-precision-r-precision-retrieval_precision",
    "PRDC": "metrics/precision-and-recall.html#density-density",
    "authenticity": "metrics/precision-and-recall.html#memorization-memorization",
    "PickScore": "scorers.html",
    "HPS v2": "scorers.html",
    "ImageReward": "scorers.html",
    "GenEval": "geneval.html",
    "TIFA": "question-answering.html",
    "DPG-Bench": "question-answering.html",
}


class _Loader(yaml.SafeLoader):
    """mkdocs.yml names a Python function, which is of no interest here."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


@functools.cache
def settings() -> dict:
    return yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)


def listed(nav: object) -> list[str]:
    """The pages of the navigation, in its order."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in listed(part)]


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def test_every_page_is_in_the_navigation_once() -> None:
    pages = listed(settings()["nav"])
    assert len(pages) == len(set(pages))
    made = {page for page in pages if page.startswith(MADE_BY_THE_SITE)} | {*OUTSIDE}
    assert set(pages) - made == set(PAGES)
    assert all((ROOT / file).is_file() for file in OUTSIDE.values())


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_is_short_and_has_one_title(page: str) -> None:
    text = PAGES[page]
    assert text.count("\n") <= (LONGEST_MADE if page.startswith("cli") else LONGEST)
    assert len(re.findall(r"^# ", prose(text), re.MULTILINE)) == 1


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_reads_the_same_on_a_code_host_and_on_the_site(page: str) -> None:
    """Python-Markdown wants a blank line before lists and tables, and four spaces within lists."""
    text = PAGES[page]
    assert text.count("\n```") % 2 == 0, "a block of code is not closed"
    assert not re.search(r"^(!!!|\?\?\?|:::|===|---\n)|\{[:#.]|\[\[", prose(text), re.MULTILINE)
    lines = prose(text).splitlines()
    for before, line in itertools.pairwise(lines):
        plain = before.strip() and not re.match(r"[-*#|] ?|\d+\. | ", before)
        assert not (plain and re.match(r"[-*] |\d+\. |\|", line)), f"no blank line before {line!r}"
        assert not re.match(r" {1,3}(\||```)", line), f"a table or code within a list: {line!r}"


def test_links_name_pages_by_their_title() -> None:
    for page, text in PAGES.items():
        assert not re.search(r"\[[a-z][\w/-]*\.md\]\(", text), page


@pytest.mark.parametrize("page", [name for name in PAGES if name.startswith("guides/")])
def test_a_guide_has_a_goal_commands_results_faults_and_links(page: str) -> None:
    text = PAGES[page]
    assert re.match(r"# .+\n\n\*\*Goal:\*\* ", text)
    assert re.search(r"^```(bash|python)$", text, re.MULTILINE)
    titles = re.findall(r"^## (.+)", text, re.MULTILINE)
    assert "What can go wrong" in titles
    assert titles[-1] == "See also"


def test_every_metric_has_its_names_definition_traps_and_comparisons() -> None:
    found = []
    for page in (name for name in PAGES if name.startswith("metrics/")):
        for title, name in re.findall(r"^(## .+: `(\w+)`)$", PAGES[page], re.MULTILINE):
            text = below(page, title)
            assert "\nAlso called: " in text, name
            for part in ("- **Definition.**", "- **Traps.**", "- **Comparable** "):
                assert part in text, f"{name}: {part}"
            found.append(name)
    assert sorted(found) == plugins.names("metric")


@functools.cache
def texts_of_the_program() -> list[tuple[str, str]]:
    """The texts in its source: the file, and the text with … for what is filled in."""
    found = []
    for path in Path(evalkit.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (str(getattr(part, "value", "")) for part in node.values)
                texts = [isinstance(part, ast.Constant) for part in node.values]
                whole = (text if own else "…" for text, own in zip(parts, texts, strict=True))
                found.append((path.name, "".join(whole)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append((path.name, node.value))
    return found


def test_the_program_points_at_pages_and_sections_that_exist() -> None:
    pointer = re.compile(r"(?<!`)docs/([\w/-]+\.md)(?:,\s+“([^”]+)”)?")
    pointers = [
        (name, *found) for name, text in texts_of_the_program() for found in pointer.findall(text)
    ]
    assert len(pointers) >= 20
    for name, page, title in pointers:
        assert page in PAGES, name
        assert not title or below(page, f"## {title}"), name


def test_the_messages_of_troubleshooting_are_those_of_the_program() -> None:
    said = " ".join(" ".join(text for _, text in texts_of_the_program()).split())
    titles = re.findall(r"^### (.+)", PAGES["troubleshooting.md"], re.MULTILINE)
    symptoms = {"It is slow", "A run stops with exit code 3"}
    assert len(titles) >= 15
    assert symptoms < set(titles)
    for title in set(titles) - symptoms:
        longest = max(title.removesuffix(": clip_score").split("…"), key=len).strip()
        assert longest in said, title


def test_every_environment_variable_is_on_its_page() -> None:
    prefixes = "EVALKIT|OPENAI|HF|XDG|SLURM|RAY|GITHUB"
    variable = re.compile(rf"(?:{prefixes})_[A-Z_]*[A-Z]|RANK|WORLD_SIZE|LOCAL_RANK")
    names = {text for _, text in texts_of_the_program() if variable.fullmatch(text)}
    assert {"EVALKIT_CACHE", "HF_HOME", "RANK", "SLURM_ARRAY_TASK_ID"} <= names
    assert not {name for name in names if f"`{name}`" not in PAGES["environment.md"]}


mkdocs = pytest.mark.skipif(not BUILDS, reason=MISSING)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site"))


def _entries(site: Path) -> dict[str, str]:
    """What the search of the site knows: title and text by address."""
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    return {
        entry["location"]: html.unescape(
            re.sub(r"<[^>]+>", "", f"{entry['title']} {entry['text']}")
        )
        for entry in index["docs"]
    }


@mkdocs
@pytest.mark.slow
def test_the_search_finds_each_metric_by_its_common_names(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    # A filter of common English words would drop "is".
    assert "stopWordFilter" not in index["config"]["pipeline"]
    entries = _entries(site)
    for name, place in FOUND_BY.items():
        found = " ".join(text for where, text in entries.items() if where.startswith(place))
        assert re.search(rf"(?<!\w){re.escape(name)}", found), name
    metrics = [text for place, text in entries.items() if place.startswith("metrics/")]
    assert len(metrics) >= 30
    assert not [text for text in metrics if "PSNR" in text]


@mkdocs
@pytest.mark.slow
def test_the_site_takes_nothing_from_other_hosts(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 100
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"([^\"]+)", text)
        foreign = [address for address in loaded if re.match(r"(https?:)?//", address)]
        assert not foreign, page.name


@mkdocs
@pytest.mark.slow
def test_no_markdown_is_left_in_the_text(site: Path) -> None:
    for page in site.rglob("*.html"):
        if "reports" in page.parts:
            continue
        text = re.sub(
            r"<(pre|code|script|style)\b.*?</\1>", "", page.read_text("utf-8"), flags=re.S
        )
        left = re.search(r"<p>(?:- |\||```)|\|---|\]\([\w./#-]+\)|(?:\n|>)- \*\*", text)
        assert not left, f"{page.name}: {text[left.start() - 80 : left.end() + 80]}"


@mkdocs
@pytest.mark.slow
def test_the_python_reference_has_every_public_name(site: Path) -> None:
    text = "".join(page.read_text("utf-8") for page in (site / "api").glob("*.html"))
    for name in evalkit.__all__:
        assert f'id="evalkit{name.lower()}"' in text, name
    from evalkit import figures

    for name in figures.__all__:
        assert f'id="evalkitfigures{name}"' in text, name
