"""`SimulatedProviders`: every provider of the catalogue on one local port, in a thread, until it is closed."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from ownkey.domain.provider import Provider
from ownkey.testing import routes
from ownkey.testing.application import Message, Receive, Scope, Send, SimulatedApplication, answer_json
from ownkey.testing.faults import Fault, Kind
from ownkey.testing.ledger import LedgerEntry
from ownkey.testing.replies import Call, Reply
from ownkey.testing.stage import Stage

if TYPE_CHECKING:
    from llmock.scenarios import ScenarioQueue

_START_SECONDS: Final = 20.0
_TRANSPORT: Final = "ownkey.transport"


class SimulatedProviders:
    """Simulated providers with a ledger and faults on demand.

        with SimulatedProviders() as sim:
            sim.accept_keys("groq", "gsk_good")
            sim.break_provider("openai", "unavailable")
            ...
            assert [entry.key for entry in sim.ledger("groq")] == ["gsk_good"]

    The same is to be had over HTTP: `POST /_sim/<method>` with the arguments as a JSON object, `GET /_sim/ledger`.
    `providers` defaults to the built-in catalogue. Nothing is left running after `close`.
    """

    def __init__(
        self, providers: Mapping[str, Provider] | None = None, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        if providers is None:
            from ownkey.providers.catalog import load_catalog

            providers = load_catalog()
        self._stage = Stage(providers)
        self._host = host
        self._port = port
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self._application: SimulatedApplication | None = None
        self._llmock_state: Any = None

    # --- life

    def start(self) -> Self:
        """Listen; returns when requests are answered. Raises ImportError without the extra `ownkey[demo]`."""
        if self._thread is not None:
            raise RuntimeError("these simulated providers are already running")
        llmock = _build_llmock()
        self._llmock_state = llmock.state.llmock
        self._application = SimulatedApplication(self._stage, llmock, self._control, _close_connection)
        listener = socket.create_server((self._host, self._port), backlog=2048)
        self._port = listener.getsockname()[1]
        started = threading.Event()
        self._server = _build_server(self._application, started)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="simulated-providers", daemon=True
        )
        self._thread.start()
        if not started.wait(_START_SECONDS):
            self.close()
            raise TimeoutError("the simulated providers did not start")
        return self

    def close(self) -> None:
        """Stop listening and break off what is open. Safe to call twice."""
        if self._thread is None or self._application is None:
            return
        self._stage.gates.open()
        self._server.stop_soon(self._application.cut_all)
        self._thread.join(_START_SECONDS)
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- where

    @property
    def url(self) -> str:
        """Such as `http://127.0.0.1:40123`."""
        return f"http://{self._host}:{self._port}"

    @property
    def providers(self) -> Mapping[str, Provider]:
        """The simulated providers by id."""
        return self._stage.providers

    def base_url(self, provider: str) -> str:
        """What takes the place of a provider's base URL. Raises KeyError for an unknown provider."""
        return self.url + routes.base_path(self._stage.providers[provider])

    def catalog_overrides(self) -> str:
        """A catalogue file (TOML, for OWNKEY_CATALOG) that points every provider here."""
        return routes.catalog_overrides(self._stage.providers, self.url)

    def write_catalog(self, path: Path) -> Path:
        """`catalog_overrides` as a file."""
        path.write_text(self.catalog_overrides(), encoding="utf-8")
        return path

    # --- what happened

    def ledger(self, provider: str | None = None) -> list[LedgerEntry]:
        """What the providers saw, in order of arrival."""
        return self._stage.ledger.entries(provider)

    def wait_for_requests(self, count: int, timeout_seconds: float = 10.0) -> bool:
        """Wait until this many requests have arrived since the ledger was cleared."""
        return self._stage.ledger.wait_for(count, timeout_seconds)

    def wait_until_idle(self, timeout_seconds: float = 10.0) -> bool:
        """Wait until no request is being answered."""
        return self._stage.ledger.wait_until_idle(timeout_seconds)

    def clear_ledger(self) -> None:
        """Start a new page."""
        self._stage.ledger.clear()

    # --- what happens next

    def accept_keys(self, provider: str, *keys: str) -> None:
        """Only these keys are good at this provider from now on; without any, every key is again."""
        self._known(provider)
        self._stage.faults.accept(provider, frozenset(keys) if keys else None)

    def break_provider(self, provider: str, kind: Kind = "unavailable", **options: Any) -> None:
        """Make a provider fail, or one key of it (`key=`), so many `times` or until fixed. Options as in `Fault`."""
        self._known(provider)
        self._stage.faults.add(provider, Fault(kind=kind, **options))

    def fix(self, provider: str | None = None) -> None:
        """End the faults of one provider, or of all, and let go whoever is held there."""
        self._stage.faults.remove(provider)
        self._stage.gates.open(provider)

    def release(self, provider: str | None = None) -> int:
        """Let the held requests go on; how many those were."""
        return self._stage.gates.open(provider)

    def pace(self, provider: str, seconds_per_event: float) -> None:
        """Send a provider's streams slowly; 0 for at once."""
        self._known(provider)
        self._stage.pace_seconds[provider] = seconds_per_event

    def reply(self, provider: str, reply: Reply, times: int = 1) -> None:
        """Answer the next text requests of a provider so, in whatever dialect they come."""
        self._known(provider)
        self._stage.script.add(provider, reply, times)

    def set_usage(self, provider: str, **fields: Any) -> None:
        """Write these fields into every usage object of a provider; without any, none."""
        self._known(provider)
        self._stage.usage_changes[provider] = fields

    def reset(self) -> None:
        """As at the start."""
        self._stage.reset()
        self._llmock_state.reset()

    @property
    def scenarios(self) -> ScenarioQueue:
        """llmock's own queue, for scripted replies and tool calls (`llmock.scenarios`)."""
        queue: ScenarioQueue = self._llmock_state.scenarios
        return queue

    def _reply(self, provider: str, times: int = 1, calls: list[dict[str, Any]] | None = None, **parts: Any) -> None:
        made = tuple(Call(**call) for call in calls or ())
        self.reply(provider, Reply(calls=made, **parts), times)

    def _known(self, provider: str) -> None:
        if provider not in self._stage.providers:
            raise KeyError(f"no provider named {provider!r} is simulated")

    # --- the same over HTTP

    async def _control(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path"].removeprefix("/_sim/")
        if name == "ledger" and scope["method"] == "GET":
            await answer_json(send, 200, msgspec.to_builtins(self.ledger()))
            return
        actions: dict[str, Callable[..., object]] = {
            "accept_keys": lambda provider, keys: self.accept_keys(provider, *keys),
            "break_provider": self.break_provider,
            "fix": self.fix,
            "release": self.release,
            "pace": self.pace,
            "set_usage": self.set_usage,
            "reply": self._reply,
            "reset": self.reset,
            "clear_ledger": self.clear_ledger,
        }
        if scope["method"] != "POST" or name not in actions:
            await answer_json(send, 404, {"error": f"POST /_sim/<one of {', '.join(actions)}> or GET /_sim/ledger"})
            return
        raw = b""
        more = True
        while more:
            message: Message = await receive()
            raw += message.get("body", b"")
            more = message.get("more_body", False)
        try:
            result = actions[name](**json.loads(raw or b"{}"))
        except (TypeError, ValueError, KeyError, RuntimeError) as error:
            await answer_json(send, 400, {"error": str(error)})
            return
        await answer_json(send, 200, {"result": result})


def _build_llmock() -> Any:
    """llmock's application, deaf to its environment variables."""
    try:
        from llmock.chaos import ChaosSettings, StreamChaos
        from llmock.main import create_app
        from llmock.ratelimit import LimitSettings
        from llmock.simulation import MockResponseSettings
    except ImportError as error:
        raise ImportError("The simulated providers need `pip install 'ownkey[demo]'`.") from error
    return create_app(ChaosSettings(), MockResponseSettings(), LimitSettings(), StreamChaos())


def _build_server(application: SimulatedApplication, started: threading.Event) -> Any:
    """A uvicorn server that says when it listens and can be stopped from another thread."""
    import asyncio

    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Protocol(HttpToolsProtocol):
        """Lets the application break its connection, which ASGI has no words for."""

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope[_TRANSPORT] = self.transport  # type: ignore[typeddict-unknown-key]

    class Server(uvicorn.Server):
        loop: asyncio.AbstractEventLoop

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            self.loop = asyncio.get_running_loop()
            started.set()

        def stop_soon(self, before: Callable[[], None]) -> None:
            self.should_exit = True
            if started.is_set():
                self.loop.call_soon_threadsafe(before)

    config = uvicorn.Config(
        application,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=75,
        backlog=2048,
    )
    return Server(config)


def _close_connection(scope: Scope, *, reset: bool) -> None:
    """End a connection: with a reset (RST), or after what was written and without a proper end."""
    transport = scope[_TRANSPORT]
    if not reset:
        transport.close()
        return
    # Linger on with zero seconds: the kernel sends RST and drops what was not sent.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
