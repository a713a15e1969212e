"""A time limit ends what takes too long, and is not over because the process itself stood still."""

from __future__ import annotations

import asyncio
import time

import pytest

from ownkey.patience import attentive_timeout


async def test_what_takes_too_long_ends() -> None:
    with pytest.raises(TimeoutError):
        async with attentive_timeout(0.05):
            await asyncio.Event().wait()


async def test_what_is_done_in_time_hears_nothing_more() -> None:
    async with attentive_timeout(0.05):
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_loop_that_stood_still_has_some_turns_left() -> None:
    async with attentive_timeout(0.05):
        for _ in range(5):
            time.sleep(0.1)  # nothing runs meanwhile: that is what is tested
            await asyncio.sleep(0)


async def test_a_cancellation_from_outside_stays_one() -> None:
    begun = asyncio.Event()

    async def wait() -> None:
        async with attentive_timeout(60):
            begun.set()
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
