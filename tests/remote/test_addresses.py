"""Which URLs from an answer are fetched: known attacks are refused, other URLs are allowed."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from evalkit.core import EvalkitError
from evalkit.remote import addresses
from evalkit.remote.addresses import (
    Forbidden,
    Origin,
    Unresolved,
    allowed,
    check_patterns,
    is_loopback,
    is_public,
    parse,
)

SERVICE = Origin("https", "api.example.com", 443)
INSIDE = """
127.0.0.1 127.255.255.254 0.0.0.0 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254
100.64.0.1 100.100.100.200 192.0.0.192 192.0.2.1 198.18.0.1 203.0.113.9 224.0.0.1 239.1.1.1
240.0.0.1 255.255.255.255 168.63.129.16 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 fec0::1
ff02::1 2001:db8::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:10.0.0.1 ::127.0.0.1
::a9fe:a9fe 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 2002:7f00:1:: 2002:a9fe:a9fe::1
2002:c0a8:101::1
""".split()  # noqa: SIM905 (a list would have 40 lines)
HOSTS = ("images.example.com", "*.cdn.example.com", "files.example.com:8443")


@pytest.fixture
def names(monkeypatch):
    """A name service for tests: host -> addresses. Numbers are resolved by the system."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def look_up(host, port, *rest, **options):
        if host not in known:
            return real(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_that_are_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "93.184.216.34",
        "2606:4700:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_addresses_that_are_public(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "private", ["169.254.169.254", "127.0.0.1", "10.1.2.3", "192.168.0.7", "100.64.9.9", "0.0.0.0"]
)
def test_a_listed_host_that_resolves_to_a_private_address_is_refused(names, private):
    names["images.example.com"] = [private]
    with pytest.raises(Forbidden, match=f"resolves to {private}"):
        allowed("https://images.example.com/a.png", SERVICE, HOSTS)


def test_one_private_address_among_public_ones_is_enough_to_refuse(names):
    names["images.example.com"] = ["93.184.216.34", "10.0.0.1"]
    with pytest.raises(Forbidden, match=r"10\.0\.0\.1"):
        allowed("https://images.example.com/a.png", SERVICE, HOSTS)


def test_a_listed_host_is_allowed_with_its_addresses(names):
    names["images.example.com"] = ["93.184.216.34", "1.1.1.1"]
    target = allowed("https://images.example.com/a.png?sig=1%2F2", SERVICE, HOSTS)
    assert [str(address) for address in target.addresses] == ["93.184.216.34", "1.1.1.1"]
    assert target.path == "/a.png?sig=1%2F2"
    assert target.origin == Origin("https", "images.example.com", 443)


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://api.example.com/x.png", True),  # the service's own host
        ("https://API.Example.com./x.png", True),
        ("https://eu.cdn.example.com/x.png", True),
        ("https://a.b.cdn.example.com/x.png", True),
        ("https://files.example.com:8443/x.png", True),
        ("https://cdn.example.com/x.png", False),  # a wildcard matches subdomains only
        ("https://evilcdn.example.com/x.png", False),
        ("https://files.example.com/x.png", False),  # another port
        ("https://images.example.com:8080/x.png", False),
        ("https://images.example.com.evil.org/x.png", False),
        ("https://evil.org/images.example.com", False),
        ("https://example.com/x.png", False),
    ],
)
def test_only_listed_hosts_and_ports(names, url, good):
    for host in (
        "api.example.com",
        "eu.cdn.example.com",
        "a.b.cdn.example.com",
        "files.example.com",
    ):
        names[host] = ["93.184.216.34"]
    if good:
        assert allowed(url, SERVICE, HOSTS).addresses
    else:
        with pytest.raises(Forbidden, match="not an allowed image host"):
            allowed(url, SERVICE, HOSTS)


