"""From bytes, base64 and URLs to one checked RGB image; other content is never decoded."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy
import pytest
from PIL import Image
from scripted_server import answer, serving

from evalkit.generators.services import received
from evalkit.generators.services.received import (
    AllowedHosts,
    Unusable,
    checked_image,
    from_base64,
    from_url,
)
from evalkit.remote.addresses import Origin, parse

PIXELS = numpy.random.default_rng(0).integers(0, 256, (8, 12, 3), numpy.uint8)


def file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


PNG = file(Image.fromarray(PIXELS))
TEXT = base64.b64encode(PNG).decode()


def unusable(call, *arguments) -> Unusable:
    with pytest.raises(Unusable) as caught:
        call(*arguments)
    return caught.value


def test_all_pixels_of_an_image_are_kept():
    for made in (
        checked_image(PNG, "refuse"),
        from_base64(TEXT, "refuse"),
        from_base64(f"data:image/png;base64,{TEXT}", "refuse"),
    ):
        assert made[0].mode == "RGB"
        assert numpy.array_equal(numpy.asarray(made[0]), PIXELS)
        assert made[1] == ""
    assert (
        checked_image(file(Image.fromarray(PIXELS), "WEBP", lossless=True), "refuse")[0].tobytes()
        == PIXELS.tobytes()
    )
    folded = "\n".join(TEXT[at : at + 60] for at in range(0, len(TEXT), 60))
    assert from_base64(folded, "refuse")[0].size == (12, 8)


def header_of_a_large_png(width: int, height: int) -> bytes:
    """A few hundred bytes whose header announces a large image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", ihdr)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


FRAMES = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
SIXTEEN = Image.fromarray(numpy.arange(64, dtype=numpy.uint16).reshape(8, 8))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<html>", "an HTML page"),
        (
            b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>',
            "SVG",
        ),
        (PNG[: len(PNG) // 2], "truncated"),
        (PNG[:-20] + b"\0" * 20, "truncated or damaged"),
        (header_of_a_large_png(50_000, 50_000), "64 million"),
        (header_of_a_large_png(8001, 8001), "64 million"),
        (file(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), "2 frames"),
        (file(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), "2 frames"),
        (file(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), "2 frames"),
        (file(SIXTEEN), "8 bits"),
        (file(Image.fromarray(PIXELS).convert("CMYK"), "JPEG"), "CMYK"),
        (file(Image.fromarray(PIXELS), "PPM"), "is PPM"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "is PostScript"),
    ],
)
def test_other_content_is_malformed_with_a_reason(content, reason):
    error = unusable(checked_image, content, "white")
    assert error.status == "malformed"
    assert reason in error.detail


def test_transparency_follows_the_option_and_is_noted():
    layered = numpy.dstack([PIXELS, numpy.zeros((8, 12), numpy.uint8)])
    data = file(Image.fromarray(layered))
    error = unusable(checked_image, data, "refuse")
    assert (error.status, "alpha=white" in error.detail) == ("malformed", True)
    for alpha, value in (("white", 255), ("black", 0)):
        image, note = checked_image(data, alpha)
        assert image.mode == "RGB"
        assert set(image.tobytes()) == {value}
        assert note == f"transparency composited on {alpha}"
    opaque = numpy.dstack([PIXELS, numpy.full((8, 12), 255, numpy.uint8)])
    assert checked_image(file(Image.fromarray(opaque)), "refuse")[1] == ""


def test_the_size_is_checked_before_anything_is_decoded(monkeypatch):
    monkeypatch.setattr(received, "SIZE_LIMIT", 100)
    monkeypatch.setattr(received, "decode", lambda *given: pytest.fail("decoded"))
    assert len(PNG) > 150
    for error in (unusable(checked_image, PNG, "white"), unusable(from_base64, TEXT, "white")):
        assert error.status == "malformed"


