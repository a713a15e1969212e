"""A secret whose data key has to be fetched from a key service first."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import sentinel

from ownkey.crypto.data_keys import DataKeys
from ownkey.crypto.envelope import Binding, SecretOpener, seal_secret
from ownkey.crypto.key_calls import KeyCalls
from ownkey.crypto.key_ring import KeyRing
from ownkey.crypto.key_text import generate_key_line
from ownkey.crypto.wrapping import LocalWrappingKeys
from ownkey.domain.credential import CredentialStatus, SealedCredential, Secret
from ownkey.domain.provider import Dialect, Provider
from ownkey.domain.routing import Attempt
from ownkey.domain.settings import Payer, Settings, Snapshot
from ownkey.services.completion import CompletionService

PROVIDER = Provider(id="groq", label="Groq", dialect=Dialect.OPENAI_CHAT, base_url="https://x.test/v1")
OTHERS: dict[str, Any] = dict.fromkeys(
    ("router", "pool", "metering", "spending", "credential_health", "drains", "running"), sentinel.unused
)


class Service:
    """A key service of this process, with real encryption."""

    def __init__(self) -> None:
        self._keys = LocalWrappingKeys.parse(generate_key_line())

    def encrypt(self, plaintext: bytes, fields: bytes) -> bytes:
        return self._keys.wrap(plaintext, user_id=fields.hex(), deployment_id="", version=1)[1]

    def decrypt(self, ciphertext: bytes, fields: bytes) -> bytes:
        return self._keys.unwrap(self._keys.primary_id, ciphertext, user_id=fields.hex(), deployment_id="", version=1)


async def test_requests_with_the_old_and_the_new_form_of_a_data_key_do_not_put_each_other_out() -> None:
    """In mid-rotation from one key service to another; and somebody changes a setting meanwhile."""
    ring = KeyRing.parse("old:openbao://a/t/keys/k,new:openbao://b/t/keys/k", open_key=lambda _: Service())
    calls = KeyCalls()
    data_keys = DataKeys(ring, "prod", calls=calls)
    old = await data_keys.make("ann", "old")
    new = await data_keys.rewrap("ann", old.wrapped, "old", 1, "new")
    data_key = await data_keys.load("ann", old.wrapped, "old", 1)
    data_keys.forget("ann")
    binding = Binding(deployment_id="prod", user_id="ann", provider="groq", record_id="c1", generation=1)
    credential = SealedCredential(
        id="c1", provider="groq", label="", hint="", base_url=None, position=0, enabled=True,
        status=CredentialStatus.OK, status_until=None, expires_at=None, generation=1,
        sealed=seal_secret(data_key, Secret("gsk_0123456789"), binding),
    )  # fmt: skip
    snapshots = [
        Snapshot(
            user_id="ann", generation=1, settings=Settings(), preferences={}, overrides={}, credentials=(credential,),
            wrapped_data_key=form.wrapped, wrapping_key_id=form.wrapping_key_id,
        )
        for form in (old, new)
    ]  # fmt: skip
    service = CompletionService(
        **OTHERS, data_keys=data_keys, opener=SecretOpener(), shared_secrets={}, deployment_id="prod",
        retry_wait_seconds=0,
    )  # fmt: skip
    attempt = Attempt(PROVIDER, "", credential, Payer.OWN)
    for _ in range(20):
        data_keys.forget("ann")
        found = [asyncio.create_task(service.fetch_secret(snapshot, attempt)) for snapshot in snapshots * 3]
        while not all(task.done() for task in found):
            data_keys.forget("ann")
            await asyncio.sleep(0)
        assert {secret.reveal() for task in found if (secret := task.result())} == {"gsk_0123456789"}
    calls.close()
