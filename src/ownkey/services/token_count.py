"""How many tokens a request would take in, where it would be sent. Nothing is answered and nothing is metered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

from ownkey.domain.credential import Secret
from ownkey.domain.routing import Attempt
from ownkey.domain.settings import Payer, Snapshot
from ownkey.errors import CredentialUnreadable, DataKeyClosed, RequestError, StorageError
from ownkey.providers.adapters import get_inbound
from ownkey.providers.dialect import Call
from ownkey.providers.shared_key_rules import find_unshareable
from ownkey.providers.token_count import (
    COUNT,
    build_count_request,
    choose_count_dialect,
    read_counted,
    write_counted,
)
from ownkey.providers.token_estimate import estimate
from ownkey.services.attempt_report import exhausted
from ownkey.services.client_headers import add_headers
from ownkey.services.client_request import ClientRequest
from ownkey.services.router import Router
from ownkey.upstream.pool import TransportFailure, UpstreamPool

_TIMEOUT_SECONDS: Final = 10.0


class TokenCount(Struct, frozen=True, kw_only=True):
    """The answer in the client's form. `estimated`: the provider did not say, so it was worked out here."""

    body: bytes
    attempt: Attempt
    estimated: bool


class TokenCounter:
    """Asks the provider that a request would go to, with the key that would pay for it."""

    def __init__(
        self, router: Router, pool: UpstreamPool, fetch_secret: Callable[[Snapshot, Attempt], Awaitable[Secret | None]]
    ) -> None:
        self._router, self._pool, self._fetch_secret = router, pool, fetch_secret

    async def count(self, snapshot: Snapshot, request: ClientRequest) -> TokenCount:
        """Count a request. Raises NoProvider where it could not be sent anywhere, RequestError where it is faulty."""
        route = self._router.route(snapshot, request.route)
        if not route.attempts:
            raise exhausted(route.skipped, [])
        attempt = route.attempts[0]
        call = Call(operation="chat", body=request.body, model=attempt.model, dialect=request.dialect)
        body = await self._ask(snapshot, request, attempt, call)
        if body is not None:
            return TokenCount(body=body, attempt=attempt, estimated=False)
        conversation = get_inbound(request.dialect).read_request(_counted(call))
        return TokenCount(body=write_counted(estimate(conversation), request.dialect), attempt=attempt, estimated=True)

    async def _ask(self, snapshot: Snapshot, request: ClientRequest, attempt: Attempt, call: Call) -> bytes | None:
        """The provider's count in the client's form; None where it has or gives none."""
        provider = attempt.provider
        dialect = choose_count_dialect(provider)
        if dialect is None:
            return None
        if attempt.payer is Payer.SHARED and find_unshareable(request.body, "chat", request.dialect, attempt.model):
            return None
        try:
            asked = build_count_request(provider, attempt.base_url, call, dialect)
            if request.headers and dialect is request.dialect:
                asked = add_headers(asked, request.headers)
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                response = await self._pool.send(asked, await self._fetch_secret(snapshot, attempt))
                try:
                    body = await response.read()
                finally:
                    await response.close()
            if not 200 <= response.status < 300:
                return None
            tokens = read_counted(body)
        except (
            RequestError,
            CredentialUnreadable,
            DataKeyClosed,
            StorageError,
            TransportFailure,
            TimeoutError,
            ValueError,
        ):
            return None
        return body if dialect is request.dialect else write_counted(tokens, request.dialect)


def _counted(call: Call) -> Call:
    return Call(operation=COUNT, body=call.body, model=call.model, dialect=call.dialect)
