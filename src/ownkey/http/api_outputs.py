"""What the management API answers. None of these but `RevealedOut` has a field that could hold a stored secret."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Output(BaseModel):
    """Read from the attributes of the domain's structs."""

    model_config = ConfigDict(from_attributes=True)


class CapsOut(Output):
    """A user's limits on their own money, in micro-dollars by day and month of UTC. null: without a limit."""

    day_microdollars: int | None
    month_microdollars: int | None
    action: str = Field(description="What happens there: warn or stop.")


class SettingsOut(Output):
    """A user's general choices."""

    payer: str = Field(description="In force: your choice, or what the administrator decides.")
    payer_chosen: bool = Field(description="false: you follow the administrator's default.")
    allow_fallback: bool
    default_task: str | None
    shared_consent_at: datetime | None = Field(description="When you agreed that the operator's keys may serve you.")
    shared_consent_needed: bool = Field(
        description="Whether the administrators ask for that and you have not agreed: until then these keys do not "
        "serve you."
    )
    caps: CapsOut


class HealthOut(Output):
    """How a key fares, for its owner."""

    code: str = Field(
        description="Stable: ok, unverified, credit_unproved, expires_soon, limited, list_refused, rate_limited, "
        "quota_daily, out_of_credit, invalid, base_url_changed, provider_gone, expired or unreadable."
    )
    message: str = Field(description="The same in English.")
    link: str | None = Field(description="The provider's page where something can be done about it.")


class CredentialOut(Output):
    """Everything about a stored key but the key."""

    id: str
    version: str = Field(description="For `If-Match`, in quotes: another one when this key's entry was changed.")
    provider: str
    label: str
    hint: str = Field(description="Enough of the key to tell it from your others.", examples=["sk-…AbCd"])
    base_url: str | None
    position: int
    enabled: bool
    status: str = Field(
        description="unverified, ok, limited, rate_limited, out_of_credit, invalid, expired or unreadable."
    )
    status_reason: str | None = Field(description="A stable code: what a test or a request found.")
    status_until: datetime | None
    status_since: datetime | None
    health: HealthOut
    next_probe_at: datetime | None = Field(
        description="When the server tries the key again by itself. null: it does not; a test or a request can."
    )
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None
    last_tested_at: datetime | None
    request_count: int
    input_tokens: int
    output_tokens: int
    requests_month: int = Field(description="In this calendar month (UTC), as are the next two.")
    errors_month: int
    cost_microdollars_month: int | None = Field(description="null: used, and nothing of it has a known price.")


class TestOut(Output):
    """What trying a key at its provider found."""

    outcome: str = Field(description="works, wrong_key, no_credit, limited, rate_limited or unreachable.")
    message: str
    duration_ms: int
    model_count: int | None
    models: list[str] | None = Field(description="The first 200 that the key can call, where the provider lists them.")
    http_status: int | None
    retry_after_seconds: float | None


class RevealedOut(Output):
    """The only answer that ever holds a stored key."""

    secret: str = Field(description="For the eyes of its owner; not to be kept anywhere.")
    hides_at: datetime = Field(description="When it is to leave the screen.")


class CallableModelOut(Output):
    """A model that a key can call, and what is known of it. null: nobody says."""

    id: str
    context_tokens: int | None
    tools: bool | None
    images: bool | None
    json_schema: bool | None
    embedding: bool | None
    input_price_microdollars_per_mtok: int | None = Field(description="Per million tokens; null: unpriced, not free.")
    output_price_microdollars_per_mtok: int | None


class CallableModelsOut(Output):
    """The models of one key."""

    models: list[CallableModelOut]
    fetched_at: datetime
    source: Literal["provider", "catalog"] = Field(
        description="`catalog`: this provider has no list to give; these are the models that Ownkey knows of."
    )


class FieldOut(Output):
    """A part of the provider's address that the user fills in."""

    name: str
    label: str
    pattern: str
    example: str


class ModelOut(Output):
    """What a model can do, where known."""

    id: str
    dialect: str | None = Field(description="The only one in which it can do everything; null: any.")
    context_tokens: int | None
    output_tokens: int | None = Field(description="The longest answer.")
    tools: bool
    images: bool
    documents: bool
    audio: bool
    json_schema: bool
    embedding: bool


class OfferOut(Output):
    """One thing that a provider can do besides text and embeddings."""

    model: str | None = Field(description="Used where the client names none.")
    path: str | None = Field(description="From the root of the host; null: where OpenAI has it.")


