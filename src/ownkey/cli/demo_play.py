"""The demo's users sign in and send their requests, and the providers' side is asked what it saw."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

import openai

from ownkey.app import Ownkey
from ownkey.cli.demo_cast import EVERY_PROVIDER, OPERATOR_KEY, Call, Person, Scene
from ownkey.cli.demo_screen import Line
from ownkey.domain.provider import Provider
from ownkey.domain.settings import Payer
from ownkey.errors import StorageError
from ownkey.testing import SimulatedProviders

_PRIORITY_STEP: Final = 10
_METERED_SECONDS: Final = 10.0


class Play:
    """One performance. `wrong_keys` counts requests in which a provider saw somebody else's key."""

    def __init__(self, ok: Ownkey, sim: SimulatedProviders, url: str) -> None:
        self._ok, self._sim, self._url = ok, sim, url
        self._keys: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, str] = {}
        self.lines: list[Line] = []
        self.requests_seen = 0
        self.wrong_keys = 0

    async def sign_in(self, person: Person) -> None:
        """What a host application does at login, and what the person then enters on the settings page."""
        settings = self._ok.settings
        await self._ok.manager.load_user_settings(person.id)
        keys = self._keys[person.id] = {
            provider.id: _make_key(provider, person.id) for provider in self._providers_of(person)
        }
        for provider, key in keys.items():
            await settings.add_credential(person.id, provider, key, label="demo")
        for rank, provider in enumerate(person.priorities, start=1):
            await settings.put_preference(person.id, provider, priority=rank * _PRIORITY_STEP)
        for override in person.overrides:
            await settings.put_task_override(person.id, override.task, override.provider, model=override.model)
        self.tokens[person.id] = (await self._ok.tokens.create(person.id, "demo")).text
        held = list(self._keys.values())
        for provider in {name for keys in held for name in keys} | {"openai"}:
            good = [keys[provider] for keys in held if provider in keys]
            self._sim.accept_keys(provider, *good, *([OPERATOR_KEY] if provider == "openai" else []))

    async def perform(self, person: Person) -> None:
        """All scenes of a person."""
        async with openai.AsyncOpenAI(
            base_url=f"{self._url}/v1", api_key=self.tokens[person.id], max_retries=0, timeout=30
        ) as client:
            for scene in person.scenes:
                self._break(person, scene)
                for call in scene.calls:
                    self.lines.append(await self._send(client, person, scene, call))
                self._sim.fix()

    def _providers_of(self, person: Person) -> list[Provider]:
        catalog = self._sim.providers
        if person.providers == (EVERY_PROVIDER,):
            return [provider for provider in catalog.values() if provider.auth != "none" and not provider.local]
        return [catalog[name] for name in person.providers]

    def _break(self, person: Person, scene: Scene) -> None:
        for mishap in scene.mishaps:
            key = self._keys[person.id][mishap.provider] if mishap.own_key else None
            self._sim.break_provider(mishap.provider, mishap.kind, key=key)

    async def _send(self, client: openai.AsyncOpenAI, person: Person, scene: Scene, call: Call) -> Line:
        before = await self._usage(person, at_least=0)
        self._sim.clear_ledger()
        begin = time.monotonic()
        raw = await client.chat.completions.with_raw_response.create(
            model="auto",
            messages=[{"role": "user", "content": call.text}],
            stream=call.stream,
            extra_headers={"X-Ownkey-Task": call.task},
        )
        answer: Any = raw.parse()
        if call.stream:
            async for _ in answer:
                pass
        seconds = time.monotonic() - begin
        headers = raw.headers
        after = await self._usage(person, at_least=before.requests + 1)
        self._check_ledger(person, headers)
        priced = after.unpriced_requests == before.unpriced_requests
        return Line(
            user=person.id,
            scene=scene.title,
            task=call.task,
            streamed=call.stream,
            provider=self._sim.providers[headers["x-ownkey-provider"]].label,
            model=headers["x-ownkey-model"],
            payer=headers["x-ownkey-credential"],
            attempts=headers["x-ownkey-attempts"],
            input_tokens=_input(after) - _input(before),
            output_tokens=_output(after) - _output(before),
            cost_microdollars=_cost(after) - _cost(before) if priced else None,
            seconds=seconds,
        )

    async def _usage(self, person: Person, *, at_least: int) -> Any:
        """The user's usage so far, from the database, once so many requests are in it."""
        deadline = time.monotonic() + _METERED_SECONDS
        while time.monotonic() < deadline:
            await self._ok.core.metering.flush()
            total = (await self._ok.usage.query(person.id)).total
            if total.requests >= at_least:
                return total
            await asyncio.sleep(0.01)
        raise StorageError("A request was not metered in time.", code="internal_error")

    def _check_ledger(self, person: Person, headers: Mapping[str, str]) -> None:
        """Every provider that was asked must have seen this user's key for it, or the operator's where that paid."""
        entries = self._sim.ledger()
        self.requests_seen += len(entries)
        own = self._keys[person.id]
        for entry in entries:
            shared = entry is entries[-1] and headers["x-ownkey-credential"] == Payer.SHARED
            if entry.key != (OPERATOR_KEY if shared else own.get(entry.provider)):
                self.wrong_keys += 1


def _make_key(provider: Provider, user_id: str) -> str:
    """A key that looks like this provider's."""
    prefix = provider.key_prefixes[0] if provider.key_prefixes else ""
    return f"{prefix}demo-{user_id}-{provider.id.replace('_', '-')}-0000000000"


def _input(total: Any) -> int:
    return int(total.input_uncached + total.cache_read + total.cache_write)


def _output(total: Any) -> int:
    return int(total.output_text + total.output_reasoning)


def _cost(total: Any) -> int:
    return int(total.cost_microdollars or 0)  # None until something was priced
