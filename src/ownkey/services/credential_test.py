"""Tries a secret at its provider, says in one word what came of it, and keeps that as the credential's status."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct, structs

from ownkey.domain.audit import AuditAction
from ownkey.domain.credential import CredentialStatus, SealedCredential, Secret
from ownkey.domain.credential_advice import CREDIT_UNPROVED
from ownkey.domain.exchange import CONSEQUENCES, UpstreamRequest
from ownkey.domain.provider import Provider
from ownkey.domain.recovery import Finding
from ownkey.domain.usage import Outcome, is_record_id
from ownkey.domain.user import check_user_id
from ownkey.errors import Conflict, CredentialUnreadable, RequestError
from ownkey.providers.adapters import get_adapter
from ownkey.providers.dialect import auth_header
from ownkey.providers.model_list import read_model_page
from ownkey.services.changes import Changes
from ownkey.services.credentials import CredentialService, no_such_credential, read_secret
from ownkey.services.destination import check_allowed_provider
from ownkey.services.vault import Vault
from ownkey.storage import credentials as rows
from ownkey.upstream.pool import TransportFailure, UpstreamPool

# A person waits for the answer in front of a form.
PROBE_TIMEOUT_SECONDS: Final = 8.0
# "Test all" of one user goes through; a loop of theirs does not take everybody's turn.
_TESTS_PER_USER: Final = 10
_NAMED_MODELS: Final = 200


class ProbeOutcome(StrEnum):
    """What a test found. The panel translates these words."""

    WORKS = "works"
    WRONG_KEY = "wrong_key"
    NO_CREDIT = "no_credit"
    LIMITED = "limited"
    RATE_LIMITED = "rate_limited"
    UNREACHABLE = "unreachable"


class ProbeResult(Struct, frozen=True, kw_only=True):
    """One test. `model_count` is None where the provider has no list or did not show it; `models` are the first."""

    outcome: ProbeOutcome
    message: str
    duration_ms: int
    model_count: int | None = None
    models: tuple[str, ...] | None = None
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

_UNREADABLE: Final = Finding(status=CredentialStatus.UNREADABLE, reason="wrapping_key")
# As long as after a request that was refused for it.
_NO_CREDIT_WAIT: Final = timedelta(seconds=CONSEQUENCES[Outcome.CREDIT_EXHAUSTED].cool_down_seconds)
_RATE_LIMIT_WAIT: Final = timedelta(seconds=CONSEQUENCES[Outcome.RATE_LIMITED].cool_down_seconds)

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

    async def probe(self, provider: Provider, base_url: str | None, secret: Secret) -> ProbeResult:
        """Test a secret. Never raises for what a provider or the network does."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                status, headers, body = await self._ask(provider, base_url or provider.base_url, secret)
        except (TimeoutError, TransportFailure):
            return _result(provider, ProbeOutcome.UNREACHABLE, started)
        if 200 <= status < 300:
            return _read_success(provider, status, body, started)
        failure = get_adapter(provider.dialect, provider.dialect).read_failure(status, headers, body)
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
        page = read_model_page(body)
    except ValueError:
        return _result(provider, ProbeOutcome.UNREACHABLE, started, http_status=status)
    result = _result(provider, ProbeOutcome.WORKS, started, http_status=status)
    if page is None:
        return result
    names = tuple(model.id for model in page.models[:_NAMED_MODELS])
    return structs.replace(result, model_count=len(page.models), models=names)


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


def find_out(before: CredentialStatus, reason: str | None, result: ProbeResult, now: datetime) -> Finding | None:
    """What a probe has taught of a credential that stood like this; None for nothing.

    Most providers list models for accounts without credit and for keys that may not call all of them: such a list
    takes the old finding back and proves nothing new, which the next request does.
    """
    if result.status is None:
        return None
    if result.outcome is ProbeOutcome.WORKS:
        if before is CredentialStatus.OUT_OF_CREDIT:
            return Finding(status=CredentialStatus.UNVERIFIED, reason=CREDIT_UNPROVED)
        if before is CredentialStatus.LIMITED and reason != ProbeOutcome.LIMITED:
            return Finding(status=CredentialStatus.UNVERIFIED)
        return Finding(status=CredentialStatus.OK)
    until = None
    if result.outcome is ProbeOutcome.RATE_LIMITED:
        wait = result.retry_after_seconds
        until = now + (_RATE_LIMIT_WAIT if wait is None else timedelta(seconds=wait))
    elif result.outcome is ProbeOutcome.NO_CREDIT:
        until = now + _NO_CREDIT_WAIT
    return Finding(status=result.status, reason=result.outcome.value, until=until)


