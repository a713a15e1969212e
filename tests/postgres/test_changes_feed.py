"""Every change of a snapshot raises its generation and is heard; nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from msgspec import structs

from ownkey.domain.credential import CredentialStatus
from ownkey.domain.settings import Preference, TaskOverride
from ownkey.domain.usage import new_id
from ownkey.errors import StorageError
from ownkey.storage import credentials, data_keys, settings, snapshots, tokens, usage, users
from ownkey.storage.changes_feed import ChangesFeed, Hearer
from tests.postgres.people import Person, Store, digest, keep_status, set_status, usage_event
from tests.servers import start_wheel_postgres

Change = Callable[[Any, Person], Awaitable[Any]]


class Heard:
    """What a feed reported."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, int]] = []
        self.gaps = 0
        self._news = asyncio.Event()

    def on_change(self, user_id: str, generation: int) -> None:
        self.changes.append((user_id, generation))
        self._news.set()

    def on_gap(self) -> None:
        self.gaps += 1
        self._news.set()

    def after(self, user_id: str, before: int) -> list[int]:
        """The generations of a user above one that is known."""
        return [generation for one, generation in self.changes if one == user_id and generation > before]

    async def until(self, is_there: Callable[[], object]) -> None:
        """Wait for the reports that make this true."""
        async with asyncio.timeout(15):
            while not is_there():
                self._news.clear()
                await self._news.wait()


@pytest_asyncio.fixture
async def heard(dsn: str) -> AsyncIterator[Heard]:
    reports = Heard()
    # Asking would tell of everything a second time: test_changes_poll is about that.
    hearer = Hearer(on_change=reports.on_change, on_gap=reports.on_gap)
    feed = await snapshots.listen(dsn, hearer, poll_seconds=3600)
    yield reports
    await feed.close()


async def _revoke(tx: Any, person: Person) -> None:
    await tokens.revoke_token(tx, person.token_id)


async def _new_credential(tx: Any, person: Person) -> None:
    await credentials.insert_credential(
        tx, id=new_id(), user_id=person.id, provider="openai", label="x", hint="…", base_url=None, position=0,
        expires_at=None, sealed=b"x", generation=1, fingerprint=digest("other"),
    )  # fmt: skip


async def _new_token(tx: Any, person: Person) -> None:
    await tokens.insert_token(
        tx, id=new_id(), user_id=person.id, name="phone", hash=digest("phone"), hint="ok-…", scopes=("gateway",),
        expires_at=None,
    )  # fmt: skip


async def _replace(tx: Any, person: Person) -> None:
    await credentials.replace_secret(
        tx, person.credential_id, sealed=b"y", hint="…", generation=2, fingerprint=digest("y"), base_url=None
    )


CHANGES: dict[str, Change] = {
    "settings": lambda tx, _: settings.update_settings(tx, {"allow_fallback": False}),
    "preference": lambda tx, _: settings.put_preference(tx, Preference(provider="groq", enabled=False)),
    "preference removed": lambda tx, _: settings.delete_preference(tx, "groq"),
    "override": lambda tx, _: settings.put_task_override(tx, TaskOverride(task="writing", provider="groq")),
    "override removed": lambda tx, _: settings.delete_task_override(tx, "coding"),
    "credential": _new_credential,
    "credential label": lambda tx, p: credentials.update_credential(tx, p.credential_id, {"label": "home"}),
    "credential off": lambda tx, p: credentials.update_credential(tx, p.credential_id, {"enabled": False}),
    "credential expiry": lambda tx, p: credentials.update_credential(
        tx, p.credential_id, {"expires_at": datetime.now(UTC) + timedelta(days=1)}
    ),
    "credential status": lambda tx, p: keep_status(tx, p, CredentialStatus.INVALID),
    "secret replaced": _replace,
    "secret erased": lambda tx, p: credentials.clear_secret(tx, p.credential_id, None),
    "credential removed": lambda tx, p: credentials.delete_credential(tx, p.credential_id),
    "token": _new_token,
    "token revoked": _revoke,
    "suspended": lambda tx, p: users.set_user_status(tx, p.id, "suspended"),
    "made administrator": lambda tx, p: users.set_user_role(tx, p.id, "admin"),
    "signed out": lambda tx, p: users.bump_generation(tx, p.id),
    "deleted": lambda tx, _: users.delete_user(tx),
}
NOTHING: dict[str, Change] = {
    "same preference": lambda tx, _: settings.put_preference(tx, Preference(provider="groq", priority=5)),
    "same override": lambda tx, p: settings.put_task_override(
        tx, TaskOverride(task="coding", provider="groq", credential_id=p.credential_id)
    ),
    "same settings": lambda tx, _: settings.update_settings(tx, {"default_task": "coding"}),
    "tested": lambda tx, p: credentials.note_test(tx, p.credential_id, datetime.now(UTC)),
    "same status": lambda tx, p: keep_status(tx, p, CredentialStatus.UNVERIFIED, "again"),
    "next try": lambda tx, p: credentials.plan_probe(tx, p.credential_id, datetime.now(UTC)),
    "same user": lambda tx, p: users.ensure_user(tx, p.id),
    "reading": lambda tx, _: credentials.list_credentials(tx),
}


