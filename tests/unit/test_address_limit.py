"""Token buckets by network address."""

from __future__ import annotations

import pytest

from ownkey.errors import TooManyAttempts
from ownkey.services.address_limit import AddressLimit


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fill(limit: AddressLimit, address: str, times: int) -> None:
    for _ in range(times):
        limit.take(address)


def test_a_burst_then_one_at_a_time() -> None:
    clock = Clock()
    limit = AddressLimit(burst=3, seconds_per_token=10, clock=clock)
    fill(limit, "192.0.2.1", 3)
    with pytest.raises(TooManyAttempts) as refused:
        limit.take("192.0.2.1")
    assert refused.value.retry_after_seconds == 10
    limit.take("192.0.2.2")
    clock.now += 10
    limit.take("192.0.2.1")
    with pytest.raises(TooManyAttempts):
        limit.take("192.0.2.1")
    clock.now += 1000
    fill(limit, "192.0.2.1", 3)
    with pytest.raises(TooManyAttempts):
        limit.take("192.0.2.1")


def test_success_gives_back_and_never_more_than_was_taken() -> None:
    limit = AddressLimit(burst=2, seconds_per_token=10, clock=Clock())
    for _ in range(50):
        limit.take("192.0.2.1")
        limit.give_back("192.0.2.1")
    fill(limit, "192.0.2.1", 2)
    with pytest.raises(TooManyAttempts):
        limit.take("192.0.2.1")
    limit.give_back("198.51.100.1")
    limit.take(None)
    limit.give_back(None)


def test_ipv6_counts_by_network_and_mapped_ipv4_by_address() -> None:
    limit = AddressLimit(burst=1, seconds_per_token=10, clock=Clock())
    limit.take("2001:db8:1:2::1")
    with pytest.raises(TooManyAttempts):
        limit.take("2001:db8:1:2:ffff::9")
    limit.take("2001:db8:1:3::1")
    limit.take("::ffff:192.0.2.1")
    limit.take("::ffff:192.0.2.2")
    limit.take("not an address")


def test_its_memory_is_bounded_and_the_latest_stay() -> None:
    limit = AddressLimit(burst=1, seconds_per_token=10, addresses_limit=100, clock=Clock())
    for n in range(1000):
        limit.take(f"10.0.{n // 256}.{n % 256}")
    assert len(limit._full_at) == 100
    with pytest.raises(TooManyAttempts):
        limit.take("10.0.3.231")
