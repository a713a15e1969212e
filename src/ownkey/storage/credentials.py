"""Credentials: the visible half in `ownkey.credentials`, the sealed half in `ownkey_private.credential_secrets`.

The rows in sight are those of the transaction's user. An id that is not one, or is another user's, belongs to no row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from msgspec import Struct

from ownkey.domain.credential import Credential, CredentialStatus, SealedCredential
from ownkey.domain.recovery import Standing
from ownkey.errors import Conflict
from ownkey.storage.database import Database
from ownkey.storage.record_id import parse_record_id
from ownkey.storage.sql import query

_CHOICES: Final = ("label", "hint", "position", "enabled", "expires_at")


class HeldStanding(Struct, frozen=True, kw_only=True):
    """What is known of one credential. `generation` is that of its secret, None where that was erased.

    `tested_at` is when somebody tested it last. `now` is the time of the database.
    """

    provider: str
    label: str
    generation: int | None
    standing: Standing
    now: datetime
    tested_at: datetime | None = None


class ClaimedProbe(Struct, frozen=True, kw_only=True):
    """A credential that this process is to try; `probes` counts this try and tells it from a later claim."""

    user_id: str
    credential_id: str
    probes: int


async def insert_credential(
    tx: Any,
    *,
    id: str,
    user_id: str,
    provider: str,
    label: str,
    hint: str,
    base_url: str | None,
    position: int,
    expires_at: datetime | None,
    sealed: bytes,
    generation: int,
    fingerprint: bytes,
) -> None:
    """Store a new credential. Raises Conflict(duplicate_secret) if the user has this secret at this provider."""
    key = UUID(id)
    await tx.execute(query("insert_credential"), user_id, key, provider, label, hint, base_url, position, expires_at)
    try:
        await tx.execute(query("insert_secret"), user_id, key, base_url, sealed, fingerprint, generation)
    except asyncpg.UniqueViolationError as error:
        raise _duplicate() from error


async def update_credential(tx: Any, credential_id: str, changes: Mapping[str, Any]) -> bool:
    """Write the named columns and no other; says whether there is such a credential.

    Known: label, hint, position, enabled, expires_at. Raises ValueError for any other; a destination changes with its
    secret only, a status by `update_standing`.
    """
    unknown = changes.keys() - set(_CHOICES)
    if unknown:
        raise ValueError(f"a credential has no column {min(unknown)!r} that may be changed")
    key = parse_record_id(credential_id)
    if key is None:
        return False
    values = [changes.get(column) for column in _CHOICES]
    return await tx.fetchval(query("update_credential"), key, list(changes), *values) is not None


async def replace_secret(
    tx: Any,
    credential_id: str,
    *,
    sealed: bytes,
    hint: str,
    generation: int,
    fingerprint: bytes,
    base_url: str | None,
) -> bool:
    """Put a new secret in the place of the old one; its status is unverified then.

    False if there is no such credential or if `generation` is not newer than the stored one.
    Raises Conflict(duplicate_secret).
    """
    key = parse_record_id(credential_id)
    if key is None:
        return False
    try:
        replaced = await tx.fetchval(query("replace_secret"), key, sealed, fingerprint, generation, base_url)
    except asyncpg.UniqueViolationError as error:
        raise _duplicate() from error
    if replaced is None:
        return False
    await tx.execute(query("update_after_replacement"), key, hint, base_url)
    return True


async def clear_secret(tx: Any, credential_id: str, base_url: str | None) -> bool:
    """Give the credential another destination and erase the secret, which was not given for that one.

    Its status is "invalid" until `replace_secret` brings a new one; its generation stays.
    """
    key = parse_record_id(credential_id)
    if key is None or await tx.fetchval(query("clear_secret"), key) is None:
        return False
    await tx.execute(query("update_after_clearing"), key, base_url)
    return True


async def delete_credential(tx: Any, credential_id: str) -> bool:
    """Delete the credential with its secret; overrides that pinned it use any credential of their provider then."""
    key = parse_record_id(credential_id)
    return key is not None and await tx.fetchval(query("delete_credential"), key) is not None


async def list_credentials(tx: Any) -> list[Credential]:
    """The user's credentials by provider and position, without secrets."""
    return [_credential(row) for row in await tx.fetch(query("list_credentials"))]


