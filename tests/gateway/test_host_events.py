"""The host hears of what happens: by a signed webhook and by callbacks, at least once, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import base64
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from ownkey import Config, Ownkey
from ownkey.domain.event import Event, EventType
from ownkey.domain.user import UserStatus
from ownkey.errors import ConfigError, RouteExhausted
from ownkey.storage import events
from ownkey.storage.embedded import EmbeddedPostgres
from ownkey.testing import SimulatedProviders
from tests.receiver import SECRET, Receiver

HELLO = [{"role": "user", "content": "hi"}]
KEY = "gsk_ada_0000000000000001"
NEXT_SECRET = "whsec_" + base64.b64encode(bytes(range(50, 90))).decode()


@pytest.fixture(autouse=True)
def fresh_providers(providers: SimulatedProviders) -> None:
    """These tests have servers of their own."""
    providers.reset()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


class Place:
    """A data directory in which servers are opened, and a hand on its database."""

    def __init__(self, config: Config, connection: asyncpg.Connection) -> None:
        self.config, self.connection = config, connection

    def configure(self, url: str | None, secret: str = SECRET) -> Config:
        return Config(
            data_dir=self.config.data_dir,
            catalog=self.config.catalog,
            shared_keys=False,
            webhook_url=url,
            webhook_secret=secret if url else None,
        )

    @asynccontextmanager
    async def open(self, url: str | None = None, secret: str = SECRET) -> AsyncIterator[Ownkey]:
        """A server, known to the database as one that has a webhook if it has one."""
        async with Ownkey.open(self.configure(url, secret), environ={}) as ok:
            if url is not None:
                await ok.core.events.webhook_delivery.tend()
            yield ok

    async def let_due(self) -> None:
        """As if every wait and every claim were over."""
        await self.connection.execute("update ownkey_private.outbox set due_at = now() where state = 'waiting'")

    async def count(self, state: str, sink: str = "webhook") -> int:
        return int(
            await self.connection.fetchval(
                "select count(*) from ownkey_private.outbox where state = $1 and sink = $2", state, sink
            )
        )


@pytest_asyncio.fixture(scope="module")
async def building(providers: SimulatedProviders) -> AsyncIterator[Place]:
    data_dir = Path(tempfile.mkdtemp(prefix="ownkey-test-"))
    data_dir.chmod(0o755)
    config = Config(data_dir=data_dir, catalog=providers.write_catalog(data_dir / "catalog.toml"), shared_keys=False)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, data_dir, ignore_errors=True)
        await stack.enter_async_context(Ownkey.open(config, environ={}))
        postgres = await EmbeddedPostgres.start(data_dir)
        stack.push_async_callback(postgres.stop)
        connection = await asyncpg.connect(postgres.migration_dsn)
        stack.push_async_callback(connection.close)
        yield Place(config, connection)


@pytest_asyncio.fixture
async def place(building: Place) -> AsyncIterator[Place]:
    """Without users and events."""
    yield building
    await building.connection.execute("delete from ownkey.users")
    await building.connection.execute("delete from ownkey_private.outbox")
    await building.connection.execute("delete from ownkey_private.event_sinks")


async def emit(ok: Ownkey, count: int = 1) -> None:
    """Events that nobody has to be for."""
    async with ok.database.transaction(None) as tx:
        for number in range(count):
            await events.emit(
                tx, EventType.SPENDING_LIMIT_NEAR, None, {"scope": "total", "period": "day", "no": number}
            )


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_a_refused_key_is_told_signed_and_without_any_secret(
    place: Place, providers: SimulatedProviders, receiver: Receiver
) -> None:
    async with place.open(receiver.url, f"{SECRET}, {NEXT_SECRET}") as ok:
        await ok.manager.load_user_settings("ada")
        credential = await ok.settings.add_credential("ada", "groq", KEY, label="work")
        providers.break_provider("groq", "bad_key")
        with pytest.raises(RouteExhausted):
            await ok.manager.chat("ada", messages=HELLO)
        [told] = await receiver.wait_for(1)
        # Replacing it is somebody's act, and news as well: whoever was warned can be told that it is over.
        await ok.settings.replace_credential("ada", credential.id, "gsk_ada_0000000000000002")
        over = (await receiver.wait_for(2))[1]
    data = told.event["data"]
    assert data | {"until": None, "next_probe_at": None} == {
        "user_id": "ada",
        "credential_id": credential.id,
        "provider": "groq",
        "provider_label": "Groq",
        "label": "work",
        "status": "invalid",
        "previous_status": "unverified",
        "reason": "auth_invalid",
        "until": None,
        "next_probe_at": None,
        "message": 'The API key "work" for Groq: Groq refuses this key. Make a new one there and replace it.',
    }
    assert datetime.fromisoformat(data["next_probe_at"]) > datetime.now(UTC)
    assert (told.event["type"], told.event["id"]) == ("credential.status_changed", told.id)
    assert told.headers["content-type"] == "application/json"
    assert told.headers["path"] == "/hooks/ownkey?from=tests"
    # Both secrets sign while the receiver changes over.
    assert told.is_signed_by(SECRET) and told.is_signed_by(NEXT_SECRET)
    assert (over.event["data"]["status"], over.event["data"]["previous_status"]) == ("unverified", "invalid")
    for arrival in (told, over):
        everything = repr(arrival.headers).encode() + arrival.body
        for secret in (KEY, KEY[-4:], "gsk_ada_0000000000000002", SECRET, SECRET[6:20]):
            assert secret.encode() not in everything


async def test_a_receiver_in_trouble_gets_every_event_in_the_end(place: Place, receiver: Receiver) -> None:
    receiver.statuses.extend([500, 503, 307, 404])
    async with place.open(receiver.url) as ok:
        await emit(ok)

        async def arrived() -> bool:
            await place.let_due()
            await ok.core.events.webhook_delivery.run_due()
            return await place.count("delivered") == 1

        await until(arrived)
    arrivals = receiver.arrivals
    assert [one.status for one in arrivals] == [500, 503, 307, 404, 204]
    assert len({one.id for one in arrivals}) == 1
    # A redirect is not followed: the next request is the same one again, to the same place.
    assert {one.headers["path"] for one in arrivals} == {"/hooks/ownkey?from=tests"}
    assert all(one.is_signed_by(SECRET) for one in arrivals)


async def test_a_receiver_that_is_away_loses_nothing_and_is_not_pressed(place: Place) -> None:
    """Nobody listens there; what was emitted meanwhile arrives later, by whichever server is there then."""
    with Receiver() as closed:
        url = closed.url
    async with place.open(url) as ok:
        await emit(ok, 5)
        _, failed = await ok.core.events.webhook_delivery.run_due()
        assert failed <= 5
        await until(lambda: _all_tried(place, 5))
        state = await events.describe_sink(ok.database, "webhook")
        assert state.waiting == 5
        assert state.last_error is not None and "Could not connect to 127.0.0.1" in state.last_error
        assert "hooks" not in state.last_error
        # The next tries are seconds away, and ever farther.
        waits = await place.connection.fetchval("select min(due_at) - now() from ownkey_private.outbox")
        assert waits > timedelta(seconds=1)
    with Receiver() as back:
        async with place.open(back.url):
            await place.let_due()
            await back.wait_for(5)
            await until(lambda: _delivered(place, 5))
        assert len({one.id for one in back.arrivals}) == 5


async def test_two_servers_never_send_the_same_event_at_once(place: Place, receiver: Receiver) -> None:
    async with place.open(receiver.url) as first, place.open(receiver.url) as second:
        await emit(first, 60)
        taken = 0
        while taken < 60:
            done = await asyncio.gather(
                *(ok.core.events.webhook_delivery.run_due(7) for ok in (first, second, first, second))
            )
            taken += sum(claimed for claimed, _ in done)
            if not any(claimed for claimed, _ in done):
                break  # their own loops were faster
        await until(lambda: _delivered(place, 60))
    assert set(Counter(one.id for one in receiver.arrivals).values()) == {1}
    assert sorted(one.event["data"]["no"] for one in receiver.arrivals) == list(range(60))


SERVER = """
import asyncio, sys
from pathlib import Path
from ownkey import Config, Ownkey

