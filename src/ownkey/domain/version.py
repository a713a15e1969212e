"""The version of what a person edits: another one as soon as something of it was changed, and only then.

It is a hash of the choices themselves and not the user's generation, which also rises when a request teaches that a
key is out of credit, or when a token is revoked: nobody who edits a label should hear of a conflict for that. Counters,
times of use and what is known of a credential are therefore outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import msgspec

from ownkey.domain.credential import Credential
from ownkey.domain.settings import Preference, Settings, TaskOverride


def settings_version(settings: Settings) -> str:
    """Of the general settings."""
    return _hash(settings)


def preferences_version(preferences: Sequence[Preference]) -> str:
    """Of all wishes together: a priority says something only beside the others."""
    return _hash(sorted(preferences, key=lambda one: one.provider))


def task_version(override: TaskOverride) -> str:
    """Of one override."""
    return _hash(override)


def tasks_version(overrides: Sequence[TaskOverride]) -> str:
    """Of all overrides together."""
    return _hash(sorted(overrides, key=lambda one: one.task))


def credential_version(credential: Credential) -> str:
    """Of one credential. A replaced secret shows in the time of the last change, even when the hint is the same."""
    return _hash(_chosen(credential))


def credentials_version(credentials: Sequence[Credential]) -> str:
    """Of all credentials together."""
    return _hash([_chosen(one) for one in sorted(credentials, key=lambda one: one.id)])


def _chosen(one: Credential) -> tuple[object, ...]:
    return (
        one.id,
        one.provider,
        one.label,
        one.hint,
        one.base_url,
        one.position,
        one.enabled,
        one.expires_at,
        one.updated_at,
    )


def _hash(choices: object) -> str:
    # 128 bits: nobody gains by a collision with their own settings.
    return sha256(msgspec.json.encode(choices)).hexdigest()[:32]
