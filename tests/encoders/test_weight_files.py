"""The table of pinned files."""

from __future__ import annotations

import re

from evalkit import plugins
from evalkit.encoders.weight_files import FILES, LIBRARIES, NEEDS, encoders_of, licences


def test_every_pinned_file_is_complete():
    for item in FILES.values():
        assert re.fullmatch(r"[0-9a-f]{64}", item.sha256)
        assert item.size > 1000
        assert item.licence
        assert bool(item.urls) != bool(item.package)
        assert all(url.startswith("https://") for url in item.urls)
        assert encoders_of(item.name)


def test_files_have_different_names_and_digests():
    assert len({item.file for item in FILES.values()}) == len(FILES)
    assert len({item.sha256 for item in FILES.values()}) == len(FILES)


def test_openai_addresses_contain_the_pinned_digest():
    found = [item for item in FILES.values() for url in item.urls if "openaipublic" in url]
    assert found
    assert all(item.sha256 in item.urls[0] for item in found)


def test_every_installed_encoder_has_its_weights_in_the_table():
    assert {name for parts in NEEDS.values() for part in parts for name in part} == set(FILES)
    assert set(NEEDS) | {"mini-inception", "mini-clip", "pixels", "timm"} >= set(
        plugins.names("encoder")
    )
    assert set(LIBRARIES) <= set(NEEDS)


def test_licences_of_an_encoder_with_two_files():
    assert licences("lpips-vgg") == "BSD-3-Clause (torchvision), BSD-2-Clause"
    assert licences("clip-b32") == "MIT"
