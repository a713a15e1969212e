"""Hashing and checking passwords off the event loop, a few at a time: guessing must not exhaust memory or threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from ownkey.crypto.password_hash import hash_password, verify_password
from ownkey.crypto.password_strength import is_easily_guessed
from ownkey.domain.account import check_password
from ownkey.errors import RequestError, TooManyAttempts

# Each one takes 46 MiB and a processor.
_WORKERS: Final = 2
# At 60 ms each, the last in the queue waits two seconds.
_WAITING_LIMIT: Final = 64

T = TypeVar("T")


class PasswordWork:
    """At most two passwords are hashed at once; beyond 64 that wait the next is refused."""

    def __init__(self, *, workers: int = _WORKERS, waiting_limit: int = _WAITING_LIMIT) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="ownkey-password")
        self._waiting_limit, self._waiting = waiting_limit, 0
        self.verified = 0

    async def hash(self, password: str) -> str:
        """The hash to store. Raises TooManyAttempts."""
        return await self._run(lambda: hash_password(password))

    async def hash_new(self, password: str, *, login: str) -> str:
        """The hash of a password that somebody has chosen just now.

        Raises RequestError(password_refused) and TooManyAttempts.
        """
        cleaned = check_password(password, login=login)
        if await self._run(lambda: is_easily_guessed(cleaned, login=login)):
            raise RequestError(
                "This password is easily guessed. Take four words that have nothing to do with each other.",
                code="password_refused",
                param="password",
            )
        return await self.hash(cleaned)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password fits; without a hash the answer is no and takes as long. Raises TooManyAttempts."""
        self.verified += 1
        return await self._run(lambda: verify_password(stored, password))

    def refuse_when_full(self) -> None:
        """Before an attempt is counted: that others sign in is nobody's wrong password. Raises TooManyAttempts."""
        if self._waiting >= self._waiting_limit:
            raise TooManyAttempts("Too many people are signing in at this moment. Try again.", retry_after_seconds=2)

    def close(self) -> None:
        """Let what runs finish and start nothing more."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        self.refuse_when_full()
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._waiting -= 1
