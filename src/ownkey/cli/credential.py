"""`ownkey credential`: a user's API keys. A secret comes in by prompt or pipe, never as an argument."""

from __future__ import annotations

import sys
from getpass import getpass
from typing import TYPE_CHECKING, Annotated, Final

import typer
from msgspec import to_builtins

from ownkey.cli import rotation
from ownkey.cli.commands import REFUSED, examples, new_group
from ownkey.cli.options import ExpiresOption, JsonOption, UserOption, YesOption, confirm, to_utc
from ownkey.cli.output import print_json, print_table
from ownkey.cli.session import current_actor, with_ownkey
from ownkey.cli.user import require_user
from ownkey.domain.credential_advice import advise
from ownkey.services.expiry import utc_now

if TYPE_CHECKING:
    from ownkey.app import Ownkey
    from ownkey.domain.credential import Credential
    from ownkey.domain.credential_advice import Advice
    from ownkey.services.credential_test import ProbeResult

app = new_group(
    "A user's own API keys at their providers. A stored key is never shown again.",
    epilog=examples("ownkey credential add groq --user alice < key.txt"),
)

_MOST_CHARACTERS: Final = 16 * 1024
rotation.add_commands(app)
CredentialArgument = Annotated[str, typer.Argument(metavar="CREDENTIAL_ID", help="From `ownkey credential list`.")]


def read_secret() -> str:
    """From the terminal without echo, or all of standard input. Arguments are visible to every user in `ps`."""
    if sys.stdin.isatty():
        # Not typer.prompt: it shows the prompt before it switches the echo off, and whoever pastes at once is shown.
        return getpass("API key: ")
    return sys.stdin.read(_MOST_CHARACTERS)


@app.command(
    epilog=examples(
        "ownkey credential add groq --user alice   # asks for the key",
        "ownkey credential add openai --user alice --label work < key.txt",
    )
)
def add(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="openai, anthropic, groq, … from the catalogue.")],
    user: UserOption,
    label: Annotated[str, typer.Option("--label", "-l", help="By which the user recognises it.")] = "",
    base_url: Annotated[str | None, typer.Option("--base-url", help="Where the provider lets the user choose.")] = None,
    field: Annotated[
        list[str] | None, typer.Option("--field", help="NAME=VALUE for providers whose address holds more, as Azure's.")
    ] = None,
    expires: ExpiresOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store an API key for a user. It is read from a prompt or from standard input."""
    fields = _read_fields(field or [])
    secret = read_secret()

    async def work(ok: Ownkey) -> Credential:
        await require_user(ok, user)
        return await ok.settings.add_credential(
            user,
            provider,
            secret,
            label=label,
            base_url=base_url,
            fields=fields,
            expires_at=to_utc(expires),
            actor=current_actor(),
        )

    added = with_ownkey(work)
    if as_json:
        print_json(added)
    else:
        print(f"Stored {added.provider} key {added.hint} of {user} as {added.id}.")


@app.command("list", epilog=examples("ownkey credential list --user alice", "ownkey credential list -u alice --json"))
def list_credentials(user: UserOption, as_json: JsonOption = False) -> None:
    """List a user's API keys: where they are for and how they fare, never the keys."""

    async def work(ok: Ownkey) -> list[tuple[Credential, Advice]]:
        await require_user(ok, user)
        held = await ok.settings.list_credentials(user)
        return [(one, advise(one, ok.core.catalog.get(one.provider), utc_now())) for one in held]

    credentials = with_ownkey(work)
    if as_json:
        print_json([{**to_builtins(one), "health": advice} for one, advice in credentials])
        return
    print_table(
        (
            *("id", "provider", "label", "key", "status", "enabled", "requests", "last used", "next try", "expires"),
            "health",
        ),
        [
            (
                one.id,
                one.provider,
                one.label,
                one.hint,
                one.status.value,
                one.enabled,
                one.request_count,
                one.last_used_at,
                one.probe_at,
                one.expires_at,
                f"{advice.message} {advice.link}" if advice.link else advice.message,
            )
            for one, advice in credentials
        ],
        empty=f"{user} has no API keys. Store one: ownkey credential add PROVIDER --user {user}",
    )


@app.command(epilog=examples("ownkey credential test 0199c0de-… --user alice"))
def test(credential_id: CredentialArgument, user: UserOption, as_json: JsonOption = False) -> None:
    """Try a stored key at its provider. Exit status 1 if it does not work."""

    async def work(ok: Ownkey) -> ProbeResult:
        await require_user(ok, user)
        return await ok.settings.test_credential(user, credential_id, actor=current_actor())

    result = with_ownkey(work)
    if as_json:
        print_json(result)
    else:
        print(f"{result.outcome.value}: {result.message} ({result.duration_ms} ms)")
    if result.outcome.value != "works":
        raise typer.Exit(REFUSED)


@app.command(epilog=examples("ownkey credential replace 0199c0de-… --user alice < new-key.txt"))
def replace(credential_id: CredentialArgument, user: UserOption, as_json: JsonOption = False) -> None:
    """Put a new key in the place of a stored one; its label, order and history stay."""
    secret = read_secret()

    async def work(ok: Ownkey) -> Credential:
        await require_user(ok, user)
        return await ok.settings.replace_credential(user, credential_id, secret, actor=current_actor())

    replaced = with_ownkey(work)
    if as_json:
        print_json(replaced)
    else:
        print(f"Replaced: {replaced.provider} key {replaced.hint} of {user}.")


@app.command(epilog=examples("ownkey credential remove 0199c0de-… --user alice --yes"))
def remove(
    credential_id: CredentialArgument,
    user: UserOption,
    force: Annotated[bool, typer.Option("--force", help="Even if tasks are bound to it.")] = False,
    yes: YesOption = False,
) -> None:
    """Erase a stored key. It cannot be brought back."""
    confirm(f"Erase API key {credential_id} of {user}?", yes)

    async def work(ok: Ownkey) -> None:
        await require_user(ok, user)
        await ok.settings.remove_credential(user, credential_id, force=force, actor=current_actor())

    with_ownkey(work)
    print(f"API key {credential_id} is erased.")


def _read_fields(pairs: list[str]) -> dict[str, str] | None:
    fields = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter("write it as NAME=VALUE", param_hint="--field")
        fields[name] = value
    return fields or None
