"""`ownkey route`: where a request would go, and what it may cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ownkey.cli.commands import REFUSED, examples, new_group
from ownkey.cli.options import JsonOption, UserOption
from ownkey.cli.output import format_cost, print_json, print_table
from ownkey.cli.session import with_ownkey
from ownkey.cli.user import require_user

if TYPE_CHECKING:
    from ownkey.app import Ownkey
    from ownkey.services.route_preview import PreviewedHop, RoutePreview

app = new_group("Where requests go, and why.", epilog=examples("ownkey route explain task:coding --user alice"))


@app.command(
    epilog=examples(
        "ownkey route explain --user alice",
        "ownkey route explain task:coding --user alice --needs tools,images --input-tokens 20000",
        "ownkey route explain groq/llama-3.3-70b-versatile --user alice --no-fallback --json",
    )
)
def explain(
    user: UserOption,
    model: Annotated[
        str,
        typer.Argument(metavar="[MODEL]", help="As a client names it: auto, task:coding, groq/… or a model's name."),
    ] = "auto",
    task: Annotated[str | None, typer.Option(help="As in the header X-Ownkey-Task.")] = None,
    needs: Annotated[list[str] | None, typer.Option(help="tools, images or json_schema; several with commas.")] = None,
    input_tokens: Annotated[int, typer.Option(min=0, help="How long the request is.")] = 0,
    max_output_tokens: Annotated[int | None, typer.Option(min=1, help="The limit it sets on its answer.")] = None,
    embeddings: Annotated[bool, typer.Option("--embeddings", help="A request for embeddings.")] = False,
    fallback: Annotated[
        bool | None, typer.Option("--fallback/--no-fallback", help="As in the header X-Ownkey-Fallback.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the chain of a request that is not sent: who pays each hop, what it may cost, and why others are left out.

    It is computed by the function that the gateway uses, from what is stored now. What serving processes have learnt
    of broken providers in the last minutes is not known here. Exit status 1: nothing could be tried.
    """
    wanted = {name.strip() for part in needs or [] for name in part.split(",") if name.strip()}
    unknown = sorted(wanted - {"tools", "images", "json_schema"})
    if unknown:
        raise typer.BadParameter(f"there is no {unknown[0]!r}: tools, images or json_schema", param_hint="--needs")

    async def work(ok: Ownkey) -> tuple[RoutePreview, dict[str, Any], bool]:
        from ownkey.domain.routing import Needs, RouteRequest
        from ownkey.domain.settings import check_task

        await require_user(ok, user)
        request = RouteRequest(
            model=model,
            operation="embeddings" if embeddings else "chat",
            task=None if task is None else check_task(task),
            needs=Needs(input_tokens=input_tokens, **dict.fromkeys(wanted, True)),
            allow_fallback=fallback,
            max_output_tokens=max_output_tokens,
        )
        route = await ok.core.previews.preview(user, request)
        return route, _describe(route, ok), bool(ok.core.router.policy.shared)

    route, described, lends = with_ownkey(work)
    if as_json:
        print_json(described)
    else:
        _print_route(route, described)
        if not lends:
            print(
                "\nThe operator's keys are those in the environment of this command, and there are none: run it with "
                "the server's variables to see what they would do."
            )
    if not route.hops:
        raise typer.Exit(REFUSED)


def _describe(route: RoutePreview, ok: Ownkey) -> dict[str, Any]:
    """The route as JSON has it, in the words of `POST /api/route/preview`."""
    from msgspec import structs

    from ownkey.services.route_preview import explain_skip

    return {
        "task": route.task,
        "attempts": [_describe_hop(hop) for hop in route.hops],
        "skipped": [
            {**structs.asdict(hop), "explanation": explain_skip(hop, ok.core.catalog)} for hop in route.skipped
        ],
    }


def _describe_hop(hop: PreviewedHop) -> dict[str, Any]:
    from msgspec import structs

    attempt, credential = hop.attempt, hop.attempt.credential
    price = None if hop.quote is None else {**structs.asdict(hop.quote), "output_tokens": hop.output_tokens}
    return {
        "provider": attempt.provider.id,
        "model": attempt.model,
        "payer": attempt.payer,
        "credential": None
        if credential is None
        else {"id": credential.id, "label": credential.label, "hint": credential.hint},
        "price": price,
    }


def _print_route(route: RoutePreview, described: dict[str, Any]) -> None:
    if route.task is not None:
        print(f"Task: {route.task}")
    print_table(
        ("", "provider", "model", "who pays", "costs at least", "at most"),
        [
            [
                f"{number}.",
                hop.attempt.provider.label,
                hop.attempt.model,
                _whose(hop),
                format_cost(hop.quote.lowest) if hop.quote else "unpriced",
                format_cost(hop.quote.highest) if hop.quote else "unpriced",
            ]
            for number, hop in enumerate(route.hops, 1)
        ],
        empty="Nothing could be tried.",
    )
    if route.skipped:
        print("\nLeft out:")
    for hop in described["skipped"]:
        print(f"  {hop['explanation']}")


def _whose(hop: PreviewedHop) -> str:
    credential = hop.attempt.credential
    return "the operator" if credential is None else f'the user, key "{credential.label}" {credential.hint}'
