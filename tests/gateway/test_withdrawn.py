"""What is withdrawn while a request runs ends that request, in every process; what is merely changed does not."""

from __future__ import annotations

import asyncio
import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from msgspec import Struct

from ownkey import Config, Ownkey
from ownkey.domain.policy import PolicyDocument
from ownkey.domain.user import Role, UserStatus
from tests.gateway.conftest import serve
from tests.gateway.ledger_server import LedgerServer

KEY = "gsk_ada_0000000000000001"
HOST_SECRET = "a-secret-of-a-host-with-more-than-32-bytes"
BODY = {"model": "auto", "user": "ada", "messages": []}


@pytest.fixture(autouse=True)
def fresh_providers() -> None:
    """These tests bring a provider of their own."""


class Stage(Struct):
    """Two processes; requests run in the second, changes are made in the first."""

    first: Ownkey
    second: Ownkey
    url: str
    provider: LedgerServer
    go_on: asyncio.Event
    token: str
    token_id: str
    credential_id: str

    async def outcomes(self) -> list[str]:
        await self.second.core.metering.flush()
        async with self.first.database.transaction("ada") as tx:
            rows = await tx.fetch("select outcome, tokens_source from ownkey.usage_events order by id")
        return [f"{row['outcome']} {row['tokens_source']}" for row in rows]


@pytest.fixture
async def stage(private_dir: Path) -> AsyncIterator[Stage]:
    go_on = asyncio.Event()
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(LedgerServer(chunk_pause=go_on))
        catalog = private_dir / "catalog.toml"
        catalog.write_text(f'[groq]\nbase_url = "{provider.base_url}"\nlocal = true\n')
        config = Config(
            data_dir=private_dir,
            catalog=catalog,
            shared_keys=False,
            jwt_issuer="host",
            jwt_audience="ownkey",
            jwt_secret=HOST_SECRET,
        )
        first = await stack.enter_async_context(Ownkey.open(config, environ={}))
        second = await stack.enter_async_context(Ownkey.open(config, environ={}))
        await first.manager.load_user_settings("ada")
        credential = await first.settings.add_credential("ada", "groq", KEY)
        made = await first.tokens.create("ada", "laptop")
        url = await stack.enter_async_context(serve(second.asgi()))
        yield Stage(first, second, url, provider, go_on, made.text, made.token.id, credential.id)


async def _revoke(stage: Stage) -> None:
    await stage.first.tokens.revoke("ada", stage.token_id)


async def _suspend(stage: Stage) -> None:
    await stage.first.users.set_status("ada", UserStatus.SUSPENDED)


async def _delete_user(stage: Stage) -> None:
    await stage.first.users.delete("ada")


async def _delete_key(stage: Stage) -> None:
    await stage.first.settings.remove_credential("ada", stage.credential_id)


async def _replace_key(stage: Stage) -> None:
    await stage.first.settings.replace_credential("ada", stage.credential_id, "gsk_ada_0000000000000002")


async def _forbid(stage: Stage) -> None:
    await stage.first.users.create("root", role=Role.ADMIN)
    await stage.first.policies.put("root", PolicyDocument(allowed_providers=("openai",)))


WITHDRAWALS: dict[str, tuple[Callable[[Stage], Awaitable[None]], str, int]] = {
    "token revoked": (_revoke, "token was revoked", 401),
    "user suspended": (_suspend, "suspended", 403),
    "user deleted": (_delete_user, "token was revoked", 401),
    "key deleted": (_delete_key, "deleted or replaced", 403),
    "key replaced": (_replace_key, "deleted or replaced", 403),
    "provider forbidden": (_forbid, "withdrawn the provider", 403),
}


@pytest.mark.parametrize("name", WITHDRAWALS)
async def test_a_stream_is_cut_in_every_process(stage: Stage, name: str) -> None:
    withdraw, words, _ = WITHDRAWALS[name]
    async with httpx2.AsyncClient(base_url=stage.url, timeout=20) as client:
        headers = {"Authorization": f"Bearer {stage.token}"}
        asking = client.stream("POST", "/v1/chat/completions", headers=headers, json={**BODY, "stream": True})
        async with asking as answer:
            lines = answer.aiter_lines()
            assert '"content":"x"' in await anext(lines)
            await withdraw(stage)
            rest = [line async for line in lines if line]
    [event] = rest
    error = msgspec.json.decode(event.removeprefix("data: "))["error"]
    assert error["code"] == "access_withdrawn"
    assert words in error["message"]
    await asyncio.wait_for(stage.provider.someone_left.wait(), 5)
    if name != "user deleted":
        assert await stage.outcomes() == ["access_withdrawn estimated"]
    assert len(stage.second.core.completion.running) == 0


