"""What whoever watches over the server reads of attempts to sign in, and what they must not read."""

from __future__ import annotations

import logging

import pytest

from tests.gateway.browser import PASSWORD, Browser, person
from tests.gateway.conftest import Platform


async def test_a_refused_sign_in_leaves_a_line(platform: Platform, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="ownkey.services.sign_in")
    async with person(platform.ok, platform.url) as ann, Browser(platform.url) as stranger:
        user_id = ann.user_id
        await stranger.sign_in(user_id, "not her password")
        await stranger.sign_in("a password typed as a login", "x")
        await stranger.sign_in("an invisible\u200b one", "x")
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(";")[0] for line in lines] == [
        "sign-in refused: wrong password",
        "sign-in refused: unknown login, or one without a password",
        "sign-in refused: no login can be so",
    ]
    assert repr(user_id) in lines[0]
    assert "127.0.0.1" in lines[0]
    for typed in ("not her password", "a password typed", PASSWORD):
        assert typed not in caplog.text


async def test_a_lock_out_leaves_a_line(platform: Platform, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="ownkey.services.sign_in")
    async with person(platform.ok, platform.url) as ann, Browser(platform.url) as stranger:
        user_id = ann.user_id
        while (await stranger.sign_in(user_id, "not her password")).status_code != 429:
            assert len(caplog.records) < 50
    lines = [record.getMessage() for record in caplog.records]
    assert repr(user_id) in lines[0]
    assert "too many attempts with this login" in lines[-1]


async def test_a_refused_right_leaves_a_line(platform: Platform, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="ownkey.http.api_shell")
    async with person(platform.ok, platform.url) as ann:
        answer = await ann.get("/api/admin/users")
        assert answer.status_code == 403
        user_id = ann.user_id
    [line] = [record.getMessage() for record in caplog.records]
    request_id = answer.headers["x-ownkey-request-id"]
    assert line == f"user {user_id!r} (by session) may not GET '/api/admin/users'; request {request_id}"
