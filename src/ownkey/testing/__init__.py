"""Test doubles for hosts: providers that speak the real wire formats, fail on demand and keep a ledger.

Needs the extra `ownkey[demo]`. Nothing heavy is imported before a `SimulatedProviders` is started.
"""

from __future__ import annotations

from ownkey.testing.faults import Fault
from ownkey.testing.ledger import LedgerEntry
from ownkey.testing.replies import Call, Reply
from ownkey.testing.simulated import SimulatedProviders

__all__ = ["Call", "Fault", "LedgerEntry", "Reply", "SimulatedProviders"]
