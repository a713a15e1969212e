"""Callers whom the host application's own tokens name."""

from __future__ import annotations

from ownkey.http.identity import Principal
from ownkey.services.host_tokens import HostTokenService
from ownkey.services.running_calls import Access


class HostTokenCallers:
    """What `Identity` asks about a token that looks like a JWT."""

    def __init__(self, service: HostTokenService) -> None:
        self._service = service

    async def recognise(self, token: bytes) -> Principal | None:
        """The caller. Raises AuthError, IdentityProviderAway and StorageError."""
        caller = await self._service.recognise(token)
        return Principal(
            user_id=caller.user_id,
            token_id="",
            scopes=caller.scopes,
            role=caller.role,
            snapshot=caller.snapshot,
            via="jwt",
            access=Access(None, caller.issued_at),
        )
