"""The deployment's policy: one document, read by every process and written by administrators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from ownkey.domain.policy import PolicyDocument
from ownkey.storage.sql import query


class StoredPolicy(Struct, frozen=True, kw_only=True):
    """The document and where it comes from. Generation 0: none was ever stored.

    `unknown_users` are ids that it lists and nobody has, where they were looked for: the first hundred.
    """

    document: PolicyDocument = PolicyDocument()
    generation: int = 0
    updated_at: datetime | None = None
    updated_by: str | None = None
    unknown_users: tuple[str, ...] = ()


_DOCUMENT: Final = msgspec.json.Decoder(PolicyDocument)


async def load_policy(tx: Any) -> StoredPolicy:
    """What is stored. Raises msgspec.ValidationError for a document that this version cannot read."""
    row = await tx.fetchrow(query("get_policy"))
    return StoredPolicy() if row is None else StoredPolicy(**{**row, "document": _DOCUMENT.decode(row["document"])})


async def find_unknown_users(tx: Any, user_ids: Sequence[str]) -> tuple[str, ...]:
    """Which of these ids nobody has, the first hundred of them; for a role that sees everybody."""
    return tuple(row["named"] for row in await tx.fetch(query("find_unknown_users"), list(user_ids)))


async def put_policy(
    tx: Any, document: PolicyDocument, *, expected: int, actor: str, details: Mapping[str, Any]
) -> int | None:
    """Store the document with its audit row, for a transaction with the role `ownkey_admin`.

    Gives the new generation, or None when `expected` is not the stored one any more.
    """
    written: int | None = await tx.fetchval(
        query("put_policy"),
        msgspec.json.encode(document).decode(),
        expected,
        actor,
        msgspec.json.encode(dict(details), order="deterministic").decode(),
    )
    return written
