"""The pinned files: listed, verified, fetched from a real local server, imported under any name;
never half-written.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import evalkit
from evalkit import plugins
from evalkit.cli.app import app
from evalkit.core import EvalkitError
from evalkit.encoders import weights
from evalkit.encoders.weight_files import FILES, LIBRARIES, NEEDS, WeightFile, encoders_of
from evalkit.listing import encoders

CONTENT = {
    "one": b"the first file" * 100,
    "one-hub": b"the same tensors, another format",
    "two": b"the second file" * 77,
}


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of three small files for two encoders, and caches that are empty. Returns evalkit's
    cache.
    """
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EVALKIT_MIRROR", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    for name in list(FILES):
        monkeypatch.delitem(FILES, name)
    for name in list(NEEDS):
        monkeypatch.delitem(NEEDS, name)
    for name, content in CONTENT.items():
        digest = hashlib.sha256(content).hexdigest()
        urls = (f"http://127.0.0.1:9/{name}.pt",)
        file = WeightFile(
            name,
            f"{name}.pt",
            digest,
            len(content),
            "MIT",
            name,
            urls,
            "maker/one" if name == "one-hub" else "",
        )
        monkeypatch.setitem(FILES, name, file)
    monkeypatch.setitem(NEEDS, "small", (("one", "one-hub"),))
    monkeypatch.setitem(NEEDS, "large", (("one", "one-hub"), ("two",)))
    return tmp_path / "cache" / "weights"


class Server:
    def __init__(
        self, handler: type[BaseHTTPRequestHandler] | partial[SimpleHTTPRequestHandler]
    ) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A folder that a server offers: its address, and the folder."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    server = Server(partial(Quiet, directory=str(folder)))
    yield server.url, folder
    server.stop()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_every_pin_is_whole_and_every_standard_encoder_is_listed():
    for item in FILES.values():
        assert re.fullmatch(r"[0-9a-f]{64}", item.sha256)
        assert item.size > 1000
        assert item.licence
        assert item.urls
        assert all(url.startswith("https://") for url in item.urls)
        assert encoders_of(item.name)
    for url in (url for item in FILES.values() for url in item.urls if "openaipublic" in url):
        assert (
            next(item for item in FILES.values() if url in item.urls).sha256 in url
        )  # OpenAI's digest is a part of the address
    assert (
        len({item.file for item in FILES.values()})
        == len({item.sha256 for item in FILES.values()})
        == len(FILES)
    )
    assert {name for parts in NEEDS.values() for part in parts for name in part} == set(FILES)
    assert set(NEEDS) | {"mini-inception", "mini-clip", "pixels"} >= set(plugins.names("encoder"))
    assert set(LIBRARIES) <= set(NEEDS)


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("EVALKIT_CACHE", raising=False)
    assert weights.cache_folder().name == "weights"
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path))
    assert weights.cache_folder() == tmp_path / "weights"


def test_files_are_found_in_the_caches_of_other_tools(table: Path, tmp_path: Path):
    assert weights.find("one") is None
    places = [
        tmp_path / "home" / ".cache" / "clip" / "one.pt",
        tmp_path / "torch" / "checkpoints" / "one.pt",
        table / "one.pt",
    ]
    for place in places:
        place.parent.mkdir(parents=True)
        place.write_bytes(CONTENT["one"])
        assert weights.find("one") == place
    [row] = [row for row in evalkit.weights_list() if row.name == "one"]
    assert (row.state, row.path, row.encoders) == (
        "verified",
        str(table / "one.pt"),
        ("small", "large"),
    )


def test_the_cache_of_hugging_face_counts_as_another_format(table: Path, tmp_path: Path):
    assert [item.name for item in weights.missing("small")] == ["one"]
    blob = tmp_path / "hub" / "models--maker--one" / "blobs" / FILES["one-hub"].sha256
    blob.parent.mkdir(parents=True)
    blob.write_bytes(CONTENT["one-hub"])
    assert weights.find("one-hub") == blob
    assert weights.missing("small") == []
    assert [item.name for item in weights.missing("large")] == ["two"]
    [(item, path)] = weights.obtain("small", fetch_missing=False)
    assert (item.name, path) == ("one-hub", blob)
    blob.write_bytes(b"another file")
    with pytest.raises(EvalkitError, match="SHA-256"):
        weights.obtain("small", fetch_missing=False)


