"""What a user chose, and the snapshot of it that serves requests."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final

from msgspec import Struct

from ownkey.domain.budget import Caps
from ownkey.domain.credential import SealedCredential
from ownkey.errors import RequestError

BUILT_IN_TASKS: Final = ("coding", "research", "writing", "chat", "embedding")
DEFAULT_PRIORITY: Final = 100
_TASK = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,199}")


class Payer(StrEnum):
    """Whose money an attempt spends."""

    OWN = "own"
    SHARED = "shared"


class PayerRule(StrEnum):
    """Who may pay, for a user or one of their tasks."""

    OWN_ONLY = "own_only"
    OWN_THEN_SHARED = "own_then_shared"
    SHARED_ONLY = "shared_only"


class Settings(Struct, frozen=True, kw_only=True):
    """A user's general choices; `payer` None follows the deployment's policy.

    `shared_consent_at` is when they agreed that the operator's keys serve them, for deployments that ask.
    """

    payer: PayerRule | None = None
    allow_fallback: bool = True
    default_task: str | None = None
    shared_consent_at: datetime | None = None
    caps: Caps = Caps()


class Preference(Struct, frozen=True, kw_only=True):
    """A user's wish for one provider. A smaller priority number is tried first.

    `backup_only` puts the provider behind all others; `may_fall_back` false keeps it out of every
    chain in which it is not the first choice.
    """

    provider: str
    enabled: bool = True
    priority: int = DEFAULT_PRIORITY
    default_model: str | None = None
    may_fall_back: bool = True
    backup_only: bool = False


class TaskOverride(Struct, frozen=True, kw_only=True):
    """A user's provider and model for one task; `credential_id` pins one of several credentials."""

    task: str
    provider: str
    model: str | None = None
    credential_id: str | None = None
    payer: PayerRule | None = None
    allow_fallback: bool | None = None


class Snapshot(Struct, frozen=True, kw_only=True):
    """One user's settings and sealed credentials at one generation. Immutable; holds no plaintext.

    `group` is where administrators put the user, for budgets.
    """

    user_id: str
    generation: int
    group: str | None = None
    settings: Settings
    preferences: dict[str, Preference]
    overrides: dict[str, TaskOverride]
    credentials: tuple[SealedCredential, ...]
    wrapped_data_key: bytes | None
    wrapping_key_id: str | None
    data_key_version: int = 1


def check_task(task: str) -> str:
    """A task's name, lower-cased. Raises RequestError."""
    name = task.strip().lower()
    if not _TASK.fullmatch(name):
        raise RequestError(
            "A task's name starts with a letter and holds up to 40 letters, digits, '-' or '_'.", param="task"
        )
    return name


@lru_cache(4096)
def check_model(model: str) -> str:
    """A model's name that is safe in a URL and a header. Raises RequestError."""
    if not _MODEL.fullmatch(model) or any(part in ("", ".", "..") for part in model.split("/")):
        raise RequestError(
            "A model's name holds up to 200 letters, digits and . _ : @ / + -, and no empty or dotted path part.",
            param="model",
        )
    return model