class CredentialTestService(CredentialService):
    """Credentials that can be tried: the tests of `UserLLMSettingsService`."""

    def __init__(self, changes: Changes, vault: Vault, *, prober: CredentialProber, **options: Any) -> None:
        super().__init__(changes, vault, **options)
        self._prober = prober
        self._running: Counter[str] = Counter()

    async def test_secret(
        self,
        user_id: str,
        provider: str,
        secret: str,
        *,
        base_url: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> ProbeResult:
        """Try a secret before saving it; nothing is stored.

        Raises RequestError as `add_credential` does, and RequestError(too_many_tests).
        """
        check_user_id(user_id)
        row = check_allowed_provider(provider, self._catalog, self._policies.current)
        url = self._choose_url(row, base_url, fields)
        return await self._probe(user_id, row, url, read_secret(secret, row))

    async def test_credential(self, user_id: str, credential_id: str, *, actor: str | None = None) -> ProbeResult:
        """Try a stored credential and keep what was learnt as its status.

        Raises NotFound, RequestError(provider_not_allowed, too_many_tests), Conflict(secret_missing) after a change
        of the address, and CredentialUnreadable, which becomes the status too.
        """
        async with self._changes.read(user_id) as tx:
            sealed = await rows.find_sealed(tx, credential_id) if is_record_id(credential_id) else None
            if sealed is None:
                raise no_such_credential()
            row = check_allowed_provider(sealed.provider, self._catalog, self._policies.current)
            if not sealed.sealed:
                raise Conflict(
                    "The address of this API key was changed, so the key has to be entered again.",
                    code="secret_missing",
                )
            try:
                secret = await self._vault.open(tx, user_id, sealed)
            except CredentialUnreadable:
                secret = None
        if secret is None:
            await self._keep_finding(user_id, sealed, CredentialStatus.UNREADABLE.value, _UNREADABLE, actor)
            raise CredentialUnreadable("This API key cannot be opened any more. Enter it again.", http_status=424)
        result = await self._probe(user_id, row, sealed.base_url, secret)
        await self._keep_finding(user_id, sealed, result.outcome.value, result, actor)
        if result.outcome is ProbeOutcome.WORKS:
            self._forgive(sealed.health_key)
        return result

    async def _probe(self, user_id: str, provider: Provider, base_url: str | None, secret: Secret) -> ProbeResult:
        if self._running[user_id] >= _TESTS_PER_USER:
            raise RequestError(
                f"At most {_TESTS_PER_USER} API keys can be tested at once. Wait for the others.",
                code="too_many_tests",
                http_status=429,
                retry_after_seconds=1,
            )
        self._running[user_id] += 1
        try:
            return await self._prober.probe(provider, base_url, secret)
        finally:
            self._running[user_id] -= 1
            if not self._running[user_id]:
                del self._running[user_id]

    async def _keep_finding(
        self, user_id: str, tested: SealedCredential, word: str, found: ProbeResult | Finding, actor: str | None
    ) -> None:
        """Store what a test found, unless the secret was replaced, erased or removed while it ran."""
        async with self._changes.begin(user_id, actor) as change:
            held = await rows.find_standing(change.tx, tested.id)
            if held is None or held.generation != tested.generation:
                return
            before, now = held.standing, self._now()
            finding = found if isinstance(found, Finding) else find_out(before.status, before.reason, found, now)
            await rows.note_test(change.tx, tested.id, now)
            if finding is not None:
                await self._keeper.keep(change.tx, user_id, tested.id, finding)
            if word == ProbeOutcome.WORKS.value:
                # Whatever was stored: another process may leave the key alone for what is not stored yet.
                await rows.tell_recovery(change.tx, tested.health_key)
            changed = finding is not None and finding.status is not before.status
            await change.record(
                AuditAction.CREDENTIAL_TESTED,
                tested.id,
                provider=tested.provider,
                outcome=word,
                **({"status": finding.status} if finding is not None and changed else {}),
            )
