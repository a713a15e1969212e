"""What `ownkey doctor` tells of the embedded PostgreSQL."""

from __future__ import annotations

from ownkey.cli.check import Check, ok, warn
from ownkey.config import Config
from ownkey.storage.embedded import describe


def check_embedded(config: Config) -> Check:
    """Whether it runs, and whether anybody needs it to."""
    name = "embedded PostgreSQL"
    state = describe(config.data_dir)
    if not state.running:
        return ok(name, "It is not running; it starts with the first command that needs it.")
    if state.in_use:
        return ok(name, "It is running and in use.")
    return warn(
        name,
        "It is running and nobody uses it: the process that started it was killed.",
        "The next command that uses the database stops it when it ends: ownkey user list",
    )
