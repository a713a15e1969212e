"""How tasks in the background end."""

from __future__ import annotations

import asyncio

import pytest

from ownkey.background import end_task


async def test_a_cancellation_that_gets_lost_is_said_again() -> None:
    heard = 0

    async def take_it_for_an_outage() -> None:
        nonlocal heard
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard += 1
                if heard == 2:
                    raise

    task = asyncio.create_task(take_it_for_an_outage())
    await asyncio.sleep(0)
    await end_task(task)
    assert heard == 2
    assert task.cancelled()


async def test_what_it_ended_with_is_told_and_its_end_is_no_error() -> None:
    async def fail() -> None:
        raise ValueError("on its own account")

    failed = asyncio.create_task(fail())
    await asyncio.wait({failed})
    with pytest.raises(ValueError, match="on its own account"):
        await end_task(failed)
    done = asyncio.create_task(asyncio.sleep(0))
    await done
    await end_task(done)


async def test_who_waits_for_it_can_be_cancelled() -> None:
    async def deaf() -> None:
        while not told.is_set():
            try:
                await told.wait()
            except asyncio.CancelledError:
                continue

    told = asyncio.Event()
    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    ending = asyncio.create_task(end_task(task))
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    told.set()
    await task