class ProviderOut(Output):
    """What a form for a key at this provider needs."""

    id: str
    label: str
    dialect: str
    needs_key: bool
    get_key_url: str | None
    docs_url: str | None
    key_prefixes: list[str] = Field(description="A hint which provider a pasted key belongs to, not a rule.")
    fields: list[FieldOut]
    default_models: dict[str, str] = Field(description="By task; `default` for the others.")
    models: list[ModelOut]
    embeddings: bool
    operations: dict[str, OfferOut] = Field(
        description="images, image_edits, speech, transcriptions, translations, moderations, rerank."
    )
    allowed: bool
    shared_key: bool = Field(description="Whether the operator's key stands behind yours.")
    custom_base_url: bool


class PreferenceOut(Output):
    """A user's wish for one provider."""

    provider: str
    enabled: bool
    priority: int
    default_model: str | None
    may_fall_back: bool
    backup_only: bool


class TaskOut(Output):
    """A user's override for one task."""

    task: str
    version: str = Field(description="For `If-Match`, in quotes: another one when this override was changed.")
    provider: str
    model: str | None
    credential_id: str | None
    payer: str | None
    allow_fallback: bool | None


class AttemptCredentialOut(Output):
    """Which of the user's keys an attempt would use."""

    id: str
    label: str
    hint: str


class AttemptPriceOut(Output):
    """What an attempt may cost, in micro-dollars."""

    lowest: int = Field(description="For the input as it was estimated, and no answer.")
    highest: int = Field(description="For that input, at its dearest, and the longest answer.")
    output_tokens: int = Field(description="The longest answer: the request's limit, else the model's, else assumed.")
    input_price: int | None = Field(description="Per million tokens.")
    output_price: int | None


class AttemptOut(Output):
    """One hop of the chain."""

    provider: str
    model: str
    payer: str = Field(description="own or shared.")
    credential: AttemptCredentialOut | None
    price: AttemptPriceOut | None = Field(description="null: nobody knows the price, which is not the same as free.")


class SkippedOut(Output):
    """A hop that would be left out, and why."""

    provider: str
    model: str | None
    payer: str
    reason: str
    credential: str | None = Field(description="The key's label.")
    until: datetime | None = Field(description="When it may work again, where known.")
    explanation: str = Field(description="The same in English.")


class RouteOut(Output):
    """What a request would try, in order. Both the preview and the gateway compute it with the same function."""

    task: str | None
    best: AttemptOut | None
    attempts: list[AttemptOut]
    skipped: list[SkippedOut]


class UsageRowOut(Output):
    """One group. Keys that were not asked for are null."""

    user_id: str | None
    day: date | None
    provider: str | None
    model: str | None
    task: str | None
    credential_id: str | None = Field(description="null also for the operator's key.")
    credential_label: str | None = Field(description="null also for a key that was removed.")
    payer: str | None
    requests: int
    errors: int
    input_uncached: int
    cache_read: int
    cache_write: int
    output_text: int
    output_reasoning: int
    cost_microdollars: int | None = Field(description="Of the priced requests; null when none has a known price.")
    unpriced_requests: int
    estimated_requests: int = Field(
        description="Of which the tokens, and with them the cost, are estimates: the client left before the end."
    )
    fallback_requests: int = Field(description="Calls that took over from another key or provider.")
    mean_duration_ms: int | None
    mean_first_byte_ms: int | None
    p50_duration_ms: int | None = Field(
        description="In milliseconds, as are the five that follow. null in tables of more than 1,000 rows."
    )
    p95_duration_ms: int | None
    p99_duration_ms: int | None
    p50_first_byte_ms: int | None = Field(description="Until the first byte; in streams until the first content.")
    p95_first_byte_ms: int | None
    p99_first_byte_ms: int | None


class UsageOut(Output):
    """Usage in a range of days (UTC), both ends included."""

    start: date
    end: date
    group_by: list[str]
    exact: bool = Field(
        description="Whether the percentiles were measured call by call; else they are good to 4.5 per cent."
    )
    rows: list[UsageRowOut]
    total: UsageRowOut


class SkippedHopOut(Output):
    """A hop that was left out, and why."""

    provider: str
    payer: str = Field(description="own or shared.")
    reason: str = Field(description="As in the preview of a route.")


