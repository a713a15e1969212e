"""How the connections of a process are counted: all of them, and those of one address."""

from __future__ import annotations

from typing import Any

from ownkey.cli.client_connection import ClientLimits, Clients


def make_clients(**changes: Any) -> Clients:
    limits: dict[str, Any] = {"head": 1, "body": 1, "keep_alive": 1, "stall": 1, "connections": 3}
    return Clients(ClientLimits(**(limits | changes)))


def come(clients: Clients, address: str) -> bool:
    clients.connections.add(object())  # type: ignore[arg-type]
    return clients.admit(address)


def test_so_many_are_welcome_and_the_next_one_is_not() -> None:
    clients = make_clients()
    assert [come(clients, f"192.0.2.{number}") for number in range(5)] == [True, True, True, False, False]
    assert clients.unwelcome == 2
    clients.leave("192.0.2.4", welcome=False)
    assert clients.unwelcome == 1


def test_one_address_does_not_take_the_room_of_others() -> None:
    clients = make_clients(connections=100, connections_per_address=2)
    assert [come(clients, "192.0.2.1") for _ in range(4)] == [True, True, False, False]
    assert come(clients, "192.0.2.2")
    for welcome in (False, False, True):
        clients.leave("192.0.2.1", welcome=welcome)
    assert come(clients, "192.0.2.1")
    assert clients.unwelcome == 0
