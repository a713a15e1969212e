"""A stored secret, opened for one purpose inside one transaction."""

from __future__ import annotations

from typing import Any

from ownkey.domain.credential import SealedCredential, Secret
from ownkey.domain.usage import is_record_id
from ownkey.errors import Conflict, CredentialUnreadable
from ownkey.services.credentials import no_such_credential
from ownkey.services.vault import Vault
from ownkey.storage import credentials as rows


async def find_stored(tx: Any, credential_id: str) -> SealedCredential:
    """The sealed credential of the transaction's user.

    Raises NotFound, and Conflict(secret_missing) after a change of the address, which erased the secret.
    """
    sealed = await rows.find_sealed(tx, credential_id) if is_record_id(credential_id) else None
    if sealed is None:
        raise no_such_credential()
    if not sealed.sealed:
        raise Conflict(
            "The address of this API key was changed, so the key has to be entered again.", code="secret_missing"
        )
    return sealed


async def open_stored(tx: Any, vault: Vault, user_id: str, sealed: SealedCredential) -> Secret:
    """Its secret. Raises CredentialUnreadable (424: nothing is wrong with the request)."""
    try:
        return await vault.open(tx, user_id, sealed)
    except CredentialUnreadable:
        raise CredentialUnreadable("This API key cannot be opened any more. Enter it again.", http_status=424) from None
