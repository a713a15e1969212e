"""An identity provider's keys: fetched once for everybody, renewed in the background, kept while the provider is away.

What a token says never decides where keys come from, and only rarely when: a key id that nobody knows costs one fetch
in `_UNKNOWN_KEY_SECONDS`, however many tokens invent one.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Final

from ownkey.background import end_task
from ownkey.crypto.key_set import VerificationKey, read_key_set
from ownkey.domain.exchange import UpstreamRequest
from ownkey.errors import IdentityProviderAway
from ownkey.upstream.pool import TransportFailure, UpstreamPool

# A key that its owner has withdrawn is trusted for at most so long while the provider answers …
_RENEW_SECONDS: Final = 300.0
# … and for so long while it does not: a night without anybody on call.
_KEEP_SECONDS: Final = 12 * 3600.0
_UNKNOWN_KEY_SECONDS: Final = 30.0
_RETRY_SECONDS: Final = 5.0
_MAX_DOCUMENT_BYTES: Final = 256 * 1024
_ACCEPT: Final = (("accept", "application/jwk-set+json, application/json"),)

logger = logging.getLogger(__name__)


class SigningKeys:
    """The key set at one URL. `algorithms` are the only ones that any of its keys may be used with."""

    def __init__(self, url: str, algorithms: tuple[str, ...]) -> None:
        self._url, self._algorithms = url, algorithms
        # The operator named the URL, so no guard stands before it.
        self._pool = UpstreamPool(
            connect_timeout_seconds=3.0,
            first_byte_timeout_seconds=5.0,
            idle_timeout_seconds=5.0,
            total_timeout_seconds=10.0,
            max_answer_bytes=_MAX_DOCUMENT_BYTES,
        )
        self._keys: tuple[VerificationKey, ...] = ()
        self._ids: frozenset[str] = frozenset()
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop a fetch that is under way and close the connection."""
        if self._fetching is not None:
            await end_task(self._fetching)
        await self._pool.close()

    def vouches_for(self, key_id: str) -> bool:
        """Whether a signature that this key verified earlier still counts. No I/O."""
        self._renew_if_old()
        return key_id in self._ids and not self._is_outdated()

    async def find(self, algorithm: str, kid: str | None) -> list[VerificationKey]:
        """The keys that may have signed a token with this header; empty when the provider has none.

        Raises IdentityProviderAway when it cannot be known.
        """
        if self._is_outdated():
            await self._fetch_after(_RETRY_SECONDS)
            if self._is_outdated():
                raise IdentityProviderAway(retry_after_seconds=_RETRY_SECONDS)
        self._renew_if_old()
        found = self._pick(algorithm, kid)
        if not found:
            await self._fetch_after(_UNKNOWN_KEY_SECONDS)
            found = self._pick(algorithm, kid)
        if not found and self._tried_at != self._fetched_at:
            # The last fetch failed: the key may well be the provider's newest.
            raise IdentityProviderAway(retry_after_seconds=_RETRY_SECONDS)
        return found

    def _pick(self, algorithm: str, kid: str | None) -> list[VerificationKey]:
        return [key for key in self._keys if algorithm in key.algorithms and kid in (None, key.kid)]

    def _is_outdated(self) -> bool:
        return self._fetched_at is None or monotonic() - self._fetched_at > _KEEP_SECONDS

    def _renew_if_old(self) -> None:
        """Begin to fetch in the background. Nobody waits: the present keys serve meanwhile."""
        now = monotonic()
        old = self._fetched_at is not None and now - self._fetched_at > _RENEW_SECONDS
        if old and self._fetching is None and (self._tried_at is None or now - self._tried_at > _RETRY_SECONDS):
            self._begin()

    async def _fetch_after(self, pause_seconds: float) -> None:
        """Fetch, or wait for the fetch that is under way, unless the last one began so recently."""
        if self._fetching is None:
            if self._tried_at is not None and monotonic() - self._tried_at < pause_seconds:
                return
            self._begin()
        if self._fetching is not None:
            # One who gives up does not stop it for the others.
            await asyncio.shield(self._fetching)

    def _begin(self) -> None:
        self._fetching = asyncio.create_task(self._fetch(), name="ownkey-signing-keys")
        self._fetching.add_done_callback(self._ended)

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        started = self._tried_at = monotonic()
        try:
            self._keys = await self._download()
        except TransportFailure as failure:
            logger.warning("the identity provider's keys could not be fetched: %s", failure.failure.message)
        except ValueError as error:
            logger.warning("the identity provider's keys could not be fetched: %s", error)
        else:
            self._ids = frozenset(key.id for key in self._keys)
            self._fetched_at = started

    async def _download(self) -> tuple[VerificationKey, ...]:
        response = await self._pool.send(UpstreamRequest("GET", self._url, _ACCEPT, b"", None))
        if response.status != 200:
            await response.close()
            raise ValueError(f"status {response.status}")
        keys = read_key_set(await response.read(), self._algorithms)
        if not keys:
            raise ValueError("no key in it can be used")
        return keys


class SharedSecretKey:
    """A secret that this server and the host application hold, in the place of an identity provider's keys."""

    def __init__(self, key: VerificationKey) -> None:
        self._key = key

    async def close(self) -> None:
        """Nothing is open."""

    def vouches_for(self, key_id: str) -> bool:
        """Always: it does not change while the process lives."""
        return key_id == self._key.id

    async def find(self, algorithm: str, kid: str | None) -> list[VerificationKey]:
        """The one key; a key id does not choose anything."""
        return [self._key] if algorithm in self._key.algorithms else []