async def find_credential(tx: Any, credential_id: str) -> Credential | None:
    """One credential without its secret, or None."""
    key = parse_record_id(credential_id)
    row = None if key is None else await tx.fetchrow(query("find_credential"), key)
    return None if row is None else _credential(row)


async def find_sealed(tx: Any, credential_id: str) -> SealedCredential | None:
    """One credential with its sealed secret, or None. `sealed` is empty where the secret was erased."""
    key = parse_record_id(credential_id)
    row = None if key is None else await tx.fetchrow(query("find_sealed"), key)
    return None if row is None else SealedCredential(**{**row, "status": CredentialStatus(row["status"])})


async def get_generation(tx: Any, credential_id: str) -> int:
    """The generation of the stored secret; it is bound into the ciphertext. LookupError if there is none."""
    key = parse_record_id(credential_id)
    generation = None if key is None else await tx.fetchval(query("get_secret_generation"), key)
    if generation is None:
        raise LookupError("there is no such credential")
    return int(generation)


async def find_by_fingerprint(tx: Any, provider: str, fingerprint: bytes) -> str | None:
    """The id of the user's credential with the same secret at this provider, or None."""
    found: str | None = await tx.fetchval(query("find_by_fingerprint"), provider, fingerprint)
    return found


async def reorder(tx: Any, provider: str, credential_ids: Sequence[str]) -> None:
    """Number the named credentials of one provider from 0; ids that belong to no row are passed over."""
    keys = [key for key in map(parse_record_id, credential_ids) if key is not None]
    await tx.fetch(query("lock_credentials"), provider)
    await tx.execute(query("reorder_credentials"), provider, keys)


async def find_standing(tx: Any, credential_id: str) -> HeldStanding | None:
    """What is known of a credential, locked until the transaction ends; None if there is no such credential."""
    key = parse_record_id(credential_id)
    row = None if key is None else await tx.fetchrow(query("find_standing"), key)
    if row is None:
        return None
    standing = Standing(
        status=CredentialStatus(row["status"]),
        reason=row["status_reason"],
        until=row["status_until"],
        since=row["status_since"],
        probe_at=row["probe_at"],
        probes=row["probes"],
    )
    return HeldStanding(
        now=row["now"],
        provider=row["provider"],
        label=row["label"],
        generation=row["generation"],
        standing=standing,
        tested_at=row["last_tested_at"],
    )


async def update_standing(tx: Any, credential_id: str, standing: Standing) -> None:
    """Store what is known of a credential. The user's generation rises only if the status itself changes."""
    await tx.execute(
        query("update_standing"),
        parse_record_id(credential_id),
        standing.status.value,
        standing.reason,
        standing.until,
        standing.since,
        standing.probe_at,
        standing.probes,
    )


async def note_test(tx: Any, credential_id: str, tested_at: datetime) -> None:
    """Remember when a credential was tested last."""
    await tx.execute(query("note_test"), parse_record_id(credential_id), tested_at)


async def claim_probes(db: Database, *, limit: int, lease_seconds: float) -> list[ClaimedProbe]:
    """Credentials of any user that are due to be tried. Nobody else gets them before the lease is over.

    Raises StorageError.
    """
    return [ClaimedProbe(**row) for row in await db.fetch_rows("claim_probes", limit, lease_seconds)]


async def plan_probe(tx: Any, credential_id: str, at: datetime | None) -> None:
    """When a credential is tried next; None: not any more."""
    await tx.execute(query("plan_probe"), parse_record_id(credential_id), at)


async def tell_recovery(tx: Any, health_key: str) -> None:
    """Tell every process that this secret works again, once the transaction commits."""
    await tx.fetchval(query("tell_recovery"), health_key)


def _credential(row: Any) -> Credential:
    return Credential(**{**row, "status": CredentialStatus(row["status"])})


def _duplicate() -> Conflict:
    return Conflict("This API key is stored already.", code="duplicate_secret", param="secret")
