"""The section on the gate: what was decided, why, and the images of both sides."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gated_runs import make_pair
from PIL import Image
from report_runs import HOSTILE, Page
from typer.testing import CliRunner
from unchecked_runs import unchecked

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.report.facts import read_facts
from evalkit.report.html import to_html
from evalkit.report.markdown import to_markdown
from evalkit.report.sections import contexts


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs new and main, gated by the command, and with what it printed."""
    root = tmp_path_factory.mktemp("gated")
    new, main = make_pair(root)
    found = CliRunner().invoke(app, ["gate", str(new), "--baseline", str(main)])
    assert found.exit_code == 1, found.stderr
    (root / "stderr.txt").write_text(found.stderr)
    return root


@pytest.fixture
def copy(gated: Path, tmp_path: Path) -> Path:
    place = Path(shutil.copytree(gated, tmp_path / "copy"))
    for name in ("new", "main"):
        unchecked(place / name)
    return place


def rendered(run: Path) -> str:
    """The page of a run without its charts, which take seconds."""
    facts = read_facts(run)
    return to_html(facts, [], contexts(facts))


def section(run: Path) -> str:
    """The HTML of the section on the gate; "" without one."""
    found = re.search(r'<section id="gate".*?</section>', rendered(run), re.DOTALL)
    return found[0] if found else ""


def text_of(run: Path) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", section(run))).split())


def decided(run: Path) -> dict[str, Any]:
    return json.loads((run / "gate.json").read_text("utf-8"))


def change(run: Path, **values: object) -> None:
    (run / "gate.json").write_text(json.dumps(decided(run) | values))


def test_the_gate_writes_the_page_and_names_it(gated: Path) -> None:
    page = gated / "new" / "report" / "index.html"
    assert f"next: open {page}" in (gated / "stderr.txt").read_text()
    assert text_of(gated / "new")


def test_the_page_and_the_markdown_say_what_gate_json_says(gated: Path) -> None:
    content, shown = decided(gated / "new"), text_of(gated / "new")
    assert content["sentence"] in shown
    markdown = (gated / "new" / "report" / "report.md").read_text("utf-8")
    for text in (shown, markdown.replace("\\", "")):
        table = text[: text.index("The prompts that lost most")]
        verdicts = re.findall(r"\b(REGRESSED|INCONCLUSIVE|PASS|IMPROVED)\b", table)
        assert sorted(verdicts) == sorted(one["verdict"] for one in content["decisions"])
        assert verdicts[0] == "REGRESSED"
    for one in content["decisions"]:
        assert f"{one['metric']} · {one['encoder']}".removesuffix(" · ") in shown
    worst = max(content["decisions"], key=lambda one: one["worse"])
    assert f"{worst['candidate']:.1f}" in shown
    assert f"+{worst['worse']:.1f}" in shown


def test_the_prompts_that_lost_most_stand_with_both_images_and_scores(gated: Path) -> None:
    shown, changed = section(gated / "new"), decided(gated / "new")["changed"]
    rows = re.findall(r'<li><p class="prompt".*?</ul>', shown, re.DOTALL)
    assert len(rows) == len(changed) > 5
    ids = [prompt.id for prompt in evalkit.Run(gated / "new").prompts()]
    for row, item in zip(rows, changed, strict=True):
        assert f">{item['text']}</p>" in row
        sources = re.findall(r'<img src="([^"]+)"', row)
        assert len(sources) == 2
        places = [(gated / "new" / "report" / source).resolve() for source in sources]
        assert {place.name for place in places} == {f"{ids.index(item['prompt']):05d}-0.png"}
        for place, name in zip(places, ("new", "main"), strict=True):
            original = gated / name / "images" / "model" / place.name
            with Image.open(place) as shown_image, Image.open(original) as image:
                assert shown_image.tobytes() == image.tobytes()
        assert re.findall(r"<em>([^<]+)<", row) == [
            f"{item[side]:.0f}".replace("-", "\u2212") for side in ("candidate", "baseline")
        ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([], "for the same prompts, with the same seeds,"),
        (["seed"], "for the same prompts, with other seeds,"),
        (["prompts", "dtype"], "for the prompts that both have, with the same seeds,"),
        (["seed", "prompts"], "for the prompts that both have, with other seeds,"),
    ],
)
def test_the_rule_says_what_the_pairs_have_in_common(
    fields: list[str], said: str, copy: Path
) -> None:
    differ = [{"field": field, "candidate": "1", "baseline": "2"} for field in fields]
    change(copy / "new", allowed=differ)
    assert said in text_of(copy / "new")


def test_the_section_says_baseline_model_not_baseline(gated: Path) -> None:
    """The table of results has finite-sample baselines under this name."""
    shown = section(gated / "new")
    assert '<th scope="col" role="columnheader" class="num">Baseline model</th>' in shown
    assert not re.search(r">\s*baseline\s*<", shown, re.IGNORECASE)


def test_the_page_is_complete_without_the_baseline(copy: Path) -> None:
    for name in ("main", "gan", "images-main", "images-new"):
        shutil.rmtree(copy / name)
    page = Page((copy / "new" / "report" / "index.html").read_text("utf-8"))
    for values in page.attributes("img"):
        if values.get("src"):
            assert (copy / "new" / "report" / values["src"]).is_file()


