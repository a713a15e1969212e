"""Which proxy the environment names for a provider (`https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`)."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]  # absent from typeshed

from ownkey.errors import ConfigError


class Proxies:
    """The environment's proxies, read once. Raises ConfigError for a proxy that is not http or https."""

    def __init__(self) -> None:
        self._proxies = getproxies_environment()
        for scheme in ("http", "https", "all"):
            proxy = self._proxies.get(scheme)
            if proxy is not None and urlsplit(proxy).scheme not in ("http", "https"):
                raise ConfigError(
                    f"The proxy in {scheme}_proxy is not an http or https URL. Other kinds are not spoken."
                )

    def find(self, scheme: str, host: str, port: int) -> str | None:
        """The proxy's URL for a destination, or None to go there directly."""
        proxy = self._proxies.get(scheme) or self._proxies.get("all")
        if proxy is None or proxy_bypass_environment(f"{host}:{port}", self._proxies):
            return None
        return proxy