@pytest.mark.parametrize(
    "text", [None, 3, ["x"], {"a": 1}, "%%%", "data:image/svg+xml,<svg/>", "abc", TEXT + "!", ""]
)
def test_invalid_base64_is_malformed(text):
    assert unusable(from_base64, text, "white").status == "malformed"


def hosts_of(server, *hosts: str) -> AllowedHosts:
    return AllowedHosts(parse(server.url).origin, hosts)


def test_a_url_is_fetched_without_credentials():
    with serving(lambda seen: answer(200, PNG, "image/png")) as server:
        image, _ = from_url(f"{server.url}/files/1.png?sig=2", hosts_of(server), "refuse")
    assert image.tobytes() == PIXELS.tobytes()
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.body) == ("GET", "/files/1.png?sig=2", b"")
    assert not {"authorization", "api-key", "x-key", "cookie", "referer"} & set(seen.headers)


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:{port}/2",
        "http://127.0.0.2:{port}/2",
        "http://127.0.0.1:1/2",
        "https://images.example.com/2",
        "//evil.org/2",
        "file:///etc/passwd",
        "http://user@127.0.0.1:{port}/2",
        "gopher://127.0.0.1:{port}/2",
        "",
    ],
)
def test_a_redirect_to_another_place_is_refused(location):
    def script(seen):
        return (
            answer(302, b"", Location=location.format(port=server.port))
            if seen.path == "/1"
            else answer(200, PNG, "image/png")
        )

    with serving(script) as server:
        error = unusable(from_url, f"{server.url}/1", hosts_of(server, "*.example.com"), "white")
    assert error.status == "malformed"
    assert {seen.path for seen in server.seen} <= {"/1"}


def test_a_redirect_within_the_host_is_followed_and_bounded():
    with serving(
        lambda seen: (
            answer(302, b"", Location="/2") if seen.path == "/1" else answer(200, PNG, "image/png")
        )
    ) as server:
        assert from_url(f"{server.url}/1", hosts_of(server), "white")[0].size == (12, 8)
        assert [seen.path for seen in server.seen] == ["/1", "/2"]
    with serving(lambda seen: answer(302, b"", Location="/1")) as server:
        assert (
            "redirects more than 3 times"
            in unusable(from_url, f"{server.url}/1", hosts_of(server), "white").detail
        )
    assert len(server.seen) == 4


def test_a_late_image_is_fetched_again_and_a_missing_one_is_ambiguous(
    monkeypatch,
):
    """The image is charged: fetching it is retried, the request for it is not."""
    monkeypatch.setattr(received, "RETRY_PAUSE", 0.01)
    answers = [answer(404, b""), answer(503, b""), answer(200, PNG, "image/png")]
    with serving(lambda seen: answers[len(server.seen) - 1]) as server:
        assert from_url(f"{server.url}/1", hosts_of(server), "white")[0].size == (12, 8)
    for bad, tries in ((answer(404, b""), 3), (b"", 3), (answer(403, b"expired"), 1)):
        with serving(lambda seen, bad=bad: bad) as server:
            error = unusable(from_url, f"{server.url}/1", hosts_of(server), "white")
        assert error.status == "ambiguous"
        assert "was made but could not be fetched" in error.detail
        assert len(server.seen) == tries


def test_content_from_a_url_is_checked_too():
    for data in (b"<svg></svg>", PNG[:50]):
        with serving(lambda seen, data=data: answer(200, data, "image/png")) as server:
            assert (
                unusable(from_url, f"{server.url}/1", hosts_of(server), "white").status
                == "malformed"
            )
    assert (
        unusable(
            from_url, None, AllowedHosts(Origin("https", "a.example.com", 443)), "white"
        ).status
        == "malformed"
    )
    with pytest.raises(Unusable, match="not an allowed image host"):
        from_url(
            "https://evil.org/1.png", AllowedHosts(Origin("https", "a.example.com", 443)), "white"
        )
    assert from_url(
        f"data:image/png;base64,{TEXT}",
        AllowedHosts(Origin("https", "a.example.com", 443)),
        "white",
    )[0].size == (12, 8)
