"""What a request was made of is gone when it is over, without waiting for the garbage collector.

A key in plain text is among it, and a collector that has to find a hundred thousand such heaps stops everybody's
requests for a tenth of a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from ownkey.services.answer import AnswerStream
from ownkey.services.call_record import CallRecord
from ownkey.services.walk import Walk
from ownkey.upstream.response import UpstreamResponse
from tests.gateway.conftest import Platform, User

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
TIMES = 5


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    # What the tests before have left is not looked at: that alone would stop the server for seconds.
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def count() -> Counter[str]:
    kinds = (Walk, CallRecord, AnswerStream, UpstreamResponse)
    return Counter(type(found).__name__ for found in gc.get_objects() if isinstance(found, kinds))


async def answered(user: User) -> None:
    await user.client.chat.completions.create(model="auto", messages=HELLO)


async def streamed(user: User) -> None:
    async for _ in await user.client.chat.completions.create(model="auto", messages=HELLO, stream=True):
        pass


async def left(user: User) -> None:
    stream = await user.client.chat.completions.create(model="auto", messages=HELLO, stream=True)
    await stream.close()


async def failed(user: User) -> None:
    with contextlib.suppress(openai.APIError):
        await streamed(user)


@pytest.mark.parametrize(
    ("ask", "fault"),
    [
        (answered, None), (streamed, None), (left, None), (answered, "unavailable"), (answered, "not_json"),
        (failed, "unavailable"), (failed, "reset"), (failed, "stream_cut"), (failed, "stream_error"),
    ],
)  # fmt: skip
async def test_nothing_waits_for_the_collector(platform: Platform, no_collector: None, ask: Any, fault: Any) -> None:
    user = await platform.user(mistral="mistral-left-0000000001", groq="gsk_left_behind_00000001")
    if fault is not None:
        platform.providers.break_provider("mistral", fault)
    await ask(user)
    for _ in range(TIMES):
        await ask(user)
    async with asyncio.timeout(10):
        while count():
            await asyncio.sleep(0)
