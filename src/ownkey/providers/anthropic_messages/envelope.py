"""Where a body goes and what stands around it: the same for translated requests and for those that pass through."""

from __future__ import annotations

from typing import Final

from ownkey.domain.exchange import UpstreamRequest
from ownkey.domain.provider import Provider
from ownkey.providers.dialect import Call, auth_header, request_url

PATHS: Final = {"chat": "/messages", "count_tokens": "/messages/count_tokens"}
_VERSION_HEADER: Final = "anthropic-version"
_VERSION: Final = "2023-06-01"


def address(provider: Provider, base_url: str, call: Call, body: bytes) -> UpstreamRequest:
    """The request for a body. `call.operation` is one of PATHS."""
    accept = "text/event-stream" if call.stream else "application/json"
    headers = {"content-type": "application/json", "accept": accept, _VERSION_HEADER: _VERSION, **provider.headers}
    url = request_url(provider, base_url, PATHS[call.operation])
    return UpstreamRequest("POST", url, tuple(headers.items()), body, auth_header(provider))