class LoggedAttemptOut(Output):
    """One upstream call. The counters are disjoint; their sum is what the provider bills for."""

    occurred_at: datetime
    attempt: int
    provider: str
    model: str
    payer: str = Field(description="own or shared.")
    credential_id: str | None
    credential_label: str | None = Field(description="null for the operator's key and for a key that was removed.")
    outcome: str = Field(description="ok, or why the call failed: a row of the error taxonomy.")
    http_status: int | None
    duration_ms: int
    first_byte_ms: int | None
    input_uncached: int
    cache_read: int
    cache_write: int
    output_text: int
    output_reasoning: int
    tokens_source: str = Field(description="reported by the provider, estimated, or none.")
    service_tier: str | None = Field(description="The provider's word for how it served the call, where it said so.")
    fallback: bool = Field(description="Whether it took over from another key or provider.")
    cost_microdollars: int | None = Field(description="null: unpriced, not free.")
    cost_source: str | None = Field(
        description="reported: the provider said what it charged. computed: from its token counts and a price. "
        "estimated: from counts that are estimates. unpriced: nobody knows the price. null: nothing to price."
    )
    price_version: str | None = Field(description="Which price it was computed by.")
    provider_request_id: str | None = Field(description="What the provider's support asks for.")
    finish_reason: str | None
    skipped: list[SkippedHopOut] = Field(
        description="What would have come before it and was left out, since the attempt before; at most 16."
    )


class LoggedRequestOut(Output):
    """One request with its attempts in order. Provider, model, payer and outcome are those of the last attempt."""

    id: str = Field(description="As in `X-Ownkey-Request-Id`; the next page is `before` the last.")
    occurred_at: datetime
    operation: str
    task: str | None
    requested_model: str
    streamed: bool
    provider: str
    model: str
    payer: str
    outcome: str
    duration_ms: int = Field(description="From the first attempt's begin to the last one's end.")
    cost_microdollars: int | None = Field(description="Of the priced attempts; null when none has a known price.")
    cost_source: str | None = Field(description="That of the least certain of them.")
    attempts: list[LoggedAttemptOut]


class AuditEntryOut(Output):
    """One thing that was done."""

    id: int = Field(description="Grows with time; the next page is `before` the smallest.")
    chain: int
    position: int
    occurred_at: datetime
    actor: str
    user_id: str
    action: str
    subject: str | None
    details: dict[str, Any]


class TokenOut(Output):
    """A gateway token, without its text."""

    id: str
    name: str
    hint: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewTokenOut(TokenOut):
    """The only answer that ever holds the token's text."""

    token: str = Field(description="Shown this once. Only its hash is stored.", examples=["ok-…"])


class SessionOut(Output):
    """Who is asking."""

    user_id: str
    role: str
    scopes: list[str]
    via: str = Field(description="session, token, panel or jwt: by what you were recognised.")
    token_id: str = Field(description="Of the gateway token; empty for everything else.")
    session_id: str | None = None
    authenticated_at: datetime | None = Field(None, description="When you last proved who you are, where known.")
    expires_at: datetime | None = Field(
        None, description="When this ends unless it is used; null: not known, or never."
    )
    login: str | None = Field(None, description="With what you sign in here; null when you come in another way.")
    display_name: str | None = None
    has_password: bool = False


class ConfiguredProviderOut(Output):
    """A provider that this user's requests can go to."""

    provider: str
    label: str
    credentials: int = Field(description="How many keys of one's own.")
    shared: bool = Field(description="Whether the operator's key stands behind them.")
    enabled: bool
    default_model: str | None


class SignedInOut(SessionOut):
    """The session, with what the user chose: providers best first."""

    settings: SettingsOut
    providers: list[ConfiguredProviderOut]


class HeldCredentialsOut(Output):
    """How many keys at one provider have one status."""

    provider: str
    status: str
    count: int


class UserOut(Output):
    """One user as an administrator sees them."""

    id: str
    role: str
    status: str = Field(description="active or suspended.")
    group: str | None = Field(description="Whose budget the user shares.")
    created_at: datetime
    login: str | None = Field(description="null: signs in elsewhere.")
    display_name: str | None
    last_active_at: datetime | None = Field(description="The last use of a gateway token.")
    credentials: list[HeldCredentialsOut]
    requests: int = Field(description="Calls to providers in the last 30 days, failed ones included.")
    errors: int = Field(description="Those that failed.")
    own_cost_microdollars: int | None = Field(description="Of the last 30 days; null when nothing has a known price.")
    shared_cost_microdollars: int | None = Field(description="The same on the operator's keys.")


