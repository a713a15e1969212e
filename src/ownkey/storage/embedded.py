"""A PostgreSQL of our own, from a wheel, for those who have none.

Who can reach it: it listens on a Unix socket in a directory of mode 0700, and lets in the operating system's account
that started it, by the kernel's word for who is at the other end (`peer`). There is no password and no TCP port.

Every process that uses it holds a shared lock on a file, which the kernel drops however the process ends. Whoever
leaves and finds no other holder stops the server. After a crash of the last holder the server runs on; the next
start joins it.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import pwd
import shlex
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import asyncpg
from msgspec import Struct

from ownkey.errors import ConfigError, StorageError
from ownkey.storage.embedded_home import SOCKET_NAME, EmbeddedHome, find_socket_dir, prepare_data_dir, prepare_home
from ownkey.storage.failures import storage_errors
from ownkey.storage.sql import query

__all__ = ["EmbeddedPostgres", "EmbeddedState", "describe", "prepare_data_dir"]

DATABASE_NAME: Final = "ownkey"
RUNTIME_LOGIN: Final = "ownkey_runtime"
_SUPERUSER: Final = "postgres"
_MAJOR_VERSION: Final = "18"
_START_TIMEOUT_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 0.1

logger = logging.getLogger(__name__)


class EmbeddedState(Struct, frozen=True, kw_only=True):
    """What `ownkey doctor` tells of an embedded server. Running and not in use: left behind by a crash."""

    running: bool
    in_use: bool


class EmbeddedPostgres:
    """A running server that this process uses until `stop`."""

    def __init__(self, home: EmbeddedHome, hold: int) -> None:
        self._home = home
        self._hold: int | None = hold

    @property
    def runtime_dsn(self) -> str:
        """For serving: a login without rights of its own."""
        return _dsn(self._home.socket_dir, RUNTIME_LOGIN, DATABASE_NAME)

    @property
    def migration_dsn(self) -> str:
        """For migrations: the superuser."""
        return _dsn(self._home.socket_dir, _SUPERUSER, DATABASE_NAME)

    @classmethod
    async def start(cls, data_dir: Path) -> EmbeddedPostgres:
        """Start the server of a data directory, or join the one that runs there.

        Raises ConfigError for a directory that cannot be used and StorageError(database_unavailable) if the server
        does not come up.
        """
        home = await asyncio.to_thread(prepare_home, data_dir)
        async with _starting(home.data_dir):
            hold = _open_lock(_users_file(home.data_dir))
            try:
                fcntl.flock(hold, fcntl.LOCK_SH)
                await _start_and_prepare(home)
            except BaseException:
                os.close(hold)
                # Ctrl-C while it starts, most often.
                if not _is_in_use(home.data_dir):
                    await _finish(_stop_server, home)
                raise
        return cls(home, hold)

    async def stop(self) -> None:
        """Leave; the server ends if nobody else in any process uses it. Calling it again does nothing."""
        if self._hold is None:
            return
        hold, self._hold = self._hold, None
        async with _starting(self._home.data_dir):
            os.close(hold)
            if not _is_in_use(self._home.data_dir):
                await _finish(_stop_server, self._home)


def describe(data_dir: Path) -> EmbeddedState:
    """Whether a server runs for this data directory, and whether any process uses it."""
    data_dir = data_dir.expanduser().resolve()
    return EmbeddedState(running=_is_listening(find_socket_dir(data_dir)), in_use=_is_in_use(data_dir))


async def _start_and_prepare(home: EmbeddedHome) -> None:
    """Start unless it runs, until a connection succeeds: a server that is just ending still answers for a moment."""
    deadline = asyncio.get_running_loop().time() + _START_TIMEOUT_SECONDS
    while True:
        try:
            # After a crash it refuses until the last process of its predecessor has noticed and is gone.
            await _finish(_ensure_started, home)
            with storage_errors(connecting=True):
                await _prepare_database(home)
            return
        except StorageError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(_RETRY_SECONDS)


async def _finish(work: Callable[[EmbeddedHome], None], home: EmbeddedHome) -> None:
    """Run in a thread and wait for its end even when cancelled: nothing stops a thread half-way through `pg_ctl`."""
    running = asyncio.ensure_future(asyncio.to_thread(work, home))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _ensure_started(home: EmbeddedHome) -> None:
    if _is_listening(home.socket_dir):
        return
    if not home.cluster_dir.exists():
        _initialize(home)
    _check_major_version(home)
    _write_configuration(home)
    started = home.run(
        "pg_ctl",
        "start",
        "--wait",
        f"--timeout={_START_TIMEOUT_SECONDS:.0f}",
        f"--pgdata={home.cluster_dir}",
        f"--log={home.log_path}",
        # pg_ctl hands these to a shell, in which paths stand between double quotes: prepare_home refuses others.
        "-o",
        "-c " + shlex.quote(f"config_file={home.config_dir / 'postgresql.conf'}"),
        timeout_seconds=_START_TIMEOUT_SECONDS + 10,
    )
    if started.returncode != 0:
        logger.error("the embedded PostgreSQL did not start: %s", started.stdout.decode(errors="replace").strip())
        raise StorageError(
            f"The embedded PostgreSQL did not start. Its log: {home.log_path}", code="database_unavailable"
        )


def _initialize(home: EmbeddedHome) -> None:
    """Make the cluster beside its place and move it there: an interrupted one is never taken for a whole one."""
    building = home.cluster_dir.with_name("data.new")
    shutil.rmtree(building, ignore_errors=True)
    made = home.run(
        "initdb",
        f"--pgdata={building}",
        f"--username={_SUPERUSER}",
        "--auth=peer",
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C",
        timeout_seconds=120,
    )
    if made.returncode != 0:
        reason = made.stdout.decode(errors="replace").strip()
        raise ConfigError(f"The embedded PostgreSQL could not be set up in {home.data_dir}: {reason}")
    building.rename(home.cluster_dir)


def _check_major_version(home: EmbeddedHome) -> None:
    found = (home.cluster_dir / "PG_VERSION").read_text(encoding="ascii").strip()
    if found != _MAJOR_VERSION:
        raise ConfigError(
            f"{home.cluster_dir} was made by PostgreSQL {found}, and this version brings {_MAJOR_VERSION}. Dump it "
            "with the old version of Ownkey and load it into a new data directory."
        )


def _write_configuration(home: EmbeddedHome) -> None:
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise ConfigError(
            f"The user id {os.geteuid()} has no entry in the system's list of users, without which PostgreSQL does "
            "not start. Add one or set OWNKEY_DATABASE_URL."
        ) from None
    files = {
        "postgresql.conf": (
            f"hba_file = {_literal(home.config_dir / 'pg_hba.conf')}\n"
            f"ident_file = {_literal(home.config_dir / 'pg_ident.conf')}\n"
            "listen_addresses = ''\n"
            f"unix_socket_directories = {_literal(_list_item(home.socket_dir))}\n"
            "unix_socket_permissions = 0700\n"
            "max_connections = 100\n"
            "shared_buffers = '64MB'\n"
            # Containers have 64 MB of /dev/shm, which parallel workers would need.
            "max_parallel_workers_per_gather = 0\n"
            "jit = off\n"
            "timezone = 'UTC'\n"
            "log_timezone = 'UTC'\n"
            "logging_collector = on\n"
            "log_directory = 'log'\n"
            "log_filename = 'postgresql-%a.log'\n"
            "log_truncate_on_rotation = on\n"
            "log_rotation_age = '1d'\n"
            "log_rotation_size = 0\n"
        ),
        "pg_hba.conf": "local all all peer map=ownkey\n",
        "pg_ident.conf": f"ownkey {_list_item(user)} all\n",
    }
    for name, text in files.items():
        path = home.config_dir / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644 if home.account else 0o600)


def _list_item(value: object) -> str:
    return '"' + str(value).replace('"', '""') + '"'


def _literal(value: object) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "''") + "'"


async def _prepare_database(home: EmbeddedHome) -> None:
    connection: Any = await asyncpg.connect(_dsn(home.socket_dir, _SUPERUSER, "postgres"), timeout=10)
    try:
        if not await connection.fetchval(query("has_login"), RUNTIME_LOGIN):
            await connection.execute(query("create_runtime_login"))
        if not await connection.fetchval(query("has_database"), DATABASE_NAME):
            await connection.execute(query("create_database"))
    finally:
        await connection.close(timeout=10)


def _stop_server(home: EmbeddedHome) -> None:
    if not _is_listening(home.socket_dir):
        return
    stopped = home.run(
        "pg_ctl",
        "stop",
        "--wait",
        "--mode=fast",
        f"--timeout={_START_TIMEOUT_SECONDS:.0f}",
        f"--pgdata={home.cluster_dir}",
        timeout_seconds=_START_TIMEOUT_SECONDS + 10,
    )
    if stopped.returncode != 0 and _is_listening(home.socket_dir):
        logger.error("the embedded PostgreSQL did not stop: %s", stopped.stdout.decode(errors="replace").strip())


def _is_listening(socket_dir: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(socket_dir / SOCKET_NAME))
        except OSError:
            return False
    return True


@asynccontextmanager
async def _starting(data_dir: Path) -> AsyncIterator[None]:
    """Only one process at a time starts or stops the server."""
    lock = _open_lock(data_dir / "postgres.starting")
    try:
        while not _try_lock(lock):  # noqa: ASYNC110  # other processes hold it, so there is no event to wait for
            await asyncio.sleep(_RETRY_SECONDS)
        yield
    finally:
        os.close(lock)


def _users_file(data_dir: Path) -> Path:
    return data_dir / "postgres.users"


def _is_in_use(data_dir: Path) -> bool:
    with _opened_lock(_users_file(data_dir)) as lock:
        return lock is not None and not _try_lock(lock)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


@contextmanager
def _opened_lock(path: Path) -> Iterator[int | None]:
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield None
        return
    try:
        yield lock
    finally:
        os.close(lock)


def _dsn(socket_dir: Path, login: str, database: str) -> str:
    return f"postgresql://{login}@/{database}?host={quote(str(socket_dir), safe='')}"
