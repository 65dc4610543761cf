"""Images from Hugging Face datasets: parquet shards and saved datasets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from packing import contents
from PIL import Image

from evalkit.core import EvalkitError
from evalkit.images import encode_png
from evalkit.sources import open_source


def tables(count: int) -> tuple[list[dict[str, object]], list[bytes]]:
    data = [encode_png(Image.new("RGB", (4, 4), (number, 0, 0))) for number in range(count)]
    return [{"bytes": item, "path": f"{number}.png"} for number, item in enumerate(data)], data


def test_parquet_shards(tmp_path: Path):
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    rows, data = tables(70)
    (tmp_path / "data").mkdir()
    for number, part in enumerate((rows[:33], rows[33:])):
        parquet.write_table(
            arrow.table({"label": list(range(len(part))), "image": part}),
            tmp_path / "data" / f"train-{number:05d}-of-00002.parquet",
        )
    source = open_source(tmp_path)
    assert source.count == 70
    assert [content for _, content in contents(source)] == data
    assert [image.name for image in source][34] == "train-00001-of-00002.parquet[1]"
    parquet.write_table(
        arrow.table({"image": rows[:1]}), tmp_path / "data" / "test-00000-of-00001.parquet"
    )
    with pytest.raises(EvalkitError, match="has the splits test, train"):
        open_source(tmp_path)
    assert len(contents(open_source(str(tmp_path / "data" / "test-*.parquet")))) == 1
    parquet.write_table(arrow.table({"caption": ["a"]}), tmp_path / "texts.parquet")
    with pytest.raises(EvalkitError, match=r"no image column \(caption\)"):
        contents(open_source(tmp_path / "texts.parquet"))
    parquet.write_table(
        arrow.table({"image": [{"bytes": None, "path": "/etc/passwd"}]}, schema=image_schema()),
        tmp_path / "paths.parquet",
    )
    with pytest.raises(OSError, match="contains its path, not the image"):
        contents(open_source(tmp_path / "paths.parquet"))
    (tmp_path / "texts.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(EvalkitError, match="cannot be read"):
        open_source(tmp_path / "texts.parquet")


def image_schema() -> object:
    import pyarrow as arrow

    return arrow.schema(
        [("image", arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())]))]
    )


def test_saved_datasets(tmp_path: Path):
    import pyarrow as arrow

    rows, data = tables(9)
    table = arrow.table({"image": rows}, schema=image_schema())
    with (
        arrow.OSFile(str(tmp_path / "data-00000-of-00001.arrow"), "wb") as file,
        arrow.ipc.new_stream(file, table.schema) as stream,
    ):
        stream.write_table(table, max_chunksize=4)
    state: dict[str, object] = {
        "_data_files": [{"filename": "data-00000-of-00001.arrow"}],
        "_indices_data_files": None,
    }
    (tmp_path / "state.json").write_text(json.dumps(state))
    (tmp_path / "dataset_info.json").write_text("{}")
    assert [content for _, content in contents(open_source(tmp_path))] == data
    for wrong, message in (
        ({"_indices_data_files": [{"filename": "i.arrow"}]}, "a selection or a new order"),
        ({"_data_files": [{"filename": "../x.arrow"}]}, "another folder"),
        ({"_data_files": 3}, "cannot be read"),
    ):
        (tmp_path / "state.json").write_text(json.dumps(state | wrong))
        with pytest.raises(EvalkitError, match=message):
            open_source(tmp_path)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(EvalkitError, match="the splits train, test"):
        open_source(tmp_path)


def test_the_error_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import sys

    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    for module in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EvalkitError, match="need pyarrow") as error:
        open_source(tmp_path / "a.parquet")
    assert "pip install '.[datasets]'" in error.value.hint
