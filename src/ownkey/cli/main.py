"""`ownkey`: the command line. Each group of commands is one module beside this one."""

from __future__ import annotations

from typing import Annotated

import typer

import ownkey
from ownkey.cli import audit, credential, policy, route, token, usage, user
from ownkey.cli.commands import examples, new_group
from ownkey.cli.demo import EPILOG as DEMO_EPILOG
from ownkey.cli.demo import demo
from ownkey.cli.doctor import EPILOG as DOCTOR_EPILOG
from ownkey.cli.doctor import doctor
from ownkey.cli.keygen import EPILOG as KEYGEN_EPILOG
from ownkey.cli.keygen import keygen
from ownkey.cli.migrate import EPILOG as MIGRATE_EPILOG
from ownkey.cli.migrate import migrate
from ownkey.cli.serve import EPILOG as SERVE_EPILOG
from ownkey.cli.serve import serve

app = new_group(
    "Every user's own LLM keys, preferences and spend, behind one OpenAI-compatible gateway.",
    epilog=examples("ownkey serve", "ownkey doctor", "ownkey user create alice", "ownkey credential add groq -u alice")
    + "\n\nExit status: 0 done, 1 refused or something found, 2 not configured or not reachable.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ownkey {ownkey.__version__}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool, typer.Option("--version", "-V", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Every user's own LLM keys, preferences and spend, behind one OpenAI-compatible gateway."""


app.command(epilog=SERVE_EPILOG)(serve)
app.command(epilog=DEMO_EPILOG)(demo)
app.command(epilog=DOCTOR_EPILOG)(doctor)
app.command(epilog=MIGRATE_EPILOG)(migrate)
app.command(epilog=KEYGEN_EPILOG)(keygen)
app.add_typer(user.app, name="user")
app.add_typer(token.app, name="token")
app.add_typer(credential.app, name="credential")
app.add_typer(policy.app, name="policy")
app.add_typer(route.app, name="route")
app.add_typer(usage.app, name="usage")
app.add_typer(audit.app, name="audit")
