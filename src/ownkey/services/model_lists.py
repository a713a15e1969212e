"""A provider's list of models for one key: asked of it, read whole, joined with what is known here, and kept a while.

The provider's list says what is there; the catalogue and the price table add what they know of each model.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, Literal

from msgspec import Struct

from ownkey.domain.credential import Secret
from ownkey.domain.provider import Model, Provider, Quirk
from ownkey.domain.settings import Payer
from ownkey.domain.usage import Outcome
from ownkey.errors import OwnkeyError, UpstreamError
from ownkey.providers.adapters import get_adapter
from ownkey.providers.model_list import ListedModel, build_list_request, read_model_page
from ownkey.services.attempt_report import code_of, status_of
from ownkey.services.expiry import utc_now
from ownkey.services.pricing import ListPrice, Pricing
from ownkey.upstream.pool import TransportFailure, UpstreamPool

MODELS_LIMIT: Final = 5_000
# Lists change a few times a month; a person who knows of a new model asks again at once.
KEPT: Final = timedelta(hours=6)
_PAGES_LIMIT: Final = 10
_PAGE_BYTES: Final = 8 * 1024 * 1024
_FETCH_TIMEOUT_SECONDS: Final = 15.0
_CACHE_SIZE: Final = 500
# To learn that a model has no price takes half a millisecond; the longest real list has some hundreds.
_PRICED: Final = 1_000

# Whose list, by which secret, at which address: a replaced secret and another address have lists of their own.
ListKey = tuple[str, str, str]

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
    documents: bool | None = None
    audio: bool | None = None


class CallableModels(Struct, frozen=True, kw_only=True):
    """A list, when it was asked for, and who gave it: "catalog" where the provider has none to give."""

    models: tuple[CallableModel, ...]
    fetched_at: datetime
    source: Literal["provider", "catalog"]


class ModelLists:
    """Lists of models by user, secret and address, in this process."""

    def __init__(self, pool: UpstreamPool, pricing: Pricing, *, now: Callable[[], datetime] = utc_now) -> None:
        self._pool, self._pricing, self.now = pool, pricing, now
        self._kept: OrderedDict[ListKey, CallableModels] = OrderedDict()

    def find(self, key: ListKey) -> CallableModels | None:
        """The list that is kept, however old."""
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def is_fresh(self, listed: CallableModels) -> bool:
        """Whether a list is young enough to be given out without asking again."""
        return self.now() - listed.fetched_at < KEPT

    async def fetch(self, key: ListKey, provider: Provider, base_url: str, secret: Secret | None) -> CallableModels:
        """Ask the provider, and keep its list. Raises UpstreamError with the reason when it gives none."""
        found = await self._fetch(provider, base_url, secret)
        payer = Payer.OWN if key[0] else Payer.SHARED
        listed = await asyncio.to_thread(self.describe, provider, found, payer)
        self._kept[key] = listed
        self._kept.move_to_end(key)
        while len(self._kept) > _CACHE_SIZE:
            self._kept.popitem(last=False)
        return listed

    async def _fetch(self, provider: Provider, base_url: str, secret: Secret | None) -> dict[str, ListedModel] | None:
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
                        failure = get_adapter(provider.dialect, provider.dialect).read_failure(status, headers, body)
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
        self, provider: Provider, base_url: str, secret: Secret | None, after: str | None
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

    def describe(
        self, provider: Provider, found: Mapping[str, ListedModel] | None, payer: Payer = Payer.OWN
    ) -> CallableModels:
        """With what catalogue and prices know. Not for the event loop: the table of prices takes a while to load."""
        now = self.now()
        source: Literal["provider", "catalog"] = "catalog" if found is None else "provider"
        if found is None:
            found = {name: ListedModel(id=name) for name in (*provider.models, *provider.defaults.values())}
        models = []
        for rank, said in enumerate(found.values()):
            price = self._pricing.show(provider, said.id, payer, now) if rank < _PRICED else None
            models.append(_join(provider, said, price))
        return CallableModels(models=tuple(models), fetched_at=now, source=source)


def describe_known(provider: Provider, names: Iterable[str]) -> list[CallableModel]:
    """Models by what the catalogue alone says of them, without their prices."""
    return [_join(provider, ListedModel(id=name), None) for name in names]


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
        documents=_prefer(known, "documents", None),
        audio=_prefer(known, "audio", None),
    )


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
