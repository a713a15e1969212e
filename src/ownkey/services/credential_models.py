"""Which models one of a user's credentials can call: asked of the provider with that very key, and kept a while.

The provider's list says what is there; the catalogue and the price table add what they know of each model.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final, Literal

from msgspec import Struct

from ownkey.domain.credential import Secret
from ownkey.domain.provider import Model, Provider, Quirk
from ownkey.domain.usage import Outcome
from ownkey.errors import OwnkeyError, RequestError, UpstreamError
from ownkey.providers.adapters import get_adapter
from ownkey.providers.model_list import ListedModel, build_list_request, read_model_page
from ownkey.services.attempt_report import code_of, status_of
from ownkey.services.changes import Changes
from ownkey.services.destination import check_allowed_provider
from ownkey.services.expiry import utc_now
from ownkey.services.policy_board import PolicyBoard
from ownkey.services.pricing import ListPrice, Pricing
from ownkey.services.stored_secret import find_stored, open_stored
from ownkey.services.vault import Vault
from ownkey.upstream.pool import TransportFailure, UpstreamPool

MODELS_LIMIT: Final = 5_000
_PAGES_LIMIT: Final = 10
_PAGE_BYTES: Final = 8 * 1024 * 1024
_FETCH_TIMEOUT_SECONDS: Final = 15.0
# Lists change a few times a month; a person who knows of a new model asks again at once.
_KEPT: Final = timedelta(hours=6)
_CACHE_SIZE: Final = 200
# To learn that a model has no price takes half a millisecond; the longest real list has some hundreds.
_PRICED: Final = 1_000
_FETCHES_PER_USER: Final = 10
_REFRESH_SECONDS: Final = 3.0

_REASONS: Final[dict[Outcome, str]] = {
    Outcome.AUTH_INVALID: "it refused the key; replace it",
    Outcome.AUTH_SCOPE: "the key may not list models; type the model's name instead",
    Outcome.CREDIT_EXHAUSTED: "the account has no credit left; top it up at the provider",
    Outcome.QUOTA_DAILY: "the daily quota is used up",
    Outcome.RATE_LIMITED: "its rate limit was reached",
    Outcome.TIMEOUT: "it did not answer in time",
    Outcome.UNREACHABLE: "it could not be reached",
    Outcome.ANSWER_TOO_LARGE: "its list is larger than this server takes",
    Outcome.STREAM_BROKEN: "its answer broke off",
}


class CallableModel(Struct, frozen=True, kw_only=True):
    """A model and what is known of it; None: nobody says. Prices are micro-dollars per million tokens."""

    id: str
    context_tokens: int | None
    tools: bool | None
    images: bool | None
    json_schema: bool | None
    embedding: bool | None
    input_price_microdollars_per_mtok: int | None
    output_price_microdollars_per_mtok: int | None


class CallableModels(Struct, frozen=True, kw_only=True):
    """A list, when it was asked for, and who gave it: "catalog" where the provider has none to give."""

    models: tuple[CallableModel, ...]
    fetched_at: datetime
    source: Literal["provider", "catalog"]


class CredentialModels:
    """Lists of models by credential and secret, in this process."""

    def __init__(
        self,
        changes: Changes,
        vault: Vault,
        pool: UpstreamPool,
        *,
        catalog: Mapping[str, Provider],
        policies: PolicyBoard,
        pricing: Pricing,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._changes, self._vault, self._pool = changes, vault, pool
        self._catalog, self._policies, self._pricing, self._now = catalog, policies, pricing, now
        self._kept: OrderedDict[tuple[str, str, str], CallableModels] = OrderedDict()
        self._refreshed: OrderedDict[str, float] = OrderedDict()
        self._running: Counter[str] = Counter()

    async def list_models(self, user_id: str, credential_id: str, *, refresh: bool = False) -> CallableModels:
        """The models of one credential, from memory unless that is old or `refresh` asks again.

        Raises NotFound, RequestError(provider_not_allowed), Conflict(secret_missing), CredentialUnreadable,
        RequestError(too_many_refreshes), and UpstreamError with the reason when the provider gives no list.
        """
        async with self._changes.read(user_id) as tx:
            sealed = await find_stored(tx, credential_id)
            provider = check_allowed_provider(sealed.provider, self._catalog, self._policies.current)
            # A replaced secret and another address have lists of their own.
            key = (user_id, sealed.health_key, sealed.base_url or provider.base_url)
            kept = self._kept.get(key)
            if kept is not None and not refresh and self._now() - kept.fetched_at < _KEPT:
                self._kept.move_to_end(key)
                return kept
            if refresh:
                self._limit_refreshes(user_id)
            secret = await open_stored(tx, self._vault, user_id, sealed)
        try:
            async with self._turn(user_id):
                found = await self._fetch(provider, sealed.base_url or provider.base_url, secret)
        except UpstreamError:
            # An old list is better than none for somebody who did not ask for a new one.
            if kept is not None and not refresh:
                return kept
            raise
        listed = await asyncio.to_thread(self._describe, provider, found)
        self._kept[key] = listed
        self._kept.move_to_end(key)
        while len(self._kept) > _CACHE_SIZE:
            self._kept.popitem(last=False)
        return listed

    def _limit_refreshes(self, user_id: str) -> None:
        moment = time.monotonic()
        last = self._refreshed.get(user_id)
        if last is not None and moment - last < _REFRESH_SECONDS:
            wait = _REFRESH_SECONDS - (moment - last)
            raise _too_many("The list was asked for a moment ago. Wait a few seconds.", wait)
        self._refreshed[user_id] = moment
        self._refreshed.move_to_end(user_id)
        while len(self._refreshed) > 10 * _CACHE_SIZE:
            self._refreshed.popitem(last=False)

    @asynccontextmanager
    async def _turn(self, user_id: str) -> AsyncIterator[None]:
        """One of the user's turns. Raises RequestError(too_many_refreshes)."""
        if self._running[user_id] >= _FETCHES_PER_USER:
            raise _too_many("So many lists of yours are being asked for already. Wait for them.", 1.0)
        self._running[user_id] += 1
        try:
            yield
        finally:
            self._running[user_id] -= 1
            if not self._running[user_id]:
                del self._running[user_id]

    async def _fetch(self, provider: Provider, base_url: str, secret: Secret) -> dict[str, ListedModel] | None:
        """The provider's list by name; None where it has none. Raises UpstreamError."""
        if Quirk.NO_MODEL_LIST in provider.quirks:
            return None
        found: dict[str, ListedModel] = {}
        after: str | None = None
        try:
            async with asyncio.timeout(_FETCH_TIMEOUT_SECONDS):
                for _ in range(_PAGES_LIMIT):
                    status, headers, body = await self._ask(provider, base_url, secret, after)
                    if status in (404, 405, 501):
                        return found or None
                    if not 200 <= status < 300:
                        failure = get_adapter(provider.dialect).read_failure(status, headers, body)
                        raise _no_list(provider, failure.outcome, failure.retry_after_seconds)
                    page = read_model_page(body)
                    if page is None:
                        return found or None
                    found.update((model.id, model) for model in page.models)
                    if page.after is None or page.after == after or len(found) >= MODELS_LIMIT:
                        break
                    after = page.after
        except TimeoutError:
            raise _no_list(provider, Outcome.TIMEOUT) from None
        except TransportFailure as error:
            raise _no_list(provider, error.failure.outcome) from None
        except ValueError:
            raise _no_list(provider, Outcome.OVERLOADED) from None
        return dict(list(found.items())[:MODELS_LIMIT])

    async def _ask(
        self, provider: Provider, base_url: str, secret: Secret, after: str | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        response = await self._pool.send(build_list_request(provider, base_url, after), secret)
        try:
            chunks, room = [], _PAGE_BYTES
            while (chunk := await response.read_chunk()) is not None:
                chunks.append(chunk)
                room -= len(chunk)
                if room < 0:
                    raise _no_list(provider, Outcome.ANSWER_TOO_LARGE)
            return response.status, response.headers, b"".join(chunks)
        finally:
            await response.close()

    def _describe(self, provider: Provider, found: Mapping[str, ListedModel] | None) -> CallableModels:
        """With what the catalogue and the price table know. Not for the event loop: the table takes a while to load."""
        now = self._now()
        source: Literal["provider", "catalog"] = "catalog" if found is None else "provider"
        if found is None:
            found = {name: ListedModel(id=name) for name in (*provider.models, *provider.defaults.values())}
        models = []
        for rank, said in enumerate(found.values()):
            price = self._pricing.list_price(provider.prices, said.id, now) if rank < _PRICED else None
            models.append(_join(provider, said, price))
        return CallableModels(models=tuple(models), fetched_at=now, source=source)


def _join(provider: Provider, said: ListedModel, price: ListPrice | None) -> CallableModel:
    known = provider.find_model(said.id)
    context = (known and known.context_tokens) or said.context_tokens or (price and price.context_tokens)
    return CallableModel(
        id=said.id,
        context_tokens=context or None,
        tools=_prefer(known, "tools", said.tools),
        images=_prefer(known, "images", said.images),
        json_schema=_prefer(known, "json_schema", said.json_schema),
        embedding=_prefer(known, "embedding", said.embedding),
        input_price_microdollars_per_mtok=None if price is None else price.input_microdollars,
        output_price_microdollars_per_mtok=None if price is None else price.output_microdollars,
    )


def _too_many(message: str, retry_after_seconds: float) -> RequestError:
    return RequestError(message, code="too_many_refreshes", http_status=429, retry_after_seconds=retry_after_seconds)


def _prefer(known: Model | None, ability: str, said: bool | None) -> bool | None:
    """The catalogue's word, which routing goes by; else the provider's."""
    return said if known is None else bool(getattr(known, ability))


def _no_list(provider: Provider, outcome: Outcome, retry_after_seconds: float | None = None) -> OwnkeyError:
    reason = _REASONS.get(outcome)
    if reason is None:
        outcome, reason = Outcome.OVERLOADED, "it is overloaded, or what it answered is no list"
    return UpstreamError(
        f"{provider.label} did not give its list of models: {reason}.",
        code=code_of(outcome),
        http_status=status_of(outcome),
        retry_after_seconds=retry_after_seconds,
    )
