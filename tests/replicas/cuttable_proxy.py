"""A way to PostgreSQL that can be cut as a cable is cut: nothing comes through any more, and nobody is told."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class CuttableProxy:
    """Forwards connections to the socket in `target_dir`, under a socket of the same name in `directory`.

    `cut` swallows what is sent, and what is asked of new connections, until `heal`: those that were cut stay silent
    for ever, as after a fail-over of a network. `opened` counts connections.
    """

    def __init__(self, directory: Path, target_dir: Path) -> None:
        self.directory = directory
        self._target = str(target_dir / ".s.PGSQL.5432")
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._generation = 0
        self.opened = self.open_now = self.most_open = 0

    async def __aenter__(self) -> Self:
        self.directory.mkdir()
        self._server = await asyncio.start_unix_server(self._serve, self.directory / ".s.PGSQL.5432")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """From now on nothing comes through."""
        self._passing.clear()
        self._generation += 1

    def heal(self) -> None:
        """New connections come through again."""
        self._passing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.opened += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        generation = self._generation
        other: asyncio.StreamWriter | None = None
        try:
            await self._passing.wait()
            generation = self._generation
            from_server, other = await asyncio.open_unix_connection(self._target)
            there = asyncio.create_task(self._pump(reader, other, generation))
            back = asyncio.create_task(self._pump(from_server, writer, generation))
            try:
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in (there, back):
                    one.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
        except OSError:
            pass  # the server is not there: whoever came is told so by the end of the connection
        finally:
            self._tasks.discard(task)
            self.open_now -= 1
            for one in (writer, other):
                if one is not None:
                    one.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, generation: int) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if generation == self._generation:
                    writer.write(data)
                    await writer.drain()
