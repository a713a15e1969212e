"""The simulation as an ASGI application: the ledger and the faults in front, llmock's real application behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ownkey.domain.provider import Dialect, Provider
from ownkey.testing import operations, replies, routes, speakers, wire
from ownkey.testing.faults import STREAM_KINDS, Fault
from ownkey.testing.ledger import LedgerEntry, read_request
from ownkey.testing.refusals import in_stream, refuse
from ownkey.testing.stage import Stage

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_JSON = [(b"content-type", b"application/json")]
_STREAM = [(b"content-type", b"text/event-stream")]


class SimulatedApplication:
    """Records each request, decides how it is answered, and notices clients that leave."""

    def __init__(self, stage: Stage, llmock: Application, control: Application, close: Callable[..., None]) -> None:
        self._stage = stage
        self._llmock = llmock
        self._control = control
        self._close = close
        self._running: set[asyncio.Task[None]] = set()
        self._closing = False

    def cut_all(self) -> None:
        """Break off everything that is being answered and whatever comes; called in the server's own loop."""
        self._closing = True
        for task in self._running:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        if scope["path"].startswith(("/_sim/", "/_llmock/")):
            target = self._control if scope["path"].startswith("/_sim/") else self._llmock
            await target(scope, receive, send)
            return
        found = routes.find_provider(self._stage.providers, scope["path"])
        if found is None:
            await _answer(send, 404, _JSON, b'{"error":{"message":"no provider is simulated at this path"}}')
            return
        provider, rest = found
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        entry = self._stage.ledger.begin(
            provider.id, scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers
        )
        raw = await _read_body(receive)
        if raw is None:
            self._stage.ledger.end(entry, "client_left")
            return
        read_request(entry, raw, rest)
        exchange = _Exchange(self._stage, provider, rest, entry, raw, send)
        await self._watch(exchange, scope, receive)

    async def _watch(self, exchange: _Exchange, scope: Scope, receive: Receive) -> None:
        """Answer, and stop as soon as the client is gone or the simulation breaks the connection."""
        work = asyncio.create_task(exchange.run(self._llmock, scope))
        watcher = asyncio.create_task(_wait_for_disconnect(receive))
        self._running.add(work)
        if self._closing:
            work.cancel()
        outcome = "cut"
        try:
            await asyncio.wait((work, watcher, exchange.ended), return_when=asyncio.FIRST_COMPLETED)
            if exchange.ended.done() or work.cancelled():
                self._close(scope, reset=work.cancelled() or exchange.ended.result())
                await watcher  # until the server knows too: it would answer 500 to a request without an answer
            elif not work.done():
                outcome = "client_left"
            else:
                work.result()
        finally:
            self._stage.ledger.end(exchange.entry, outcome)
            self._running.discard(work)
            work.cancel()
            watcher.cancel()
            await asyncio.wait((work, watcher))


