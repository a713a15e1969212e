"""Where a user's base URL may lead. The corpus holds the tricks that guards of other gateways let through."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import string
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.upstream.address_guard import AddressGuard, AddressRefused, check_address, check_base_url


def read_corpus(section: str) -> list[str]:
    text = (Path(__file__).parent / "address_corpus.txt").read_text(encoding="utf-8")
    return text.split(f"## {section}\n", 1)[1].split("\n\n", 1)[0].strip("\n").split("\n")


GOOD_URLS = read_corpus("urls that pass")
REFUSED_URLS = read_corpus("urls that are refused")
NEVER_ADDRESSES = read_corpus("addresses that are always refused")
PRIVATE_ADDRESSES = read_corpus("addresses that need leave")
PUBLIC_ADDRESSES = read_corpus("addresses that pass")


def test_the_corpus_is_large_enough():
    corpus = [*GOOD_URLS, *REFUSED_URLS, *NEVER_ADDRESSES, *PRIVATE_ADDRESSES, *PUBLIC_ADDRESSES]
    assert len(corpus) == len(set(corpus)) >= 250


@pytest.mark.parametrize("url", GOOD_URLS)
def test_ordinary_urls_pass(url):
    check_base_url(url)


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_tricks_are_refused(url):
    with pytest.raises(AddressRefused) as caught:
        check_base_url(url)
    assert (caught.value.code, caught.value.param) == ("invalid_base_url", "base_url")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:11434/v1",
        "http://ollama:11434",
        "https://10.0.0.5:8000/v1",
        "http://[::1]:80/",
        "http://gpu.local/",
    ],
)
def test_the_operators_leave_opens_ones_own_network(url):
    check_base_url(url, allow_private=True)
    with pytest.raises(AddressRefused):
        check_base_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://u@10.0.0.1/",
        "http://2130706433/",
    ],
)
def test_even_the_operators_leave_has_limits(url):
    with pytest.raises(AddressRefused):
        check_base_url(url, allow_private=True)


def test_other_ports_can_be_allowed():
    check_base_url("https://example.com:8443/v1", ports=(443, 8443))


@pytest.mark.parametrize("text", NEVER_ADDRESSES)
def test_reserved_addresses_are_refused_always(text):
    for allow_private in (False, True):
        with pytest.raises(AddressRefused):
            check_address(ipaddress.ip_address(text), allow_private=allow_private)


@pytest.mark.parametrize("text", PRIVATE_ADDRESSES)
def test_private_addresses_need_leave(text):
    check_address(ipaddress.ip_address(text), allow_private=True)
    with pytest.raises(AddressRefused):
        check_address(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC_ADDRESSES)
def test_public_addresses_pass(text):
    check_address(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", [*NEVER_ADDRESSES, *PRIVATE_ADDRESSES])
async def test_names_that_lead_inside_are_refused(text):
    async def resolve(host: str, port: int) -> list[str]:
        return ["8.8.8.8", text]

    with pytest.raises(AddressRefused) as caught:
        await AddressGuard(resolve=resolve).resolve("rebind.example.com", 443)
    assert text not in caught.value.message, "what an internal name resolves to is nobody's business"


async def test_gives_the_checked_addresses_in_order():
    async def resolve(host: str, port: int) -> list[str]:
        return ["2606:4700::1", "8.8.8.8", "2606:4700::1"]

    assert await AddressGuard(resolve=resolve).resolve("example.com", 443) == ("2606:4700::1", "8.8.8.8")


async def test_literals_are_checked_without_asking_anybody():
    async def resolve(host: str, port: int) -> list[str]:
        raise AssertionError("asked")

    guard = AddressGuard(resolve=resolve)
    assert await guard.resolve("8.8.8.8", 443) == ("8.8.8.8",)
    assert await guard.resolve("2606:4700::1", 443) == ("2606:4700::1",)
    for inside in ("127.0.0.1", "::1", "::ffff:10.0.0.1"):
        with pytest.raises(AddressRefused):
            await guard.resolve(inside, 443)


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "0"])
async def test_what_the_system_makes_of_odd_names_is_checked(host):
    guard = AddressGuard()
    with pytest.raises((AddressRefused, OSError)):
        await guard.resolve(host, 443)
    guard.close()
    guard.close()


async def test_a_slow_name_server_is_not_waited_for():
    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(socket.gaierror):
        await AddressGuard(resolve=resolve, resolve_timeout_seconds=0.05).resolve("slow.example.com", 443)


async def test_a_name_without_addresses_does_not_resolve():
    async def resolve(host: str, port: int) -> list[str]:
        return []

    with pytest.raises(socket.gaierror):
        await AddressGuard(resolve=resolve).resolve("empty.example.com", 443)


# Properties.

anywhere = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address),
    st.integers(0, 2**128 - 1).map(IPv6Address),
    # Around the borders of what is special.
    st.sampled_from([*NEVER_ADDRESSES, *PRIVATE_ADDRESSES, *PUBLIC_ADDRESSES])
    .filter(lambda text: "%" not in text)
    .flatmap(lambda text: st.integers(-3, 3).map(lambda step: _shift(ipaddress.ip_address(text), step))),
)


def _shift(address, step):
    limit = 2**address.max_prefixlen
    return type(address)((int(address) + step) % limit)


def is_let_through(address, **options) -> bool:
    try:
        check_address(address, **options)
    except AddressRefused:
        return False
    return True


@given(anywhere)
def test_nothing_passes_that_python_knows_as_not_global(address):
    # `ipaddress` of this Python as a second opinion; ours is stricter.
    if is_let_through(address):
        plain = getattr(address, "ipv4_mapped", None) or address
        nat64 = isinstance(plain, IPv6Address) and plain in ipaddress.ip_network("64:ff9b::/96")
        assert nat64 or (plain.is_global and not plain.is_multicast)


@given(anywhere)
def test_leave_only_ever_adds(address):
    assert not is_let_through(address) or is_let_through(address, allow_private=True)


@given(st.integers(0, 2**32 - 1).map(IPv4Address), st.sampled_from(["::ffff:{}", "64:ff9b::{}"]))
def test_wrapping_an_address_changes_nothing(address, wrapping):
    assert is_let_through(IPv6Address(wrapping.format(address))) == is_let_through(address)


@given(
    st.integers(0, 2**32 - 1).map(IPv4Address),
    st.sampled_from(["::{}", "64:ff9b:1::{}", "fe80::5efe:{}", "::ffff:0:{}", "fec0::{}"]),
)
def test_other_wrappings_are_refused(address, wrapping):
    assert not is_let_through(IPv6Address(wrapping.format(address)), allow_private=True) or int(address) == 1


PIECES = r"https:// http:// 127.0.0.1 [::1] example.com @ : 443 / \ ? # %2e .. . %00 0x7f ① 。 localhost [ ] v1 - xn--"
piece = st.sampled_from([*PIECES.split(" "), "169.254.169.254", "\r\n", " ", "\t"])
pieces = st.lists(st.one_of(piece, st.text(string.printable, max_size=4), st.characters()), max_size=9).map("".join)


@given(st.one_of(pieces, pieces.map(lambda text: "https://" + text), st.text(max_size=40)))
def test_what_passes_means_one_host_to_every_reader(url):
    try:
        check_base_url(url)
    except AddressRefused:
        return
    assert url.isascii() and not any(character in url for character in "@?#\\ \t\r\n%" if character != "%")
    parts = urlsplit(url)
    assert parts.scheme == "https"
    assert parts.username is parts.password is None
    assert (parts.port or 443) == 443
    host = url.split("//", 1)[1].split("/", 1)[0].removesuffix(":443").strip("[]").lower()
    assert parts.hostname == host
    try:
        assert is_let_through(ipaddress.ip_address(host))
    except ValueError:
        # A name; the system must not read it as a number.
        with pytest.raises(OSError):
            socket.inet_aton(host)


@given(anywhere)
def test_a_literal_in_a_url_is_treated_as_its_address(address):
    host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
    try:
        check_base_url(f"https://{host}/v1")
        passed = True
    except AddressRefused:
        passed = False
    assert passed == is_let_through(address)
