"""The pages of docs/, by their path in it, and their blocks of code."""

from __future__ import annotations

from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {
    path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(DOCS.rglob("*.md"))
}


def blocks(*pages: str) -> list[tuple[str, str]]:
    """The fenced blocks of pages in their order: the language, and the text."""
    return [
        (token.info, token.content)
        for page in pages
        for token in MarkdownIt().parse(PAGES[page])
        if token.type == "fence"
    ]


def code(language: str, *pages: str) -> list[str]:
    """The blocks of one language."""
    return [content for info, content in blocks(*pages) if info == language]


def commands(*pages: str) -> list[str]:
    """The lines of shells that call evalkit, in their order."""
    shells = (text for language, text in blocks(*pages) if language in ("bash", "sh"))
    lines = (line for block in shells for line in block.splitlines())
    return [line for line in lines if line.startswith("evalkit ")]


def below(page: str, title: str) -> str:
    """The text of a page below a title, up to the next one of the same level or a higher one."""
    text = PAGES[page].partition(f"\n{title}\n")[2]
    assert text, f"{page} has no {title!r}"
    level = len(title) - len(title.lstrip("#"))
    lines, inside = [], False
    for line in text.splitlines():
        inside ^= line.startswith("```")
        if not inside and 0 < len(line) - len(line.lstrip("#")) <= level:
            break
        lines.append(line)
    return "\n".join(lines) + "\n"