class _Exchange:
    """One request and its answer."""

    def __init__(self, stage: Stage, provider: Provider, rest: str, entry: LedgerEntry, raw: bytes, send: Send) -> None:
        self.entry = entry
        # Set when the simulation breaks the connection off: true for a reset, false for a plain close.
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._stage, self._provider, self._rest, self._raw, self._send = stage, provider, rest, raw, send
        self._shaper = wire.AnswerShaper(provider, entry.body, stage.usage_changes.get(provider.id, {}))
        self._usage: dict[str, Any] | None = None
        self._fault: Fault | None = None
        self._start: Message | None = None
        self._streaming = False
        self._whole = b""

    async def run(self, llmock: Application, scope: Scope) -> None:
        provider, entry = self._provider, self.entry
        key = routes.read_key(provider, entry.keys)
        keys = frozenset() if key is None else frozenset({key})
        self._fault = self._stage.faults.take(provider.id, keys, stream=entry.stream)
        if self._fault is None and key is None:
            self._fault = Fault(kind="bad_key")
        if self._fault is not None and self._fault.kind not in STREAM_KINDS:
            entry.fault = self._fault.kind
            if await self._answer_fault(self._fault, key or ""):
                return
        problem = wire.find_request_fault(provider, entry.headers, entry.body)
        if problem is not None:
            await self._finish(problem[0], _JSON, problem[1])
            return
        sent = operations.perform(provider, entry.method, self._rest, entry.body, entry.model)
        if sent is not None:
            entry.usage = sent.usage
            await self._finish(200, [(b"content-type", sent.content_type.encode())], sent.body)
            return
        if self._rest.endswith(":streamGenerateContent") and b"alt=sse" not in scope["query_string"]:
            await self._finish(400, _JSON, b'{"error":{"code":400,"message":"only alt=sse is simulated"}}')
            return
        if await self._speak():
            return
        body = wire.prepare_body(provider, entry.body, self._raw)
        path = routes.llmock_path(provider, self._rest)
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        inner = {
            **scope,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "headers": [*headers, (b"content-length", str(len(body)).encode())],
            "state": {},
        }
        await llmock(inner, _replay(body), self._on_message)

    async def _speak(self) -> bool:
        """Answer with a scripted reply, or in a dialect that llmock does not speak. Whether that was the answer."""
        provider, entry = self._provider, self.entry
        dialect = speakers.dialect_of(self._rest)
        if dialect is None or entry.method != "POST" or not isinstance(entry.body, dict):
            return False
        reply = self._stage.script.take(provider.id)
        if reply is None:
            if dialect in (Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES):
                return False
            reply = speakers.default_reply(provider.id, entry.body)
        speaker = speakers.speaker_of(dialect)
        changes = self._stage.usage_changes.get(provider.id, {})
        if not entry.stream:
            spoken = speaker.speak(reply, entry.body, entry.model or "")
            entry.usage = spoken.usage
            await self._finish(200, _JSON, replies.change_usage(spoken, changes).data)
            return True
        await self._send({"type": "http.response.start", "status": 200, "headers": _STREAM})
        entry.status = 200
        events = speaker.stream(reply, entry.body, entry.model or "")
        for position, spoken in enumerate(events):
            changed = replies.change_usage(spoken, changes)
            self._usage = changed.usage or self._usage
            await self._send_event(changed.data, last=position == len(events) - 1)
        self._stage.ledger.end(entry, "finished")
        await self._send({"type": "http.response.body", "body": b""})
        return True

    async def _answer_fault(self, fault: Fault, key: str) -> bool:
        """Whether that was the whole answer."""
        if fault.kind == "reset":
            await self._cut(reset=True)
        if fault.kind == "hold":
            await self._stage.gates.wait(self._provider.id)
            if fault.status is None:
                return False
            await self._finish(fault.status, _JSON, b'{"error":{"message":"It was held, and failed."}}')
        elif fault.kind == "not_json":
            await self._finish(fault.status or 200, [(b"content-type", b"text/html")], b"<html>Gateway page</html>")
        elif fault.kind == "redirect":
            target = f"/{self._provider.id}/elsewhere".encode()
            await self._finish(fault.status or 307, [(b"location", target)], b"")
        else:
            answer = refuse(
                self._provider.id,
                speakers.dialect_of(self._rest) or self._provider.dialect,
                fault.kind,
                key=key,
                model=self.entry.model or "",
                status=fault.status,
                retry=fault.retry_after_seconds,
            )
            headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
            await self._finish(answer.status, headers, answer.body)
        return True

    async def _finish(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.entry.status = status
        self._stage.ledger.end(self.entry, "finished")
        await _answer(self._send, status, headers, body)

    async def _on_message(self, message: Message) -> None:
        """What llmock sends: events pass one by one, a whole body is shaped first."""
        if message["type"] == "http.response.start":
            self.entry.status = message["status"] = wire.prepare_status(self._provider, message["status"])
            kind = dict(message["headers"]).get(b"content-type", b"")
            self._streaming = kind.startswith(b"text/event-stream")
            self._start = message
            if self._streaming:
                await self._send(message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._streaming:
            for event in self._shaper.shape_event(body) if body else []:
                await self._send_event(event)
            if not more:
                self._stage.ledger.end(self.entry, "finished")
                await self._send({"type": "http.response.body", "body": b""})
            return
        self._whole += body
        if not more and self._start is not None:
            answer = self._shaper.shape_body(self._whole)
            self.entry.usage = self._shaper.usage
            headers = [pair for pair in self._start["headers"] if pair[0] != b"content-length"]
            await self._finish(self._start["status"], headers, answer)

    async def _send_event(self, event: bytes, *, last: bool = False) -> None:
        pause = self._stage.pace_seconds.get(self._provider.id)
        if pause and self.entry.events:
            await asyncio.sleep(pause)
        fault = self._fault
        if fault is not None and fault.kind in STREAM_KINDS and self.entry.events == fault.after_events:
            self.entry.fault = fault.kind
            await self._break_stream(fault)
        self.entry.events += 1
        self.entry.usage = self._usage or self._shaper.usage
        if last or event == b"data: [DONE]\n\n" or event.startswith(b"event: message_stop"):
            self._stage.ledger.end(self.entry, "finished")
        await self._send({"type": "http.response.body", "body": event, "more_body": True})

    async def _break_stream(self, fault: Fault) -> None:
        if fault.kind == "stream_hold":
            await self._stage.gates.wait(self._provider.id)
            return
        if fault.kind == "stream_cut":
            await self._cut(reset=False)
        if fault.kind == "stream_error":
            answer = refuse(
                self._provider.id,
                speakers.dialect_of(self._rest) or self._provider.dialect,
                "overloaded",
                key="",
                model=self.entry.model or "",
                status=None,
                retry=None,
            )
            event = in_stream(answer, speakers.dialect_of(self._rest) or self._provider.dialect)
            await self._send({"type": "http.response.body", "body": event, "more_body": True})
        self._stage.ledger.end(self.entry, "finished")
        await self._send({"type": "http.response.body", "body": b""})
        await asyncio.Event().wait()  # llmock must not say more; the end of the answer ends this task

    async def _cut(self, *, reset: bool) -> None:
        """Have the connection broken off. Never returns: whoever watches cancels this task."""
        self.ended.set_result(reset)
        await asyncio.Event().wait()


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, None when the client left before its end."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _replay(body: bytes) -> Receive:
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    never = asyncio.Event()

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await never.wait()
        return {"type": "http.disconnect"}

    return receive


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def answer_json(send: Send, status: int, value: Any) -> None:
    """An answer of the control interface."""
    await _answer(send, status, _JSON, json.dumps(value).encode())
