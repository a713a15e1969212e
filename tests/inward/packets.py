"""Who is knocked at: every connection that anybody in this network namespace begins, refused ones too.

Questions to the name server are left out.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address
from typing import Final

_IPV4, _IPV6, _TCP, _UDP = 0x0800, 0x86DD, 6, 17
_SYN, _ACK = 0x02, 0x10
_NAMES: Final = 53

Knock = tuple[IPv4Address | IPv6Address, int]


class Packets:
    """Reads what passes over the loopback device, where in such a namespace every address is."""

    def __init__(self) -> None:
        self.knocks: set[Knock] = set()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self._socket.bind(("lo", 0))
        self._socket.setblocking(False)

    def watch(self) -> None:
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def read_rest(self) -> None:
        self._read()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        while True:
            try:
                packet, (_, kind, *_) = self._socket.recvfrom(65535)
            except BlockingIOError:
                return
            if kind == _IPV4:
                self._note(packet[9], IPv4Address(packet[16:20]), packet[(packet[0] & 15) * 4 :])
            elif kind == _IPV6:
                self._note(packet[6], IPv6Address(packet[24:40]), packet[40:])

    def _note(self, protocol: int, to: IPv4Address | IPv6Address, content: bytes) -> None:
        sender, port = int.from_bytes(content[:2]), int.from_bytes(content[2:4])
        begins = protocol == _TCP and content[13] & (_SYN | _ACK) == _SYN
        if begins or (protocol == _UDP and _NAMES not in (sender, port)):
            self.knocks.add((to, port))
