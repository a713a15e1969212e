"""A provider as data: what one table of `catalog.toml` says. Loaded and checked by `providers.catalog`."""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Literal

from msgspec import Struct

# What some providers can do besides text and embeddings, in OpenAI's wire format (rerank: in Cohere's).
SideOperation = Literal["images", "image_edits", "speech", "transcriptions", "translations", "moderations", "rerank"]


class Dialect(StrEnum):
    """A wire format, of a client or of a provider."""

    OPENAI_CHAT = "openai_chat"
    OPENAI_RESPONSES = "openai_responses"
    ANTHROPIC_MESSAGES = "anthropic_messages"
    GEMINI = "gemini"


class Quirk(StrEnum):
    """The closed list of differences that the OpenAI dialect knows how to bridge."""

    NO_STREAM_OPTIONS = "no_stream_options"  # refuses `stream_options`, or reports usage unasked
    MAX_TOKENS_ONLY = "max_tokens_only"  # refuses `max_completion_tokens`
    NO_EMBEDDINGS = "no_embeddings"  # has no /embeddings
    NO_MODEL_LIST = "no_model_list"  # has no /models; the probe is another call
    # What most would refuse, so that a translated request has it only where it is known to be taken:
    OPENAI_FIELDS = "openai_fields"  # takes `user`, `prompt_cache_key` and `verbosity`
    CACHE_CONTROL = "cache_control"  # takes Anthropic's cache marks on parts
    TOP_K = "top_k"  # takes `top_k`


class CostField(StrEnum):
    """A field of a usage object in which a provider says what it charged."""

    COST = "cost"  # dollars, as OpenRouter has it
    COST_IN_USD_TICKS = "cost_in_usd_ticks"  # of which a dollar has 10 thousand million, as xAI has it


class Model(Struct, frozen=True, kw_only=True):
    """What a model can do, where known. An unknown model is assumed able: its owner chose it.

    `dialect` is the only one of its provider's in which the model can do everything; None: any of them.
    """

    id: str
    dialect: Dialect | None = None
    context_tokens: int | None = None
    output_tokens: int | None = None  # the longest answer
    tools: bool = True
    images: bool = False
    documents: bool = False
    audio: bool = False
    json_schema: bool = False
    embedding: bool = False


class Offer(Struct, frozen=True, kw_only=True):
    """One operation of a provider. `model` is used where the client names none.

    `path` is from the root of the host, for what is not below the base URL where OpenAI has it.
    """

    model: str | None = None
    path: str | None = None


class Field(Struct, frozen=True, kw_only=True):
    """A part of the base URL that the user fills in, such as Azure's resource name."""

    name: str
    label: str
    pattern: str
    example: str = ""


class Provider(Struct, frozen=True, kw_only=True):
    """One provider.

    `dialect` is the main one; `also` are others that the same base URL speaks. `operations` are what it can do
    besides text and embeddings.

    `auth` is `bearer`, `none` or `header:<name>`. `base_url` has no trailing slash and may hold `{field}`.
    `environment` names the variable with the operator's key. `defaults` maps a task (or `default`) to a model.
    `billing_url` and `limits_url` are where an account is topped up and where its limits are seen.
    `serves` are shell patterns of model names that belong here when a client names no provider.
    """

    id: str
    label: str
    dialect: Dialect
    also: tuple[Dialect, ...] = ()
    base_url: str
    auth: str = "bearer"
    environment: str | None = None
    get_key_url: str | None = None
    docs_url: str | None = None
    billing_url: str | None = None
    limits_url: str | None = None
    probe: str = "GET /models"
    headers: dict[str, str] = {}
    key_prefixes: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()
    defaults: dict[str, str] = {}
    models: dict[str, Model] = {}
    operations: dict[SideOperation, Offer] = {}
    counts_tokens: bool = False  # has an endpoint of its dialect that counts a request's tokens
    fields: tuple[Field, ...] = ()
    quirks: frozenset[Quirk] = frozenset()
    local: bool = False  # runs on the operator's own machine: http and a private address are expected
    prices: str | None = None  # the provider's id in genai-prices; None: unpriced
    reports_cost: CostField | None = None  # the field of its usage that says what it charged
    stored: bool = False  # added by an administrator; no file can say so

    def find_model(self, model_id: str) -> Model | None:
        """What the catalogue knows of a model, or None."""
        return self.models.get(model_id)

    def choose_dialect(self, model_id: str, client: Dialect) -> Dialect:
        """In which dialect a request is sent: the model's own, else the client's if it is spoken, else the main one."""
        model = self.models.get(model_id)
        if model is not None and model.dialect is not None:
            return model.dialect
        return client if client in self.also else self.dialect

    def serves_model(self, model_id: str) -> bool:
        """Whether a bare model name belongs to this provider."""
        return model_id in self.models or any(fnmatchcase(model_id, pattern) for pattern in self.serves)

    def default_model(self, task: str | None) -> str | None:
        """The model to use here for a task when the user has named none.

        Embedding has a model of its own or none: a chat model cannot stand in for it.
        """
        if task == "embedding":
            return self.defaults.get("embedding")
        return self.defaults.get(task or "default") or self.defaults.get("default")
