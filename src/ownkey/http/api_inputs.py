"""What callers may send to the management API. Unknown fields are refused: a typo must not pass as a change."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from ownkey.domain.budget import ASSUMED_OUTPUT_TOKENS, MICRODOLLARS_LIMIT
from ownkey.domain.settings import DEFAULT_PRIORITY
from ownkey.domain.usage import Outcome
from ownkey.domain.user import holds_control_characters
from ownkey.services.choices import PRIORITY_LIMIT
from ownkey.services.credentials import POSITION_LIMIT
from ownkey.services.policies import LISTED_USERS_LIMIT


def _plain(text: str) -> str:
    if holds_control_characters(text):
        raise ValueError("The text holds a control character or half of a character.")
    return text


def _only_text(value: Any) -> Any:
    # pydantic would read a number as seconds since 1970.
    if value is not None and not isinstance(value, str):
        raise ValueError("A time is a text such as 2030-01-31T12:00:00Z.")
    return value


def _only_a_day(value: Any) -> Any:
    # pydantic would read a number as seconds since 1970, and a time of day as a day.
    if value is not None and not (isinstance(value, str) and _DAY.fullmatch(value)):
        raise ValueError("A day is a text such as 2030-01-31.")
    return value


def _split_commas(value: Any) -> Any:
    """`group_by=day,provider` means the same as `group_by=day&group_by=provider`."""
    return [part for item in value for part in str(item).split(",")] if isinstance(value, list) else value


def _secret_is_text(secret: SecretStr) -> SecretStr:
    try:
        secret.get_secret_value().encode()
    except UnicodeEncodeError:
        raise ValueError("The key holds half of a character.") from None
    return secret


_RECORD_ID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)

Day = Annotated[date, BeforeValidator(_only_a_day)]
Text = Annotated[str, AfterValidator(_plain)]
Name = Annotated[str, Field(max_length=80), AfterValidator(_plain)]
ProviderId = Annotated[str, Field(min_length=1, max_length=60, examples=["groq"]), AfterValidator(_plain)]
Model = Annotated[
    str, Field(min_length=1, max_length=200, examples=["llama-3.3-70b-versatile"]), AfterValidator(_plain)
]
RecordId = Annotated[
    str,
    Field(min_length=36, max_length=36, examples=["0192d0c4-6f1e-7cc2-a1b2-334455667788"]),
    AfterValidator(_plain),
]
Instant = Annotated[AwareDatetime, BeforeValidator(_only_text), Field(strict=False, examples=["2030-01-31T12:00:00Z"])]
Payer = Literal["own_only", "own_then_shared", "shared_only"]
Priority = Annotated[int, Field(ge=0, le=PRIORITY_LIMIT, description="Smaller is tried first.")]
Position = Annotated[int, Field(ge=0, le=POSITION_LIMIT, description="Smaller is tried first.")]
BaseUrl = Annotated[str, Field(max_length=300, examples=["https://llm.example.com/v1"]), AfterValidator(_plain)]
PastedSecret = Annotated[
    SecretStr,
    Field(
        max_length=2048,
        description="The API key as the provider shows it; empty where the provider needs none. No answer holds it.",
        examples=["gsk_1234567890abcdef1234567890abcdef"],
    ),
    AfterValidator(_secret_is_text),
]


class Input(BaseModel):
    """Strict: `"5"` is not a number and `1` is not true."""

    model_config = ConfigDict(extra="forbid", strict=True)


Microdollars = Annotated[
    int, Field(ge=0, le=MICRODOLLARS_LIMIT, description="A million is one dollar.", examples=[5_000_000])
]


class CapsInput(Input):
    """Your limits on your own money, by day and month of UTC."""

    day_microdollars: Microdollars | None = Field(default=None, description="null: without a limit.")
    month_microdollars: Microdollars | None = Field(default=None, description="null: without a limit.")
    action: Literal["warn", "stop"] = Field(
        default="stop", description="warn: requests go on, and their answers say so in `X-Ownkey-Warning`."
    )


class SettingsChange(Input):
    """What is left out stays as it is."""

    payer: Payer | None = Field(
        None, description="Who may pay for requests in general; null: as the administrator decides."
    )
    allow_fallback: bool = Field(True, description="Whether a failed request may go to another provider.")
    default_task: Annotated[str, AfterValidator(_plain), Field(max_length=40)] | None = Field(
        None, description="The task of requests that name none.", examples=["chat"]
    )
    shared_consent: bool = Field(
        False,
        description="Whether the operator's keys may serve you, where the administrators ask; false takes it back.",
    )
    caps: CapsInput = Field(CapsInput(), description="All of them at once.")


class SecretAtProvider(Input):
    """A secret, and where it belongs."""

    provider: ProviderId
    secret: PastedSecret
    base_url: BaseUrl | None = Field(None, description="Only where the deployment allows addresses of one's own.")
    fields: dict[Name, Text] = Field({}, description="The parts of the provider's address, see GET /api/providers.")


class NewCredential(SecretAtProvider):
    """A key to store."""

    label: Name = Field("", examples=["work"])
    expires_at: Instant | None = None
    position: Position | None = Field(None, description="Its place among your keys at this provider; default: last.")


class CredentialChange(Input):
    """What is left out stays as it is. A new base URL erases the stored key: enter it again with `replace`."""

    label: Name = ""
    enabled: bool = True
    position: Position = 0
    expires_at: Instant | None = Field(None, description="null: never.")
    base_url: BaseUrl | None = Field(None, description="null: the provider's own address.")
    fields: dict[Name, Text] = Field({}, description="The parts of the provider's address; they make a new base URL.")


class ReplacedSecret(Input):
    """The new key; id, label, order and history stay. The address stays too, unless one is given."""

    secret: PastedSecret
    base_url: BaseUrl | None = Field(None, description="null: the provider's own address.")
    fields: dict[Name, Text] = Field({}, description="The parts of the provider's address, see GET /api/providers.")


class CredentialOrder(Input):
    """Every key of the provider, each once, first to last."""

    provider: ProviderId
    credential_ids: list[RecordId] = Field(max_length=100)


class PreferenceChange(Input):
    """The whole preference: what is left out takes its default."""

    enabled: bool = True
    priority: Priority = DEFAULT_PRIORITY
    default_model: Model | None = None
    may_fall_back: bool = Field(True, description="false: only ever used as the first choice.")
    backup_only: bool = Field(False, description="true: behind all other providers.")


class ListedPreference(PreferenceChange):
    """A preference and its provider."""

    provider: ProviderId


class TaskChange(Input):
    """The whole override: what is left out takes its default."""

    provider: ProviderId
    model: Model | None = Field(None, description="null: your default model at this provider.")
    credential_id: RecordId | None = Field(None, description="One particular key of several at this provider.")
    payer: Payer | None = Field(None, description="null: as in the general settings.")
    allow_fallback: bool | None = Field(None, description="null: as in the general settings.")


class SharedAccessInput(Input):
    """Whom the operator's keys serve."""

    access: Literal["everyone", "nobody", "listed"] = "everyone"
    users: list[Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_plain)]] = Field(
        default=[], max_length=LISTED_USERS_LIMIT, description="Ids of users; they count while `access` is `listed`."
    )
    consent: bool = Field(default=False, description="Whether each user has to agree before these keys serve them.")


