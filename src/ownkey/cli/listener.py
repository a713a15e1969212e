"""The socket that the server listens on, bound before anything else is started."""

from __future__ import annotations

import errno
import os
import socket

from ownkey.errors import ConfigError


def bind_listener(host: str, port: int) -> socket.socket:
    """A bound socket; connections are refused until the server listens. Port 0 picks a free one.

    Raises ConfigError with what to do: better before the database starts than after.
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
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigError(_explain(error, host, port)) from None
    listener.set_inheritable(False)
    return listener


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
