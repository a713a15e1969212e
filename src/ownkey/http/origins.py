"""Which pages may talk to this server: its own, with a cookie, and those of `OWNKEY_PANEL_ORIGINS`, with a token."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

from ownkey.config import Config
from ownkey.domain.origin import is_loopback_host, parse_origin, split_base_url
from ownkey.errors import ConfigError, PermissionDenied
from ownkey.http.gateway import Scope

# The path under which the server is mounted, kept in the scope while the scope's own path begins at our root.
MOUNTED_AT: Final = "ownkey.mounted_at"
PANEL_HEADER: Final = b"x-ownkey-panel"
SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS"))
# Some proxies name the client's port as well, which is another one for each connection.
_PORT: Final = re.compile(r"^(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?$", re.ASCII)


class Origins:
    """Read once from the configuration. Raises ConfigError for what is no origin, URL or network."""

    def __init__(self, config: Config) -> None:
        self._public = None if config.public_url is None else split_base_url(config.public_url)
        if config.public_url is not None and self._public is None:
            raise ConfigError("OWNKEY_PUBLIC_URL is a URL such as https://llm.example.com, without a query.")
        listed = {origin: parse_origin(origin) for origin in config.panel_origins}
        for origin, parsed in listed.items():
            if parsed is None:
                raise ConfigError(f"OWNKEY_PANEL_ORIGINS: {origin!r} is no origin such as https://app.example.com.")
        self._listed = frozenset(origin for origin in listed.values() if origin is not None)
        self._proxies = _parse_networks(config.trusted_proxies)

    def own(self, scope: Scope) -> str:
        """The origin of the pages that this server gives out, as the request or the configuration says."""
        if self._public is not None:
            return self._public[0]
        host = _header(scope, b"host") or ":".join(str(part) for part in scope.get("server") or ("",))
        return parse_origin(f"{scope.get('scheme', 'http')}://{host.lower()}") or ""

    def base_url(self, scope: Scope) -> str:
        """Where people open this server, for links."""
        if self._public is not None:
            return "".join(self._public)
        return self.own(scope) + str(scope.get(MOUNTED_AT, ""))

    def is_listed(self, origin: str | None) -> bool:
        """Whether the pages of an origin may embed the panel."""
        return origin in self._listed

    def is_secure(self, scope: Scope) -> bool:
        """Whether the browser keeps a `Secure` cookie of ours.

        It sends Sec-Fetch-Site only over TLS or to this machine, which tells of a proxy with TLS that the request
        itself does not show.
        """
        own = self.own(scope)
        host = own.partition("://")[2]
        return own.startswith("https://") or is_loopback_host(host) or _header(scope, b"sec-fetch-site") is not None

    def client_address(self, scope: Scope) -> str | None:
        """Whose attempts are counted together. X-Forwarded-For is believed from trusted proxies only, right to left."""
        client = scope.get("client")
        address: str | None = client[0] if client else None
        if not self._proxies or not self._is_proxy(address):
            return address
        forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        for hop in reversed(forwarded.decode("latin-1").split(",")):
            named = _PORT.sub(r"\1\2", hop.strip())
            if named and not self._is_proxy(named):
                return named
        return address

    def refuse_cross_site(self, scope: Scope, *, needs_header: bool = True) -> None:
        """A change asked for with a cookie must come from a page of ours. Raises PermissionDenied(cross_site_request).

        Sec-Fetch-Site is the browser's own word, so where it is there it decides; a browser without it sends Origin.
        The header is one that a page of another origin cannot send without being allowed by CORS. Without
        `needs_header`, what shows no sign of a browser may pass.
        """
        site, origin = _header(scope, b"sec-fetch-site"), _header(scope, b"origin")
        if site is not None:
            allowed = site == "same-origin"
        elif origin is not None:
            # Where the request names no host that could be one, nothing is ours.
            allowed = origin not in ("", "null") and origin == self.own(scope)
        else:
            allowed = not needs_header
        if needs_header and _header(scope, PANEL_HEADER) != "1":
            allowed = False
        if not allowed:
            raise PermissionDenied(
                "This came from another site, or without the header `X-Ownkey-Panel: 1`. Nothing was changed.",
                code="cross_site_request",
            )

    def is_foreign(self, scope: Scope) -> bool:
        """Whether a page of another origin asks. No cookie counts for it, whatever it asks."""
        origin = _header(scope, b"origin")
        if origin is None:
            return False
        return not origin or (origin != self.own(scope) and _header(scope, b"sec-fetch-site") != "same-origin")

    def page_origin(self, scope: Scope) -> str:
        """The origin of the page that asks; ours where a browser names none, as it does for our own pages' GET."""
        origin = _header(scope, b"origin")
        if origin is None or _header(scope, b"sec-fetch-site") == "same-origin":
            return self.own(scope)
        return origin

    def _is_proxy(self, address: str | None) -> bool:
        try:
            parsed = ip_address(address or "")
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)


def find_origin(scope: Scope) -> str | None:
    """The `Origin` that the browser names."""
    return _header(scope, b"origin")


def _header(scope: Scope, wanted: bytes) -> str | None:
    """A header that comes once. Two of them say nothing that could be relied on."""
    values: list[Any] = [value for name, value in scope["headers"] if name == wanted]
    if not values:
        return None
    return values[0].decode("latin-1").strip() if len(values) == 1 else ""


def _parse_networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError:
        raise ConfigError("OWNKEY_TRUSTED_PROXIES holds addresses and networks such as 10.0.0.0/8.") from None