class ProviderHealthOut(Output):
    """null: nothing is known to be wrong."""

    provider: str
    label: str
    allowed: bool
    shared_key: bool
    down_until: datetime | None
    shared_key_blocked_until: datetime | None
    requests: int = Field(description="Everybody's calls in the last hour, in all processes.")
    errors: dict[str, int] = Field(description="Those of them that failed, by class of error.")
    p50_duration_ms: int | None = Field(description="Of the calls that succeeded.")
    p95_duration_ms: int | None
    p50_first_byte_ms: int | None


class FallbackOut(Output):
    """How often requests fell from one hop to another."""

    from_provider: str
    from_payer: str = Field(description="own or shared.")
    to_provider: str
    to_payer: str
    requests: int
    answered: int = Field(description="How many of them the second hop answered.")
    errors: dict[str, int] = Field(description="Why they fell, by class of error.")
    last_at: datetime


class SharedUserOut(Output):
    """What one user took from the operator's keys."""

    user_id: str
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_microdollars: int | None = Field(description="Of the priced requests; null when none has a known price.")
    unpriced_requests: int
    providers: list[str]
    last_day: date


class BrokenLinkOut(Output):
    """The first entry that is not as it was written, or before which one is missing."""

    chain: int
    position: int
    reason: str
    anchor: str | None = Field(description="When the anchor was taken that says so, if one does.")


class VerificationOut(Output):
    """What recomputing the audit chains found."""

    ok: bool
    chains: int
    entries: int
    unsealed: int = Field(description="Entries older than the seals: their hashes alone speak for them.")
    anchors: int = Field(description="Ends of chains, kept outside the database, that it was compared with.")
    first_broken: BrokenLinkOut | None


class AdminProviderOut(ProviderOut):
    """A provider with what only the operator needs to know."""

    base_url: str
    environment: str | None = Field(description="The variable that holds the operator's key.")
    local: bool
    stored: bool = Field(description="Added by an administrator: can be changed and removed.")
    also: list[str] = Field(description="Other dialects that the same base URL speaks.")
    counts_tokens: bool
    auth: str = Field(description="bearer, none or header:<name>.")
    probe: str
    headers: dict[str, str] = Field(description="Sent with every request; only of those that can be changed.")
    serves: list[str]
    quirks: list[str]
    prices: str | None


class WrappingKeyOut(Output):
    """A wrapping key, by its name."""

    id: str
    phase: str = Field(description="known, primary (it wraps), retiring, retired or destroyed.")
    keys: int = Field(description="How many users' data keys it wraps.")
    keys_at_start: int | None = Field(description="How many it wrapped when it began to retire.")
    changed_at: datetime | None
    changed_by: str | None


class LiveProcessOut(Output):
    """A process that can open data keys."""

    id: str
    host: str
    pid: int
    wrapping_keys: list[str] = Field(description="The wrapping keys that it holds.")
    started_at: datetime


class EncryptionOut(Output):
    """Wrapping keys, the data keys under them, and who holds which."""

    primary_key: str | None
    loaded: list[str] = Field(description="The wrapping keys that the process that answers holds.")
    keys: list[WrappingKeyOut]
    processes: list[LiveProcessOut]
    missing: list[str] = Field(
        description="Wrapping keys that are in use and not loaded: those users' keys cannot be read."
    )
    from_file: bool = Field(description="Whether a key is added by writing it to a file, without a restart.")
    working: bool = Field(description="Whether the process that answers is rewrapping data keys now.")
    left: int = Field(description="How many data keys are not under the primary key.")
    to_move: int = Field(description="How many there were when the keys that retire began to.")


class SharedAccessOut(Output):
    """Whom the operator's keys serve."""

    access: str = Field(description="everyone, nobody or listed.")
    users: list[str]
    consent: bool = Field(description="Whether each user has to agree before these keys serve them.")


class AllowanceOut(Output):
    """How much may be spent, in micro-dollars by day and month of UTC. null: without a limit."""

    day_microdollars: int | None
    month_microdollars: int | None


class BudgetsOut(Output):
    """How much of the operator's money may be spent."""

    per_user: AllowanceOut = Field(description="By each user.")
    groups: dict[str, AllowanceOut] = Field(description="By the members of a group together.")
    total: AllowanceOut = Field(description="By everybody together.")
    assumed_output_tokens: int = Field(
        description="Bounds the answer to a request that names no limit, of a model whose own is not known."
    )


class LimitsOut(Output):
    """How fast each user may use the operator's keys. null: without a limit."""

    requests_per_minute: int | None = Field(description="Calls to providers.")
    tokens_per_minute: int | None = Field(description="In and out.")


