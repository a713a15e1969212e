"""`ownkey audit`: who changed what, and whether that record is as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ownkey.cli.commands import REFUSED, examples, new_group
from ownkey.cli.options import JsonOption
from ownkey.cli.output import print_json, print_table
from ownkey.cli.session import current_actor, with_ownkey
from ownkey.errors import ConfigError

if TYPE_CHECKING:
    from ownkey.app import Ownkey
    from ownkey.domain.audit import AuditEntry
    from ownkey.services.audit_verification import Verification
    from ownkey.storage.audit import AuditHead

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


@app.command(epilog=examples("ownkey audit verify", "ownkey audit verify --anchors /mnt/elsewhere/audit-anchors"))
def verify(
    anchors: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Anchors that were kept elsewhere; else this server's own."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute every hash, seal and anchor of the trail. Exit status 1 if a row was changed, removed, added or moved.

    Seals are made with a key that the database holds only in wrapped form. Anchors are copies of the chains' ends
    outside the database: against them shows that the newest entries were cut off, or that all is an older state.
    """

    async def work(ok: Ownkey) -> tuple[Verification, list[AuditHead]]:
        if anchors is not None and not anchors.is_file():
            raise ConfigError(f"There are no audit anchors in {anchors}.")
        verified = await (ok.audit.verify() if anchors is None else ok.audit.verify_against(anchors))
        return verified, await ok.audit.list_heads()

    verified, heads = with_ownkey(work)
    described = [{"chain": head.chain, "position": head.position, "hash": head.hash.hex()} for head in heads]
    fault = verified.first_broken
    if as_json:
        print_json({**msgspec.structs.asdict(verified), "heads": described})
    elif fault is None:
        print(f"The audit trail is intact: {verified.entries} entries in {verified.chains} chains.")
        if verified.unsealed:
            print(f"{verified.unsealed} of them are older than its seals: their hashes alone speak for them.")
        print(f"It agrees with {verified.anchors} anchors outside the database.")
        print_table(("chain", "entries", "head"), [tuple(head.values()) for head in described], empty="It is empty.")
    else:
        print(f"Broken: chain {fault.chain}, entry {fault.position}: {fault.reason}.")
        if fault.anchor is not None:
            print(f"The anchor is of {fault.anchor}.")
        print("Entries before it in this chain are sound. Compare it with a backup of the database.")
    if fault is not None:
        raise typer.Exit(REFUSED)