async def main():
    data_dir, catalog, url, secret = sys.argv[1:]
    config = Config(data_dir=Path(data_dir), catalog=Path(catalog), shared_keys=False, webhook_url=url,
                    webhook_secret=secret)
    async with Ownkey.open(config, environ={}) as ok:
        await ok.core.events.webhook_delivery.tend()
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_server_that_dies_between_sending_and_marking_leaves_the_event_to_another(
    place: Place, receiver: Receiver
) -> None:
    receiver.hold()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(place.config.data_dir), str(place.config.catalog), receiver.url, SECRET,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert (await asyncio.wait_for(process.stdout.readline(), 60)) == b"ready\n"
        async with place.open() as ok:
            await emit(ok)
        [sent] = await receiver.wait_for(1)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert await place.count("waiting") == 1
    receiver.release()
    async with place.open(receiver.url) as other:
        # The dead one's claim holds until it ends.
        assert await other.core.events.webhook_delivery.run_due() == (0, 0)
        await place.let_due()
        arrivals = await receiver.wait_for(2)
        await until(lambda: _delivered(place, 1))
    assert [one.id for one in arrivals] == [sent.id] * 2
    assert [one.body for one in arrivals] == [sent.body] * 2


async def test_dates_that_are_near_are_told_once_for_each_warning(place: Place, receiver: Receiver) -> None:
    async with place.open(receiver.url) as first, place.open(receiver.url) as second:
        ids = {}
        for name, days in {"later": 20.0, "soon": 10.0, "very soon": 1.5, "off": 1.5, "kept out": 1.5}.items():
            user = name.replace(" ", "_")
            await first.manager.load_user_settings(user)
            added = await first.settings.add_credential(
                user, "groq", f"gsk_of_{user}_00000000000", expires_at=datetime.now(UTC) + timedelta(days=days)
            )
            ids[added.id] = name
        await first.settings.update_credential("off", next(i for i, n in ids.items() if n == "off"), enabled=False)
        await first.users.set_status("kept_out", UserStatus.SUSPENDED)

        async def sweep() -> list[tuple[str, object, object]]:
            """What is told after both servers have looked, several times and at once."""
            before = len(receiver.arrivals)
            await asyncio.gather(*(ok.core.events.webhook_delivery.tend() for ok in (first, second) * 3))
            waiting = await place.connection.fetchval("select count(*) from ownkey_private.outbox")
            await until(lambda: _delivered(place, waiting))
            found = [one.event["data"] for one in receiver.arrivals[before:]]
            return sorted((ids[one["credential_id"]], one.get("days_left"), one.get("status")) for one in found)

        async def age(days: int) -> None:
            """Time passes: every date is nearer, and known under its new number."""
            await place.connection.execute(
                "update ownkey.credentials set expires_at = expires_at - make_interval(days => $1)", days
            )
            await place.connection.execute(
                "update ownkey_private.outbox set once = format('expiry/%s/%s/%s', split_part(once, '/', 2), "
                "split_part(once, '/', 3)::numeric - $1::integer * 86400, split_part(once, '/', 4))",
                days,
            )

        assert await sweep() == [("soon", 10, None), ("very soon", 2, None)]
        assert await sweep() == []
        message = receiver.arrivals[0].event["data"]["message"]
        assert "for Groq: the date that was set for it passes in" in message
        await age(8)
        assert await sweep() == [("later", 12, None), ("soon", 2, None), ("very soon", None, "expired")]
        assert await sweep() == []
        await age(1)
        assert await sweep() == []
        # Another date is another matter.
        soon = next(one for one, name in ids.items() if name == "soon")
        await first.settings.update_credential("soon", soon, expires_at=datetime.now(UTC) + timedelta(days=2, hours=1))
        assert await sweep() == [("soon", 3, None)]


