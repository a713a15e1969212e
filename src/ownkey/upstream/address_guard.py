"""Where a user's own base URL may lead: nowhere inside (server-side request forgery).

What counts is the address that a name resolves to, and the connection then goes to that very address: a name that
changes its mind between check and connection gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from ownkey.errors import RequestError

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Iterable[str]]]

# Own tables, because the answer of `ipaddress.is_global` has changed between versions of Python.
# Sources: the IANA special-purpose registries, and the metadata services of the clouds.
_NEVER_4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "100.100.100.200/32",  # metadata at Alibaba
        "168.63.129.16/32",  # Azure's host, a public address
        "169.254.0.0/16",  # link-local, metadata nearly everywhere
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_PRIVATE_4: Final = tuple(
    IPv4Network(text) for text in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
_PUBLIC_6: Final = IPv6Network("2000::/3")
_NEVER_6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo among others
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
        "fd00:ec2::/32",  # metadata at Amazon
        "fd20:ce::/32",  # metadata at Google
    )
)
_PRIVATE_6: Final = (IPv6Network("::1/128"), IPv6Network("fc00::/7"))
# An IPv6 address may carry an IPv4 address, at which the packet ends up: that one is checked as well.
_NAT64: Final = IPv6Network("64:ff9b::/96")
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)

_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[\w.~!$&'()*+,;=:@%-]*)*)",
    re.ASCII | re.IGNORECASE,
)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?", re.ASCII | re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII | re.IGNORECASE)

_RESOLVE_TIMEOUT_SECONDS: Final = 5.0
# Few, and of its own: names that users choose may have slow servers, and must not hold up the catalogue's names.
_RESOLVE_THREADS: Final = 4


class AddressRefused(RequestError):
    """A base URL, or the address behind it, is not one that a secret may be sent to."""

    code = "invalid_base_url"

    def __init__(self, message: str) -> None:
        super().__init__(message, param="base_url")


def check_base_url(url: str, *, allow_private: bool = False, ports: Collection[int] = (443,)) -> None:
    """Refuse a base URL by its form alone. Raises AddressRefused.

    `allow_private` is the operator's leave for http, for any port and for hosts of one's own network.
    The form is narrow on purpose: two URL parsers must not be able to see two hosts in it.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise AddressRefused(
            "The base URL must look like https://host/path, in ASCII (for other scripts the xn-- form), "
            "without a user name, a query or a fragment."
        )
    if match["scheme"].lower() != "https" and not allow_private:
        raise AddressRefused("The base URL must begin with https://, so that the key does not travel in the clear.")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not (0 < port < 65536 and (allow_private or port in ports)):
        allowed = ", ".join(str(number) for number in sorted(ports))
        raise AddressRefused(f"The base URL names port {port}. Allowed: {allowed}.")
    if any(segment in (".", "..") for segment in match["path"].lower().replace("%2e", ".").split("/")):
        raise AddressRefused("The path of the base URL must not hold '.' or '..'.")
    _check_host(match["host"], allow_private)


def _check_host(host: str, allow_private: bool) -> None:
    if (literal := _read_literal(host)) is not None:
        check_address(literal, allow_private=allow_private)
        return
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or _NUMBER.fullmatch(labels[-1]):
        raise AddressRefused("The host of the base URL is neither a name nor an ordinary IP address.")
    if not allow_private and (len(labels) == 1 or labels[-1].lower() in ("localhost", "local", "internal")):
        raise AddressRefused("The base URL leads into a private network. Only public addresses are allowed.")


def _read_literal(host: str) -> Address | None:
    """The address that a host spells out in its one ordinary form, or None for a name."""
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1])
        return IPv4Address(host)
    except ipaddress.AddressValueError:
        return None


def check_address(address: Address, *, allow_private: bool = False) -> None:
    """Refuse an address that is not public. Raises AddressRefused.

    `allow_private` opens loopback and private networks, but never link-local, metadata or reserved addresses.
    """
    if not _is_allowed(address, allow_private):
        raise AddressRefused("The base URL leads to an address that is not public. Only public addresses are allowed.")


def _is_allowed(address: Address, allow_private: bool) -> bool:
    if isinstance(address, IPv4Address):
        if any(address in network for network in _NEVER_4):
            return False
        return allow_private or not any(address in network for network in _PRIVATE_4)
    if address.scope_id is not None or any(address in network for network in _NEVER_6):
        return False
    if address.ipv4_mapped is not None:
        return _is_allowed(address.ipv4_mapped, allow_private)
    low = int(address) & 0xFFFF_FFFF
    if address in _NAT64:
        return _is_allowed(IPv4Address(low), allow_private)
    if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP and not _is_allowed(IPv4Address(low), allow_private):
        return False
    # What remains outside 2000::/3 (compatible, link-local, site-local, multicast) is refused.
    return address in _PUBLIC_6 or (allow_private and any(address in network for network in _PRIVATE_6))


class AddressGuard:
    """Resolves names for URLs that users set, and lets only checked addresses out."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolve: Resolve | None = None,
        resolve_timeout_seconds: float = _RESOLVE_TIMEOUT_SECONDS,
    ) -> None:
        self.allow_private = allow_private
        self._resolve = resolve or self._ask_system
        self._resolve_timeout_seconds = resolve_timeout_seconds
        self._threads: ThreadPoolExecutor | None = None

    async def resolve(self, host: str, port: int) -> tuple[str, ...]:
        """The addresses to connect to, all of them checked, in the order of preference.

        One refused address refuses the name: a name that is half inside is not a provider.
        Raises AddressRefused; OSError when the name does not resolve.
        """
        literal = _read_literal(f"[{host}]" if ":" in host else host)
        if literal is not None:
            check_address(literal, allow_private=self.allow_private)
            return (str(literal),)
        try:
            async with asyncio.timeout(self._resolve_timeout_seconds):
                found = list(await self._resolve(host, port))
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "the name server did not answer") from None
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "name not found")
        for text in found:
            check_address(ipaddress.ip_address(text), allow_private=self.allow_private)
        return tuple(dict.fromkeys(found))

    def close(self) -> None:
        """Let the threads that resolve names end. May be called again."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    async def _ask_system(self, host: str, port: int) -> list[str]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_RESOLVE_THREADS, thread_name_prefix="ownkey-guard")
        ask = asyncio.get_running_loop().run_in_executor
        return await ask(self._threads, _getaddrinfo, host, port)


def _getaddrinfo(host: str, port: int) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
