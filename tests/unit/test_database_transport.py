"""What the doctor says about the way to the database."""

from __future__ import annotations

import msgspec
import pytest

from ownkey.cli.doctor_transport import check_transport
from ownkey.config import Config

FAR = "postgresql://ownkey@db.internal/ownkey"


def judge(url: str | None, **environ: str) -> str | None:
    check = check_transport(msgspec.structs.replace(Config(), database_url=url), environ)
    return None if check is None else check.level


@pytest.mark.parametrize(
    "near",
    [
        None,
        "postgresql:///ownkey",
        "postgresql://ownkey@localhost/ownkey",
        "postgresql://ownkey@127.0.0.1:5433/ownkey",
        "postgresql://ownkey@[::1]/ownkey",
        "postgresql:///ownkey?host=/run/postgresql",
    ],
)
def test_nothing_is_said_of_a_database_on_this_machine(near: str | None) -> None:
    assert judge(near) is None


@pytest.mark.parametrize("mode", ["", "?sslmode=disable", "?sslmode=prefer", "?sslmode=require", "?sslmode=verify-ca"])
def test_a_network_without_a_proven_server_is_named(mode: str) -> None:
    assert judge(FAR + mode) == "warn"


def test_a_proven_server_is_well() -> None:
    assert judge(FAR + "?sslmode=verify-full&sslrootcert=/etc/ca.crt") == "ok"
    assert judge(FAR, PGSSLMODE="verify-full") == "ok"
    assert judge(FAR + "?sslmode=require", PGSSLMODE="verify-full") == "warn", "the URL counts"


def test_the_line_of_notifications_counts_too() -> None:
    config = msgspec.structs.replace(
        Config(), database_url=FAR + "?sslmode=verify-full", listen_database_url=FAR + "?sslmode=require"
    )
    check = check_transport(config, {})
    assert check is not None and check.level == "warn"
    assert check.fix is not None and "verify-full" in check.fix
