"""Tries a secret at its provider, and says in one word what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from ownkey.domain.credential import CredentialStatus, Secret
from ownkey.domain.exchange import UpstreamRequest
from ownkey.domain.provider import Provider
from ownkey.domain.usage import Outcome
from ownkey.providers.adapters import get_adapter
from ownkey.providers.dialect import auth_header
from ownkey.upstream.pool import TransportFailure, UpstreamPool

# A person waits for the answer in front of a form.
PROBE_TIMEOUT_SECONDS: Final = 8.0
# One user's impatience must not take the connections of everybody's requests.
_PROBES_AT_ONCE: Final = 32


class ProbeOutcome(StrEnum):
    """What a test found. The panel translates these words."""

    WORKS = "works"
    WRONG_KEY = "wrong_key"
    NO_CREDIT = "no_credit"
    LIMITED = "limited"
    RATE_LIMITED = "rate_limited"
    UNREACHABLE = "unreachable"


class ProbeResult(Struct, frozen=True, kw_only=True):
    """One test. `model_count` is None where the provider has no list or did not show it."""

    outcome: ProbeOutcome
    message: str
    duration_ms: int
    model_count: int | None = None
    http_status: int | None = None
    retry_after_seconds: float | None = None

    @property
    def status(self) -> CredentialStatus | None:
        """What the credential is from now on; None where the test says nothing about the credential."""
        return _STATUS[self.outcome]


_STATUS: Final[dict[ProbeOutcome, CredentialStatus | None]] = {
    ProbeOutcome.WORKS: CredentialStatus.OK,
    ProbeOutcome.WRONG_KEY: CredentialStatus.INVALID,
    ProbeOutcome.NO_CREDIT: CredentialStatus.OUT_OF_CREDIT,
    ProbeOutcome.LIMITED: CredentialStatus.LIMITED,
    ProbeOutcome.RATE_LIMITED: CredentialStatus.RATE_LIMITED,
    ProbeOutcome.UNREACHABLE: None,
}

_OUTCOMES: Final[dict[Outcome, ProbeOutcome]] = {
    Outcome.AUTH_INVALID: ProbeOutcome.WRONG_KEY,
    Outcome.AUTH_SCOPE: ProbeOutcome.LIMITED,
    Outcome.CREDIT_EXHAUSTED: ProbeOutcome.NO_CREDIT,
    Outcome.QUOTA_DAILY: ProbeOutcome.RATE_LIMITED,
    Outcome.RATE_LIMITED: ProbeOutcome.RATE_LIMITED,
}

# A probe by POST has no body to speak of: who complains about that has accepted the key before.
_BODY_FAULTS: Final = (Outcome.BAD_REQUEST, Outcome.MODEL_UNAVAILABLE, Outcome.CONTENT_REFUSED)

# The provider's own words are not repeated: some providers echo the key in them.
_MESSAGES: Final[dict[ProbeOutcome, str]] = {
    ProbeOutcome.WORKS: "The key works.",
    ProbeOutcome.WRONG_KEY: "{label} does not accept this key. Copy it again from the provider's key page.",
    ProbeOutcome.NO_CREDIT: "The key is right, but the account at {label} has no credit.",
    ProbeOutcome.LIMITED: "The key is right, but may not list models. It will be verified at its first use.",
    ProbeOutcome.RATE_LIMITED: "The key is right, but {label} limits its rate at the moment.",
    ProbeOutcome.UNREACHABLE: "{label} could not be reached. The key was not judged.",
}


class CredentialProber:
    """Sends a provider's probe request, the cheapest call that needs a valid key."""

    def __init__(self, pool: UpstreamPool, *, timeout_seconds: float = PROBE_TIMEOUT_SECONDS) -> None:
        self._pool, self._timeout_seconds = pool, timeout_seconds
        self._room = asyncio.Semaphore(_PROBES_AT_ONCE)

    async def probe(self, provider: Provider, base_url: str | None, secret: Secret) -> ProbeResult:
        """Test a secret. Never raises for what a provider or the network does."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_seconds), self._room:
                status, headers, body = await self._ask(provider, base_url or provider.base_url, secret)
        except (TimeoutError, TransportFailure):
            return _result(provider, ProbeOutcome.UNREACHABLE, started)
        if 200 <= status < 300:
            return _read_success(provider, status, body, started)
        failure = get_adapter(provider.dialect).read_failure(status, headers, body)
        if provider.probe.startswith("POST") and failure.outcome in _BODY_FAULTS:
            return _result(provider, ProbeOutcome.WORKS, started, http_status=status)
        return _result(
            provider,
            _OUTCOMES.get(failure.outcome, ProbeOutcome.UNREACHABLE),
            started,
            http_status=status,
            retry_after_seconds=failure.retry_after_seconds,
        )

    async def _ask(self, provider: Provider, base_url: str, secret: Secret) -> tuple[int, Mapping[str, str], bytes]:
        response = await self._pool.send(build_probe(provider, base_url), secret)
        try:
            return response.status, response.headers, await response.read()
        finally:
            await response.close()


def build_probe(provider: Provider, base_url: str) -> UpstreamRequest:
    """The probe request of a provider, without the secret."""
    method, _, path = provider.probe.partition(" ")
    headers = (("accept", "application/json"), ("content-type", "application/json"), *provider.headers.items())
    return UpstreamRequest(method, base_url.rstrip("/") + path, headers, b"", auth_header(provider))


def _read_success(provider: Provider, status: int, body: bytes, started: float) -> ProbeResult:
    """A 2xx answer counts only when it is JSON: a captive portal answers 200 to everything."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _result(provider, ProbeOutcome.UNREACHABLE, started, http_status=status)
    count = _count_models(answer)
    result = _result(provider, ProbeOutcome.WORKS, started, http_status=status)
    return msgspec.structs.replace(result, model_count=count)


def _count_models(answer: object) -> int | None:
    """The length of the model list, which providers wrap in `data`, in `models` or not at all."""
    if isinstance(answer, dict):
        answer = next((answer[name] for name in ("data", "models") if isinstance(answer.get(name), list)), None)
    return len(answer) if isinstance(answer, list) else None


def _result(
    provider: Provider,
    outcome: ProbeOutcome,
    started: float,
    *,
    http_status: int | None = None,
    retry_after_seconds: float | None = None,
) -> ProbeResult:
    return ProbeResult(
        outcome=outcome,
        message=_MESSAGES[outcome].format(label=provider.label),
        duration_ms=round((time.monotonic() - started) * 1000),
        http_status=http_status,
        retry_after_seconds=retry_after_seconds,
    )


def blocked_until(result: ProbeResult, now: datetime) -> datetime | None:
    """Until when the tested credential is not worth trying, where the provider said so."""
    if result.outcome is not ProbeOutcome.RATE_LIMITED:
        return None
    return now + timedelta(seconds=result.retry_after_seconds or 10.0)
