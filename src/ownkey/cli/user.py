"""`ownkey user`: the people. A host application makes its users by itself; this is for everybody else."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ownkey.cli.commands import examples, new_group
from ownkey.cli.options import JsonOption, YesOption, confirm
from ownkey.cli.output import print_json, print_pairs, print_table
from ownkey.cli.session import current_actor, with_ownkey
from ownkey.domain.user import Role, UserStatus
from ownkey.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from ownkey.app import Ownkey
    from ownkey.domain.credential import Credential
    from ownkey.services.erasure import ErasureReceipt
    from ownkey.services.one_time_links import NewLink
    from ownkey.storage.users import User

app = new_group(
    "The users: who exists, and who may do what.", epilog=examples("ownkey user create alice", "ownkey user list")
)

UserArgument = Annotated[str, typer.Argument(metavar="ID", help="The user's id, as the host application knows it.")]


async def require_user(ok: Ownkey, user_id: str) -> User:
    """The user, or an error that says how to make one: a mistyped id must not become a new user."""
    try:
        return await ok.users.get(user_id)
    except NotFound:
        raise NotFound(
            f"There is no user {user_id!r}. Make one: ownkey user create {user_id}", code="user_not_found"
        ) from None


@app.command(epilog=examples("ownkey user create alice", "ownkey user create root@example.com --admin"))
def create(
    user_id: UserArgument,
    admin: Annotated[bool, typer.Option("--admin", help="May see everybody's usage, and nobody's keys.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a user. Somebody who exists already is left as they are."""

    async def work(ok: Ownkey) -> tuple[User, bool]:
        try:
            return await ok.users.get(user_id), False
        except NotFound:
            role = Role.ADMIN if admin else Role.USER
            return await ok.users.create(user_id, role=role, actor=current_actor()), True

    user, is_new = with_ownkey(work)
    if as_json:
        print_json(user)
    elif is_new:
        print(f"Made {user.role.value} {user.id}. A token for them: ownkey token create --user {user.id}")
    else:
        print(f"{user.id} exists already, as {user.role.value}.")