def test_without_the_baseline_s_run_the_candidate_s_images_are_shown_with_a_note(
    copy: Path,
) -> None:
    shutil.rmtree(copy / "main")
    evalkit.report(copy / "new")
    assert "Some images are not shown" in text_of(copy / "new")
    assert section(copy / "new").count("<img ") == len(decided(copy / "new")["changed"])
    assert not list((copy / "new" / "report" / "gate").iterdir())
    change(copy / "new", baseline_run="")
    assert "The baseline model is known from a file: it has scores" in text_of(copy / "new")
    assert f"baseline model {decided(copy / 'new')['changed'][0]['baseline']:.0f}" in text_of(
        copy / "new"
    )


def test_images_that_are_no_longer_those_that_were_gated_are_not_shown(copy: Path) -> None:
    path = copy / "main" / "scores.csv"
    path.write_text(re.sub(r"(clip_score,mini-clip),.*", r"\1,1.0", path.read_text()))
    assert section(copy / "new").count("<img ") == len(decided(copy / "new")["changed"])


def test_decisions_about_earlier_scores_are_not_shown(copy: Path) -> None:
    path = copy / "new" / "metrics.json"
    path.write_text(path.read_text() + "\n")
    assert "about other scores than those of this page" in text_of(copy / "new")
    assert "REGRESSED" not in text_of(copy / "new")
    (copy / "new" / "gate.json").unlink()
    assert not section(copy / "new")


def test_decisions_of_another_version_are_said_to_be_so(copy: Path) -> None:
    change(copy / "new", schema=2)
    assert "gate.json has the schema 2, and this version of evalkit reads 1" in text_of(
        copy / "new"
    )


def test_an_image_that_was_cut_off_since_is_no_image(copy: Path) -> None:
    for path in (copy / "main" / "images" / "model").iterdir():
        path.write_bytes(path.read_bytes()[:80])
    assert section(copy / "new").count("no image") == len(decided(copy / "new")["changed"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: "{",
        lambda content: "[]",
        lambda content: json.dumps({**content, "decisions": [{}]}),
        lambda content: json.dumps({**content, "changed": 3}),
        lambda content: json.dumps(
            {**content, "changed": [{**content["changed"][0], "prompt": 3}]}
        ),
        lambda content: json.dumps({**content, "changed": [{**content["changed"][0], "text": 5}]}),
        lambda content: json.dumps({**content, "remarks": 5}),
        lambda content: json.dumps({**content, "remarks": ["a", None]}),
        lambda content: json.dumps({k: v for k, v in content.items() if k != "sentence"}),
    ],
)
def test_a_damaged_file_is_one_sentence(damage: Callable[[Any], str], copy: Path) -> None:
    content = decided(copy / "new")
    (copy / "new" / "gate.json").write_text(damage(content))
    with pytest.raises(EvalkitError, match=r"gate\.json is damaged") as error:
        evalkit.report(copy / "new")
    assert "evalkit.gate" in error.value.hint or "`evalkit gate`" in error.value.hint


def test_allowed_conditions_tripwires_groups_and_hostile_texts(copy: Path) -> None:
    content = decided(copy / "new")
    first = content["decisions"][0]
    hostile = HOSTILE[0]
    change(
        copy / "new",
        sentence=f"{hostile} is worse.",
        remarks=[f"seed differs: {hostile}, baseline 0."],
        decisions=[
            first | {"verdict": "PASS", "group": hostile},
            first | {"verdict": "REGRESSED", "tier": "advisory", "basis": "tripwire",
                     "reason": "7 is above the limit of 5", "low": None, "high": None,
                     "worse": None, "margin": None, "metric": hostile},
            first | {"verdict": "INCONCLUSIVE", "reason": "the interval includes the margin"},
        ],
        changed=[content["changed"][0] | {"text": hostile}],
    )  # fmt: skip
    page = Page(rendered(copy / "new"))
    assert len(page.texts["script"]) == 1
    assert "onerror" not in {name for _, values in page.tags for name in values}
    shown = text_of(copy / "new")
    assert f"seed differs: {hostile}, baseline 0." in shown
    assert "7 is above the limit of 5" in shown
    assert "advisory: does not decide" in shown
    assert "the interval includes the margin" in shown
    assert "1 decision by group of prompts without a regression" in shown
    facts = read_facts(copy / "new")
    assert "<img src=x" not in to_markdown(facts, [], contexts(facts))


def test_a_report_that_cannot_be_written_changes_no_decision(copy: Path, caplog: Any) -> None:
    shutil.rmtree(copy / "new" / "report")
    (copy / "new" / "report").write_text("a file")
    made = evalkit.gate(copy / "new", baseline=copy / "main")
    assert made.exit_code == 1
    assert "the report was not written" in caplog.text


def test_no_page_where_none_is_wanted(copy: Path) -> None:
    shutil.rmtree(copy / "new" / "report")
    arguments = ["gate", str(copy / "new"), "--baseline", str(copy / "main"), "--no-report"]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 1
    assert not (copy / "new" / "report").exists()
    assert "next: open" not in found.stderr


def test_large_images_are_reduced(copy: Path) -> None:
    first = decided(copy / "new")["changed"][0]
    run = evalkit.Run(copy / "main")
    [at] = [at for at, prompt in enumerate(run.prompts()) if prompt.id == first["prompt"]]
    path = run.image_folder("model") / f"{at:05d}-0.png"
    with Image.open(path) as image:
        larger = image.resize((1024, 768))
    larger.save(path)
    evalkit.report(copy / "new")
    copied = copy / "new" / "report" / "gate" / f"{at:05d}-0.jpg"
    with Image.open(copied) as image:
        assert image.size == (512, 384)
    assert copied.name in section(copy / "new")
    assert not copied.with_suffix(".png").exists()
