"""What the operator allows: the frame inside which users choose."""

from __future__ import annotations

from msgspec import Struct


class Policy(Struct, frozen=True, kw_only=True):
    """`shared` names the providers for which the operator has a key; `allowed` None means every provider.

    `ultimate` is the provider of last resort, tried with the operator's key after everything else.
    """

    shared: frozenset[str] = frozenset()
    allowed: frozenset[str] | None = None
    ultimate: str = "openai"

    def allows(self, provider: str) -> bool:
        """Whether users may use this provider at all."""
        return self.allowed is None or provider in self.allowed
