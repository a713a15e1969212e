"""A loopback port for a server in this process."""

from __future__ import annotations

import socket


def bind_loopback() -> socket.socket:
    """A socket that listens on a free port.

    It names its protocol, which `socket.create_server` does not: asyncio sets TCP_NODELAY only where it is named, and
    without that every answer in two parts waits 40 ms for the other side's acknowledgement.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    return listener
