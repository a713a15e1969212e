"""Calls to key services: off the event loop, bounded in number and time, and not repeated while a service is away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from ownkey.errors import KeyServiceAway, OwnkeyError

Result = TypeVar("Result")

# As many calls at once as a service is asked for by one process; each takes a few milliseconds.
_THREADS: Final = 8
# The clients' own limits are shorter (CALL_SECONDS of `key_service`): this is for one that does not keep to them, and
# for the queue.
_LIMIT_SECONDS: Final = 6.0
# After a failure nobody else is made to wait for the next one.
_PAUSE_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


class KeyCalls:
    """Runs calls that block, by the id of the key."""

    def __init__(self, *, limit_seconds: float = _LIMIT_SECONDS, pause_seconds: float = _PAUSE_SECONDS) -> None:
        self._limit_seconds, self._pause_seconds = limit_seconds, pause_seconds
        self._threads: ThreadPoolExecutor | None = None
        self._away_until: dict[str, float] = {}

    async def run(self, key_id: str, call: Callable[[], Result]) -> Result:
        """What the call gives or raises. Raises KeyServiceAway at once while this key's service is known to be away."""
        if time.monotonic() < self._away_until.get(key_id, 0.0):
            raise KeyServiceAway
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, "ownkey-key-service")
        try:
            async with asyncio.timeout(self._limit_seconds):
                result = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except (KeyServiceAway, TimeoutError):
            self._away_until[key_id] = time.monotonic() + self._pause_seconds
            raise KeyServiceAway from None
        except OwnkeyError:
            raise
        except Exception as error:  # noqa: BLE001  # an answer that its client did not expect: nothing is known of what is stored
            self._away_until[key_id] = time.monotonic() + self._pause_seconds
            # Without the traceback, whose lines may show a key.
            logger.error("the key service of wrapping key %s gave no answer: %s", key_id, type(error).__name__)  # noqa: TRY400
            raise KeyServiceAway from None
        self._away_until.pop(key_id, None)
        return result

    def close(self) -> None:
        """Let go of the threads; what is under way ends by its own limit."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None