class AllowanceInput(Input):
    """How much may be spent, by day and month of UTC."""

    day_microdollars: Microdollars | None = Field(default=None, description="null: without a limit.")
    month_microdollars: Microdollars | None = Field(default=None, description="null: without a limit.")


class BudgetsInput(Input):
    """How much of the operator's money may be spent. Requests on users' own keys are outside of it."""

    per_user: AllowanceInput = Field(default=AllowanceInput(), description="By each user.")
    groups: dict[Annotated[str, Field(max_length=40), AfterValidator(_plain)], AllowanceInput] = Field(
        default={}, description="By the members of a group together."
    )
    total: AllowanceInput = Field(default=AllowanceInput(), description="By everybody together.")
    assumed_output_tokens: int = Field(
        default=ASSUMED_OUTPUT_TOKENS,
        ge=1,
        le=10_000_000,
        description="Bounds the answer to a request that names no limit, of a model whose own is not known.",
    )


class LimitsInput(Input):
    """How fast each user may use the operator's keys."""

    requests_per_minute: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Calls to providers; null: no limit."
    )
    tokens_per_minute: int | None = Field(default=None, ge=1, le=10**12, description="In and out; null: no limit.")


class TaskDefaultInput(Input):
    """Where a task goes."""

    provider: ProviderId
    model: Model | None = Field(None, description="null: the provider's own default for the task.")


class PolicyDefaultsInput(Input):
    """What holds for users who chose nothing."""

    payer: Payer = "own_then_shared"
    tasks: dict[Annotated[str, Field(max_length=40), AfterValidator(_plain)], TaskDefaultInput] = Field(
        default={}, description="By task, built in or of your own."
    )


class PolicyInput(Input):
    """The whole policy. It only narrows what the operator's environment allows."""

    allowed_providers: list[ProviderId] | None = Field(
        None, max_length=500, description="null: all that the environment allows."
    )
    shared: SharedAccessInput = SharedAccessInput()
    budgets: BudgetsInput = BudgetsInput()
    limits: LimitsInput = LimitsInput()
    defaults: PolicyDefaultsInput = PolicyDefaultsInput()
    locks: list[Annotated[str, Field(max_length=50, examples=["tasks:coding"]), AfterValidator(_plain)]] = Field(
        [], max_length=100, description="`payer`, `preferences`, `tasks` (all of them) or `tasks:<name>`."
    )
    reveal_keys: bool = Field(False, description="Whether users may have their own stored keys shown again.")