@pytest.mark.parametrize("name", ["token revoked", "user suspended", "key deleted"])
async def test_a_whole_answer_that_is_waited_for_is_refused(private_dir: Path, stage: Stage, name: str) -> None:
    withdraw, words, status = WITHDRAWALS[name]
    stage.provider.hold_whole_answers = True
    async with httpx2.AsyncClient(base_url=stage.url, timeout=20) as client:
        headers = {"Authorization": f"Bearer {stage.token}"}
        asking = asyncio.create_task(client.post("/v1/chat/completions", headers=headers, json=BODY))
        await asyncio.wait_for(stage.provider.streaming.wait(), 5)
        await withdraw(stage)
        answer = await asking
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == "access_withdrawn"
    assert words in answer.json()["error"]["message"]
    await asyncio.wait_for(stage.provider.someone_left.wait(), 5)
    assert await stage.outcomes() == ["access_withdrawn estimated"]


def sign_host_token(user_id: str) -> str:
    """As the host application would, a minute ago."""
    now = int(time.time()) - 60
    claims = {"iss": "host", "aud": "ownkey", "sub": user_id, "iat": now, "exp": now + 600}
    parts = [urlsafe_b64encode(msgspec.json.encode(part)).rstrip(b"=") for part in ({"alg": "HS256"}, claims)]
    mark = hmac.digest(HOST_SECRET.encode(), b".".join(parts), "sha256")
    return b".".join((*parts, urlsafe_b64encode(mark).rstrip(b"="))).decode()


async def test_who_signs_out_everywhere_ends_streams_of_the_hosts_token_and_no_others(stage: Stage) -> None:
    async with httpx2.AsyncClient(base_url=stage.url, timeout=20) as client:

        async def follow(token: str) -> tuple[Any, AsyncIterator[str]]:
            headers = {"Authorization": f"Bearer {token}"}
            asking = client.stream("POST", "/v1/chat/completions", headers=headers, json={**BODY, "stream": True})
            lines = (await asking.__aenter__()).aiter_lines()
            await anext(lines)
            return asking, lines

        by_host, host_lines = await follow(sign_host_token("ada"))
        by_token, token_lines = await follow(stage.token)
        await stage.first.core.sessions.end_all("ada")
        [event] = [line async for line in host_lines if line]
        assert "signed out everywhere" in event
        stage.go_on.set()
        assert [line async for line in token_lines if line][-1] == "data: [DONE]"
        for one in (by_host, by_token):
            await one.__aexit__(None, None, None)
    assert sorted(await stage.outcomes()) == ["access_withdrawn estimated", "ok reported"]


async def test_a_stream_of_the_host_itself_is_cut_too(stage: Stage) -> None:
    parts = stage.second.manager.stream_chat("ada", messages=[{"role": "user", "content": "hi"}])
    assert b'"content":"x"' in await anext(parts)
    await _suspend(stage)
    assert b'"code":"access_withdrawn"' in b"".join([part async for part in parts])
    assert await stage.outcomes() == ["access_withdrawn estimated"]


async def test_other_changes_cut_nothing(stage: Stage) -> None:
    """Nor does a token of the same user that is not the stream's own."""
    other = await stage.first.tokens.create("ada", "phone")
    async with httpx2.AsyncClient(base_url=stage.url, timeout=20) as client:
        headers = {"Authorization": f"Bearer {stage.token}"}
        asking = client.stream("POST", "/v1/chat/completions", headers=headers, json={**BODY, "stream": True})
        async with asking as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            old = stage.second.core.cache.find("ada")
            await stage.first.tokens.revoke("ada", other.token.id)
            await stage.first.settings.put_preference("ada", "groq", priority=7)
            await stage.first.settings.update_credential("ada", stage.credential_id, label="work")
            await stage.first.settings.add_credential("ada", "openai", "sk-ada-0000000000000003")
            await stage.first.manager.clear_user_settings("ada")
            async with asyncio.timeout(5):
                while stage.second.core.cache.find("ada") is old:
                    await asyncio.sleep(0)
            stage.go_on.set()
            rest = [line async for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert await stage.outcomes() == ["ok reported"]


async def test_a_slow_body_is_not_served_with_what_was_withdrawn_meanwhile(stage: Stage) -> None:
    """The token was recognised when the head of the request came, and revoked before its body was complete."""
    host, port = stage.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = msgspec.json.encode(BODY)
    writer.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {stage.token}\r\n"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body[:5]
    )
    async with asyncio.timeout(5):
        while stage.second.core.cache.find("ada") is None:
            await asyncio.sleep(0)
        await _revoke(stage)
        while stage.second.core.cache.find("ada") is not None:
            await asyncio.sleep(0)
        writer.write(body[5:])
        assert b" 401 " in await reader.readline()
    writer.close()
    assert stage.provider.calls == 0
