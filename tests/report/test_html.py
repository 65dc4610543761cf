"""The page shows foreign text as text, runs only its own script, and needs no network."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re

from report_runs import HOSTILE_MODEL, Page, make_comparisons, make_run

from evalkit.report.report import report


def test_prompts_are_shown_exactly_as_written(run, page):
    texts = [prompt.text for prompt in run.prompts()]
    assert page.texts["prompt"] == texts
    shown = [values["src"] for values in page.attributes("img") if values.get("loading")]
    assert len(shown) == len(set(shown)) == 2 * len(texts) - 2


def test_only_our_own_script_runs(page):
    assert len(page.texts["script"]) == len(page.texts["style"]) == 1
    for _, values in page.tags:
        assert not [name for name in values if name.startswith("on") or name == "style"]
    [policy] = [
        values["content"]
        for values in page.attributes("meta")
        if values.get("http-equiv") == "Content-Security-Policy"
    ]
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.texts[kind][0].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src 'self' data:;")
    assert "unsafe" not in policy


def test_every_address_is_local_and_exists(run, page):
    names = ("src", "href", "srcset", "action", "xlink:href")
    addresses = [
        address for _, values in page.tags for name in names if (address := values.get(name))
    ]
    assert len(addresses) > 150
    for address in addresses:
        assert not re.match(r"(?i)\s*([a-z][a-z0-9+.-]*:|//|\\)", address), address
        target, _, part = address.partition("#")
        assert not part or part in page.ids
        assert not target or (run.report_path / target).is_file(), address
    assert "url(" not in page.texts["style"][0]


def test_page_is_accessible(page):
    assert len(page.ids) == len(set(page.ids))
    assert all("alt" in values for values in page.attributes("img"))
    scopes = {values.get("scope") for values in page.attributes("th")}
    assert scopes <= {"col", "colgroup", "row", "rowgroup"}
    levels = [int(name[1]) for name, _ in page.tags if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    labels = {values["aria-labelledby"] for _, values in page.tags if values.get("aria-labelledby")}
    assert labels <= set(page.ids)


def test_hostile_model_names_and_mixed_sizes(tmp_path):
    models = ("dalle", "gan", HOSTILE_MODEL)
    run = make_run(tmp_path / "run", count=12, models=models)
    make_comparisons(run, models)
    page = Page(report(run.path).read_text(encoding="utf-8"))
    assert {"differences", "differences-title"} <= set(page.ids)
    allowed = {"a", "b", "i", "u"}
    assert not [tag for tag, values in page.tags if tag in allowed - {"a", "i"}]
    [gallery] = [values for values in page.attributes("ol") if values.get("id") == "gallery"]
    assert json.loads(gallery["data-models"] or "") == list(models)
