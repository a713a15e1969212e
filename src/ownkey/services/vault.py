"""Between a secret and its row: sealed under the user's data key, which is made at first need."""

from __future__ import annotations

from typing import Any

from ownkey.crypto.data_keys import DataKeys
from ownkey.crypto.envelope import Binding, fingerprint, open_secret, seal_secret
from ownkey.domain.credential import SealedCredential, Secret
from ownkey.errors import CredentialUnreadable
from ownkey.storage import data_keys as rows
from ownkey.storage import wrapping_keys


class Vault:
    """Seals and opens the secrets of users, each bound to its row and generation."""

    def __init__(self, data_keys: DataKeys, deployment_id: str) -> None:
        self._data_keys, self._deployment_id = data_keys, deployment_id

    async def seal(
        self, tx: Any, user_id: str, provider: str, credential_id: str, secret: Secret, generation: int
    ) -> tuple[bytes, bytes]:
        """The sealed secret and its fingerprint.

        Raises CredentialUnreadable when the user's data key does not open with the wrapping key of that name, and
        DataKeyClosed and KeyServiceAway when that cannot be known here and now.
        """
        key_row = await rows.get_data_key(tx, user_id)
        if key_row is None:
            # What the database calls primary, not what this process believes: it refuses a key that retires.
            made = await self._data_keys.make(user_id, await wrapping_keys.lock_primary(tx))
            # Another process may have been faster: what the database kept is the data key.
            key_row = await rows.put_data_key(tx, user_id, made.wrapped, made.wrapping_key_id, made.version)
        wrapped, wrapping_key_id, version = key_row
        try:
            data_key = await self._data_keys.load(user_id, wrapped, wrapping_key_id, version)
        except CredentialUnreadable:
            # A new data key would lock the user's other secrets out for good, when the right file may be a click away.
            raise CredentialUnreadable(
                "API keys cannot be stored: this server's wrapping key is not the one that your others were sealed "
                "under. Ask the administrator."
            ) from None
        binding = self._binding(user_id, provider, credential_id, generation)
        sealed = seal_secret(data_key, secret, binding, data_key_version=version)
        return sealed, fingerprint(data_key, user_id, provider, secret)

    async def open(self, tx: Any, user_id: str, credential: SealedCredential) -> Secret:
        """The secret of a stored credential. Raises CredentialUnreadable, DataKeyClosed and KeyServiceAway."""
        key_row = await rows.get_data_key(tx, user_id)
        if key_row is None or not credential.sealed:
            raise CredentialUnreadable("No readable API key is stored here. Enter it again.")
        data_key = await self._data_keys.load(user_id, *key_row)
        binding = self._binding(user_id, credential.provider, credential.id, credential.generation)
        return open_secret(data_key, credential.sealed, binding)

    def _binding(self, user_id: str, provider: str, credential_id: str, generation: int) -> Binding:
        return Binding(
            deployment_id=self._deployment_id,
            user_id=user_id,
            provider=provider,
            record_id=credential_id,
            generation=generation,
        )
