"""Origins of pages: scheme, host and port, as a browser spells them."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LOOPBACK: Final = re.compile(r"127(\.[0-9]{1,3}){3}", re.ASCII)
_HOST: Final = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]", re.ASCII)


def parse_origin(text: str) -> str | None:
    """`https://app.example.com[:8443]` in the browser's spelling; None for what has a path or is no origin at all."""
    found = split_base_url(text)
    return found[0] if found is not None and found[1] == "" else None


def split_base_url(text: str) -> tuple[str, str] | None:
    """Origin and path (without a slash at its end) of an http(s) URL; None for what has a query, a user or a blank."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    if parts.scheme not in _DEFAULT_PORTS or parts.query or parts.fragment or "@" in parts.netloc:
        return None
    if not _HOST.fullmatch(host) or text != text.strip() or "?" in text or "#" in text:
        return None
    default = port is None or port == _DEFAULT_PORTS[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if default else f":{port}"), parts.path.rstrip("/")


def is_loopback_host(host: str) -> bool:
    """Whether a browser takes a page of this host (with or without a port) for safe without TLS."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return name in ("localhost", "[::1]") or name.endswith(".localhost") or _LOOPBACK.fullmatch(name) is not None
