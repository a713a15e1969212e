"""Sealing a user's secret under their data key, bound to the one row it belongs to."""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from ownkey.crypto.box import KEY_BYTES, BoxOpener, pack_fields, read_key_version, seal_box, unreadable
from ownkey.domain.credential import Secret
from ownkey.errors import RequestError

_MAGIC: Final = b"OK"
_KEPT_PER_USER: Final = 64
_FINGERPRINT_INFO: Final = b"ownkey/fingerprint/v1"


class Binding(Struct, frozen=True, kw_only=True):
    """Where a sealed secret belongs. Moved anywhere else, it does not open."""

    deployment_id: str
    user_id: str
    provider: str
    record_id: str
    generation: int
    purpose: str = "provider-key"


def seal_secret(data_key: bytes, secret: Secret, binding: Binding, *, data_key_version: int = 1) -> bytes:
    """The secret as bytes that open only with this data key and this binding; different at every call.

    Raises RequestError(invalid_secret) for an empty secret or one that is not Unicode, and ValueError for a data key
    of the wrong length or a number out of range.
    """
    plaintext = _encode_secret(secret)
    return seal_box(
        data_key,
        plaintext,
        magic=_MAGIC,
        purpose=binding.purpose,
        key_version=data_key_version,
        fields=_bound_fields(binding),
    )


def open_secret(data_key: bytes, sealed: bytes, binding: Binding) -> Secret:
    """The secret in `sealed`. Raises CredentialUnreadable for every reason not to trust it; never guesses."""
    return _read_box(_find_opener(data_key, sealed, binding))


class SecretOpener:
    """Opens secrets, and keeps the derived keys of those that it opened lately: they stay sealed all the same.

    Deriving one takes six times as long as opening. Those of 4,096 users with three keys are five megabytes.
    """

    def __init__(self, users: int = 4096) -> None:
        self._users = users
        # By user and by what is sealed; what else it was opened with has to be the same again.
        self._kept: dict[str, dict[bytes, tuple[bytes, Binding, BoxOpener]]] = {}

    def open(self, data_key: bytes, sealed: bytes, binding: Binding) -> Secret:
        """As `open_secret`."""
        of_user = self._kept.get(binding.user_id)
        kept = None if of_user is None else of_user.get(sealed)
        if kept is not None and kept[0] == data_key and (kept[1] is binding or kept[1] == binding):
            return _read_box(kept[2])
        opener = _find_opener(data_key, sealed, binding)
        secret = _read_box(opener)
        self._keep(sealed, (data_key, binding, opener))
        return secret

    def forget(self, user_id: str) -> None:
        """Drop what is kept of this user: at sign-out, deletion and every change."""
        self._kept.pop(user_id, None)

    def _keep(self, sealed: bytes, kept: tuple[bytes, Binding, BoxOpener]) -> None:
        user_id = kept[1].user_id
        if user_id not in self._kept and len(self._kept) >= self._users:
            del self._kept[next(iter(self._kept))]
        of_user = self._kept.setdefault(user_id, {})
        if len(of_user) >= _KEPT_PER_USER:
            of_user.clear()
        of_user[sealed] = kept


def _find_opener(data_key: bytes, sealed: bytes, binding: Binding) -> BoxOpener:
    fields = _try_bound_fields(binding)
    if fields is None:
        raise unreadable()
    return BoxOpener(data_key, sealed, magic=_MAGIC, purpose=binding.purpose, fields=fields)


def _read_box(opener: BoxOpener) -> Secret:
    text = _decode_secret(opener.open())
    if text is None:
        raise unreadable()
    return Secret(text)


def read_data_key_version(sealed: bytes) -> int:
    """Which version of the user's data key sealed this. Raises CredentialUnreadable for anything unsealed."""
    return read_key_version(sealed, _MAGIC)


def fingerprint(data_key: bytes, user_id: str, provider: str, secret: Secret) -> bytes:
    """32 bytes that are equal for equal secrets of one user at one provider, and say nothing across users.

    They answer "is this key stored already?". The subkey comes from the user's own data key, so that a reader of the
    database cannot see that two users share a key. Raises as `seal_secret` does.
    """
    if len(data_key) != KEY_BYTES:
        raise ValueError("a data key has 32 bytes")
    plaintext = _encode_secret(secret)
    subkey = HKDF(SHA256(), 32, b"", _FINGERPRINT_INFO).derive(data_key)
    return hmac.digest(subkey, pack_fields(user_id, provider) + plaintext, "sha256")


def _bound_fields(binding: Binding) -> bytes:
    return pack_fields(
        "ownkey",
        binding.deployment_id,
        binding.purpose,
        binding.user_id,
        binding.provider,
        binding.record_id,
        binding.generation,
    )


def _try_bound_fields(binding: Binding) -> bytes | None:
    try:
        return _bound_fields(binding)
    except ValueError:
        return None


# A UnicodeError carries the whole text as an attribute, and an exception raised while it is handled carries the
# UnicodeError. So both are turned into a value first and raised afterwards.


def _encode_secret(secret: Secret) -> bytes:
    try:
        plaintext = secret.reveal().encode()
    except UnicodeEncodeError:
        plaintext = b""
    if not plaintext:
        raise RequestError(
            "The API key is empty or holds characters that no key has.", code="invalid_secret", param="secret"
        )
    return plaintext


def _decode_secret(plaintext: bytes) -> str | None:
    try:
        return plaintext.decode()
    except UnicodeDecodeError:
        return None