def test_missing_weights_say_what_to_type(table: Path):
    with pytest.raises(
        EvalkitError,
        match=r"one\.pt\) are in no cache.*evalkit weights fetch small.*evalkit weights import",
    ):
        weights.obtain("small", fetch_missing=False)
    start = time.monotonic()
    with pytest.raises(EvalkitError, match="could not be fetched"):
        weights.obtain("small")
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("kind", ["address", "folder", "environment"])
def test_fetch_from_a_mirror(
    table: Path, mirror: tuple[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
):
    url, folder = mirror
    for name in ("one", "two"):
        (folder / f"{name}.pt").write_bytes(CONTENT[name])
    if kind == "environment":
        monkeypatch.setenv("EVALKIT_MIRROR", url)
    rows = evalkit.weights_fetch(
        ["large"], mirror={"address": f"{url}/", "folder": str(folder), "environment": ""}[kind]
    )
    assert [(row.name, row.state) for row in rows] == [("one", "fetched"), ("two", "fetched")]
    assert names_in(table) == ["one.pt", "two.pt"]
    assert (table / "two.pt").read_bytes() == CONTENT["two"]
    assert [row.state for row in evalkit.weights_fetch(["one", "small"])] == [
        "verified"
    ]  # nothing is fetched twice


def test_a_file_with_another_hash_is_not_kept(table: Path, mirror: tuple[str, Path]):
    (mirror[1] / "one.pt").write_bytes(b"x" * len(CONTENT["one"]))
    with pytest.raises(
        EvalkitError,
        match=rf"has the SHA-256 [0-9a-f]{{16}}…; expected one that starts with {FILES['one'].sha256[:16]}",
    ):
        evalkit.weights_fetch(["one"], mirror=mirror[0])
    assert names_in(table) == []


def test_a_missing_file_falls_back_to_the_official_address(
    table: Path, mirror: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(
        EvalkitError,
        match=r"one\.pt cannot be reached or does not have it; http://127.0.0.1:9/one.pt cannot",
    ):
        evalkit.weights_fetch(["one"], mirror=mirror[0])
    assert names_in(table) == []
    (mirror[1] / "official.pt").write_bytes(CONTENT["one"])
    monkeypatch.setitem(FILES, "one", FILES["one"]._replace(urls=(f"{mirror[0]}/official.pt",)))
    assert evalkit.weights_fetch(["one"], mirror=mirror[0])[0].state == "fetched"


def test_a_download_that_breaks_off_leaves_nothing(table: Path):
    class Half(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT["one"])))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(CONTENT["one"][:500])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = Server(Half)
    try:
        with pytest.raises(
            EvalkitError, match=r"broke off after 500 of 1,400 bytes|IncompleteRead"
        ):
            evalkit.weights_fetch(["one"], mirror=server.url)
    finally:
        server.stop()
    assert names_in(table) == []


def test_import_knows_files_by_their_hash_under_any_name(table: Path, tmp_path: Path):
    usb = tmp_path / "usb" / "some" / "folder"
    usb.mkdir(parents=True)
    (usb / "renamed.bin").write_bytes(CONTENT["one"])
    (usb.parent / "again").write_bytes(CONTENT["one"])
    (usb / "same size.pt").write_bytes(b"y" * len(CONTENT["two"]))
    (usb / "notes.txt").write_text("nothing")
    rows = evalkit.weights_import(tmp_path / "usb")
    assert {row.name: row.state for row in rows} == {
        "one": "imported",
        "one-hub": "missing",
        "two": "missing",
    }
    assert names_in(table) == ["one.pt"]
    (usb / "two").write_bytes(CONTENT["two"])
    assert {row.name: row.state for row in evalkit.weights_import(usb / "two")} == {
        "one": "verified",
        "one-hub": "missing",
        "two": "imported",
    }
    with pytest.raises(EvalkitError, match="none of the pinned weights"):
        evalkit.weights_import(usb / "notes.txt")
    with pytest.raises(EvalkitError, match="There is no file or folder"):
        evalkit.weights_import(tmp_path / "nowhere")


def test_importing_the_cache_itself_harms_nothing(table: Path):
    table.mkdir(parents=True)
    (table / "one.pt").write_bytes(CONTENT["one"])
    evalkit.weights_import(table)
    assert (table / "one.pt").read_bytes() == CONTENT["one"]
    assert names_in(table) == ["one.pt"]


def test_verify_names_damaged_and_missing_files(table: Path):
    table.mkdir(parents=True)
    (table / "one.pt").write_bytes(CONTENT["one"])
    (table / "two.pt").write_bytes(CONTENT["two"][:-1] + b"!")
    assert [(row.name, row.state) for row in evalkit.weights_verify()] == [
        ("one", "verified"),
        ("two", "damaged"),
    ]
    assert [(row.name, row.state) for row in evalkit.weights_verify(["small"])] == [
        ("one", "verified")
    ]
    (table / "one.pt").unlink()
    assert [(row.name, row.state) for row in evalkit.weights_verify(["large"])] == [
        ("one", "missing"),
        ("two", "damaged"),
    ]
    with pytest.raises(EvalkitError, match=r"There are no weights 'smal'.*Did you mean 'small'"):
        evalkit.weights_verify(["smal"])
    with pytest.raises(EvalkitError, match="No weights are named"):
        evalkit.weights_fetch([])


def test_doctor_and_list_show_weights_and_licences(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    held = {"clip-b32", "lpips-vgg"}
    monkeypatch.setattr(weights, "find", lambda name: tmp_path if name in held else None)
    monkeypatch.setattr(weights, "reachable", lambda url: "vgg16" in url)
    found = {item.topic: item for item in evalkit.doctor()}
    assert found["encoder clip-b32"] == (
        "encoder clip-b32",
        "its weights are in the cache; licence of the weights: MIT",
        True,
    )
    lpips = "its weights can be fetched (553 MB); licence of the weights: BSD-3-Clause (torchvision), BSD-2-Clause"
    assert found["encoder lpips-vgg"] == ("encoder lpips-vgg", lpips, True)
    assert not found["encoder dinov2-l14"].good
    assert (
        "in no cache and cannot be fetched; licence of the weights: Apache-2.0"
        in found["encoder dinov2-l14"].finding
    )
    assert found["encoder mini-clip"].finding.startswith("fingerprint ")
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
    assert err.startswith("error: 1 of 1 weights files failed verification: one is damaged.")
    code, out, _ = run("import", str(mirror[1]))
    assert code == 0
    assert out.splitlines()[0].startswith("one\tsmall, large\timported\t")
    assert run("verify", "one")[0] == 0
    assert run("fetch", "nothing")[0] == 2