async def test_callbacks_hear_of_what_happens_in_any_process_and_again_if_they_fail(
    place: Place, providers: SimulatedProviders
) -> None:
    heard: list[Event] = []
    also: list[str] = []

    async def callback(event: Event) -> None:
        heard.append(event)
        if len(heard) == 1:
            raise ZeroDivisionError("a host's bug")

    async with place.open() as host, place.open() as gateway:
        stop = host.on_event(callback)
        host.on_event(lambda event: also.append(event.id))
        await until(lambda: _served(place, "callback"))
        await gateway.manager.load_user_settings("ada")
        await gateway.settings.add_credential("ada", "groq", KEY)
        providers.break_provider("groq", "no_credit")
        with pytest.raises(RouteExhausted):
            await gateway.manager.chat("ada", messages=HELLO)

        async def arrived() -> bool:
            await place.let_due()
            await host.core.events.callback_delivery.run_due()
            return await place.count("delivered", "callback") == 1

        await until(arrived)
        stop()
        await emit(gateway)
        await host.core.events.callback_delivery.run_due()
        await until(lambda: _heard(also, 2))
    assert [event.id for event in heard] == [heard[0].id] * 2
    assert (heard[0].type, heard[0].user_id) == (EventType.CREDENTIAL_STATUS_CHANGED, "ada")
    assert heard[0].data["status"] == "out_of_credit"
    assert heard[0].data["message"].endswith("no credit at Groq. Top it up: that is noticed by itself.")
    assert also[0] == heard[0].id
    assert await place.count("waiting") == 0, "there is no webhook, so nothing waits for one"


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://host.example/hook", None),
        (None, SECRET),
        ("ftp://host.example", SECRET),
        ("https://user:word@host.example", SECRET),
        ("https://host.example/a b", SECRET),
        ("host.example", SECRET),
        ("https://host.example/hook", "a-secret-of-mine"),
    ],
)
async def test_settings_that_could_not_work_are_refused_and_not_repeated(
    place: Place, url: str | None, secret: str | None
) -> None:
    config = Config(data_dir=place.config.data_dir, webhook_url=url, webhook_secret=secret)
    with pytest.raises(ConfigError) as refused:
        async with Ownkey.open(config, environ={}):
            pass
    assert "OWNKEY_WEBHOOK" in refused.value.message
    assert "word" not in refused.value.message.replace("whsec_", "") and "of-mine" not in refused.value.message


async def _delivered(place: Place, count: int) -> bool:
    return await place.count("delivered") >= count


async def _all_tried(place: Place, count: int) -> bool:
    tried = await place.connection.fetchval(
        "select count(*) from ownkey_private.outbox where tries > 0 and last_error is not null"
    )
    return bool(tried >= count)


async def _served(place: Place, sink: str) -> bool:
    return bool(
        await place.connection.fetchval("select exists (select from ownkey_private.event_sinks where name = $1)", sink)
    )


async def _heard(names: list[str], count: int) -> bool:
    return len(set(names)) >= count