@pytest.mark.parametrize(
    "host",
    [
        "0x7f000001",
        "2130706433",
        "127.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "127.0.0.1",
    ],
)
def test_unusual_notations_of_loopback_are_refused_even_if_listed(names, host):
    with pytest.raises((Forbidden, Unresolved)) as caught:
        allowed(f"https://{host}/x.png", SERVICE, (host, "evil.org"))
    assert (
        "127.0.0.1" in str(caught.value)
        or "::1" in str(caught.value)
        or "0.0.0.0" in str(caught.value)
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://images.example.com/x.png",
        "ftp://images.example.com/x.png",
        "file:///etc/passwd",
        "//images.example.com/x.png",
        "/x.png",
        "",
        "https://",
        "https://user@images.example.com/x.png",
        "https://images.example.com:443@evil.org/x.png",
        "https://user:password@images.example.com/",
        "https://images.example.com\\@evil.org/",
        "https://images.example.com\t.evil.org/",
        "https://images.example.com/a b",
        "https://images.example.com/\r\nHost: evil.org",
        "https://images.example.com/\x00",
        "https://imag\u0435s.example.com/x.png",  # a Cyrillic letter
        "https://images.example.com:99999/",
        "https://images.example.com:0/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://images.example.com/" + "a" * 9000,
    ],
)
def test_urls_that_are_refused_without_a_lookup(names, url):
    with pytest.raises(Forbidden):
        allowed(url, SERVICE, HOSTS)


def test_http_is_refused_even_if_its_port_is_listed(names):
    names["images.example.com"] = ["93.184.216.34"]
    with pytest.raises(Forbidden, match="is not https"):
        allowed("http://images.example.com/x.png", SERVICE, ("images.example.com:80",))


def test_a_reason_does_not_contain_the_path_or_the_query(names):
    for url in (
        "https://evil.org/secret-path?token=secret-token",
        "http://images.example.com/secret-path?token=secret-token",
    ):
        with pytest.raises(Forbidden) as caught:
            allowed(url, SERVICE, HOSTS)
        assert "secret" not in str(caught.value)


def test_a_local_service_may_answer_with_its_own_address_and_port_only():
    local = Origin("http", "127.0.0.1", 8000)
    assert str(allowed("http://127.0.0.1:8000/files/1.png", local, ()).addresses[0]) == "127.0.0.1"
    for url in (
        "http://127.0.0.1:8001/",
        "http://127.0.0.2:8000/",
        "http://localhost:8000/",
        "http://169.254.169.254/",
        "http://10.0.0.1:8000/",
    ):
        with pytest.raises(Forbidden):
            allowed(url, local, ())
    network = Origin("http", "192.168.1.20", 8000)
    assert allowed("http://192.168.1.20:8000/1.png", network, ()).path == "/1.png"
    with pytest.raises(Forbidden):
        allowed("http://192.168.1.21:8000/1.png", network, ())
    metadata = Origin("http", "169.254.169.254", 80)  # even if the base URL names it
    with pytest.raises(Forbidden):
        allowed("http://169.254.169.254/latest", metadata, ())


def test_a_service_with_a_name_may_not_resolve_to_a_private_address(names):
    names["api.example.com"] = ["127.0.0.1"]
    with pytest.raises(Forbidden, match="not a public address"):
        allowed("https://api.example.com/x.png", SERVICE, ())


def test_a_host_without_an_address_is_unresolved_and_not_forbidden(monkeypatch):
    def nothing(*given, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    with pytest.raises(Unresolved, match=r"images\.example\.com"):
        allowed("https://images.example.com/x.png", SERVICE, HOSTS)


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "*.com",
        "https://a.b",
        "a.b/c",
        "a b",
        "",
        "*.*.com",
        "a.b:x",
        "user@a.b",
        "-a.b",
        "*a.com",
    ],
)
def test_invalid_host_patterns(pattern):
    with pytest.raises(EvalkitError, match="expected host names"):
        check_patterns([pattern], "image_hosts")


def test_valid_host_patterns():
    good = ("a.b", "localhost", "*.b.c", "a.b:8443", "127.0.0.1:8000", "[::1]:8000")
    assert check_patterns(good, "image_hosts") == good


def test_loopback_as_written():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1")))
    assert not any(
        map(is_loopback, ("localhost.evil.org", "example.com", "10.0.0.1", "0x7f000001"))
    )


def test_parse_keeps_the_path_and_the_query():
    assert parse("https://H.example.com:444/a/b?c=d#e") == addresses.Target(
        Origin("https", "h.example.com", 444), "/a/b?c=d"
    )
    assert str(parse("https://h.example.com").origin) == "h.example.com"
    assert str(parse("http://[::1]:80/").origin) == "[::1]"
