"""Whatever is changed in whichever order, three gateways come to the same answer, and do not go back from it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from msgspec import Struct

from ownkey.domain.user import UserStatus
from ownkey.storage import snapshots
from tests.replicas.bare_client import BareClient
from tests.replicas.cluster import DATABASE, Cluster, Replica, body_for, open_cluster
from tests.replicas.conftest import LONG
from tests.replicas.test_revocation import END_LISTENERS
from tests.servers import PostgresServer

REPLICAS = 3
EXAMPLES, STEPS = (150, 40) if LONG else (20, 15)
# Asking for changes takes half a second at most; the rest is for a machine that has other things to do.
SETTLED_SECONDS = 5
_numbers = itertools.count(1)

T = TypeVar("T")


class World:
    """A cluster on an event loop of its own, for tests that are not coroutines."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._opened, self._done = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._keep_open(),))
        self.cluster: Cluster

    def __enter__(self) -> World:
        self._thread.start()
        assert self._opened.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(60)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _keep_open(self) -> None:
        async with open_cluster(self._server, REPLICAS) as self.cluster:
            self._opened.set()
            await self._done.wait()


class Token(Struct):
    text: str
    id: str
    revoked: bool = False


class Gateways(RuleBasedStateMachine):
    """One user; the model is what their administrator would say."""

    world: ClassVar[World]

    @initialize()
    def begin(self) -> None:
        self.user = f"user-{next(_numbers)}"
        self.key: str | None = None
        self.suspended = False
        self.tokens: list[Token] = []
        self.world.run(self.world.cluster.control.manager.load_user_settings(self.user))
        self.mint()

    @rule()
    def mint(self) -> None:
        text, token_id = self.world.run(self.world.cluster.add_token(self.user))
        self.tokens.append(Token(text, token_id))

    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.tokens))
        self.world.run(self.world.cluster.control.tokens.revoke(self.user, token.id))
        token.revoked = True

    @rule()
    def set_key(self) -> None:
        """Add a key, or replace the one there is, while requests are on their way everywhere."""
        self.world.run(self._set_key())

    @precondition(lambda self: self.key is not None)
    @rule()
    def remove_key(self) -> None:
        self.world.run(self._remove_key())
        self.key = None

    @rule()
    def log_out(self) -> None:
        self.world.run(self.world.cluster.control.manager.clear_user_settings(self.user))

    @rule(suspended=st.booleans())
    def suspend(self, suspended: bool) -> None:
        status = UserStatus.SUSPENDED if suspended else UserStatus.ACTIVE
        self.world.run(self.world.cluster.control.users.set_status(self.user, status))
        self.suspended = suspended

    @rule()
    def lose_notifications(self) -> None:
        self.world.run(self._end_listeners())

    @rule(data=st.data(), number=st.integers(0, REPLICAS - 1))
    def call(self, data: st.DataObject, number: int) -> None:
        token = data.draw(st.sampled_from(self.tokens))
        status, key = self.world.run(self._call(self.world.cluster.replicas[number], token))
        assert (status, key) == self._expected(token)

    def _expected(self, token: Token) -> tuple[int, str | None]:
        if token.revoked:
            return 401, None
        if self.suspended:
            return 403, None
        return (200, self.key) if self.key is not None else (424, None)

    async def _call(self, replica: Replica, token: Token) -> tuple[int, str | None]:
        """The answer of a replica that has heard of everything, and the key that it used."""
        await self._settle(replica)
        return await self._send(replica, token)

    async def _settle(self, replica: Replica) -> None:
        """Until nothing older than what the database has is in its memory."""
        control = self.world.cluster.control
        current = (await snapshots.load_generations(control.database, [self.user]))[self.user]
        assert replica.ok is not None
        async with asyncio.timeout(SETTLED_SECONDS):
            while (found := replica.ok.core.cache.find(self.user)) is not None and found.generation < current:
                await asyncio.sleep(0)

    async def _send(self, replica: Replica, token: Token) -> tuple[int, str | None]:
        name = f"call-{next(_numbers)}"
        client = BareClient(replica.url)
        status, _ = await client.post(token.text, body_for(name))
        client.hang_up()
        used = [key for key, called in self.world.cluster.provider.keys if called == name]
        assert len(used) <= 1
        return status, used[0] if used else None

    async def _set_key(self) -> None:
        control, before = self.world.cluster.control, self.key
        key = f"gsk_{self.user}_{next(_numbers):012d}"
        token = self.tokens[-1]
        for replica in self.world.cluster.replicas:
            await self._settle(replica)  # or the key before the last one may be meant
        calls = [asyncio.create_task(self._send(replica, token)) for replica in self.world.cluster.replicas]
        held = await control.settings.list_credentials(self.user)
        if held:
            await control.settings.replace_credential(self.user, held[0].id, key)
        else:
            await control.settings.add_credential(self.user, "groq", key)
        for _, used in await asyncio.gather(*calls):
            assert used in (None, before, key)
        self.key = key

    async def _remove_key(self) -> None:
        settings = self.world.cluster.control.settings
        [credential] = await settings.list_credentials(self.user)
        await settings.remove_credential(self.user, credential.id)

    async def _end_listeners(self) -> None:
        killer = await asyncpg.connect(self.world.cluster.server.dsn(DATABASE, "postgres"))
        with suppress(asyncpg.PostgresError):
            await killer.fetchval(END_LISTENERS)
        await killer.close()


@pytest.fixture
def world(server: PostgresServer) -> Iterator[World]:
    with World(server) as opened:
        yield opened


def test_three_gateways_agree(world: World) -> None:
    Gateways.world = world
    run_state_machine_as_test(
        Gateways,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
