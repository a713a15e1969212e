"""Which provider, model and credential a request tries, in which order, and why the others are left out.

`attempts` is a pure function: the preview shows what the hot path will do because both call it.

The order (a hop is one provider with one payer):

1. the preferred provider for the task, with the user's own credentials in their order;
2. the user's further providers by priority, with their own credentials, backups last;
3. the operator's keys for those same providers;
4. the provider of last resort with the operator's key.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Final, Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from ownkey.domain.budget import Reason, Refusal
from ownkey.domain.credential import CredentialStatus, SealedCredential
from ownkey.domain.policy import Policy
from ownkey.domain.provider import Provider, Quirk, SideOperation
from ownkey.domain.provider_name import refuse_slip, split_provider
from ownkey.domain.settings import BUILT_IN_TASKS, Payer, PayerRule, Preference, Snapshot, TaskOverride
from ownkey.errors import NotFound, RequestError

TASK_PREFIX: Final = "task:"
AUTO: Final = "auto"

Operation = Literal["chat", "embeddings"] | SideOperation

# The others are bytes that pass through: see `providers.side_operations`.
TEXT_OPERATIONS: Final = ("chat", "embeddings")

# What is not a conversation has a task of its own: a user's model for coding cannot draw.
_OWN_TASKS: Final[dict[Operation, str]] = {
    "embeddings": "embedding",
    "images": "image",
    "image_edits": "image",
    "speech": "speech",
    "transcriptions": "transcription",
    "translations": "transcription",
    "moderations": "moderation",
    "rerank": "rerank",
}


# One letter in six: a host's own words for its work are further away from ours.
_NEAR_TASK: Final = 0.8


class SkipReason:
    """Why a hop is not tried. Stable codes: the panel translates them."""

    NOT_ALLOWED = "not_allowed"
    DISABLED = "disabled"
    NO_CREDENTIAL = "no_credential"
    CREDENTIAL_DISABLED = "credential_disabled"
    CREDENTIAL_EXPIRED = "credential_expired"
    CREDENTIAL_INVALID = "credential_invalid"
    CREDENTIAL_UNREADABLE = "credential_unreadable"
    COOLING_DOWN = "cooling_down"
    PROVIDER_DOWN = "provider_down"
    NO_MODEL = "no_model"
    LACKS_TOOLS = "lacks_tools"
    LACKS_IMAGES = "lacks_images"
    LACKS_DOCUMENTS = "lacks_documents"
    LACKS_AUDIO = "lacks_audio"
    LACKS_JSON_SCHEMA = "lacks_json_schema"
    CONTEXT_TOO_SMALL = "context_too_small"
    LACKS_OPERATION = "lacks_operation"
    SHARED_REFUSED = "shared_refused"
    SHARED_NOT_GRANTED = "shared_not_granted"
    CONSENT_NEEDED = "consent_needed"
    BUDGET_SPENT = Reason.BUDGET_SPENT
    REQUEST_OVER_BUDGET = Reason.REQUEST_OVER_BUDGET
    RATE_LIMITED = Reason.RATE_LIMITED
    OWN_CAP_REACHED = Reason.OWN_CAP_REACHED
    REQUEST_OVER_CAP = Reason.REQUEST_OVER_CAP
    UNPRICED = Reason.UNPRICED
    FALLBACK_REFUSED = "fallback_refused"
    MODEL_PINNED = "model_pinned"
    MODEL_LACKS_OPERATION = "model_lacks_operation"
    STORED_OBJECTS_NEED_OWN_KEY = "stored_objects_need_own_key"
    MODEL_LISTS_NEED_OWN_KEY = "model_lists_need_own_key"


class Needs(Struct, frozen=True, kw_only=True):
    """What a request asks of a model. `input_tokens` is an estimate that errs low."""

    tools: bool = False
    images: bool = False
    documents: bool = False
    audio: bool = False
    json_schema: bool = False
    input_tokens: int = 0


class RouteRequest(Struct, frozen=True, kw_only=True):
    """A request as routing sees it. `allow_fallback` None leaves it to the user's settings.

    `max_output_tokens` is for previews: what a request that is sent names is in its body.
    """

    model: str
    operation: Operation = "chat"
    task: str | None = None
    needs: Needs = Needs()
    allow_fallback: bool | None = None
    max_output_tokens: int | None = None


class Attempt(Struct, frozen=True):
    """One try: this provider, this model, this credential (None: the operator's key)."""

    provider: Provider
    model: str
    credential: SealedCredential | None
    payer: Payer

    @property
    def base_url(self) -> str:
        """Where the secret may go: the URL that was stored with it, or the catalogue's."""
        return (self.credential.base_url if self.credential else None) or self.provider.base_url


class Skipped(Struct, frozen=True):
    """A hop that was left out, and why. `until` is when it may work again, where known.

    `status` is what a key that cools down was found to be, where known. `before` counts the attempts that come before
    this hop would have. `instead` is a model of this provider that can do what the asked one cannot.
    """

    provider: str
    model: str | None
    payer: Payer
    reason: str
    credential: str | None = None
    until: datetime | None = None
    status: CredentialStatus | None = None
    before: int = 0
    instead: str | None = None


class Route(Struct, frozen=True):
    """What will be tried, in order, and what will not."""

    attempts: tuple[Attempt, ...]
    skipped: tuple[Skipped, ...]
    task: str | None

    def passed_over(self, attempt: Attempt) -> list[Skipped]:
        """The hops that would have come before this attempt. They are in order, so that most often there is nothing
        to look at."""
        skipped = self.skipped
        if not skipped or (skipped[0].before > 0 and attempt is self.attempts[0]):
            return []
        place = next(place for place, one in enumerate(self.attempts) if one is attempt)
        return [hop for hop in skipped if hop.before <= place]


class Health(Protocol):
    """What is known to be broken right now. Times are UTC; None means usable."""

    def provider_down_until(self, base_url: str) -> datetime | None:
        """Until when the host of this URL is not worth trying."""
        ...

    def credential_blocked_until(self, health_key: str) -> datetime | None:
        """Until when this credential would be refused (rate limit, no credit)."""
        ...

    def credential_blocked_as(self, health_key: str) -> CredentialStatus | None:
        """What a blocked credential was found to be, where known."""
        ...


class Spending(Protocol):
    """What is known of budgets, caps and rates right now."""

    def refuse(self, attempt: Attempt) -> Refusal | None:
        """Why this attempt may not be paid for; None when it may."""
        ...


class _Wish(Struct, frozen=True):
    """What the model's name and the task ask for, before anything is checked. `label` is the task in the records."""

    label: str | None
    task: str | None
    provider: str | None
    model: str | None
    override: TaskOverride | None


def attempts(
    snapshot: Snapshot,
    request: RouteRequest,
    *,
    catalog: Mapping[str, Provider],
    policy: Policy,
    health: Health,
    now: datetime,
    spending: Spending | None = None,
) -> Route:
    """The chain for one request. Raises NotFound(unknown_task) for a `task:` that nobody made.

    `spending` None leaves budgets to who makes the attempts: only the database can promise money to a call.
    """
    wish = _read_wish(snapshot, request, catalog, policy)
    rule = policy.payer_for((wish.override.payer if wish.override else None) or snapshot.settings.payer)
    chain = _Chain(snapshot, request, wish, catalog, policy, health, now, spending)
    granted = policy.shared_for(snapshot.user_id)
    order = _provider_order(snapshot, wish, catalog, chain.preferences, granted)
    if wish.provider is None and request.operation not in TEXT_OPERATIONS:
        # Most providers cannot do it: the first one that can is the one that was asked for.
        order.sort(key=lambda provider: request.operation not in provider.operations)
    own, shared = rule is not PayerRule.SHARED_ONLY, rule is not PayerRule.OWN_ONLY
    for position, provider in enumerate(order):
        if own:
            chain.add_own(provider, first=position == 0)
    for position, provider in enumerate(order):
        if provider.id not in policy.shared:
            continue
        if not shared:
            chain.skip(provider, None, Payer.SHARED, SkipReason.SHARED_REFUSED)
        elif provider.id not in granted:
            chain.skip(provider, None, Payer.SHARED, SkipReason.SHARED_NOT_GRANTED)
        else:
            chain.add_shared(provider, first=position == 0)
    if shared:
        for position, provider in enumerate(_last_resorts(order, catalog, policy)):
            if provider.id in granted:
                chain.add_shared(provider, first=not order and position == 0)
            else:
                chain.skip(provider, None, Payer.SHARED, SkipReason.SHARED_NOT_GRANTED)
    elif not chain.attempts:
        # Nobody looks at them while there is something to try. Where there is not, this is why.
        for provider in _last_resorts(order, catalog, policy):
            if provider.id in granted:
                chain.skip(provider, None, Payer.SHARED, SkipReason.SHARED_REFUSED)
    return Route(tuple(chain.attempts), tuple(chain.skipped), wish.label)


def _last_resorts(order: list[Provider], catalog: Mapping[str, Provider], policy: Policy) -> list[Provider]:
    """The ultimate provider; where the operator has no key for it, whatever the operator does have."""
    names = [policy.ultimate] if policy.ultimate in policy.shared else list(catalog)
    taken = {provider.id for provider in order}
    return [catalog[name] for name in names if name in catalog and name in policy.shared and name not in taken]


def find_objection(route: Route, attempt: Attempt, label: str | None) -> Skipped | None:
    """Why a route that was made anew has no such attempt any more; None where it has, or where something only broke.

    `label` is what the attempt's credential is called now.
    """
    provider, payer = attempt.provider.id, attempt.payer
    wanted = None if attempt.credential is None else attempt.credential.id
    for one in route.attempts:
        held = None if one.credential is None else one.credential.id
        if (one.provider.id, one.payer, held) == (provider, payer, wanted):
            return None
    hops = [hop for hop in route.skipped if (hop.provider, hop.payer) == (provider, payer)]
    hop = next((hop for hop in hops if hop.credential in (None, label)), None)
    if hop is None:
        reason = SkipReason.SHARED_REFUSED if payer is Payer.SHARED else SkipReason.NO_CREDENTIAL
        return _leave_out(attempt, reason, None)
    return None if hop.reason in (SkipReason.COOLING_DOWN, SkipReason.PROVIDER_DOWN) else hop


def skipped_as_down(attempt: Attempt, until: datetime) -> Skipped:
    """An attempt that was in the chain, but whose endpoint broke, or is being tried by another request, since."""
    return _leave_out(attempt, SkipReason.PROVIDER_DOWN, until)


def skipped_as_refused(attempt: Attempt, refusal: Refusal) -> Skipped:
    """An attempt that may not be paid for."""
    return _leave_out(attempt, refusal.reason, refusal.until)


def skipped_as_unshareable(attempt: Attempt, reason: str) -> Skipped:
    """An attempt with the operator's key, for a request that names what the key's other users may have stored."""
    return _leave_out(attempt, reason, None)


def _leave_out(attempt: Attempt, reason: str, until: datetime | None) -> Skipped:
    label = attempt.credential.label if attempt.credential else None
    return Skipped(attempt.provider.id, attempt.model, attempt.payer, reason, label, until)


def select_best(route: Route) -> Attempt | None:
    """The attempt that would be tried first, or None."""
    return route.attempts[0] if route.attempts else None


def _read_wish(snapshot: Snapshot, request: RouteRequest, catalog: Mapping[str, Provider], policy: Policy) -> _Wish:
    name, own = request.model, _OWN_TASKS.get(request.operation)
    task = own or request.task or snapshot.settings.default_task
    label = request.task or task
    folded = name.lower()
    if folded.startswith(TASK_PREFIX):
        label = task = folded[len(TASK_PREFIX) :]
        name = AUTO
        if task != own:
            _check_task_stands(task, snapshot, policy)
    elif folded == AUTO:
        name = AUTO
    if request.task is not None:
        _check_task_is_no_slip(request.task, snapshot, policy)
    # A provider that is gone leaves overrides behind; they wait for its return.
    override = policy.override_for(task, snapshot.overrides, catalog)
    if name == AUTO:
        if override is not None:
            return _Wish(label, task, override.provider, override.model, override)
        return _Wish(label, task, None, None, None)
    named = split_provider(name, catalog)
    if named is not None:
        provider, rest = named
        # Perplexity's own models bear its name too: `perplexity/sonar` is short for `perplexity/perplexity/sonar`.
        whole = f"{provider.id}/{rest}"
        model = whole if whole in provider.models and rest not in provider.models else rest
        return _Wish(
            label, task, provider.id, model, override if override and override.provider == provider.id else None
        )
    if not _is_chosen(name, snapshot, policy):
        used = {one.provider for one in snapshot.credentials} | set(snapshot.preferences)
        refuse_slip(name, catalog, used)
    return _Wish(label, task, None, name, override if override and override.model == name else None)


def _is_chosen(name: str, snapshot: Snapshot, policy: Policy) -> bool:
    """Whether somebody has set this very name as a model: then it is no slip."""
    chosen = [one.default_model for one in snapshot.preferences.values()]
    chosen += [one.model for one in (*snapshot.overrides.values(), *policy.task_defaults.values())]
    return name in chosen


def _check_task_stands(task: str, snapshot: Snapshot, policy: Policy) -> None:
    """Somebody has made this task: a name with a slip in it would be served as `auto`, and nobody would notice."""
    known = _known_tasks(snapshot, policy)
    if task not in known:
        near = get_close_matches(task, known, n=1)
        raise _unknown_task(task, f" Did you mean task:{near[0]}?" if near else "", known, "model")


def _check_task_is_no_slip(task: str, snapshot: Snapshot, policy: Policy) -> None:
    """The task beside the model may be a host's own word, which stands in the records and is served as any other until
    somebody chooses for it. What is nearly a task is a slip: it would be served otherwise than was chosen."""
    if task in BUILT_IN_TASKS or task in snapshot.overrides or task in policy.task_defaults:
        return
    if task in _OWN_TASKS.values():
        return
    known = _known_tasks(snapshot, policy)
    near = get_close_matches(task, known, n=1, cutoff=_NEAR_TASK)
    if near:
        raise _unknown_task(task, f" Did you mean {near[0]}?", known, "X-Ownkey-Task")


def _known_tasks(snapshot: Snapshot, policy: Policy) -> list[str]:
    return list(dict.fromkeys((*BUILT_IN_TASKS, *policy.task_defaults, *snapshot.overrides)))


def _unknown_task(task: str, hint: str, known: list[str], param: str) -> NotFound:
    return NotFound(
        f"There is no task {task}.{hint} The tasks are {', '.join(known)}; further ones are made in the panel or by "
        "administrators.",
        code="unknown_task",
        param=param,
    )


def _provider_order(
    snapshot: Snapshot,
    wish: _Wish,
    catalog: Mapping[str, Provider],
    preferences: Mapping[str, Preference],
    granted: frozenset[str],
) -> list[Provider]:
    """The preferred provider first, then the user's others by (backup, priority, catalogue order).

    A provider takes part when the user holds a credential there, stated a preference for it, or asked for it.
    """
    known = {credential.provider for credential in snapshot.credentials} | set(preferences)
    rank = {provider_id: position for position, provider_id in enumerate(catalog)}

    def by_wish(provider_id: str) -> tuple[bool, int, int]:
        preference = preferences.get(provider_id) or Preference(provider=provider_id)
        return preference.backup_only, preference.priority, rank[provider_id]

    order = sorted((provider_id for provider_id in known if provider_id in catalog), key=by_wish)
    if wish.provider is not None:
        order = [wish.provider, *(other for other in order if other != wish.provider)]
    elif wish.model is not None:
        serving = [other for other in order if catalog[other].serves_model(wish.model)]
        serving += [
            other
            for other in catalog
            if other not in order and other in granted and catalog[other].serves_model(wish.model)
        ]
        order = [*serving, *(other for other in order if other not in serving)]
    return [catalog[provider_id] for provider_id in order]


class _Chain:
    """Collects attempts and the reasons for leaving hops out."""

    def __init__(
        self,
        snapshot: Snapshot,
        request: RouteRequest,
        wish: _Wish,
        catalog: Mapping[str, Provider],
        policy: Policy,
        health: Health,
        now: datetime,
        spending: Spending | None,
    ) -> None:
        self.snapshot, self.request, self.wish = snapshot, request, wish
        self.policy, self.health, self.now, self.spending = policy, health, now, spending
        self.preferences = policy.preferences_for(snapshot.preferences)
        self.attempts: list[Attempt] = []
        self.skipped: list[Skipped] = []
        self.first_model: str | None = None
        self.model_known = wish.model is None or any(p.serves_model(wish.model) for p in catalog.values())
        override = wish.override.allow_fallback if wish.override else None
        self.allow_fallback = next(
            value for value in (request.allow_fallback, override, snapshot.settings.allow_fallback) if value is not None
        )

    def skip(
        self,
        provider: Provider,
        model: str | None,
        payer: Payer,
        reason: str,
        credential: SealedCredential | None = None,
        until: datetime | None = None,
    ) -> None:
        status = None
        if reason == SkipReason.COOLING_DOWN:
            key = find_health_key(credential, provider.id)
            # What is stored follows in the background: until then the board alone knows.
            status = self.health.credential_blocked_as(key) or (credential.status if credential else None)
        label = credential.label if credential else None
        instead = self._own_model(provider) if reason == SkipReason.MODEL_LACKS_OPERATION else None
        place = len(self.attempts)
        self.skipped.append(Skipped(provider.id, model, payer, reason, label, until, status, place, instead))

    def _add(self, attempt: Attempt) -> None:
        if self.first_model is None:
            self.first_model = attempt.model
        refusal = None if self.spending is None else self.spending.refuse(attempt)
        if refusal is None:
            self.attempts.append(attempt)
        else:
            self.skipped.append(replace(skipped_as_refused(attempt, refusal), before=len(self.attempts)))

    def add_own(self, provider: Provider, *, first: bool) -> None:
        """The user's credentials at one provider, each as an attempt of its own."""
        model = self._usable_model(provider, Payer.OWN, first=first)
        if model is None:
            return
        held = [credential for credential in self.snapshot.credentials if credential.provider == provider.id]
        pinned = self.wish.override.credential_id if self.wish.override and first else None
        if pinned is not None:
            held = [credential for credential in held if credential.id == pinned]
        if not held:
            self.skip(provider, model, Payer.OWN, SkipReason.NO_CREDENTIAL)
        for credential in held:
            reason, until = self._credential_fault(credential)
            down = None if reason else self.health.provider_down_until(credential.base_url or provider.base_url)
            if down is not None:
                reason, until = SkipReason.PROVIDER_DOWN, down
            if reason:
                self.skip(provider, model, Payer.OWN, reason, credential, until)
            else:
                self._add(Attempt(provider, model, credential, Payer.OWN))

    def add_shared(self, provider: Provider, *, first: bool) -> None:
        """The operator's key for one provider."""
        model = self._usable_model(provider, Payer.SHARED, first=first)
        if model is None:
            return
        if self.policy.consent and self.snapshot.settings.shared_consent_at is None:
            self.skip(provider, model, Payer.SHARED, SkipReason.CONSENT_NEEDED)
            return
        down = self.health.provider_down_until(provider.base_url)
        until = down or self.health.credential_blocked_until(shared_credential_id(provider.id))
        if until is not None:
            self.skip(
                provider,
                model,
                Payer.SHARED,
                SkipReason.PROVIDER_DOWN if down else SkipReason.COOLING_DOWN,
                until=until,
            )
        else:
            self._add(Attempt(provider, model, None, Payer.SHARED))

    def _usable_model(self, provider: Provider, payer: Payer, *, first: bool) -> str | None:
        """The model to use here, or None after noting why there is none."""
        model = self._model_for(provider, first=first)
        reason = (
            self._provider_fault(provider, first=first)
            or self._operation_fault(provider)
            or (SkipReason.NO_MODEL if model is None else self._ability_fault(provider, model))
        )
        if reason:
            self.skip(provider, model, payer, reason)
            return None
        return model

    def _model_for(self, provider: Provider, *, first: bool) -> str | None:
        """The asked model where this provider serves it, else the user's default here, else the catalogue's."""
        wish = self.wish
        if wish.model is not None:
            asked_here = wish.provider == provider.id or (wish.provider is None and provider.serves_model(wish.model))
            if asked_here or (first and wish.provider is None and not self.model_known):
                return wish.model
        return self._own_model(provider)

    def _own_model(self, provider: Provider) -> str | None:
        """What is used here where nobody named a model."""
        operation = self.request.operation
        if operation == "embeddings":
            return provider.default_model("embedding")
        if operation != "chat":
            offer = provider.operations.get(operation)
            return offer.model if offer is not None else None
        preference = self.preferences.get(provider.id)
        if preference is not None and preference.default_model:
            return preference.default_model
        return provider.default_model(self.wish.task)

    def _provider_fault(self, provider: Provider, *, first: bool) -> str | None:
        preference = self.preferences.get(provider.id)
        if not self.policy.allows(provider.id):
            return SkipReason.NOT_ALLOWED
        if preference is not None and not preference.enabled:
            return SkipReason.DISABLED
        if not first and not self.allow_fallback:
            return SkipReason.FALLBACK_REFUSED
        if not first and preference is not None and not preference.may_fall_back:
            return SkipReason.FALLBACK_REFUSED
        return None

    def _ability_fault(self, provider: Provider, model: str) -> str | None:
        if self._is_unfit(provider, model):
            return SkipReason.MODEL_LACKS_OPERATION
        if self.request.operation != "chat":
            return self._pin_fault(model)
        known, needs = provider.find_model(model), self.request.needs
        if known is None:
            return None
        if needs.tools and not known.tools:
            return SkipReason.LACKS_TOOLS
        if needs.images and not known.images:
            return SkipReason.LACKS_IMAGES
        if needs.documents and not known.documents:
            return SkipReason.LACKS_DOCUMENTS
        if needs.audio and not known.audio:
            return SkipReason.LACKS_AUDIO
        if needs.json_schema and not known.json_schema:
            return SkipReason.LACKS_JSON_SCHEMA
        if known.context_tokens is not None and needs.input_tokens > known.context_tokens:
            return SkipReason.CONTEXT_TOO_SMALL
        return None

    def _operation_fault(self, provider: Provider) -> str | None:
        operation = self.request.operation
        if operation == "embeddings":
            return SkipReason.LACKS_OPERATION if Quirk.NO_EMBEDDINGS in provider.quirks else None
        return None if operation == "chat" or operation in provider.operations else SkipReason.LACKS_OPERATION

    def _is_unfit(self, provider: Provider, model: str) -> bool:
        """Whether a model is known to be for something else: vectors are not made by a model that talks, nor pictures.

        What administrators add says too little of its models to go by.
        """
        known, operation = provider.find_model(model), self.request.operation
        if known is None or provider.stored:
            return False
        if operation == "chat":
            return known.embedding
        if operation == "embeddings":
            return not known.embedding and model != provider.defaults.get("embedding")
        offer = provider.operations.get(operation)
        return offer is None or offer.model != model

    def _pin_fault(self, model: str) -> str | None:
        """Vectors of two models cannot be mixed, and no two models draw or speak alike: only the first is ever used."""
        if self.first_model not in (None, model):
            return SkipReason.MODEL_PINNED
        if self.wish.model is not None and model != self.wish.model:
            return SkipReason.MODEL_PINNED
        return None

    def _credential_fault(self, credential: SealedCredential) -> tuple[str | None, datetime | None]:
        if not credential.enabled:
            return SkipReason.CREDENTIAL_DISABLED, None
        if credential.is_expired(self.now):
            return SkipReason.CREDENTIAL_EXPIRED, None
        if credential.status is CredentialStatus.INVALID:
            return SkipReason.CREDENTIAL_INVALID, None
        if credential.status is CredentialStatus.UNREADABLE:
            return SkipReason.CREDENTIAL_UNREADABLE, None
        until = credential.status_until if credential.status is not CredentialStatus.OK else None
        if until is None or until <= self.now:
            until = self.health.credential_blocked_until(credential.health_key)
        return (SkipReason.COOLING_DOWN, until) if until is not None else (None, None)


def shared_credential_id(provider_id: str) -> str:
    """The name under which the operator's key for a provider has its own breaker."""
    return f"shared:{provider_id}"


def find_health_key(credential: SealedCredential | None, provider_id: str) -> str:
    """Under which name trouble with a key is remembered; None: with the operator's."""
    return shared_credential_id(provider_id) if credential is None else credential.health_key


def check_provider(provider_id: str, catalog: Mapping[str, Provider]) -> Provider:
    """The provider of this name. Raises RequestError(unknown_provider)."""
    provider = catalog.get(provider_id)
    if provider is None:
        # The name is not repeated: what was pasted into the wrong field may be a key.
        near = get_close_matches(provider_id.lower(), catalog, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise RequestError(
            f"There is no such provider. {hint}The providers are {', '.join(catalog)}.",
            code="unknown_provider",
            param="provider",
        )
    return provider
