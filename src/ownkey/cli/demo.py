"""`ownkey demo`: the main job on one screen. The providers are simulated; everything else is real."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ownkey.cli.commands import INTERRUPTED, REFUSED, examples
from ownkey.cli.listener import bind_listener, url_of
from ownkey.cli.signals import stop_on_signals
from ownkey.config import Config
from ownkey.errors import ConfigError

if TYPE_CHECKING:
    from ownkey.app import Ownkey
    from ownkey.cli.demo_play import Play
    from ownkey.cli.demo_screen import Screen
    from ownkey.testing import SimulatedProviders

EPILOG: Final = examples("ownkey demo", "ownkey demo --once   # end after the table")


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the table instead of serving on.")] = False,
) -> None:
    """Show the main job: three users with keys and wishes of their own, and providers that fail.

    The providers are simulated, in their own wire formats; PostgreSQL, the gateway and the client are real.
    Everything lives in a temporary directory and ends with this command.
    """
    for name in ("llmock", "openai"):
        try:
            import_module(name)
        except ModuleNotFoundError:
            raise ConfigError("The demo needs two more packages: pip install 'ownkey[demo]'.") from None
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            right = runner.run(_run(once=once))
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise typer.Exit(INTERRUPTED) from None
    if not right:
        raise typer.Exit(REFUSED)


async def _run(*, once: bool) -> bool:
    """The whole demo. False when a provider saw a key that was not the right user's."""
    # Here, not above: every other command would load the simulated providers, too.
    from ownkey.app import Ownkey
    from ownkey.cli.demo_cast import OPERATOR_KEY
    from ownkey.cli.demo_screen import Screen
    from ownkey.testing import SimulatedProviders

    screen = Screen()
    with stop_on_signals() as stop_with, _workplace() as place:
        begin = time.monotonic()
        with SimulatedProviders() as sim:
            screen.say_done("simulated providers", begin)
            config = Config(data_dir=place / "data", catalog=sim.write_catalog(place / "catalog.toml"))
            begin = time.monotonic()
            async with Ownkey.open(config, environ={"OPENAI_API_KEY": OPERATOR_KEY}) as ok, _serving(ok) as url:
                screen.say_done("PostgreSQL, migrations, gateway", begin)
                play = await _perform(ok, sim, url, screen)
                if not once:
                    from ownkey.cli.demo_doors import open_doors

                    screen.say_serving(url, sim.url, play.tokens, await open_doors(ok, play.tokens))
                    stopped = asyncio.Event()
                    stop_with(stopped.set)
                    await stopped.wait()
                    screen.say_stopping()
                return play.wrong_keys == 0


async def _perform(ok: Ownkey, sim: SimulatedProviders, url: str, screen: Screen) -> Play:
    from ownkey.cli.demo_cast import CAST
    from ownkey.cli.demo_play import Play

    begin = time.monotonic()
    play = Play(ok, sim, url)
    for person in CAST:
        await play.sign_in(person)
    screen.say_done("three users, their keys and wishes", begin)
    begin = time.monotonic()
    for person in CAST:
        await play.perform(person)
    screen.say_done("requests through the official openai client", begin)
    screen.show(play.lines)
    screen.say_ledger(play.requests_seen, play.wrong_keys)
    return play


@asynccontextmanager
async def _serving(ok: Ownkey) -> AsyncIterator[str]:
    """The gateway on a free port, in this event loop."""
    from ownkey.cli.gateway_server import GatewayServer

    with bind_listener("127.0.0.1", 0) as listener:
        server = GatewayServer(ok.asgi(), ok.config, log_level="error")
        listener.listen()
        task = asyncio.create_task(server.serve(sockets=[listener]), name="demo-gateway")
        try:
            yield url_of(listener)
        finally:
            server.stop()
            await task


@contextmanager
def _workplace() -> Iterator[Path]:
    """A directory for everything. As root PostgreSQL runs as another user, who must be able to walk there."""
    root = os.geteuid() == 0
    parent = os.environ.get("TMPDIR", "/var/tmp") if root else None  # noqa: S108  # a directory is made inside
    place = Path(tempfile.mkdtemp(prefix="ownkey-demo-", dir=parent))
    if root:
        place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