_DialectName = Literal["openai_chat", "openai_responses", "anthropic_messages", "gemini"]
_Quirk = Literal[
    "no_stream_options",
    "max_tokens_only",
    "no_embeddings",
    "no_model_list",
    "openai_fields",
    "cache_control",
    "top_k",
]
_Operation = Literal["images", "image_edits", "speech", "transcriptions", "translations", "moderations", "rerank"]


class ModelInput(Input):
    """What a model can do."""

    dialect: _DialectName | None = Field(None, description="The only one in which it can do everything; null: any.")
    context_tokens: int | None = Field(None, ge=1, le=1_000_000_000)
    output_tokens: int | None = Field(None, ge=1, le=1_000_000_000, description="The longest answer; for budgets.")
    tools: bool = True
    images: bool = False
    documents: bool = False
    audio: bool = False
    json_schema: bool = False
    embedding: bool = False


class FieldInput(Input):
    """A part of the base URL that users fill in."""

    name: Name
    label: Name
    pattern: Annotated[str, Field(max_length=200, examples=["[a-z0-9-]{1,40}"]), AfterValidator(_plain)]
    example: Name = ""


_Line = Annotated[str, Field(max_length=300), AfterValidator(_plain)]


class OfferInput(Input):
    """One thing that a provider can do besides text and embeddings."""

    model: _Line | None = Field(None, description="Used where the client names none.")
    path: _Line | None = Field(None, description="From the root of the host; null: where OpenAI has it.")


class ProviderInput(Input):
    """A provider, in the form of a table of the catalogue's file; what is left out takes its default."""

    label: Annotated[str, Field(min_length=1, max_length=100, examples=["Our gateway"]), AfterValidator(_plain)]
    dialect: _DialectName
    also: list[_DialectName] = Field(
        default=[], max_length=3, description="Other dialects that the same base URL speaks."
    )
    base_url: BaseUrl
    auth: _Line = Field("bearer", description="bearer, none or `header:` and a lower-case name.")
    get_key_url: _Line | None = Field(None, description="Where people get a key: https://…")
    docs_url: _Line | None = None
    probe: _Line = Field("GET /models", description="The cheapest request that needs a valid key.")
    headers: dict[_Line, _Line] = Field(default={}, max_length=20, description="Sent with every request.")
    key_prefixes: list[_Line] = Field(default=[], max_length=20)
    serves: list[_Line] = Field(default=[], max_length=50, description="Patterns of model names that belong here.")
    defaults: dict[_Line, _Line] = Field(
        default={}, max_length=100, description="A model by task; `default` for the others."
    )
    models: dict[_Line, ModelInput] = Field(default={}, max_length=500)
    operations: dict[_Operation, OfferInput] = Field(
        default={}, description="What it can do besides text and embeddings."
    )
    counts_tokens: bool = Field(False, description="Has an endpoint of its dialect that counts a request's tokens.")
    fields: list[FieldInput] = Field(default=[], max_length=10)
    quirks: list[_Quirk] = Field(default=[], max_length=10)
    local: bool = Field(False, description="Inside the operator's network, where the deployment allows that.")
    prices: _Line | None = Field(None, description="Its id in genai-prices; null: unpriced.")


class NewProviderInput(ProviderInput):
    """A provider and its id."""

    id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=40,
            pattern="^[a-z][a-z0-9_]*$",
            examples=["our_gateway"],
            description="Lower-case letters, digits and underscores; it never changes.",
        ),
    ]


class NeedsInput(Input):
    """What the request would ask of a model."""

    tools: bool = False
    images: bool = False
    documents: bool = False
    audio: bool = False
    json_schema: bool = False
    input_tokens: int = Field(default=0, ge=0, le=100_000_000)


class RoutePreviewInput(Input):
    """A request that is not sent."""

    model: Text = Field(
        "auto",
        min_length=1,
        max_length=300,
        description="`auto`, `task:coding`, `groq/llama-3.3-70b-versatile` or a bare model name.",
    )
    task: Annotated[str, AfterValidator(_plain), Field(max_length=40)] | None = None
    operation: Literal["chat", "embeddings"] | _Operation = "chat"
    needs: NeedsInput = NeedsInput()
    max_output_tokens: int | None = Field(
        None, ge=1, le=100_000_000, description="The limit that the request sets on its answer, for what it may cost."
    )
    allow_fallback: bool | None = None


class NewTokenInput(Input):
    """A token to make."""

    name: Name = Field(min_length=1, examples=["laptop"])
    scopes: list[Literal["gateway", "settings", "admin"]] | None = Field(
        None,
        min_length=1,
        max_length=3,
        description="Default: gateway and settings, as far as your own token has them.",
    )
    expires_at: Instant | None = Field(None, description="null: never.")


