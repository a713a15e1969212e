"""What `ownkey doctor` looks at where calls per minute are counted in Redis or Valkey."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from ownkey.cli.check import Check, fail, ok, warn
from ownkey.config import Config
from ownkey.domain.budget import Ceiling, Period, Scope
from ownkey.errors import ConfigError
from ownkey.services.rate_keeper import RateKeeper, RatesAway

_NAME: Final = "limits"
_ANY: Final = [Ceiling(Scope.REQUESTS, Period.MINUTE, 1)]


async def check_limits(config: Config) -> Check:
    """Whether OWNKEY_LIMITS_URL leads to something that counts. Reads one counter and changes nothing."""
    assert config.limits_url is not None  # noqa: S101  # the caller looked
    try:
        keeper = RateKeeper.open(config.limits_url, config.deployment_id)
    except ConfigError as error:
        return fail(_NAME, error.message, "Correct or unset OWNKEY_LIMITS_URL.")
    try:
        await keeper.look("", _ANY, datetime.now(UTC))
    except RatesAway:
        return warn(
            _NAME,
            "Redis does not answer, so PostgreSQL counts calls per minute.",
            "Start it, or correct OWNKEY_LIMITS_URL.",
        )
    finally:
        await keeper.close()
    return ok(_NAME, "Redis counts calls per minute.")
