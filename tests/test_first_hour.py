"""The ways in which people begin, as they would type them: no knowledge of the source is needed."""

import json
import shutil
from pathlib import Path

import pytest
from models_for_tests import make_image
from tiny_pipeline import save_pipeline
from typer.testing import CliRunner

import evalkit
from evalkit.cli.app import app

UUID = "-1a2b-4c3d-8e9f-0123456789ab"
PARTI = """Prompt\tCategory\tChallenge\tNote
a red circle\tShapes\tBasic\t
a blue square, seen from above\tShapes\tPerspective\t
two dogs\tAnimals\tQuantity\t
a cat\tAnimals\tBasic\t
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> tuple[str, str]:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout, result.stderr


def pixels(run: evalkit.Run) -> dict[str, bytes]:
    return {str(p.relative_to(run.path)): p.read_bytes() for p in run.path.rglob("images/*/*.png")}


def test_checkpoints_for_a_paper(here: Path) -> None:
    save_pipeline(here / "ckpt-1")
    for name in ("ckpt-2", "ckpt-3"):
        shutil.copytree("ckpt-1", name)
    Path("parti.tsv").write_text(PARTI)
    steps = [word for label in ("a", "b") for word in ("--set", f"{label}.steps=1")]
    command = ["run", "--models", "a=./ckpt-1,b=./ckpt-2", "--prompts", "parti.tsv", "--out", "r"]
    out, _ = call(*command, *steps)
    assert out.splitlines()[-1] == "r"
    assert "efficientnet-lite0" in out
    assert "CLIP score: not measured" in out.replace("\n", " ")
    assert "evalkit weights fetch clip-b32" in out.replace("\n", " ")
    run = evalkit.load("r")
    assert [prompt.group for prompt in run.prompts()] == ["Shapes", "Shapes", "Animals", "Animals"]
    first = pixels(run)
    _, err = call(*command, *steps)  # resume: nothing to do
    assert "images in" not in err
    call("run", "--models", "c=./ckpt-3", "--set", "c.steps=1", "--out", "r", "--per-prompt", "2")
    call("run", "--models", "a=./ckpt-1,b=./ckpt-2", "--out", "r", "--per-prompt", "2", *steps)
    out, err = call("score", "r", "--metrics", "vendi")
    assert "Vendi score" in out
    grown = pixels(run)
    assert first.items() <= grown.items()
    assert len(grown) == 3 * 4 * 2
    call("score", "r", "--models", "a,b")
    assert {row.model for row in run.metrics()} == {"a", "b"}
    assert run.protocol()["not_compared"] == ["c"]


def test_the_table_by_category(here: Path) -> None:
    Path("parti.tsv").write_text(PARTI)
    call("run", "--models", "gan,noise", "--prompts", "parti.tsv", "--out", "r")
    text = Path("r/report/report.md").read_text("utf-8")
    table = text.partition("<summary>By group of prompts")[2].partition("</details>")[0]
    assert "| Metric | Group | prompts | gan | noise |" in table
    assert "| Shapes | 2 |" in table
    scores = evalkit.load("r").frame("scores")
    wanted = scores[(scores.metric == "clip_score") & (scores.group == "Animals")]
    mean = wanted[wanted.model == "gan"].value.mean()
    cells = [line.split("|") for line in table.splitlines() if "| Animals |" in line]
    value = cells[0][4].partition("<br>")[0].strip(" *†")  # of CLIP score, the first metric
    assert float(value.replace("\u2212", "-")) == pytest.approx(mean, abs=0.6)


def test_sixty_downloads(here: Path) -> None:
    texts = [f"a {colour} {thing}" for colour in ("red", "blue", "green", "black")
             for thing in ("circle", "dog!", "house", "tree, at night", "cat")]  # fmt: skip
    Path("prompts.txt").write_text("\n".join(texts))
    truth: dict[str, dict[str, bytes]] = {}
    for model, name in (
        ("mj", lambda at, text: f"ann_{text.replace(' ', '_')}_{at:08x}{UUID}_0"),
        ("de", lambda at, text: f"DALL\u00b7E 2026-01-02 10.11.{at:02d} - {text.capitalize()}"),
        ("sd", lambda at, text: f"{at:05d}-{4_000_000_000 - 7 * at}"),
    ):  # fmt: skip
        Path(model).mkdir()
        for at, text in enumerate(texts):
            image = make_image(at, model, 64)
            image.save(f"{model}/{name(at, text)}.png")
            truth.setdefault(model, {})[text] = image.tobytes()
    _, err = call("run", "--models", "mj,de,sd", "--prompts", "prompts.txt", "--out", "r")
    assert err.count("matched 20 of 20") == 3
    run = evalkit.load("r")
    from PIL import Image

    for model, wanted in truth.items():
        for record in run.records(model):
            text = run.prompts()[record.index].text
            assert Image.open(run.image_path(model, record)).tobytes() == wanted[text]
    assert {row.encoder for row in run.metrics() if row.value is not None} <= {
        "efficientnet-lite0",
        "",
    }


def test_a_check_in_ci(here: Path) -> None:
    Path("p.txt").write_text("a cat\na dog\n")
    Path("my_black.py").write_text(
        "from PIL import Image\n"
        "def black(prompts, seeds): return [Image.new('RGB', (32, 32)) for _ in seeds]\n"
    )
    result = CliRunner().invoke(
        app,
        ["run", "--models", "my_black:black", "--prompts", "p.txt", "--out", "r", "--json"],
    )
    assert result.exit_code == 3
    rows = json.loads(result.stdout)
    assert {row["model"] for row in rows} == {"my_black:black"}
    assert "black" in result.stderr