async def test_every_change_raises_the_generation_and_is_heard_once(store: Store, heard: Heard) -> None:
    for number, (name, change) in enumerate(CHANGES.items()):
        person = await store.add_person(f"user-{number}")
        before = (await snapshots.load_generations(store.db, [person.id]))[person.id]
        await heard.until(lambda person=person, before=before: (person.id, before) in heard.changes)
        async with store.db.transaction(person.id) as tx:
            await change(tx, person)
        await heard.until(
            lambda person=person, before=before: any(u == person.id and g > before for u, g in heard.changes)
        )
        after = [generation for user_id, generation in heard.changes if user_id == person.id and generation > before]
        assert len(after) == 1, name
        if name != "deleted":
            assert await snapshots.load_generations(store.db, [person.id]) == {person.id: after[0]}, name
    assert heard.gaps == 0


async def test_what_changes_nothing_is_not_heard(store: Store, heard: Heard) -> None:
    person = await store.add_person("ann")
    before = await snapshots.load_generations(store.db, ["ann"])
    for name, change in NOTHING.items():
        async with store.db.transaction("ann") as tx:
            await change(tx, person)
        assert await snapshots.load_generations(store.db, ["ann"]) == before, name
    await set_status(store.db, person, CredentialStatus.UNVERIFIED, "again", datetime.now(UTC))
    await usage.insert_events(store.db, [usage_event("ann", credential_id=person.credential_id)])
    await tokens.touch_tokens(store.db, [("ann", person.token_id, datetime.now(UTC))])
    assert await snapshots.load_generations(store.db, ["ann"]) == before


async def test_a_transaction_is_one_change_and_a_rolled_back_one_is_none(store: Store, heard: Heard) -> None:
    person = await store.add_person("ann")
    before = (await snapshots.load_generations(store.db, ["ann"]))["ann"]
    with pytest.raises(ZeroDivisionError):
        async with store.db.transaction("ann") as tx:
            await settings.update_settings(tx, {"allow_fallback": False})
            raise ZeroDivisionError
    assert (await snapshots.load_generations(store.db, ["ann"]))["ann"] == before
    async with store.db.transaction("ann") as tx:
        with pytest.raises(ZeroDivisionError):
            async with tx.transaction():  # a savepoint: the mark "raised already" has to fall back with it
                await settings.update_settings(tx, {"allow_fallback": False})
                raise ZeroDivisionError
        await settings.put_preference(tx, Preference(provider="openai"))
        await settings.put_preference(tx, Preference(provider="mistral"))
        await credentials.delete_credential(tx, person.credential_id)
    after = (await snapshots.load_generations(store.db, ["ann"]))["ann"]
    assert after > before
    await heard.until(lambda: ("ann", after) in heard.changes)
    assert [generation for _, generation in heard.changes if generation > before] == [after]


async def test_health_written_back_from_the_hot_path_is_heard_if_it_changes_the_status(
    store: Store, heard: Heard
) -> None:
    person = await store.add_person("ann")
    before = (await snapshots.load_generations(store.db, ["ann"]))["ann"]
    assert await set_status(store.db, person, CredentialStatus.OUT_OF_CREDIT, "no money")
    await heard.until(lambda: heard.after("ann", before))
    assert not await set_status(store.db, structs.replace(person, credential_id=new_id()), CredentialStatus.OK)
    assert not await set_status(store.db, structs.replace(person, id="bob"), CredentialStatus.OK)


async def test_a_user_who_comes_back_starts_above_what_caches_have_seen(store: Store) -> None:
    await store.add_person("ann")
    before = (await snapshots.load_generations(store.db, ["ann"]))["ann"]
    async with store.db.transaction("ann") as tx:
        assert await users.delete_user(tx)
    assert await snapshots.load_generations(store.db, ["ann"]) == {}
    async with store.db.transaction("ann") as tx:
        assert await users.ensure_user(tx, "ann")
    assert (await snapshots.load_generations(store.db, ["ann"]))["ann"] > before


async def test_a_rewrapped_data_key_is_not_announced(store: Store) -> None:
    """It is the same data key: 100,000 of them must not make every process read all its users again."""
    await store.add_person("ann")
    before = (await snapshots.load_generations(store.db, ["ann"]))["ann"]
    async with store.db.transaction(None, role="ownkey_rotator") as tx:
        (key,) = await data_keys.lock_data_keys(tx, "kek-1", 10)
        assert await data_keys.swap_data_key(tx, key, b"rewrapped", "kek-2")
    assert (await snapshots.load_generations(store.db, ["ann"]))["ann"] == before


async def test_a_lost_connection_is_made_again_and_the_gap_reported(
    store: Store, heard: Heard, superuser: asyncpg.Connection
) -> None:
    await store.add_person("ann")
    ended = await superuser.fetchval(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity "
        "where application_name = 'ownkey listen' and datname = current_database()"
    )
    assert ended == 1
    await heard.until(lambda: heard.gaps == 1)
    async with store.db.transaction("ann") as tx:
        await users.bump_generation(tx, "ann")
    after = (await snapshots.load_generations(store.db, ["ann"]))["ann"]
    await heard.until(lambda: ("ann", after) in heard.changes)


async def test_listening_where_there_is_no_server_fails_at_once() -> None:
    with pytest.raises(StorageError) as refused:
        await snapshots.listen("postgresql://x@127.0.0.1:1/x", Hearer())
    assert refused.value.code == "database_unavailable"


async def test_a_feed_outlives_a_crash_of_the_server() -> None:
    with start_wheel_postgres() as server:
        await server.create_database("crash")
        heard = Heard()
        feed = await snapshots.listen(server.dsn("crash"), Hearer(on_change=heard.on_change, on_gap=heard.on_gap))
        assert isinstance(feed, ChangesFeed)
        await asyncio.to_thread(server.stop, "immediate")
        await asyncio.to_thread(server.start)
        await heard.until(lambda: heard.gaps == 1)
        assert feed.connected
        await feed.close()
        assert not feed.connected