class TaskDefaultOut(Output):
    """Where a task goes."""

    provider: str
    model: str | None


class PolicyDefaultsOut(Output):
    """What holds for users who chose nothing."""

    payer: str
    tasks: dict[str, TaskDefaultOut]


class PolicyFrameOut(Output):
    """What the operator's environment allows; the policy only narrows it."""

    allowed_providers: list[str] | None = Field(description="null: all.")
    shared_providers: list[str] = Field(description="Providers for which the operator has a key.")


class PolicyOut(Output):
    """What administrators decided for everybody."""

    allowed_providers: list[str] | None = Field(description="null: all that the frame allows.")
    shared: SharedAccessOut
    budgets: BudgetsOut
    limits: LimitsOut
    defaults: PolicyDefaultsOut
    locks: list[str] = Field(description="`payer`, `preferences`, `tasks` or `tasks:<name>`.")
    reveal_keys: bool
    frame: PolicyFrameOut
    generation: int = Field(description="The ETag of this answer; 0: nothing was decided yet.")
    updated_at: datetime | None
    updated_by: str | None
    unknown_users: list[str] = Field(
        description="Ids in `shared.users` that nobody has (the first hundred): mistyped, or not made yet."
    )


class UserPolicyOut(Output):
    """The policy as far as it concerns you."""

    allowed_providers: list[str] | None = Field(description="null: all of the catalogue.")
    shared_providers: list[str] = Field(description="Where the operator's key may stand behind yours.")
    defaults: PolicyDefaultsOut
    locks: list[str] = Field(description="What you cannot choose: `payer`, `preferences`, `tasks` or `tasks:<name>`.")
    locked_by: str | None = Field(description="The administrator who decided the policy, where something is locked.")
    reveal_keys: bool
    custom_base_urls: bool


class BudgetLineOut(Output):
    """One limit on money in the period that is under way. Amounts are micro-dollars; null: not told to users."""

    scope: Literal["user", "group", "total", "own"] = Field(
        description="Yours, your group's or everybody's budget of the operator's money; own: your cap on your own."
    )
    period: Literal["day", "month"] = Field(description="Of UTC.")
    action: Literal["stop", "warn"]
    limit_microdollars: int | None
    spent_microdollars: int | None
    reserved_microdollars: int | None = Field(description="Promised to requests under way, from a bound on their cost.")
    left_microdollars: int | None
    reached: bool = Field(description="Whether nothing is left.")
    resets_at: datetime


class RateLineOut(Output):
    """One limit on speed in the minute that is under way."""

    unit: Literal["requests", "tokens"]
    limit_per_minute: int
    used: int = Field(description="What is promised to requests under way included.")
    left: int
    resets_at: datetime


class BudgetStandingOut(Output):
    """What you have left."""

    group: str | None = Field(description="Whose budget you share.")
    shared_consent_needed: bool = Field(description="As in the settings.")
    shared: list[BudgetLineOut] = Field(description="Budgets that concern you, of the operator's money.")
    own: list[BudgetLineOut] = Field(description="Your caps on your own money.")
    rates: list[RateLineOut] = Field(description="How fast you may use the operator's keys.")


class PotOut(Output):
    """What was spent from one budget in the period that is under way; micro-dollars."""

    period: Literal["day", "month"] = Field(description="Of UTC.")
    limit_microdollars: int | None = Field(description="null: without a limit.")
    spent_microdollars: int
    reserved_microdollars: int = Field(description="Promised to requests under way, from a bound on their cost.")
    resets_at: datetime


class GroupBudgetOut(Output):
    """One group: named by the policy, or by a user who is in it."""

    name: str
    members: int
    pots: list[PotOut] = Field(description="The members together: day and month.")


class SpenderOut(Output):
    """What one user took from the operator's keys; micro-dollars."""

    user_id: str
    group: str | None
    day_spent_microdollars: int
    day_reserved_microdollars: int
    month_spent_microdollars: int
    month_reserved_microdollars: int
    reached: bool = Field(description="Whether the user's own budget of a day or month is used up.")


class BudgetOverviewOut(Output):
    """The operator's money: budgets, and what is left of them."""

    per_user: AllowanceOut
    total: list[PotOut] = Field(description="Everybody together: day and month.")
    groups: list[GroupBudgetOut]
    users: list[SpenderOut] = Field(description="Who took something this month, the most expensive first.")
