"""`evalkit weights list`, `verify`, `fetch` and `import`, and what `list` shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner
from weight_server import CONTENT

import evalkit
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.encoders import weights
from evalkit.listing import encoders


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def states(rows: list) -> list[tuple[str, str]]:
    return [(row.name, row.state) for row in rows]


def test_list_shows_where_a_file_is_and_what_it_is_for(table: Path, tmp_path: Path):
    assert states(evalkit.weights_list()) == [(name, "missing") for name in CONTENT]
    other = tmp_path / "torch" / "checkpoints"
    for folder in (table, other):
        folder.mkdir(parents=True)
    (other / "one.pt").write_bytes(CONTENT["one"])
    (table / "two.pt").write_bytes(b"another size")
    rows = {row.name: row for row in evalkit.weights_list()}
    assert rows["one"].state == "present"
    assert rows["two"].state == "damaged"
    (table / "one.pt").write_bytes(CONTENT["one"])
    row = evalkit.weights_list()[0]
    assert (row.state, row.path) == ("verified", str(table / "one.pt"))
    assert row.encoders == ("small", "large")


@pytest.mark.parametrize("kind", ["address", "folder", "environment"])
def test_fetch_from_a_mirror(
    table: Path, mirror: tuple[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
):
    url, folder = mirror
    for name in ("one", "two"):
        (folder / f"{name}.pt").write_bytes(CONTENT[name])
    if kind == "environment":
        monkeypatch.setenv("EVALKIT_MIRROR", url)
    given = {"address": f"{url}/", "folder": str(folder), "environment": ""}[kind]
    rows = evalkit.weights_fetch(["large"], mirror=given)
    assert states(rows) == [("one", "fetched"), ("two", "fetched")]
    assert names_in(table) == ["one.pt", "two.pt"]
    assert (table / "two.pt").read_bytes() == CONTENT["two"]


def test_fetch_only_checks_a_file_that_is_present(table: Path):
    table.mkdir(parents=True)
    (table / "one.pt").write_bytes(CONTENT["one"])
    assert states(evalkit.weights_fetch(["one", "small"])) == [("one", "verified")]
    (table / "one.pt").write_bytes(b"damaged")
    with pytest.raises(EvalkitError, match="SHA-256"):
        evalkit.weights_fetch(["one"])


def test_fetch_needs_a_name():
    with pytest.raises(EvalkitError, match="No weights are named"):
        evalkit.weights_fetch([])


def test_import_recognises_files_by_their_hash(table: Path, tmp_path: Path):
    disk = tmp_path / "disk" / "some" / "folder"
    disk.mkdir(parents=True)
    (disk / "renamed.bin").write_bytes(CONTENT["one"])
    (disk.parent / "again").write_bytes(CONTENT["one"])
    (disk / "same size.pt").write_bytes(b"y" * len(CONTENT["two"]))
    (disk / "notes.txt").write_text("nothing")
    rows = evalkit.weights_import(tmp_path / "disk")
    assert states(rows) == [("one", "imported"), ("one-hub", "missing"), ("two", "missing")]
    assert names_in(table) == ["one.pt"]
    (disk / "two").write_bytes(CONTENT["two"])
    rows = evalkit.weights_import(disk / "two")
    assert states(rows) == [("one", "verified"), ("one-hub", "missing"), ("two", "imported")]
    with pytest.raises(EvalkitError, match="none of the pinned weights"):
        evalkit.weights_import(disk / "notes.txt")
    with pytest.raises(EvalkitError, match="There is no file or folder"):
        evalkit.weights_import(tmp_path / "nowhere")


def test_import_of_the_cache_itself_changes_nothing(table: Path):
    table.mkdir(parents=True)
    (table / "one.pt").write_bytes(CONTENT["one"])
    evalkit.weights_import(table)
    assert (table / "one.pt").read_bytes() == CONTENT["one"]
    assert names_in(table) == ["one.pt"]


def test_verify_finds_damaged_and_missing_files(table: Path):
    table.mkdir(parents=True)
    (table / "one.pt").write_bytes(CONTENT["one"])
    (table / "two.pt").write_bytes(CONTENT["two"][:-1] + b"!")
    assert states(evalkit.weights_verify()) == [("one", "verified"), ("two", "damaged")]
    assert states(evalkit.weights_verify(["small"])) == [("one", "verified")]
    (table / "one.pt").unlink()
    rows = evalkit.weights_verify(["large"])
    assert states(rows) == [("one", "missing"), ("two", "damaged")]
    with pytest.raises(EvalkitError, match=r"There are no weights 'smal'.*Did you mean 'small'"):
        evalkit.weights_verify(["smal"])


def test_list_shows_weights_and_licences(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    present = {"clip-b32", "lpips-vgg"}
    monkeypatch.setattr(weights, "find", lambda name: tmp_path if name in present else None)
    rows = {row[0]: row for row in encoders().rows}
    assert rows["clip-b32"][3:] == ("here", "MIT")
    assert rows["dinov2-l14"][3:] == ("missing (1,218 MB to fetch)", "Apache-2.0")
    assert rows["pixels"][3:] == ("", "")


def test_the_commands(table: Path, mirror: tuple[str, Path]):
    def run(*arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, ["weights", *arguments])
        return result.exit_code, result.stdout, result.stderr

    (mirror[1] / "one.pt").write_bytes(CONTENT["one"])
    code, out, _ = run("list", "--json")
    assert code == 0
    assert [row["state"] for row in json.loads(out)] == ["missing"] * 3
    code, out, _ = run("fetch", "small", "--mirror", mirror[0], "--json")
    assert (code, json.loads(out)[0]["path"]) == (0, str(table / "one.pt"))
    assert run("verify")[0] == 0
    (table / "one.pt").write_bytes(b"broken")
    code, out, err = run("verify", "--json")
    assert code == 2
    assert json.loads(out)[0]["state"] == "damaged"
    assert "one is damaged." in err
    code, out, _ = run("import", str(mirror[1]))
    assert code == 0
    assert out.splitlines()[1].startswith("one\tsmall, large\timported\t")
    assert run("verify", "one")[0] == 0
    assert run("fetch", "nothing")[0] == 2
