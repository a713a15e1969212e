"""Load from many users, and what they were told: which answers they had to their last byte."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Sequence

from tests.faults.gateways import Gateway
from tests.replicas.bare_client import BareClient

_NUMBER = re.compile(rb'"prompt_tokens": ?(\d+)')
_PATIENCE_SECONDS = 30


class Storm:
    """`answered` are the numbers of the calls whose answers arrived whole; `told` counts what came instead."""

    def __init__(self, gateways: Sequence[Gateway], tokens: Sequence[str], seed: int) -> None:
        self._gateways, self._tokens, self._seed = gateways, tokens, random.Random(seed)
        self.answered: list[int] = []
        self.told: Counter[str] = Counter()
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def requests(self) -> int:
        return sum(self.told.values())

    def begin(self, clients: int) -> None:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(clients)]

    async def end(self) -> None:
        """Everybody finishes what they have begun."""
        self._over.set()
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """At once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _client(self) -> None:
        while not self._over.is_set():
            gateway = self._seed.choice(self._gateways)
            client = BareClient(gateway.url)
            for _ in range(self._seed.randrange(1, 20)):
                if self._over.is_set() or not await self._ask(client):
                    break
            client.hang_up()

    async def _ask(self, client: BareClient) -> bool:
        """Whether the connection may be used again."""
        seed = self._seed
        stream = seed.random() < 0.5
        more = ',"stream":true,"stream_options":{"include_usage":true}' if stream else ""
        body = f'{{"model":"groq/m","messages":[{{"role":"user","content":"hi"}}]{more}}}'
        asking = asyncio.ensure_future(client.post(seed.choice(self._tokens), body))
        leaves_after = seed.random() * 0.02 if seed.random() < 0.1 else _PATIENCE_SECONDS
        try:
            await asyncio.wait({asking}, timeout=leaves_after)
        finally:
            # Also when it is the storm that ends: what nobody asks about is told when its remains are collected.
            left = asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        if left:
            self.told["left" if leaves_after < 1 else "lost patience"] += 1
            return False
        error = asking.exception()
        if error is not None:
            if not isinstance(error, OSError | asyncio.IncompleteReadError | ValueError):
                raise error
            self.told["connection broke"] += 1
            await asyncio.sleep(0.05)  # as clients do: a server that starts anew is not hammered
            return False
        status, answer = asking.result()
        whole = status == 200 and (not stream or b"[DONE]" in answer) and b'"error"' not in answer
        self.told[str(status) if status != 200 or whole else "broken stream"] += 1
        if whole:
            [number] = _NUMBER.findall(answer)
            self.answered.append(int(number))
        return True
