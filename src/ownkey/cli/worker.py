"""One worker process of `ownkey serve --workers`: what that command starts, not people."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import typer
import uvloop
from msgspec import Struct

from ownkey.cli.announcement import announce
from ownkey.cli.commands import NOT_READY, REFUSED, say_error
from ownkey.cli.gateway_server import forbid_core_dumps, serve_until_signal
from ownkey.cli.logs import follow, open_log
from ownkey.cli.session import read_config, run_to_end
from ownkey.config import Config
from ownkey.errors import ConfigError, OwnkeyError, StorageError

if TYPE_CHECKING:
    from ownkey.app import Ownkey
    from ownkey.services.log_redaction import LogRedaction

READY: Final = b"r"


class WorkerOrder(Struct, kw_only=True):
    """What the parent tells a worker beyond the environment. `listener` and `control` are numbers of open files.

    `first`: it says what there is to say when a server starts.
    """

    listener: int
    control: int
    number: int
    count: int
    directory: str
    public_url: str | None
    pool_size: int
    first: bool


def main() -> None:
    """Serve until a signal, or until the parent is gone."""
    order = msgspec.json.decode(sys.argv[1], type=WorkerOrder)
    try:
        _serve(order)
    except OwnkeyError as error:
        say_error(error.message)
        sys.exit(NOT_READY if isinstance(error, ConfigError | StorageError) else REFUSED)
    except typer.Exit as ended:
        sys.exit(ended.exit_code)


def _serve(order: WorkerOrder) -> None:
    config = msgspec.structs.replace(
        read_config(), public_url=order.public_url, database_pool_size=order.pool_size, workers=order.count
    )
    log = open_log(config.log_level, worker=order.number)
    forbid_core_dumps()
    with socket.socket(fileno=order.listener) as listener, socket.socket(fileno=order.control) as control:
        work = _serve_with(config, order, listener, control, log)
        run_to_end(work, config, loop_factory=uvloop.new_event_loop)


async def _serve_with(
    config: Config, order: WorkerOrder, listener: socket.socket, control: socket.socket, log: LogRedaction
) -> None:
    from ownkey.app import Ownkey
    from ownkey.http.fleet import Fleet

    loop = asyncio.get_running_loop()

    def end() -> None:
        loop.remove_reader(control)
        os.kill(os.getpid(), signal.SIGTERM)

    async with AsyncExitStack() as stack:

        async def begin(ok: Ownkey) -> None:
            follow(log, ok)
            server = ok.asgi()
            fleet = Fleet(server.observability, Path(order.directory), number=order.number, count=order.count)
            await fleet.start()
            stack.push_async_callback(fleet.close)
            server.observability = fleet
            if order.first:
                await announce(ok, listener)
            with suppress(OSError):  # the parent is gone, which is noticed anyway
                control.send(READY)

        # Nobody writes here: what can be read is the end, and with it that of the parent, however it came.
        control.setblocking(False)
        loop.add_reader(control, end)
        stack.callback(loop.remove_reader, control)
        await serve_until_signal(Ownkey.open(config), listener, log_level=config.log_level, on_ready=begin)