class Filter(BaseModel):
    """Query parameters. They are text by nature, so numbers are read from it; unknown ones are refused all the same."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)


class UsageChoice(Filter):
    """Which days, and what all of it has in common."""

    start: Day | None = Field(None, alias="from", description="First day, UTC; default: 30 days up to `to`.")
    end: Day | None = Field(None, alias="to", description="Last day, UTC, included; default: today.")
    provider: ProviderId | None = Field(None, description="Only this one's; so with those that follow.")
    model: Model | None = None
    task: Annotated[str, Field(min_length=1, max_length=40), AfterValidator(_plain)] | None = None
    credential_id: Annotated[str, Field(pattern=_RECORD_ID)] | None = None
    payer: Literal["own", "shared"] | None = None

    def choice(self) -> dict[str, str | None]:
        """What was chosen, without the days."""
        return {name: getattr(self, name) for name in ("provider", "model", "task", "credential_id", "payer")}


class UsageFilter(UsageChoice):
    """Which of it, and what to sum by."""

    group_by: Annotated[
        list[Literal["day", "provider", "model", "task", "credential", "payer"]],
        BeforeValidator(_split_commas),
        Field(min_length=1, max_length=20, description="Repeat it, or separate with commas."),
    ] = ["day"]


class AdminUsageFilter(UsageChoice):
    """Which of it, and what to sum by; everybody's usage."""

    user_id: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_plain)] | None = None
    group_by: Annotated[
        list[Literal["user", "day", "provider", "model", "task", "credential", "payer"]],
        BeforeValidator(_split_commas),
        Field(min_length=1, max_length=20, description="Repeat it, or separate with commas."),
    ] = ["user"]

    def choice(self) -> dict[str, str | None]:
        """With the user."""
        return {**super().choice(), "user_id": self.user_id}


class PageFilter(Filter):
    """One page of a list that grows."""

    limit: int = Field(100, ge=1, le=500)
    before: int | None = Field(
        None, ge=1, le=2**63 - 1, description="Only what is older: the `id` of the last entry of the page before."
    )


class RequestChoice(UsageChoice):
    """Which requests: those of which an attempt is as asked."""

    start: Day | None = Field(None, alias="from", description="First day, UTC; default: 30 days up to `to`, or all.")
    outcome: Outcome | Literal["error"] | None = Field(
        None, description="`error`: every outcome but ok and client_gone."
    )

    def choice(self) -> dict[str, str | None]:
        """With the outcome."""
        return {**super().choice(), "outcome": self.outcome}


class RequestFilter(RequestChoice):
    """One page of requests. A request is shown with all its attempts when one of them is as asked."""

    limit: int = Field(50, ge=1, le=200)
    before: Annotated[str, Field(pattern=_RECORD_ID)] | None = Field(
        None, description="Only what is older: the `id` of the last request of the page before."
    )


class AuditFilter(Filter):
    """Which of everybody's entries."""

    user_id: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_plain)] | None = Field(
        None, description="Whose rows were changed."
    )
    actor: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_plain)] | None = Field(
        None, description="Who did it: a part of their id, in any case."
    )
    action: Annotated[str, Field(max_length=60, pattern=r"^[a-z_]+(\.[a-z_]+)?$")] | None = Field(
        None, description="`credential.added`, or `credential` for all that begin with it."
    )
    start: Day | None = Field(None, alias="from", description="First day, UTC.")
    end: Day | None = Field(None, alias="to", description="Last day, UTC, included.")


class AuditPageFilter(AuditFilter):
    """One page of them."""

    limit: int = Field(100, ge=1, le=500)
    before: int | None = Field(
        None, ge=1, le=2**63 - 1, description="Only what is older: the `id` of the last entry of the page before."
    )


class SpendersFilter(Filter):
    """How many users to list."""

    limit: int = Field(100, ge=1, le=1000)


class DaysFilter(Filter):
    """Which days."""

    start: Day | None = Field(None, alias="from", description="First day, UTC; default: 30 days up to `to`.")
    end: Day | None = Field(None, alias="to", description="Last day, UTC, included; default: today.")


Holding = Annotated[
    Annotated[str, Field(max_length=255), AfterValidator(_plain)] | None,
    Field(description="Only users whose id, login or name holds this, in whatever case."),
]


class UserFilter(Filter):
    """One page of users, by id."""

    limit: int = Field(100, ge=1, le=500)
    after: Annotated[str, Field(max_length=255), AfterValidator(_plain)] | None = Field(
        None, description="The id of the last user of the page before."
    )
    q: Holding = None


class UserSearch(Filter):
    """Which users."""

    q: Holding = None
