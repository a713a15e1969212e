"""`ownkey usage`: what was used, by whom and for how much."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ownkey.cli.commands import examples, new_group
from ownkey.cli.options import JsonOption
from ownkey.cli.output import format_cost, print_json, print_table
from ownkey.cli.session import current_actor, with_ownkey
from ownkey.cli.user import require_user
from ownkey.domain.settings import Payer

if TYPE_CHECKING:
    from ownkey.app import Ownkey
    from ownkey.services.usage_report import Usage, UsageSums

app = new_group("Requests, tokens and cost.", epilog=examples("ownkey usage show --all"))

_DATE: Final = ["%Y-%m-%d"]
_FIELD_OF_KEY: Final = {"user": "user_id", "credential": "credential_id"}


@app.command(
    epilog=examples(
        "ownkey usage show --all",
        "ownkey usage show --user alice --from 2026-11-01 --to 2026-11-30 --group-by provider --group-by model",
        "ownkey usage show --all --provider openai --payer shared --group-by user,day --csv > november.csv",
    )
)
def show(
    user: Annotated[str | None, typer.Option("--user", "-u", metavar="ID", help="One user's usage.")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Everybody's usage.")] = False,
    start: Annotated[
        datetime | None, typer.Option("--from", formats=_DATE, help="First day, UTC. Default: 30 days until --to.")
    ] = None,
    end: Annotated[datetime | None, typer.Option("--to", formats=_DATE, help="Last day, UTC. Default: today.")] = None,
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            help="user (with --all), day, provider, model, task, credential or payer; several with commas. "
            "Default: day for one user, user for all."
        ),
    ] = None,
    provider: Annotated[str | None, typer.Option(metavar="ID", help="Only of this provider.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    task: Annotated[str | None, typer.Option(help="Only of this task.")] = None,
    credential: Annotated[str | None, typer.Option(metavar="ID", help="Only with this key.")] = None,
    payer: Annotated[Payer | None, typer.Option(help="Only at whose expense.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV for a spreadsheet.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show requests, tokens and cost, summed over days.

    "estimated" are calls that were cut before their provider said what they used, and part of "cost"; "unpriced" are
    not. "fallbacks" took over from another key or provider.
    """
    if (user is None) != everybody:
        raise typer.BadParameter("name one user with --user, or take --all", param_hint="--user")
    keys = [key.strip() for part in group_by or [] for key in part.split(",")]
    choice: dict[str, Any] = {
        "provider": provider,
        "model": model,
        "task": task,
        "credential_id": credential,
        "payer": payer,
    }

    async def work(ok: Ownkey) -> Usage:
        first, last = _day(start), _day(end)
        if user is None:
            return await ok.usage.query_all(current_actor(), group_by=keys or ["user"], start=first, end=last, **choice)
        await require_user(ok, user)
        return await ok.usage.query(user, group_by=keys or ["day"], start=first, end=last, **choice)

    usage = with_ownkey(work)
    if as_json:
        print_json(usage)
    elif as_csv:
        from ownkey.services.usage_report import write_csv

        print(write_csv(usage), end="")
    else:
        _print_usage(usage)


def _print_usage(usage: Usage) -> None:
    keys = usage.query.group_by
    rows = [[getattr(row, _FIELD_OF_KEY.get(key, key)) for key in keys] + _numbers(row) for row in usage.rows]
    if rows:
        rows.append(["total", *[""] * (len(keys) - 1), *_numbers(usage.total)])
    print_table(
        (*keys, "requests", "errors", "input", "output", "cost", "estimated", "unpriced", "fallbacks"),
        rows,
        empty=f"No requests from {usage.query.start} to {usage.query.end}.",
    )


def _numbers(sums: UsageSums) -> list[object]:
    return [
        f"{sums.requests:,}",
        f"{sums.errors:,}",
        f"{sums.input_uncached + sums.cache_read + sums.cache_write:,}",
        f"{sums.output_text + sums.output_reasoning:,}",
        format_cost(sums.cost_microdollars),
        f"{sums.estimated_requests:,}",
        f"{sums.unpriced_requests:,}",
        f"{sums.fallback_requests:,}",
    ]


def _day(moment: datetime | None) -> date | None:
    return moment.date() if moment is not None else None
