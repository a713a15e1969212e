"""What a request would do and may cost, without sending it: the chain, who pays each hop, and why others are left out.

The chain is that of `UserLLMSettingsService.preview_route`, which is the gateway's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct

from ownkey.domain.provider import Provider
from ownkey.domain.routing import Attempt, RouteRequest, Skipped, SkipReason
from ownkey.domain.settings import Payer
from ownkey.services.call_bound import assume_extent
from ownkey.services.expiry import utc_now
from ownkey.services.policy_board import PolicyBoard
from ownkey.services.pricing import Pricing, Quote
from ownkey.services.user_llm_settings import UserLLMSettingsService

_REASONS: Final[Mapping[str, str]] = {
    SkipReason.NOT_ALLOWED: "the administrators do not allow this provider",
    SkipReason.DISABLED: "switched off in the user's preferences",
    SkipReason.NO_CREDENTIAL: "the user has no API key there",
    SkipReason.CREDENTIAL_DISABLED: "this API key is switched off",
    SkipReason.CREDENTIAL_EXPIRED: "this API key has expired",
    SkipReason.CREDENTIAL_INVALID: "the provider refused this API key",
    SkipReason.CREDENTIAL_UNREADABLE: "this API key cannot be read; it has to be entered again",
    SkipReason.COOLING_DOWN: "the provider's limit was reached, or the account has no credit",
    SkipReason.PROVIDER_DOWN: "the provider does not answer",
    SkipReason.NO_MODEL: "no model is known to use there for this",
    SkipReason.LACKS_TOOLS: "the model cannot call tools",
    SkipReason.LACKS_IMAGES: "the model cannot read images",
    SkipReason.LACKS_DOCUMENTS: "the model cannot read documents",
    SkipReason.LACKS_AUDIO: "the model cannot hear sound",
    SkipReason.LACKS_JSON_SCHEMA: "the model cannot answer by a JSON schema",
    SkipReason.CONTEXT_TOO_SMALL: "the request is too long for the model",
    SkipReason.LACKS_OPERATION: "the provider does not offer this operation",
    SkipReason.SHARED_REFUSED: "the user does not want the operator's key to be used",
    SkipReason.SHARED_NOT_GRANTED: "the administrator does not lend this user the operator's key",
    SkipReason.CONSENT_NEEDED: "the user has not agreed to the operator's key yet",
    SkipReason.BUDGET_SPENT: "a budget of the operator's money has too little left",
    SkipReason.REQUEST_OVER_BUDGET: (
        "the request may cost more than a whole budget of the operator's money, so that waiting does not help; a "
        "smaller limit on the length of the answer may"
    ),
    SkipReason.RATE_LIMITED: "so many calls or tokens a minute are allowed on the operator's key",
    SkipReason.OWN_CAP_REACHED: "the user's own cap has too little left",
    SkipReason.REQUEST_OVER_CAP: (
        "the request may cost more than the user's whole cap, so that waiting does not help; a smaller limit on the "
        "length of the answer may"
    ),
    SkipReason.UNPRICED: "nobody knows the price, and there is a budget",
    SkipReason.FALLBACK_REFUSED: "falling back to it is switched off",
    SkipReason.MODEL_PINNED: "only the first model of the chain may be used for this",
    SkipReason.MODEL_LACKS_OPERATION: "the model is for another kind of request",
    SkipReason.STORED_OBJECTS_NEED_OWN_KEY: "the request refers to what the provider keeps for all users of the key",
    SkipReason.MODEL_LISTS_NEED_OWN_KEY: "the request leaves the choice of the model to the provider",
}


class PreviewedHop(Struct, frozen=True, kw_only=True):
    """One attempt that would be made. `quote` None: nobody knows its price. `output_tokens` is what it is bound by."""

    attempt: Attempt
    output_tokens: int
    quote: Quote | None


class RoutePreview(Struct, frozen=True, kw_only=True):
    """The hops in the order in which they would be tried, and those that would not be."""

    task: str | None
    hops: tuple[PreviewedHop, ...]
    skipped: tuple[Skipped, ...]


class RoutePreviews:
    """Nothing is sent and nothing is promised."""

    def __init__(
        self,
        settings: UserLLMSettingsService,
        policies: PolicyBoard,
        pricing: Pricing,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings, self._policies, self._pricing, self._now = settings, policies, pricing, now

    async def preview(self, user_id: str, request: RouteRequest) -> RoutePreview:
        """What this request of this user would do now. Raises RequestError(unknown_provider)."""
        route = await self._settings.preview_route(user_id, request)
        return RoutePreview(
            task=route.task,
            hops=tuple(self._quote(attempt, request) for attempt in route.attempts),
            skipped=route.skipped,
        )

    def _quote(self, attempt: Attempt, request: RouteRequest) -> PreviewedHop:
        extent = assume_extent(
            attempt,
            request.needs.input_tokens,
            embeddings=request.operation == "embeddings",
            assumed_output_tokens=self._policies.current.budgets.assumed_output_tokens,
            max_output_tokens=request.max_output_tokens,
        )
        quote = self._pricing.quote(
            attempt.provider,
            attempt.model,
            attempt.payer,
            self._now(),
            input_tokens=extent.input_tokens,
            output_tokens=extent.output_tokens,
        )
        return PreviewedHop(attempt=attempt, output_tokens=extent.output_tokens, quote=quote)


def explain_skip(hop: Skipped, catalog: Mapping[str, Provider]) -> str:
    """Why a hop is left out, as a sentence."""
    provider = catalog.get(hop.provider)
    label = provider.label if provider is not None else hop.provider
    key = "the operator's key" if hop.payer is Payer.SHARED else "the user's own key"
    named = f' "{hop.credential}"' if hop.credential and hop.payer is Payer.OWN else ""
    until = f", until {hop.until:%Y-%m-%d %H:%M} UTC" if hop.until is not None else ""
    return f"{label}, {key}{named}: {_REASONS.get(hop.reason, hop.reason.replace('_', ' '))}{until}."
