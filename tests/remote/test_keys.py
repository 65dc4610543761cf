"""A key that a service repeats in another form is not kept."""

import base64
import json
from pathlib import Path

import pytest

import evalkit
from evalkit.core import EvalkitError
from evalkit.remote.keys import Key, redacted

KEY = "sk-proj-A1b2C3d4E5f6G7h8_J9k0L1m2N3p4Q5r6"
DATA = KEY.encode()
FORMS = {
    "plain": KEY,
    "upper case": KEY.upper(),
    "reversed": KEY[::-1],
    "spaced": " ".join(KEY),
    "split": json.dumps([KEY[:20], KEY[20:]]),
    "zero-width": "\u200b".join(KEY),
    "full width": "".join(chr(ord(sign) + 0xFEE0) for sign in KEY),
    "percent": "".join(f"%{byte:02X}" for byte in DATA),
    "hex": DATA.hex(),
    "HEX with colons": DATA.hex(":").upper(),
    "0x": ", ".join(f"0x{byte:02x}" for byte in DATA),
    "JSON": "".join(f"\\u{byte:04x}" for byte in DATA),
    "HTML": "".join(f"&#{byte};" for byte in DATA),
    "base32": base64.b32encode(DATA).decode(),
    "base64 of the reversed key": base64.b64encode(DATA[::-1]).decode(),
    "base64 of upper case": base64.b64encode(DATA.upper()).decode(),
    "reversed base64": base64.b64encode(DATA)[::-1].decode(),
    "base64 of a header": base64.b64encode(b"Bearer " + DATA).decode(),
    **{f"base64 at {at}": base64.b64encode(b"x" * at + DATA + b"tail").decode() for at in range(3)},
    **{
        f"urlsafe at {at}": base64.urlsafe_b64encode(b"x" * at + DATA).decode().rstrip("=")
        for at in range(3)
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_a_key_is_kept(form: str) -> None:
    text = redacted(f"HTTP 401: {FORMS[form]} is wrong", (Key("NAME", KEY),), 3000)
    assert text.startswith("HTTP 401: ")
    assert text.endswith(" is wrong")
    assert "[key]" in text
    assert len(text) < len("HTTP 401: [key] is wrong") + 20  # what stands around the key


def test_other_texts_are_kept() -> None:
    text = "The prompt 'a red circle on 256 x 256' was rejected by the safety system: sk-proj- 0x1f"
    for key in (KEY, "short-key-12", "abcd"):
        assert redacted(text, (Key("NAME", key),)) == text


def test_a_dry_run_needs_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "BFL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for model, options in (
        ("openai:gpt-image-1.5", {"size": "1024x1024", "quality": "low"}),
        ("http-template:bfl", {"model": "flux-2-pro", "size": "1024x768", "price": 0.03}),
    ):
        [found] = evalkit.generate(model, ["a cat"], options={model: options}, dry_run=True)
        assert (found.missing, found.total) == (1, found.price)
        with pytest.raises(EvalkitError, match=r"_API_KEY .* is not set"):
            evalkit.generate(model, ["a cat"], options={model: options}, out="run")
    assert not any(tmp_path.iterdir())
    evalkit.generate("noise", ["a cat"], out="run")
    judge = {"model": "gpt-5-mini", "input_price": 0.25, "output_price": 2.0}
    assert evalkit.rate_judge("run", **judge, dry_run=True).missing == 1
    with pytest.raises(EvalkitError, match=r"OPENAI_API_KEY .* is not set"):
        evalkit.rate_judge("run", **judge)
    monkeypatch.setenv("OPENAI_API_KEY", "a key")  # one that is set is checked all the same
    with pytest.raises(EvalkitError, match="is not a valid key"):
        evalkit.generate("openai:gpt-image-1.5", ["a cat"], dry_run=True)
