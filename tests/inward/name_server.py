"""A name server that says of `<kind>-<address in hex>.names.test` what an attacker's would.

Kinds: `plain` leads to the address; `mixed` to a public one and to it; `alias` to a name that leads to it; `turning` to
a public one at first and to it with each second question. `good.names.test` leads to a public one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, cast

PUBLIC: Final = IPv4Address("1.1.1.1")
_A, _CNAME, _AAAA = 1, 5, 28


class NameServer(asyncio.DatagramProtocol):
    """Answers over UDP. No answer may be kept: their time to live is nothing."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, sender: tuple[str, int]) -> None:
        assert self._transport is not None
        self._transport.sendto(self._answer(data), sender)

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        kind = int.from_bytes(query[at + 1 : at + 3])
        question = query[12 : at + 5]
        records = self._records(".".join(labels), kind)
        head = query[:2] + b"\x85\x80" + bytes((0, 1, 0, len(records), 0, 0, 0, 0))
        return head + question + b"".join(records)

    def _records(self, name: str, asked: int) -> list[bytes]:
        first = name.split(".")[0]
        if not name.endswith("names.test"):
            return []
        if first == "good":
            return _addresses([PUBLIC], asked)
        kind, _, digits = first.partition("-")
        address = ip_address(bytes.fromhex(digits))
        self.asked[f"{name} {asked}"] += 1
        match kind:
            case "plain":
                return _addresses([address], asked)
            case "mixed":
                return _addresses([PUBLIC, address], asked)
            case "alias":
                target = b"".join(bytes((len(one),)) + one.encode() for one in (f"plain-{digits}", "names", "test", ""))
                # The name of the next record is that of this one's content.
                alias = b"\xc0\x0c" + _CNAME.to_bytes(2) + b"\x00\x01" + bytes(4) + len(target).to_bytes(2) + target
                return [alias, *_addresses([address], asked, target)]
            case "turning":
                inside = self.asked[f"{name} {asked}"] % 2 == 0
                return _addresses([address] if inside else [PUBLIC], asked)
        return []


def _addresses(addresses: list[IPv4Address | IPv6Address], asked: int, name: bytes = b"\xc0\x0c") -> list[bytes]:
    wanted = {_A: 4, _AAAA: 6}.get(asked)
    return [
        name + asked.to_bytes(2) + b"\x00\x01" + bytes(4) + len(one.packed).to_bytes(2) + one.packed
        for one in addresses
        if one.version == wanted
    ]
