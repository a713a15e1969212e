"""The socket that the server listens on, bound before anything else is started."""

from __future__ import annotations

import errno
import os
import socket

from ownkey.errors import ConfigError


def bind_listener(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A bound socket; connections are refused until the server listens. Port 0 picks a free one.

    `shared`: others that say so too may bind to the same port, and the kernel spreads connections over those that
    listen. Raises ConfigError with what to do: better before the database starts than after.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, OverflowError):
        raise ConfigError(f"{host}:{port} is not an address to listen on. Set OWNKEY_HOST and OWNKEY_PORT.") from None
    listener = socket.socket(family, kind, protocol)
    try:
        # A port whose last connections are still being forgotten is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigError(_explain(error, host, port)) from None
    listener.set_inheritable(False)
    return listener


def bind_shared(host: str, port: int, count: int) -> list[socket.socket]:
    """As many sockets, one for each worker, on one port that nobody else has. Raises ConfigError.

    One socket that all workers accept from would be simpler, but whoever is awake takes most of what comes: of 64
    connections to 4 workers one got 38 and another 3, where each has its own socket 20 and 11.
    """
    # A server that shares its port would let this one share it, too, and nobody would notice.
    with bind_listener(host, port) as alone:
        port = alone.getsockname()[1]
    return [bind_listener(host, port, shared=True) for _ in range(count)]


def url_of(listener: socket.socket) -> str:
    """`http://127.0.0.1:8484`: where a person on this machine finds it."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine can connect."""
    host: str = listener.getsockname()[0]
    return host.startswith("127.") or host == "::1"


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken by another program. Choose another one: --port or OWNKEY_PORT."
    if error.errno == errno.EACCES:
        return f"Port {port} needs more rights than this user has. Choose one above 1023: --port or OWNKEY_PORT."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine. Set --host or OWNKEY_HOST."
    return f"{host}:{port} cannot be listened on: {os.strerror(error.errno or 0)}."
