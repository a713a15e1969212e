"""Which proxy the environment names for a provider (`https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`)."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import (  # type: ignore[attr-defined]  # absent from typeshed
    getproxies_environment,
    proxy_bypass_environment,
)

from ownkey.errors import ConfigError


class Proxies:
    """The environment's proxies, read once. Raises ConfigError for one that is not an http URL."""

    def __init__(self) -> None:
        self._proxies = getproxies_environment()
        for scheme in ("http", "https", "all"):
            proxy = self._proxies.get(scheme)
            if proxy is not None and not _is_usable(proxy):
                raise ConfigError(f"{scheme}_proxy must be a URL like http://proxy.example.com:3128. It is not.")

    def find(self, scheme: str, host: str, port: int) -> str | None:
        """The proxy's URL for a destination, or None to go there directly."""
        proxy: str | None = self._proxies.get(scheme) or self._proxies.get("all")
        if proxy is None or proxy_bypass_environment(f"{host}:{port}", self._proxies):
            return None
        return proxy


def _is_usable(proxy: str) -> bool:
    try:
        parts = urlsplit(proxy)
        return parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
