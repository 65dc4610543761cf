"""What became of every requested image, on the page and in report.md."""

from __future__ import annotations

from dataclasses import replace

from report_runs import make_run

from evalkit.core import MetricRow
from evalkit.report import sentences
from evalkit.report.accounting import accounting, charges
from evalkit.report.facts import read_facts
from evalkit.report.numbers import DASH
from evalkit.report.report import report
from evalkit.run_folder import Run


def checks(**counts: int) -> dict[str, object]:
    """The entry of one model in image_checks.json."""
    names = ("black", "one_colour", "tiny", "duplicates", "not_taken", "missing")
    entry: dict[str, object] = {name: {"count": counts.get(name, 0)} for name in names}
    return {"taken": counts.get("taken", 0), "skipped": counts.get("skipped", 0), **entry}


def test_every_image_is_accounted_for(tmp_path):
    run = make_run(tmp_path / "run", 12, hostile=False)
    of_dalle = checks(taken=9, skipped=2, black=3, duplicates=4)
    run.write_image_checks({"dalle": of_dalle, "gan": checks(taken=11)})
    first, second = accounting(read_facts(run.path))
    expected = {"asked": "12", "made": "11", "refused": "1", "failed": "0", "invalid": "2"}
    expected |= {"black": "3", "duplicate": "4"}
    assert first.counts.items() > expected.items()
    assert (second.counts["refused"], second.counts["failed"]) == ("0", "1")
    assert "Invalid images were skipped." in sentences.accounted(read_facts(run.path))
    report(run.path)
    section = (
        (run.report_path / "report.md").read_text(encoding="utf-8").split("<summary>Accounting")[1]
    )
    assert "| Model | asked | made | refused | failed | invalid | black | duplicate |" in section
    assert "| dalle | 12 | 11 | 1 | 0 | 2 | 3 | 4 |" in section
    page = (run.report_path / "index.html").read_text(encoding="utf-8")
    section = page.split('id="outcomes"')[1].split("</table>")[0]
    for count in ("12", "11", "1", "0", "2", "3", "4"):
        assert f'<td class="num">{count}</td>' in section


def test_nothing_is_skipped_where_no_image_is_invalid(tmp_path):
    run = make_run(tmp_path / "run", 12, hostile=False)
    run.write_image_checks({"dalle": checks(taken=11), "gan": checks(taken=11)})
    said = sentences.accounted(read_facts(run.path))
    assert "No image is invalid." in said
    assert "skipped" not in said


def test_what_was_not_checked_is_not_zero(tmp_path):
    run = make_run(tmp_path / "run", 12, hostile=False)
    [first, _] = accounting(read_facts(run.path))
    assert (first.counts["invalid"], first.counts["black"]) == (DASH, DASH)
    assert "is known after scoring" in report(run.path).read_text(encoding="utf-8")


def test_a_folder_of_existing_images_is_accounted_for(tmp_path):
    run = Run(tmp_path / "bare")
    row = MetricRow("images", "fid", "pixels", "r", 3.0, 2.0, 4.0, 9, 9, "lower", "jackknife")
    run.write_metrics([row])
    run.write_image_checks({"images": checks(taken=9, skipped=1, not_taken=5)})
    [account] = accounting(read_facts(run.path))
    assert account.counts == {
        "asked": "10", "made": "10", "refused": "0", "invalid": "1", "black": "0",
        "duplicate": "0", "not taken": "5",
    }  # fmt: skip
    assert "Accounting" in report(run.path).read_text(encoding="utf-8")


def test_images_that_are_gone_are_missing(tmp_path):
    run = make_run(tmp_path / "run", 12, hostile=False)
    for path in run.path.glob("images/*/manifest*"):
        path.unlink()
    assert [one.counts["missing"] for one in accounting(read_facts(run.path))] == ["12", "12"]


def test_requests_and_charges_of_a_service_are_stated(tmp_path):
    run = make_run(tmp_path / "run", 4, hostile=False)
    first, *others = run.records("gan")
    paid = replace(first, attempts=3, cost=0.5, possible_charges=2, possible_cost=0.25)
    run.append_records("gan", [paid, *(replace(one, attempts=1, cost=1.0) for one in others)])
    said = (
        "gan: 6 requests for 4 images, for $3.50."
        " 2 requests without a readable answer may have cost $0.25 more."
    )
    assert charges(read_facts(run.path)) == [said]
    page = report(run.path).read_text(encoding="utf-8")
    assert said in page
    assert "The time of an image of a service is that from request to answer." in page
    assert "its share of the time of its batch" in page  # dalle is no service
    run.append_records("gan", [replace(paid, cost=None, possible_cost=None)])
    said = (
        "gan: 6 requests for 4 images, at an unknown price."
        " 2 requests without a readable answer may have cost an unknown amount more."
    )
    assert charges(read_facts(run.path)) == [said]


def test_runs_without_a_service_have_no_charges(tmp_path):
    run = make_run(tmp_path / "run", 4, hostile=False)
    assert charges(read_facts(run.path)) == []
    assert "from request to answer" not in report(run.path).read_text(encoding="utf-8")


def test_folders_have_no_speed_and_no_refusals(tmp_path):
    run = make_run(tmp_path / "run", 4, hostile=False)
    page = report(run.path).read_text(encoding="utf-8")
    written = (run.report_path / "report.md").read_text(encoding="utf-8")
    assert ">Speed and cost</h3>" in page
    assert "| Refusal rate ↓ |" in written
    for model in run.models():
        run.append_records(model, [replace(one, source="a.png") for one in run.records(model)])
    page = report(run.path).read_text(encoding="utf-8")
    written = (run.report_path / "report.md").read_text(encoding="utf-8")
    assert ">Speed and cost</h3>" not in page
    assert "| Refusal rate ↓ |" not in written
    assert "| FID ↓ |" in written
