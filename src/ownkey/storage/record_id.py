"""Ids of rows: UUIDs in the database, text everywhere else."""

from __future__ import annotations

from uuid import UUID


def parse_record_id(text: str) -> UUID | None:
    """The UUID that a text spells in its ordinary form, or None: an id that is not one belongs to no row."""
    if len(text) != 36:
        return None
    try:
        return UUID(text)
    except ValueError:
        return None
