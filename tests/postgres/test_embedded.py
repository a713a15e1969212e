"""The embedded server: safe modes, no door for others, and nothing left running."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from ownkey.errors import ConfigError
from ownkey.storage import embedded_home, snapshots
from ownkey.storage.database import Database
from ownkey.storage.embedded import EmbeddedPostgres, describe
from ownkey.storage.migrate import migrate
from tests.postgres.people import Store

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL under another account")

# Starts the server, says so, and waits to be told or killed.
HOLDER = """
import asyncio, sys
from pathlib import Path
from ownkey.storage.embedded import EmbeddedPostgres

async def main():
    server = await EmbeddedPostgres.start(Path(sys.argv[1]))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await server.stop()

asyncio.run(main())
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Not made yet, in a place that any account may walk through."""
    parent = Path(tempfile.mkdtemp(prefix="ownkey-emb-", dir="/tmp"))
    parent.chmod(0o755)
    yield parent / "data"
    shutil.rmtree(parent)


@asynccontextmanager
async def started(data_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = await EmbeddedPostgres.start(data_dir)
    try:
        yield server
    finally:
        await server.stop()


def modes_above(path: Path) -> dict[Path, int]:
    return {parent: parent.stat().st_mode for parent in path.parents}


def socket_dir(server: EmbeddedPostgres) -> Path:
    return server._home.socket_dir


async def test_it_serves_and_keeps_what_was_written_and_changes_no_mode_above(data_dir: Path) -> None:
    before = modes_above(data_dir)
    async with started(data_dir) as server:
        assert await migrate(server.migration_dsn)
        db = await Database.open(server.runtime_dsn)
        assert await db.check() == []
        await Store(db).add_person("ann")
        await db.close()
        await check_rights(server.runtime_dsn)
        for directory in (socket_dir(server), data_dir / "postgres", data_dir / "postgres" / "data"):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700, directory
        for path in data_dir.iterdir():
            assert not path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH), path
        assert (
            not list(socket_dir(server).glob("*5432"))
            or stat.S_IMODE((socket_dir(server) / ".s.PGSQL.5432").stat().st_mode) == 0o700
        )
    assert modes_above(data_dir) == before
    assert describe(data_dir).running is False
    async with started(data_dir) as server:
        db = await Database.open(server.runtime_dsn)
        assert await snapshots.load_snapshot(db, "ann") is not None
        await db.close()
    assert modes_above(data_dir) == before


async def test_the_last_to_leave_stops_it_and_a_crash_leaves_it_to_the_next(data_dir: Path) -> None:
    async with started(data_dir) as first:
        second = await EmbeddedPostgres.start(data_dir)
        await second.stop()
        await second.stop()
        assert describe(data_dir).running
        holder = await _hold(data_dir)
        await first.stop()
        state = describe(data_dir)
        assert (state.running, state.in_use) == (True, True)
        holder.send_signal(signal.SIGKILL)
        await asyncio.to_thread(holder.wait)
        state = describe(data_dir)
        assert (state.running, state.in_use) == (True, False)
        async with started(data_dir) as next_one:
            connection = await asyncpg.connect(next_one.migration_dsn)
            await connection.close()
    state = describe(data_dir)
    assert (state.running, state.in_use) == (False, False)


async def test_many_processes_start_one_server(data_dir: Path) -> None:
    holders = await asyncio.gather(*(_hold(data_dir) for _ in range(3)))
    assert describe(data_dir).running
    for holder in holders:
        await asyncio.to_thread(holder.communicate, "leave\n")
        assert holder.returncode == 0
    assert not describe(data_dir).running


@needs_root
async def test_a_start_cut_short_between_two_steps_is_taken_up(data_dir: Path) -> None:
    """A directory made and not yet given to the account: left by a crash, or by a neighbour half-way."""
    data_dir.mkdir(mode=0o711)
    (data_dir / "postgres").mkdir(mode=0o700)
    async with started(data_dir):
        assert (data_dir / "postgres").owner() == "ownkey"


async def test_a_link_in_place_of_a_directory_is_refused(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o711)
    elsewhere = data_dir.parent / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (data_dir / "postgres").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="must be a directory"):
        await EmbeddedPostgres.start(data_dir)
    assert elsewhere.stat().st_uid == os.geteuid()


async def test_a_crashed_server_is_started_again_on_its_data(data_dir: Path) -> None:
    async with started(data_dir) as server:
        connection = await asyncpg.connect(server.migration_dsn)
        await connection.execute("create table kept (id int); insert into kept values (1)")
        pid = int((data_dir / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            while True:
                await connection.execute("select pg_sleep(0.01)")
        async with started(data_dir) as again:
            connection = await asyncpg.connect(again.migration_dsn)
            assert await connection.fetchval("select id from kept") == 1
            await connection.close()


@needs_root
async def test_no_other_account_gets_in(data_dir: Path) -> None:
    """Not past the directory, and not past the kernel's word for who asks, should the directory be opened."""
    async with started(data_dir) as server:
        psql = server._home.bin_dir / "psql"

        def connect_as(account: str, dsn: str) -> str:
            entry = pwd.getpwnam(account)
            done = subprocess.run(
                [psql, "-c", "select 1", dsn],
                user=entry.pw_uid, group=entry.pw_gid, extra_groups=[], cwd="/", env={"LC_ALL": "C"},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            return done.stderr

        assert "Permission denied" in await asyncio.to_thread(connect_as, "nobody", server.migration_dsn)
        data_dir.chmod(0o755)
        opened = [socket_dir(server), socket_dir(server).parent]
        for directory in opened:
            directory.chmod(0o755)
        (socket_dir(server) / ".s.PGSQL.5432").chmod(0o777)
        for dsn in (server.migration_dsn, server.runtime_dsn):
            assert "Peer authentication failed" in await asyncio.to_thread(connect_as, "nobody", dsn)
        for directory in opened:
            directory.chmod(0o700)


@needs_root
async def test_a_private_directory_above_is_named_and_not_opened(data_dir: Path) -> None:
    data_dir.parent.chmod(0o700)
    before = modes_above(data_dir)
    with pytest.raises(ConfigError, match="may not enter") as refused:
        await EmbeddedPostgres.start(data_dir / "deeper")
    assert str(data_dir.parent) in refused.value.message
    assert {path: mode for path, mode in modes_above(data_dir).items() if path in before} == before


@needs_root
def test_a_private_data_directory_opens_for_the_account_only(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o700)
    embedded_home.prepare_home(data_dir)
    status = data_dir.stat()
    assert stat.S_IMODE(status.st_mode) == 0o710
    assert status.st_gid == pwd.getpwnam(embedded_home.ACCOUNT_NAME).pw_gid


@needs_root
async def test_programs_out_of_reach_are_copied(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a wheel that root installed in a private home."""
    monkeypatch.setattr(embedded_home, "_others_can_run", lambda _: False)
    async with started(data_dir) as server:
        assert server._home.bin_dir.is_relative_to(data_dir)
        copies = [path.name for path in data_dir.iterdir() if path.name.startswith("postgres-programs-")]
        assert len(copies) == 1
        async with started(data_dir):
            pass


async def test_long_paths_and_paths_with_odd_characters_work(data_dir: Path) -> None:
    """Of a comma a driver makes two hosts, and a socket's path is limited: the socket goes elsewhere then."""
    long = data_dir / "it's ü, (here) & there" / ("x" * 100)
    async with started(long) as server:
        place = socket_dir(server)
        assert place.parent == Path("/tmp")
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        connection = await asyncpg.connect(server.migration_dsn)
        await connection.close()
        assert describe(long).running
    place.chmod(0o777)
    with pytest.raises(ConfigError, match="0700"):
        await EmbeddedPostgres.start(long)
    shutil.rmtree(place)


@pytest.mark.parametrize("name", ["$HOME", "`id`", 'a"b', "a\\b", "a\nb"])
async def test_paths_that_a_shell_would_read_are_refused(data_dir: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="may not hold"):
        await EmbeddedPostgres.start(data_dir / name)
    assert not data_dir.exists()


async def test_an_interrupted_set_up_is_begun_anew(data_dir: Path) -> None:
    """What initdb leaves when it is killed: files under the working name, none under the final one."""
    left = embedded_home.prepare_home(data_dir).cluster_dir.with_name("data.new")
    left.mkdir()
    (left / "PG_VERSION").write_text("18\n")
    async with started(data_dir) as server:
        connection = await asyncpg.connect(server.migration_dsn)
        await connection.close()
    assert not left.exists()


async def test_data_of_another_version_is_refused(data_dir: Path) -> None:
    cluster_dir = embedded_home.prepare_home(data_dir).cluster_dir
    cluster_dir.mkdir()
    (cluster_dir / "PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigError, match="PostgreSQL 16"):
        await EmbeddedPostgres.start(data_dir)
    assert describe(data_dir).in_use is False


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="data directory"):
        await EmbeddedPostgres.start(tmp_path / "file" / "data")


async def check_rights(dsn: str) -> None:
    """The login that serves has none of its own."""
    connection = await asyncpg.connect(dsn)
    role = await connection.fetchrow("select * from pg_roles where rolname = current_user")
    assert role["rolname"] == "ownkey_runtime"
    assert not any(role[f"rol{name}"] for name in ("super", "bypassrls", "createdb", "createrole", "replication"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("create table public.x ()")
    assert await connection.fetchval("show listen_addresses") == ""
    await connection.close()


async def _hold(data_dir: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert (await asyncio.to_thread(holder.stdout.readline)) == "ready\n"
    return holder
