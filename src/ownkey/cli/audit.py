"""`ownkey audit`: who changed what, and whether that record is as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ownkey.cli.commands import REFUSED, examples, new_group
from ownkey.cli.options import JsonOption
from ownkey.cli.output import print_json, print_table
from ownkey.cli.session import current_actor, with_ownkey

if TYPE_CHECKING:
    from ownkey.app import Ownkey
    from ownkey.domain.audit import AuditEntry
    from ownkey.storage.audit import AuditFault, AuditHead

app = new_group(
    "The audit trail: a hash chain of every change.",
    epilog=examples("ownkey audit list --user alice", "ownkey audit verify"),
)


@app.command("list", epilog=examples("ownkey audit list", "ownkey audit list --user alice --limit 20 --json"))
def list_entries(
    user: Annotated[str | None, typer.Option("--user", "-u", metavar="ID", help="Only this user's rows.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most, the newest first.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List what was done, the newest first. Times are UTC; no entry holds a secret."""

    async def work(ok: Ownkey) -> list[AuditEntry]:
        return await ok.audit.list_all(current_actor(), limit=limit, user_id=user)

    entries = with_ownkey(work)
    if as_json:
        print_json(entries)
        return
    print_table(
        ("time", "actor", "user", "action", "subject", "details"),
        [
            (
                entry.occurred_at,
                entry.actor,
                entry.user_id,
                entry.action.value,
                entry.subject,
                " ".join(f"{name}={value}" for name, value in entry.details.items() if value is not None),
            )
            for entry in entries
        ],
        empty="Nothing has been recorded.",
    )


@app.command(
    epilog=examples(
        "ownkey audit verify",
        "ownkey audit verify --json >> /mnt/elsewhere/audit-heads.jsonl   # a copy shows a chain rewritten as a whole",
    )
)
def verify(as_json: JsonOption = False) -> None:
    """Recompute every hash of the trail. Exit status 1 if a row was changed, removed, added or moved.

    Somebody who owns the database could rewrite a chain from end to end. Keep the heads that this prints outside:
    a head that is not in the chain any more gives that away.
    """

    async def work(ok: Ownkey) -> tuple[AuditFault | None, list[AuditHead]]:
        from ownkey.storage import audit

        return await audit.verify(ok.database), await audit.list_heads(ok.database)

    fault, heads = with_ownkey(work)
    described = [{"chain": head.chain, "position": head.position, "hash": head.hash.hex()} for head in heads]
    if as_json:
        print_json({"intact": fault is None, "fault": fault, "heads": described})
    elif fault is None:
        print(f"The audit trail is intact: {sum(head.position for head in heads)} entries in {len(heads)} chains.")
        print_table(("chain", "entries", "head"), [tuple(head.values()) for head in described], empty="It is empty.")
    else:
        print(f"Broken: chain {fault.chain}, entry {fault.position}: {fault.reason}.")
    if fault is not None:
        raise typer.Exit(REFUSED)
