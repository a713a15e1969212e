"""What stands on every answer, whatever it is, so that no browser makes anything else of it."""

from __future__ import annotations

import httpx
import pytest

from tests.gateway.conftest import Platform


@pytest.mark.parametrize(
    "path",
    ["/v1/models", "/v1/nothing", "/healthz", "/readyz", "/metrics", "/api/settings", "/api/nothing", "/", "/nothing"],
)
async def test_no_answer_is_guessed_at(platform: Platform, path: str) -> None:
    async with httpx.AsyncClient(base_url=platform.url) as client:
        answer = await client.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"]


@pytest.mark.parametrize("path", ["/api/settings", "/api/nothing", "/api/sign-in"])
async def test_an_answer_of_the_api_is_no_page(platform: Platform, path: str) -> None:
    async with httpx.AsyncClient(base_url=platform.url) as client:
        answer = await client.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
