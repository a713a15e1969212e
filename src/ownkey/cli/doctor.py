"""`ownkey doctor`: looks at everything that can be wrong, and says how to put it right."""

from __future__ import annotations

import os
from typing import Final

import typer
from rich.console import Console
from rich.text import Text

from ownkey.cli.check import Check, Level, fail, ok
from ownkey.cli.commands import REFUSED, examples
from ownkey.cli.options import JsonOption
from ownkey.cli.output import print_json
from ownkey.cli.session import read_config, run_to_end
from ownkey.config import Config
from ownkey.errors import ConfigError

EPILOG = examples("ownkey doctor", "ownkey doctor --json")

_STYLES: Final[dict[Level, str]] = {"ok": "green", "warn": "yellow", "fail": "bold red"}
_WORDS: Final[dict[Level, str]] = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def doctor(as_json: JsonOption = False) -> None:
    """Check the configuration, the database and the keys, and say how to repair what is wrong.

    Changes nothing, and can run beside a server. Exit status 1 if something does not work or is not safe.
    """
    checks = _examine()
    if as_json:
        print_json(checks)
    else:
        _print(checks)
    if any(check.level == "fail" for check in checks):
        raise typer.Exit(REFUSED)


def _examine() -> list[Check]:
    try:
        config = read_config()
    except ConfigError as error:
        return [fail("configuration", error.message, "Correct or unset the variable.")]
    return run_to_end(_examine_all(config), config)


async def _examine_all(config: Config) -> list[Check]:
    from ownkey.cli import doctor_machine as machine
    from ownkey.cli.doctor_database import check_database
    from ownkey.cli.doctor_embedded import check_embedded
    from ownkey.cli.doctor_limits import check_limits
    from ownkey.cli.doctor_spool import check_spool
    from ownkey.cli.doctor_transport import check_transport
    from ownkey.cli.doctor_webhook import check_webhook_settings

    checks = [ok("configuration", "Every OWNKEY_* variable is understood.")]
    catalog_check, catalog = machine.check_catalog(config)
    key_check, keys = machine.check_wrapping_key(config)
    checks += [catalog_check, machine.check_provider_keys(config, catalog, os.environ), key_check]
    checks += [machine.check_port(config), check_spool(config)]
    if config.prices is not None:
        checks.append(machine.check_prices(config, catalog))
    if config.limits_url is not None:
        checks.append(await check_limits(config))
    webhook_check = check_webhook_settings(config)
    checks += [check for check in (webhook_check, check_transport(config, os.environ)) if check is not None]
    if config.embedded:
        checks += [machine.check_data_dir(config), check_embedded(config)]
        if not machine.has_embedded_data(config):
            return [*checks, ok("database", "The embedded PostgreSQL will be made at the first start.")]
        if any(check.level == "fail" and check.name == "data directory" for check in checks):
            return checks
    return checks + await check_database(config, keys)


def _print(checks: list[Check]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    width = max(len(check.name) for check in checks)
    for check in checks:
        line = Text.assemble((_WORDS[check.level], _STYLES[check.level]), f"  {check.name:<{width}}  {check.message}")
        console.print(line)
        if check.fix is not None:
            console.print(Text(f"      {'':<{width}}  {check.fix}", style="bold"))
    worst = sum(check.level == "fail" for check in checks)
    print(f"{len(checks)} checks, {worst} failed." if worst else f"{len(checks)} checks, none failed.")
