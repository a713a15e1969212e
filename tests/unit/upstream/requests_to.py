"""Requests as an adapter would build them."""

from __future__ import annotations

from ownkey.domain.credential import Secret
from ownkey.domain.exchange import UpstreamRequest

SECRET_TEXT = "sk-canary-7f3a91c0d2"
SECRET = Secret(SECRET_TEXT)
BODY = b'{"model":"m","messages":[]}'


def request_to(
    base_url: str, path: str = "/v1/chat/completions", *, method: str = "POST", body: bytes = BODY
) -> UpstreamRequest:
    headers = (("content-type", "application/json"), ("accept", "application/json"))
    return UpstreamRequest(method, base_url + path, headers, body, ("authorization", "Bearer "))
