"""The table of results: what one sees in a terminal, a pipe and a log."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from report_runs import add_groups, make_comparisons, make_run
from rich.cells import cell_len

from evalkit.cli.output import print_metrics
from evalkit.core import Prompt
from evalkit.report.facts import read_facts

CHECKPOINTS = tuple(f"./checkpoints/sdxl-turbo-finetuned-step-{step}" for step in (12000, 13000))
ESCAPE = "\x1b"


def printed(
    path: Path,
    models: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    width: int = 80,
    terminal: bool = False,
) -> list[str]:
    """The lines on stdout for a run of these models; the first one is best on FID."""
    run = make_run(path / "run", models=models, hostile=False)
    if len(models) > 1:
        make_comparisons(run, models)
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    print_metrics(run.metrics(), run.path, False, "open it")
    output, errors = capsys.readouterr()
    assert errors == "next: open it\n"
    lines = output.splitlines()
    assert lines[-1] == str(run.path)
    return lines


def row(lines: list[str], title: str) -> list[str]:
    """The cells of the row with this title."""
    [line] = [line for line in lines if line.startswith(f"  {title} ")]
    return re.split(r"  +", line.strip())


def test_metrics_are_rows_and_models_columns(tmp_path, monkeypatch, capsys):
    lines = printed(tmp_path, ("dalle", "gan"), monkeypatch, capsys)
    assert lines[0].split() == ["metric", "dalle", "gan"]
    assert lines[1] == "mini-inception"
    assert row(lines, "FID ↓") == ["FID ↓", "38.1 (35.2..41.4)*", "47.1 (44.2..50.4)"]
    assert row(lines, "KID ↓") == ["KID ↓", "0.0123 ± 0.0041", "0.0143 ± 0.0040"]
    assert row(lines, "Recall ↑") == ["Recall ↑", "-", "-"]
    assert row(lines, "Images per second ↑") == ["Images per second ↑", "2.6", "26.0"]
    assert "Median latency" not in "\n".join(lines)
    text = " ".join(lines)
    assert "dalle is significantly better on 1 of 2 metrics" in text
    assert "* best, or no significant difference from the best" in text
    assert "Recall: not measured: needs at least 50 images." in lines
    assert text.count("reference scenes (10,000 images)") == 1


def test_without_a_test_nothing_is_marked(tmp_path, monkeypatch, capsys):
    lines = printed(tmp_path, ("dalle",), monkeypatch, capsys)
    assert "*" not in "".join(lines[:-1])


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    "models",
    [
        ("a",),
        CHECKPOINTS,
        ("dalle", "gan", *CHECKPOINTS),
        ("dalle", "gan", "c", "d", *CHECKPOINTS),
        ("模型" * 20, "模型" * 21),
    ],
    ids=len,
)
def test_it_fits_and_models_stay_distinct(models, width, tmp_path, monkeypatch, capsys):
    lines = printed(tmp_path, models, monkeypatch, capsys, width)
    table = lines[: lines.index("")]
    assert max(map(cell_len, table)) <= width
    assert all(line == line.rstrip() and ESCAPE not in line for line in lines)
    if table[0].split()[:2] == ["metric", "model"]:
        values = [line.split()[2] for line in table if line.startswith("  FID ↓")]
    else:
        values = table[0].split()[1:]
    assert len(set(values)) == len(models)


def test_four_models_have_columns_at_80_and_six_have_lines(tmp_path, monkeypatch, capsys):
    lines = printed(tmp_path / "four", ("a", "b", *CHECKPOINTS), monkeypatch, capsys)
    assert lines[0].split() == ["metric", "a", "b", "./chec…12000", "./chec…13000"]
    # One digit less where that changes little, else the interval below its value.
    assert row(lines, "FID ↓")[1:3] == ["38 ± 3*", "47 ± 3"]
    place = lines.index(next(line for line in lines if line.startswith("  Precision ↑")))
    assert lines[place].split()[2:4] == ["0.61", "0.56"]
    assert lines[place + 1].split()[:2] == ["0.48..0.73", "0.43..0.68"]
    lines = printed(tmp_path / "six", (*"abcd", *CHECKPOINTS), monkeypatch, capsys)
    assert lines[0].split() == ["metric", "model", "value", "95%", "interval"]
    found = [line.split() for line in lines if line.startswith("  FID ↓")]
    assert found[0] == ["FID", "↓", "a", "38.1*", "35.2..41.4"]
    assert len(found) == 6
    assert found[4][2].startswith("./checkpoints/")
    assert not any(line.startswith("  Recall") for line in lines)  # no value: only the reason
    lines = printed(tmp_path / "wide", (*"abcd", "e", "f"), monkeypatch, capsys, 150)
    assert lines[0].split() == ["metric", *"abcdef"]


def test_a_terminal_has_bold_values_and_the_same_text(tmp_path, monkeypatch, capsys):
    plain = printed(tmp_path / "a", ("dalle", "gan"), monkeypatch, capsys)
    shown = printed(tmp_path / "b", ("dalle", "gan"), monkeypatch, capsys, terminal=True)
    [best] = [line for line in shown if "FID" in line]
    assert f"{ESCAPE}[1;32m" in best
    uncoloured = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in shown]
    assert uncoloured[:-1] == plain[:-1]


def test_no_color_has_no_colour(tmp_path, monkeypatch, capsys):
    printed(tmp_path / "a", ("dalle", "gan"), monkeypatch, capsys, terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    print_metrics([], tmp_path / "a/run", False, "")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", capsys.readouterr().out)


def test_a_narrow_interval_beside_a_wide_one_is_never_zero(tmp_path, monkeypatch, capsys):
    run = make_run(tmp_path / "run", models=("a", "b"), hostile=False)
    rows = [
        dataclasses.replace(one, value=12.345, low=low, high=high)
        for one, low, high in zip(
            [one for one in run.metrics() if one.metric == "fid"],
            (12.3449, 2.0),
            (12.3451, 22.69),
            strict=True,
        )
    ]
    run.write_metrics(rows)
    monkeypatch.setenv("COLUMNS", "80")
    print_metrics(rows, run.path, False, "")
    assert row(capsys.readouterr().out.splitlines(), "FID ↓")[1:] == ["12.3 ± <0.1", "12.3 ± 10.3"]


def test_an_encoding_without_the_signs_has_plain_ones(tmp_path, monkeypatch, capsys):
    run = make_run(tmp_path / "run", models=("dalle",), hostile=False)
    monkeypatch.setenv("COLUMNS", "80")
    stdout = Ascii()
    monkeypatch.setattr("sys.stdout", stdout)
    print_metrics(run.metrics(), run.path, False, "")
    text = "".join(stdout.parts)
    assert text.isascii()
    assert "KID v" in text
    assert "0.0123 +- 0.0041" in text


class Ascii:
    """A stdout that can encode ASCII only."""

    encoding = "ascii"

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, text: str) -> int:
        text.encode(self.encoding)
        self.parts.append(text)
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


def test_common_images_are_what_is_compared(tmp_path, monkeypatch, capsys):
    run = make_run(tmp_path / "run", models=("dalle", "gan"), hostile=False)
    rows = run.metrics()
    common = [
        dataclasses.replace(one, on="common", value=one.value and one.value + 1, count=38)
        for one in rows
        if one.metric == "fid"
    ]
    run.write_metrics([*rows, *common])
    monkeypatch.setenv("COLUMNS", "80")
    print_metrics(run.metrics(), run.path, False, "")
    output = capsys.readouterr().out
    assert row(output.splitlines(), "FID ↓")[1].startswith("39.1")
    assert "about the 38 of 40 requested images that all models have" in " ".join(output.split())


def test_the_next_step_mends_what_was_not_measured(tmp_path, monkeypatch, capsys):
    run = make_run(tmp_path / "run", models=("dalle",), hostile=False)
    note = "not measured: no weights of clip-b32; run `evalkit weights fetch clip-b32`"
    rows = [
        dataclasses.replace(one, value=None, low=None, high=None, encoder="", note=note)
        if one.metric == "clip_score"
        else one
        for one in run.metrics()
    ]
    run.write_metrics(rows)
    print_metrics(rows, run.path, False, "open it")
    output, errors = capsys.readouterr()
    assert errors == "next: evalkit weights fetch clip-b32, then the same command again\n"
    assert "CLIP score: not measured: no weights of clip-b32" in output
    assert row(output.splitlines(), "CLIP score ↑") == ["CLIP score ↑", "-"]


def test_the_next_step_fetches_all_missing_weights(tmp_path, capsys):
    run = make_run(tmp_path / "run", models=("dalle",), hostile=False)
    weights = {"clip_score": "clip-b32", "fid": "inception", "kid": "inception"}
    rows = [
        dataclasses.replace(
            one, value=None, low=None, high=None, encoder="",
            note=f"not measured: run `evalkit weights fetch {weights[one.metric]}`",
        )
        if one.metric in weights
        else one
        for one in run.metrics()
    ]  # fmt: skip
    run.write_metrics(rows)
    print_metrics(rows, run.path, False, "open it")
    said = capsys.readouterr().err
    assert said == ("next: evalkit weights fetch inception clip-b32, then the same command again\n")


def test_the_example_of_the_repository_is_readable(monkeypatch, capsys):
    example = Path(__file__).parents[2] / "reports/example"
    monkeypatch.setenv("COLUMNS", "80")
    print_metrics([], example, False, "")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines[0].split()) == 1 + len(read_facts(example).models)


def test_the_score_by_group_stands_below_the_table(tmp_path, monkeypatch, capsys):
    run = make_run(tmp_path / "run", models=("dalle", "gan"), hostile=False)
    add_groups(run)
    monkeypatch.setenv("COLUMNS", "80")
    print_metrics(run.metrics(), run.path, False, "")
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("CLIP score ↑")
    assert lines[place - 1].split() == ["group", "dalle", "gan"]
    names = ["object", "colour", "count", "position", "free"]
    assert [line.split()[0] for line in lines[place + 1 : place + 6]] == names
    assert row(lines, "colour") == ["colour", "26.5 ± 1.0", "24.5 ± 1.0"]
    assert row(lines, "count") == ["count", "27.5 ± 1.0", "-"]
    assert row(lines, "CLIP score ↑")[1].startswith("27.0")  # on all prompts, as without groups


def test_every_metric_with_values_per_image_has_a_table_by_group(tmp_path, monkeypatch, capsys):
    run = make_run(tmp_path / "run", models=("dalle", "gan"), hostile=False)
    add_groups(run)
    rows = run.metrics()
    scored = [one for one in rows if one.metric == "clip_score"]
    more = [dataclasses.replace(one, metric="vqa_score") for one in scored]
    run.write_metrics([*rows, *more])
    with run.scores_path.open(encoding="utf-8") as file:
        header, *lines = file.read().splitlines()
    same = [line.replace("clip_score", "vqa_score") for line in lines if "clip_score" in line]
    run.scores_path.write_text("\n".join([header, *lines, *same]) + "\n", encoding="utf-8")
    monkeypatch.setenv("COLUMNS", "80")
    print_metrics(run.metrics(), run.path, False, "")
    shown = capsys.readouterr().out.splitlines()
    tables = [at for at, line in enumerate(shown) if line.split() == ["group", "dalle", "gan"]]
    assert [shown[at + 1] for at in tables] == ["CLIP score ↑", "Vqa score ↑"]
    one, other = ([line.split() for line in shown[at + 2 : at + 7]] for at in tables)
    assert one == other


def test_many_groups_are_cut_and_many_models_are_lines(tmp_path, monkeypatch, capsys):
    prompts = [Prompt(str(at), f"text {at}", f"group {at // 2}") for at in range(40)]
    for models, shown in ((("a", "b"), 12), (tuple("abcdef"), 2)):
        run = make_run(tmp_path / str(shown), models=models, hostile=False)
        run.write_prompts(prompts)
        add_groups(run)
        monkeypatch.setenv("COLUMNS", "80")
        print_metrics(run.metrics(), run.path, False, "")
        lines = capsys.readouterr().out.splitlines()
        found = [line for line in lines if line.startswith("  group ")]
        assert len(found) == shown * (1 if shown == 12 else len(models))
        assert f"  … {20 - shown} more groups in the report" in lines
