"""Ownkey as it is run: one worker, an embedded PostgreSQL, everything switched on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from bench import machine
from bench.cases import Case
from bench.provider import Provider
from bench.targets import Ask, Target, free_port, get, stop, wait_for
from ownkey.storage.embedded import EmbeddedPostgres

# A provider that is reached in the clear, one over TLS, and a model of each.
_PLAIN = ("openai", "gpt-4o-mini")
_TLS = ("together", "together/openai/gpt-oss-120b")
_FRESH_PER_RUN = 20_000


@dataclass
class _Tokens:
    """The tokens of all users, and how many have had their turn as somebody new."""

    directory: Path
    all: list[str]
    used: int = field(default=2_000)

    def take(self, case: Case) -> Path | None:
        """A file of tokens to be used in turn."""
        if case.fresh:
            begin, self.used = self.used, self.used + _FRESH_PER_RUN
            chosen = self.all[begin : self.used] or self.all
        elif case.users > 1:
            chosen = self.all[1 : case.users + 1]
        else:
            return None
        path = self.directory / f"tokens-{case.name}"
        path.write_text("\n".join(chosen) + "\n")
        return path


@contextmanager
def ownkey(upstream: Provider, directory: Path, users: int, *, under: Sequence[str] = ()) -> Iterator[Target]:
    """`ownkey serve` with `users` users besides the first, `under` another program where one is given.

    The gateway's own process is pinned to its core; PostgreSQL works on the other one.
    """
    port = free_port()
    environment = _configure(upstream, directory, port)
    tokens_file = directory / "tokens"
    prepared = subprocess.run(
        [sys.executable, "-m", "bench.crowd", str(users), str(tokens_file)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if prepared.returncode:
        raise RuntimeError(f"the benchmark's users could not be set up:\n{prepared.stderr[-3000:]}")
    tokens = _Tokens(directory, tokens_file.read_text().split())
    begin = time.monotonic()
    log = (directory / "serve.log").open("w")
    process = subprocess.Popen(
        [*under, sys.executable, "-m", "ownkey", "serve"], env=environment, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        base = f"http://127.0.0.1:{port}"
        wait_for(f"{base}/readyz", process, log=directory / "serve.log", seconds=600 if under else 120)
        get(f"{base}/v1/models", tokens.all[0], timeout=60)
        started = time.monotonic() - begin
        machine.pin(process.pid, machine.GATEWAY_CORE)
        # PostgreSQL detaches itself, so it is no child; its later processes inherit the core.
        (postmaster,) = (directory / "data").rglob("postmaster.pid")
        postgres = int(postmaster.read_text().splitlines()[0])
        for pid in (postgres, *machine.children(postgres)):
            machine.pin(pid, machine.OTHER_CORE)

        def ask(case: Case) -> Ask | None:
            if (case.fresh or case.users > 1) and len(tokens.all) == 1:
                return None
            _, model = _TLS if case.tls else _PLAIN
            return Ask(f"{base}/v1/chat/completions", model, tokens.all[0], tokens.take(case))

        yield Target(
            "ownkey",
            ask,
            [process.pid],
            count_metered=lambda: asyncio.run(_count_metered(directory / "data")),
            start_seconds=started,
        )
    finally:
        stop(process)
        log.close()


async def _count_metered(data_dir: Path) -> int:
    """How many calls are in the database, everybody's together."""
    postgres = await EmbeddedPostgres.start(data_dir)
    try:
        connection = await asyncpg.connect(postgres.migration_dsn)
        try:
            return int(await connection.fetchval("select count(*) from ownkey.usage_events"))
        finally:
            await connection.close()
    finally:
        await postgres.stop()


def _configure(upstream: Provider, directory: Path, port: int) -> dict[str, str]:
    """The environment of the gateway and of what prepares its database."""
    addresses = {_PLAIN[0]: upstream.root, _TLS[0]: upstream.tls_root}
    catalog = directory / "catalog.toml"
    catalog.write_text(
        "\n".join(f'[{name}]\nbase_url = "{address}/v1"\nlocal = true\n' for name, address in addresses.items())
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OWNKEY_")}
    return environment | {
        "OWNKEY_DATA_DIR": str(directory / "data"),
        "OWNKEY_CATALOG": str(catalog),
        "OWNKEY_PORT": str(port),
        "OWNKEY_LOG_LEVEL": "warning",
        # One user stands for many here: counted, and never refused.
        "OWNKEY_USER_CONCURRENCY": "5000",
        "SSL_CERT_FILE": str(upstream.authority),
    }
