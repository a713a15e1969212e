"""What a warm user takes of memory: `python -m bench.memory`.

A gateway in this process serves one request of each of many users, with three credentials each; what it has grown by
is divided among them. Ten thousand users take a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import tempfile
from pathlib import Path

import httpx2
from tests.gateway.ledger_server import LedgerServer

from bench.crowd import PROVIDERS, prepare
from bench.machine import memory_mib
from ownkey import Ownkey
from ownkey.config import Config

_AT_ONCE = 16
_FEW = 200


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000, help=f"how many, more than {_FEW} (default 10,000)")
    options = parser.parse_args()
    if options.users <= _FEW:
        parser.error(f"--users is more than {_FEW}: so many are in memory before anything is measured")
    with tempfile.TemporaryDirectory(prefix="ownkey-bench-", dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        asyncio.run(_measure(Path(directory), options.users))


async def _measure(directory: Path, users: int) -> None:
    async with LedgerServer() as provider:
        catalog = directory / "catalog.toml"
        catalog.write_text("".join(f'[{one}]\nbase_url = "{provider.base_url}"\nlocal = true\n' for one in PROVIDERS))
        os.environ |= {
            "OWNKEY_DATA_DIR": str(directory / "data"), "OWNKEY_CATALOG": str(catalog), "OWNKEY_SHARED_KEYS": "false"
        }  # fmt: skip
        tokens_file = directory / "tokens"
        await prepare(users, tokens_file)
        tokens = tokens_file.read_text().split()[1:]
        async with Ownkey.open(Config.from_env(), environ={}) as ok:
            # What the first requests bring with them is nobody's own.
            await _serve(ok, tokens[:_FEW])
            before, files = _memory(), _files()
            # The first one changes their keys from unverified to good, and is read anew.
            for _ in range(2):
                await _serve(ok, tokens[_FEW:])
                await ok.core.metering.flush()
                await ok.core.credential_health.flush()
            grown, count = _memory() - before, len(tokens) - _FEW
            print(f"{count:,} warm users with {len(PROVIDERS)} credentials each: {1024 * grown / count:.2f} KB a user")
            print(
                f"{1024 * (_files() - files) / count:.2f} KB of it are pages of files: the spool, which is one for all"
            )
            print(f"{len(ok.core.cache):,} in memory, {_memory():.0f} MiB in all")


async def _serve(ok: Ownkey, tokens: list[str]) -> None:
    transport = httpx2.ASGITransport(app=ok.asgi())
    waiting = list(tokens)
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}

    async def client() -> None:
        async with httpx2.AsyncClient(transport=transport, base_url="http://bench.test") as one:
            while waiting:
                headers = {"authorization": f"Bearer {waiting.pop()}"}
                answer = await one.post("/v1/chat/completions", json=body, headers=headers)
                assert answer.status_code == 200, answer.text

    await asyncio.gather(*(client() for _ in range(_AT_ONCE)))


def _memory() -> float:
    gc.collect()
    return memory_mib([os.getpid()])


def _files() -> float:
    return memory_mib([os.getpid()], files=True)


if __name__ == "__main__":
    main()
