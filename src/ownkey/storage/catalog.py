"""Providers that administrators added: rows of the catalogue in the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from ownkey.storage.sql import query


class StoredProvider(Struct, frozen=True):
    """A row as it is stored. `definition` has the form of a table of `catalog.toml` and is not checked yet."""

    id: str
    definition: dict[str, Any]
    generation: int


async def list_providers(tx: Any) -> list[StoredProvider]:
    """In the order in which they were added."""
    return [
        StoredProvider(row["id"], msgspec.json.decode(row["definition"]), row["generation"])
        for row in await tx.fetch(query("list_stored_providers"))
    ]


async def put_provider(
    tx: Any, provider_id: str, definition: Mapping[str, Any], *, new: bool, actor: str, details: Mapping[str, Any]
) -> bool:
    """Add or change one with its audit row, for the role `ownkey_admin`; false when it exists, or does not."""
    return bool(await tx.fetchval(query("put_provider"), provider_id, _json(definition), new, actor, _json(details)))


async def delete_provider(tx: Any, provider_id: str, *, actor: str, details: Mapping[str, Any]) -> bool:
    """Remove one with its audit row, for the role `ownkey_admin`; false when there is none."""
    return bool(await tx.fetchval(query("delete_provider"), provider_id, actor, _json(details)))


async def count_credentials(tx: Any, provider_id: str) -> tuple[int, int]:
    """How many credentials there are at a provider, and of how many users; for the role `ownkey_admin`."""
    row = await tx.fetchrow(query("count_held_credentials"), provider_id)
    return row["credentials"], row["users"]


def _json(values: Mapping[str, Any]) -> str:
    return msgspec.json.encode(dict(values), order="deterministic").decode()
