"""What a baseline file may hold: read as it was written, and each damage is one sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.core import EvalkitError, Measure
from evalkit.gate.baseline_file import KIND, content_hash, read_baseline, to_content
from evalkit.gate.snapshot import Snapshot, State

Content = dict[str, Any]


def saved() -> Snapshot:
    """Two prompts with two images each; a value per image, one of the set, and one of raters."""
    keys = tuple((prompt, sample) for prompt in ("a", "b") for sample in (0, 1))
    states = {
        "share": State(
            Measure("share", "lower", range=(0.0, 1.0), from_records=True),
            "", "", 0.25, values=(0.0, 0, 1, 0.0), keys=keys[::-1],
        ),
        "fid": State(
            Measure("fid", "lower", range=(0.0, math.inf)),
            "inception", "photos", 3.0, 2.0, 4.0, "jackknife", left_out=(2.5, 1e150), keys=keys,
        ),
        "win_rate@human": State(
            Measure("win_rate", "higher", from_ratings=True), "human", "other", None, note="none"
        ),
    }  # fmt: skip
    conditions = {
        **dict.fromkeys(("seed", "per_prompt"), 1),
        **{name: {} for name in ("generation", "encoders", "references")},
        "image_size": ["8x8"],
    }
    images = tuple((*key, "0" * 64) for key in keys)
    texts, groups = {"a": "a cat", "b": "a dog"}, {"a": "", "b": "animals"}
    return Snapshot(
        "run:m", "m", texts, groups, conditions, states, "1.0", "run:m", ("clip",), images
    )


def write(path: Path, *edits: Callable[[Content], object], schema: object = 2) -> str:
    """A file of the snapshot after some edits; the hash is right."""
    snapshot = json.loads(json.dumps(to_content(saved())))
    for edit in edits:
        edit(snapshot)
    content: Content = {"kind": KIND, "schema": schema, "snapshot": snapshot, "history": [{}]}
    content["history"] = [{"sha256": "of another one"}, {"reason": "second"}]
    content["history"][-1]["sha256"] = content_hash(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def test_a_snapshot_is_read_as_it_was_saved(tmp_path: Path) -> None:
    path = write(tmp_path / "base.json")
    found, expected = read_baseline(path), saved()
    assert (found.name, found.saved_from) == (path, "run:m")
    for field in ("model", "prompts", "groups", "conditions", "states", "version", "blind"):
        assert getattr(found, field) == getattr(expected, field)
    assert found.images == expected.images
    stored = json.loads(Path(path).read_text())["snapshot"]
    assert len(stored["keys"]) == 3  # each order once: of the shares, of the images, none
    assert stored["states"]["win_rate@human"]["measure"]["range"] == [None, None]


def put(value: Any, *place: str | int) -> Callable[[Content], None]:
    def edit(content: Content) -> None:
        at: Any = content
        for name in place[:-1]:
            at = at[name]
        at[place[-1]] = value

    return edit


def without(*place: str) -> Callable[[Content], None]:
    def edit(content: Content) -> None:
        at: Any = content
        for name in place[:-1]:
            at = at[name]
        del at[place[-1]]

    return edit


FID, SHARE = ("states", "fid"), ("states", "share")
DAMAGES = [
    *(put(None, name) for name in ("name", "model", "version", "prompts", "groups", "keys")),
    *(put([1, "clip"], "blind"), put("clip", "blind")),
    *(put(3, name, "a") for name in ("prompts", "groups")),
    *(without("groups", "a"), put("a bird", "groups", "c")),
    *(without("conditions", name) for name in saved().conditions),
    *(put([], "conditions", name) for name in ("generation", "encoders", "references")),
    *(put([], "conditions", name) for name in ("encoding_device", "metric_versions")),
    put("8x8", "conditions", "image_size"),
    *(put(value, "images", 1, 0) for value in ("c", 3)),
    *(put(value, "images", 1, 1) for value in (-1, True, 1.0, "1")),
    put(None, "images", 1, 2),
    put({}, "states"),
    *(put(3, *FID, name) for name in ("encoder", "reference", "note")),
    *(put(3, *FID, "measure", name) for name in ("name", "title", "better")),
    *(put(value, *FID, "measure", "range") for value in ([1, 0], [1, 1], ["0", 1], [0, "1"])),
    *(put(value, *FID, name) for name in ("value", "low", "high") for value in ("3", True, 2e150)),
    *(put(value, *FID, "left_out", 1) for value in ("3", None, True, -2e150)),
    *(put(value, *SHARE, "values", 3) for value in ("3", None, False, 2e150)),
    *(put(value, *FID, "left_out") for value in ([1.0], [1.0] * 3, [])),
    *(put(value, *SHARE, "values") for value in ([1.0] * 3, [1.0] * 5, [])),
    *(put(value, *FID, "keys") for value in (3, None, "0")),
    *(put(value, "keys", 0, 1) for value in (["b", 1], ["c", 1], ["b", -1], ["b", True], [])),
]


@pytest.mark.parametrize("edit", DAMAGES, ids=[f"edit {at}" for at in range(len(DAMAGES))])
def test_each_damage_is_one_sentence(edit: Callable[[Content], None], tmp_path: Path) -> None:
    path = write(tmp_path / "base.json", edit)
    with pytest.raises(EvalkitError) as error:
        read_baseline(path)
    said = f"{path} is damaged: its content is not what evalkit writes."
    assert (error.value.message, error.value.exit_code) == (said, 2)


@pytest.mark.parametrize("count", [3, 40])
def test_a_set_has_a_value_without_each_group_of_equal_texts(count: int, tmp_path: Path) -> None:
    """At most twenty groups, and prompts of equal text are in one."""

    def edit(content: Content) -> None:
        texts = {f"p{at}": f"text {at // 2}" for at in range(2 * count)}
        content.update(prompts=texts, groups=dict.fromkeys(texts, ""), images=[])
        content["states"] = {"fid": content["states"]["fid"] | {"keys": 0}}
        content["keys"] = [[[prompt, 0] for prompt in texts]]
        content["states"]["fid"]["left_out"] = [1.0] * min(count, 20)

    assert len(read_baseline(write(tmp_path / "base.json", edit)).states["fid"].keys) == 2 * count
    longer = put([1.0] * (min(count, 20) + 1), *FID, "left_out")
    with pytest.raises(EvalkitError, match="is damaged"):
        read_baseline(write(tmp_path / "base.json", edit, longer))


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"schema": 3}, "has the schema 3; expected 2", "Use the version of evalkit that wrote it"),
        ({"schema": 0}, "has the schema 0; expected 2", "--out {here}/new.json --reason 'new fo"),
        ({"schema": "2"}, "has the schema '2'; expected 2", "Use the version of evalkit that"),
        (
            {"kind": "other"},
            "is not a baseline of evalkit",
            "Write one with `evalkit baseline",
        ),
        ({"history": []}, "has no history", "Save it again"),
        ({"history": {}}, "has no history", "Save it again"),
        ({"history": [{}, 3]}, "has no history", "Save it again"),
        ({"history": [{"reason": "x"}]}, "was edited", "git checkout"),
        ({"more": 1}, "was edited", "git checkout"),
    ],
)
def test_another_file_is_refused_with_the_way_out(
    change: Content, message: str, hint: str, tmp_path: Path
) -> None:
    path = Path(write(tmp_path / "base.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(EvalkitError) as error:
        read_baseline(str(path))
    assert error.value.message.startswith(f"{path} {message}")
    assert hint.format(here=tmp_path) in error.value.hint


def test_the_order_of_the_fields_is_no_edit_and_letters_stay_readable(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "base.json", put("ein B\u00e4r", "prompts", "a")))
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert read_baseline(str(path)).prompts["a"] == "ein B\u00e4r"


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    with path.open("wb") as file:
        file.truncate((256 << 20) + 1)
    with pytest.raises(EvalkitError, match=r"256 MiB, more than 256\."):
        read_baseline(str(path))


def test_an_edit_of_any_entry_of_the_history_is_noticed(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "base.json"))
    for place in (0, 1):
        content = json.loads(path.read_text())
        content["history"][place]["reason"] = "another"
        other = tmp_path / "other.json"
        other.write_text(json.dumps(content))
        with pytest.raises(EvalkitError, match="was edited"):
            read_baseline(str(other))


def test_a_file_of_the_first_schema_has_first_versions_and_does_not_know_devices(
    tmp_path: Path,
) -> None:
    known = {"inception": "mini 1"}
    edits = [put(known, "conditions", name) for name in ("encoders", "references")]
    found = read_baseline(write(tmp_path / "base.json", *edits, schema=1)).conditions
    unknown = {"inception": ""}
    assert found["metric_versions"] == {"fid": 1, "win_rate@human": 1}
    assert found["encoding_device"] == found["encoding_dtype"] == unknown
    assert (found["reference_features"], found["encoders"]) == (unknown, known)
    assert found.keys() == saved().conditions.keys() | {
        "metric_versions", "encoding_device", "encoding_dtype", "reference_features",
    }  # fmt: skip
    newer = put({}, "conditions", "encoding_device")  # which only a file of schema 2 has
    with pytest.raises(EvalkitError, match="is damaged"):
        read_baseline(write(tmp_path / "base.json", *edits, newer, schema=1))


def test_what_is_no_json_says_why_where_a_number_is_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    path.write_text("{")
    with pytest.raises(EvalkitError, match=r"base\.json is not JSON\. Restore"):
        read_baseline(str(path))
    path.write_text('{"a": -Infinity}')
    with pytest.raises(EvalkitError, match=r"not JSON: it has the value -Infinity, which is not"):
        read_baseline(str(path))
    with pytest.raises(EvalkitError, match=r"The baseline .*no\.json cannot be read: No such file"):
        read_baseline(str(tmp_path / "no.json"))


@pytest.mark.parametrize("name", ["git:", "git:main", "git:main:", "git::base.json", "git:-x:b"])
def test_a_revision_needs_both_its_name_and_a_path(name: str) -> None:
    with pytest.raises(EvalkitError, match="names no file of a revision"):
        read_baseline(name)