@app.command("list", epilog=examples("ownkey user list", "ownkey user list --after alice --limit 1000 --json"))
def list_users(
    after: Annotated[str | None, typer.Option(metavar="ID", help="Go on behind this id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List users by id."""

    async def work(ok: Ownkey) -> list[User]:
        return await ok.users.list_users(current_actor(), after=after, limit=limit)

    users = with_ownkey(work)
    if as_json:
        print_json(users)
        return
    print_table(
        ("id", "role", "status", "created"),
        [(user.id, user.role.value, user.status.value, user.created_at) for user in users],
        empty="There are no users.",
    )
    if len(users) == limit:
        print(f"There may be more: --after {users[-1].id}")


@app.command(epilog=examples("ownkey user show alice", "ownkey user show alice --json"))
def show(user_id: UserArgument, as_json: JsonOption = False) -> None:
    """Show one user: role, status, API keys by provider and valid tokens."""

    async def work(ok: Ownkey) -> dict[str, object]:
        user = await require_user(ok, user_id)
        credentials = await ok.settings.list_credentials(user_id)
        tokens = await ok.tokens.list_tokens(user_id)
        return {
            "id": user.id,
            "role": user.role.value,
            "status": user.status.value,
            "group": user.group,
            "created_at": user.created_at,
            "credentials": _count_by_provider(credentials),
            "tokens": sum(token.revoked_at is None for token in tokens),
        }

    shown = with_ownkey(work)
    if as_json:
        print_json(shown)
    else:
        counts = shown["credentials"]
        assert isinstance(counts, dict)  # noqa: S101  # built above
        print_pairs({**shown, "credentials": [f"{provider} {count}" for provider, count in counts.items()]})


@app.command(epilog=examples("ownkey user invite alice", "ownkey user invite root@example.com --admin"))
def invite(
    user_id: UserArgument,
    admin: Annotated[bool, typer.Option("--admin", help="As an administrator.")] = False,
    login: Annotated[str | None, typer.Option(help="With what they sign in; by default the id.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a link with which somebody chooses a password and signs in to the panel: once, within a day.

    Somebody who does not exist is made. An earlier link of theirs leads nowhere any more.
    """

    async def work(ok: Ownkey) -> tuple[NewLink, str]:
        role = Role.ADMIN if admin else None
        return await ok.core.links.invite(user_id, login=login, role=role, actor=current_actor()), _base_url(ok)

    _print_link(*with_ownkey(work), as_json=as_json)


@app.command("reset-password", epilog=examples("ownkey user reset-password alice"))
def reset_password(user_id: UserArgument, as_json: JsonOption = False) -> None:
    """Print a link with which somebody chooses a new password: once, within a day. The old one works until then."""

    async def work(ok: Ownkey) -> tuple[NewLink, str]:
        await require_user(ok, user_id)
        return await ok.core.links.reset(user_id, actor=current_actor()), _base_url(ok)

    _print_link(*with_ownkey(work), as_json=as_json)


@app.command("set-group", epilog=examples("ownkey user set-group alice research", "ownkey user set-group alice --none"))
def set_group(
    user_id: UserArgument,
    group: Annotated[
        str | None, typer.Argument(metavar="[GROUP]", help="Letters, digits, '-', '_'; the policy gives it a budget.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Into no group.")] = False,
) -> None:
    """Put a user into a group, whose budget of the operator's money its members share from now on."""
    if (group is None) != none:
        raise typer.BadParameter("name a group, or take --none", param_hint="GROUP")

    async def work(ok: Ownkey) -> User:
        await require_user(ok, user_id)
        return await ok.users.set_group(user_id, group, actor=current_actor())

    changed = with_ownkey(work)
    print(f"{user_id} is in no group." if changed.group is None else f"{user_id} is in the group {changed.group}.")


@app.command(epilog=examples("ownkey user suspend alice"))
def suspend(user_id: UserArgument) -> None:
    """Keep a user out: no token of theirs works from now on, in any process. Nothing is erased."""
    _set_status(user_id, UserStatus.SUSPENDED)
    print(f"{user_id} is suspended. Let them in again: ownkey user activate {user_id}")


@app.command(epilog=examples("ownkey user activate alice"))
def activate(user_id: UserArgument) -> None:
    """Let a suspended user in again."""
    _set_status(user_id, UserStatus.ACTIVE)
    print(f"{user_id} is active.")


@app.command(
    epilog=examples("ownkey user delete alice", "ownkey user delete alice --export alice.json --json > receipt.json")
)
def delete(
    user_id: UserArgument,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="First write everything that is kept of them to a new file.")
    ] = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Erase a user with their keys, settings, tokens and usage, and print a receipt.

    Their data key goes too: no copy of a key opens, from whatever backup. The audit trail keeps its entries.
    """
    confirm(f"Erase {user_id} and everything that is stored of them?", yes)

    async def work(ok: Ownkey) -> ErasureReceipt:
        await require_user(ok, user_id)
        if export is not None:
            await _write_export(ok, user_id, export)
        return await ok.users.delete(user_id, actor=current_actor())

    receipt = with_ownkey(work)
    if as_json:
        print_json(receipt)
        return
    print(f"{user_id} is erased.")
    print(
        f"  {receipt.credentials} API keys, {receipt.gateway_tokens} tokens, {receipt.sessions} sessions, the usage of "
        f"{receipt.calls} calls" + (", and the data key without which no copy opens" if receipt.data_key else "")
    )
    print(f"  audit entry {receipt.audit_position} of chain {receipt.audit_chain}, {receipt.audit_hash}")


async def _write_export(ok: Ownkey, user_id: str, path: Path) -> None:
    """All or nothing is erased after it: what cannot be written whole ends the command."""
    try:
        # `open` in place of `Path.open`, which takes no mode: the file is this person's alone.
        with open(path, "xb", opener=partial(os.open, mode=0o600)) as file:  # noqa: ASYNC230
            async for piece in await ok.core.export.open(user_id):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}. Nothing was erased.") from None


def _base_url(ok: Ownkey) -> str:
    """Where people open the server, as far as this command can know."""
    host = "127.0.0.1" if ok.config.host in ("0.0.0.0", "::") else ok.config.host  # noqa: S104  # compared, not bound
    return ok.config.public_url or f"http://{host}:{ok.config.port}"


def _print_link(link: NewLink, base_url: str, *, as_json: bool) -> None:
    shown = {
        "user_id": link.user_id,
        "login": link.login,
        "purpose": link.purpose.value,
        "link": link.url(base_url),
        "expires_at": link.expires_at,
    }
    if as_json:
        print_json(shown)
    else:
        print(f"{shown['link']}\n\nFor {link.login}, once, within a day. It is not shown again.")


def _set_status(user_id: str, status: UserStatus) -> None:
    async def work(ok: Ownkey) -> None:
        await require_user(ok, user_id)
        await ok.users.set_status(user_id, status, actor=current_actor())

    with_ownkey(work)


def _count_by_provider(credentials: list[Credential]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for credential in credentials:
        counts[credential.provider] = counts.get(credential.provider, 0) + 1
    return counts
