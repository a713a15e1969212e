"""Opening Ownkey for one command, and bringing it down again whatever happens."""

from __future__ import annotations

import asyncio
import getpass
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from ownkey.cli.commands import INTERRUPTED
from ownkey.cli.database_text import check_database_urls, explain
from ownkey.cli.installation import find_new_place, tell_new_place
from ownkey.config import Config
from ownkey.errors import ConfigError, OwnkeyError, StorageError

if TYPE_CHECKING:
    from ownkey.app import Ownkey

Result = TypeVar("Result")


def current_actor() -> str:
    """Who the audit names for what is done here: the person at the operating system."""
    return f"cli:{getpass.getuser()}"


def read_config() -> Config:
    """The configuration from the environment. Raises ConfigError."""
    config = Config.from_env()
    check_database_urls(config)
    return config


def with_ownkey(work: Callable[[Ownkey], Awaitable[Result]]) -> Result:
    """Run `work` with everything open. Raises OwnkeyError for every failure, with a message for people."""
    config = read_config()
    new_place = find_new_place(config)

    async def open_and_work() -> Result:
        # Here, not above: `ownkey --help` should not load a web server and a database driver.
        from ownkey.app import Ownkey

        async with Ownkey.open(config) as ok:
            if new_place is not None:
                tell_new_place(new_place)
            return await work(ok)

    return run_to_end(open_and_work(), config)


def run_to_end(
    work: Coroutine[Any, Any, Result],
    config: Config,
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Result:
    """Run a coroutine. What nobody foresaw becomes an OwnkeyError too: a traceback may show what must stay hidden."""
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(work)
    except StorageError as error:
        _show_traceback(config)
        raise StorageError(explain(config, error), code=error.code) from None
    except OwnkeyError:
        raise
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        _show_traceback(config)
        reason = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
        raise ConfigError(f"The operating system refused: {reason}.") from None
    except Exception as error:  # noqa: BLE001  # the last line of defence
        _show_traceback(config)
        raise OwnkeyError(
            f"Something unexpected failed ({type(error).__name__}). Set OWNKEY_LOG_LEVEL=debug to see where."
        ) from None


def _show_traceback(config: Config) -> None:
    if config.log_level == "debug":
        traceback.print_exc(file=sys.stderr)
