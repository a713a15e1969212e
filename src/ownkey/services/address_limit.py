"""How often one network address may fail to sign in: a token bucket per address, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from ownkey.errors import TooManyAttempts

_BURST: Final = 30
_SECONDS_PER_TOKEN: Final = 3.0
_ADDRESSES_LIMIT: Final = 20_000


class AddressLimit:
    """Thirty failures at once and one more every three seconds. Who succeeds gets the token back.

    Guessing at one account is stopped by the account's own lock; this slows down guessing at many.
    """

    def __init__(
        self,
        *,
        burst: int = _BURST,
        seconds_per_token: float = _SECONDS_PER_TOKEN,
        addresses_limit: int = _ADDRESSES_LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst, self._pace, self._limit, self._clock = burst, seconds_per_token, addresses_limit, clock
        # When the bucket will be full again; the one that was touched last is at the end.
        self._full_at: dict[str, float] = {}

    def take(self, address: str | None) -> None:
        """Raises TooManyAttempts. Without an address (a socket of the file system) nothing is counted."""
        if address is None:
            return
        key, now = _network_of(address), self._clock()
        full_at = max(self._full_at.pop(key, now), now)
        wait = full_at + self._pace - now - self._burst * self._pace
        if wait > 0:
            self._full_at[key] = full_at
            raise TooManyAttempts(
                "Too many attempts to sign in from your address. Wait a moment.", retry_after_seconds=wait
            )
        self._full_at[key] = full_at + self._pace
        while len(self._full_at) > self._limit:
            del self._full_at[next(iter(self._full_at))]

    def give_back(self, address: str | None) -> None:
        """The attempt succeeded."""
        if address is not None and (key := _network_of(address)) in self._full_at:
            self._full_at[key] -= self._pace


def _network_of(address: str) -> str:
    """IPv6 is counted by /64: whoever has one address there has all of them."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(ip_network((parsed, 64), strict=False))
    return str(parsed)
