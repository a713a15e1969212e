"""Two gateways on one database: what one changes, the other knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ownkey import Config, Ownkey
from ownkey.domain.clock import elapsed_seconds
from ownkey.errors import AuthError, NotFound
from ownkey.testing import SimulatedProviders

HELLO = [{"role": "user", "content": "hi"}]


@pytest.fixture(autouse=True)
def fresh_providers(providers: SimulatedProviders) -> None:
    """These tests have servers of their own."""
    providers.reset()


@pytest.fixture
async def pair(private_dir: Path, providers: SimulatedProviders) -> AsyncIterator[tuple[Ownkey, Ownkey]]:
    config = Config(
        data_dir=private_dir, catalog=providers.write_catalog(private_dir / "catalog.toml"), shared_keys=False
    )
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(Ownkey.open(config, environ={}))
        second = await stack.enter_async_context(Ownkey.open(config, environ={}))
        await first.manager.load_user_settings("ada")
        await first.settings.add_credential("ada", "groq", "gsk_ada_0000000000000001")
        await second.manager.load_user_settings("ada")
        yield first, second


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until a notification has done its work."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_logout_clears_the_settings_in_every_process(pair: tuple[Ownkey, Ownkey]) -> None:
    first, second = pair
    await first.manager.get_snapshot("ada")
    assert second.core.cache.find("ada") is not None
    await first.manager.clear_user_settings("ada")
    assert first.core.cache.find("ada") is None
    await until(lambda: second.core.cache.find("ada") is None)


async def test_a_replaced_key_is_used_everywhere(pair: tuple[Ownkey, Ownkey], providers: SimulatedProviders) -> None:
    first, second = pair
    await second.manager.chat("ada", messages=HELLO)
    [credential] = await first.settings.list_credentials("ada")
    stale = second.core.cache.find("ada")
    await first.settings.replace_credential("ada", credential.id, "gsk_ada_0000000000000002")
    await until(lambda: second.core.cache.find("ada") is not stale)
    await second.manager.chat("ada", messages=HELLO)
    assert [entry.key for entry in providers.ledger("groq")] == ["gsk_ada_0000000000000001", "gsk_ada_0000000000000002"]


async def test_a_revoked_token_is_refused_everywhere(pair: tuple[Ownkey, Ownkey]) -> None:
    first, second = pair
    token = await first.tokens.create("ada", "laptop")
    headers = [(b"authorization", f"Bearer {token.text}".encode())]
    identity = second.asgi().identity
    assert (await identity.authenticate(headers)).user_id == "ada"
    warm = second.core.cache.find("ada")
    await first.tokens.revoke("ada", token.token.id)
    await until(lambda: second.core.cache.find("ada") is not warm)
    with pytest.raises(AuthError):
        await identity.authenticate(headers)


async def test_a_deleted_user_is_gone_everywhere(pair: tuple[Ownkey, Ownkey]) -> None:
    first, second = pair
    await first.users.delete("ada")
    await until(lambda: second.core.cache.find("ada") is None)
    with pytest.raises(NotFound):
        await second.manager.chat("ada", messages=HELLO)


async def test_a_slow_read_does_not_bring_an_old_state_back(pair: tuple[Ownkey, Ownkey]) -> None:
    """A read that began before a change and ends after it must not put back what the change replaced."""
    _, second = pair
    cache = second.core.cache
    old = cache.find("ada")
    assert old is not None
    cache.drop("ada")
    reading = asyncio.ensure_future(cache.load("ada"))
    await asyncio.sleep(0)
    cache.drop("ada", old.generation + 1_000_000)
    assert (await reading) is not None
    assert cache.find("ada") is None


async def test_what_may_be_too_old_is_not_used(pair: tuple[Ownkey, Ownkey]) -> None:
    """Nobody has asked the database for longer than that is allowed: what is in memory says nothing any more."""
    _, second = pair
    cache = second.core.cache
    warm = cache.find("ada")
    assert warm is not None
    assert cache.is_current(warm)
    cache.note_sync(elapsed_seconds() - 1_000)
    assert cache.find("ada") is None
    assert not cache.is_current(warm)
    assert await cache.load("ada") is not warm, "read again, since the database is there"
    # The next question is answered with no change of hers, so that what was kept counts again, unread.
    await until(lambda: cache.find("ada") is not None)


async def test_nobody_is_given_a_read_that_is_older_than_a_change(pair: tuple[Ownkey, Ownkey]) -> None:
    """Who comes after a change was heard of does not join those who asked before it."""
    _, second = pair
    cache = second.core.cache
    cache.drop("ada")
    before = asyncio.ensure_future(cache.load("ada"))
    await asyncio.sleep(0)
    together = asyncio.ensure_future(cache.load("ada"))
    await asyncio.sleep(0)
    cache.drop("ada")
    after = asyncio.ensure_future(cache.load("ada"))
    old, shared, new = await asyncio.gather(before, together, after)
    assert old is shared
    assert new is not old
