"""`ownkey token`: the tokens with which clients come to the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ownkey.cli.commands import examples, new_group
from ownkey.cli.options import ExpiresOption, JsonOption, UserOption, to_utc
from ownkey.cli.output import print_json, print_table
from ownkey.cli.session import current_actor, with_ownkey
from ownkey.cli.user import require_user

if TYPE_CHECKING:
    from ownkey.app import Ownkey
    from ownkey.services.gateway_tokens import NewToken
    from ownkey.storage.tokens import GatewayToken

app = new_group(
    "Gateway tokens: what a client sends as its API key to Ownkey.",
    epilog=examples("ownkey token create --user alice --name laptop"),
)


@app.command(
    epilog=examples(
        "ownkey token create --user alice --name laptop",
        "export OPENAI_API_KEY=$(ownkey token create --user alice --name ci --quiet)",
    )
)
def create(
    user: UserOption,
    name: Annotated[str, typer.Option("--name", "-n", help="By which a person recognises it.")] = "cli",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", help="gateway, settings or admin; may be given several times. Default: gateway and settings."
        ),
    ] = None,
    expires: ExpiresOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the token and nothing else.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a token. It is shown once: Ownkey keeps only its hash."""
    from ownkey.services.gateway_tokens import DEFAULT_SCOPES

    async def work(ok: Ownkey) -> NewToken:
        await require_user(ok, user)
        return await ok.tokens.create(
            user, name, scopes=scope or DEFAULT_SCOPES, expires_at=to_utc(expires), actor=current_actor()
        )

    made = with_ownkey(work)
    if as_json:
        print_json(made)
    elif quiet:
        print(made.text)
    else:
        print(f"{made.text}\n\nToken {made.token.id} of {user}. Keep it now: it is not shown again.")


@app.command("list", epilog=examples("ownkey token list --user alice"))
def list_tokens(user: UserOption, as_json: JsonOption = False) -> None:
    """List a user's tokens, the revoked ones included."""

    async def work(ok: Ownkey) -> list[GatewayToken]:
        await require_user(ok, user)
        return await ok.tokens.list_tokens(user)

    tokens = with_ownkey(work)
    if as_json:
        print_json(tokens)
        return
    print_table(
        ("id", "name", "token", "scopes", "created", "expires", "last used", "revoked"),
        [
            (
                token.id,
                token.name,
                token.hint,
                token.scopes,
                token.created_at,
                token.expires_at,
                token.last_used_at,
                token.revoked_at,
            )
            for token in tokens
        ],
        empty=f"{user} has no tokens. Make one: ownkey token create --user {user}",
    )


@app.command(epilog=examples("ownkey token revoke 0199c0de-… --user alice"))
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="TOKEN_ID", help="From `ownkey token list`.")],
    user: UserOption,
) -> None:
    """End a token, now and in every running process."""

    async def work(ok: Ownkey) -> None:
        await require_user(ok, user)
        await ok.tokens.revoke(user, token_id, actor=current_actor())

    with_ownkey(work)
    print(f"Token {token_id} is revoked.")
