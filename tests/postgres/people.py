"""Users with everything a user can have, written through the storage modules' public functions."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct

from ownkey.domain.account import LinkPurpose
from ownkey.domain.audit import AuditAction
from ownkey.domain.credential import CredentialStatus
from ownkey.domain.recovery import Finding
from ownkey.domain.settings import Payer, Preference, TaskOverride
from ownkey.domain.usage import Outcome, Tokens, TokensSource, UsageEvent, new_id
from ownkey.services.credential_status import StatusKeeper
from ownkey.storage import accounts, audit, credentials, data_keys, links, sessions, settings, tokens, usage, users
from ownkey.storage.database import Database


class Person(Struct, frozen=True, kw_only=True):
    """What a test has to know about a user that `Store.add_person` made."""

    id: str
    credential_id: str
    token_id: str
    token_hash: bytes


class Store:
    """Writes rows for tests."""

    def __init__(self, db: Database) -> None:
        self.db = db

    async def add_person(self, user_id: str, provider: str = "groq") -> Person:
        """A user with a row in every table of theirs."""
        person = Person(id=user_id, credential_id=new_id(), token_id=new_id(), token_hash=digest("token", user_id))
        async with self.db.transaction(user_id) as tx:
            await users.ensure_user(tx, user_id)
            await data_keys.put_data_key(tx, user_id, digest("data key", user_id), "kek-1", 1)
            await settings.update_settings(tx, {"default_task": "coding"})
            await settings.put_preference(tx, Preference(provider=provider, priority=5))
            await add_credential(tx, person, provider)
            await settings.put_task_override(
                tx, TaskOverride(task="coding", provider=provider, credential_id=person.credential_id)
            )
            await tokens.insert_token(
                tx,
                id=person.token_id,
                user_id=user_id,
                name="laptop",
                hash=person.token_hash,
                hint="ok-…abcd",
                scopes=("gateway", "settings"),
                expires_at=None,
            )
            await accounts.ensure_account(tx, user_id, f"{user_id[:200]}@example.com", user_id[:200])
            await accounts.set_password_hash(tx, "$argon2id$v=19$…" + user_id)
            await links.insert_link(
                tx, user_id, digest("link", user_id), LinkPurpose.RESET, datetime.now(UTC) + timedelta(hours=1)
            )
            await sessions.insert_session(
                tx,
                id=new_id(),
                user_id=user_id,
                hash=digest("session", user_id),
                kind="session",
                method="password",
                scopes=(),
                origin=None,
                user_agent="Browser/1.0",
                authenticated_at=datetime.now(UTC),
                expires_at=datetime.now(UTC) + timedelta(hours=1),
            )
            await audit.append(
                tx, actor=user_id, user_id=user_id, action=AuditAction.USER_CREATED, subject=user_id, details={}
            )
        await usage.insert_events(self.db, [usage_event(user_id, credential_id=person.credential_id)])
        return person


async def set_status(
    db: Database, person: Person, status: CredentialStatus, reason: str | None = None, until: datetime | None = None
) -> bool:
    """What a request has taught about a person's credential; says whether the status is another one now."""
    async with db.transaction(person.id) as tx:
        await users.lock_user(tx, person.id)
        return await keep_status(tx, person, status, reason, until)


async def keep_status(
    tx: Any, person: Person, status: CredentialStatus, reason: str | None = None, until: datetime | None = None
) -> bool:
    """The same inside a transaction."""
    finding = Finding(status=status, reason=reason, until=until)
    return await StatusKeeper().keep(tx, person.id, person.credential_id, finding)


async def add_credential(tx: Any, person: Person, provider: str = "groq") -> None:
    """The person's credential, with a secret that no other person has."""
    await credentials.insert_credential(
        tx,
        id=person.credential_id,
        user_id=person.id,
        provider=provider,
        label="work",
        hint="gsk_…wxyz",
        base_url=None,
        position=0,
        expires_at=None,
        sealed=digest("sealed", person.id),
        generation=1,
        fingerprint=digest("fingerprint", person.id),
    )


def usage_event(user_id: str, **fields: Any) -> UsageEvent:
    """A successful call with 60 tokens for 700 micro-dollars, unless the fields say otherwise."""
    values: dict[str, Any] = {
        "id": new_id(),
        "request_id": "req-1",
        "user_id": user_id,
        "occurred_at": datetime.now(UTC),
        "attempt": 1,
        "task": "coding",
        "provider": "groq",
        "model": "llama",
        "requested_model": "auto",
        "credential_id": None,
        "payer": Payer.OWN,
        "operation": "chat",
        "streamed": False,
        "outcome": Outcome.OK,
        "http_status": 200,
        "tokens": Tokens(input_uncached=10, cache_read=20, output_text=30),
        "tokens_source": TokensSource.REPORTED,
        "cost_microdollars": 700,
        "duration_ms": 40,
        "first_byte_ms": 15,
    }
    return UsageEvent(**(values | fields))


def digest(*words: str) -> bytes:
    """32 bytes that stand for something secret of somebody."""
    return hashlib.sha256(" ".join(words).encode()).digest()
