"""`ownkey credential rotate-wrapping-key` and its neighbours: from one wrapping key to the next, while it serves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ownkey.cli.commands import REFUSED, examples
from ownkey.cli.options import JsonOption, YesOption, confirm
from ownkey.cli.output import print_json, print_table
from ownkey.cli.session import current_actor, with_ownkey

if TYPE_CHECKING:
    from ownkey.app import Ownkey
    from ownkey.services.key_rotation import Encryption, KeyRotation, Progress

_LOOK_SECONDS: Final = 0.25
KeyArgument = Annotated[str, typer.Argument(metavar="KEY_ID", help="The part before the colon in the key's line.")]


def add_commands(app: typer.Typer) -> None:
    """Put the commands of this file into a group."""
    app.command(
        "wrapping-keys", epilog=examples("ownkey credential wrapping-keys", "ownkey credential wrapping-keys --json")
    )(list_wrapping_keys)
    app.command(
        "rotate-wrapping-key",
        epilog=examples(
            "ownkey keygen   # add its line to every server's wrapping keys, then:",
            "ownkey credential rotate-wrapping-key k2f4c…",
            "ownkey credential rotate-wrapping-key   # goes on with what is left",
        ),
    )(rotate)
    app.command("retire-wrapping-key", epilog=examples("ownkey credential retire-wrapping-key kold"))(retire)
    app.command("destroy-wrapping-key", epilog=examples("ownkey credential destroy-wrapping-key kold"))(destroy)


def list_wrapping_keys(as_json: JsonOption = False) -> None:
    """Show the wrapping keys, how many users' data keys each wraps, who lacks which, and what comes next."""

    async def work(ok: Ownkey) -> Encryption:
        return await ok.core.rotation.describe(current_actor())

    state = with_ownkey(work)
    if as_json:
        print_json(state)
        return
    _print_state(state)


def rotate(
    key_id: Annotated[
        str | None, typer.Argument(metavar="[KEY_ID]", help="The key that is to wrap from now on; none: go on.")
    ] = None,
    yes: YesOption = False,
) -> None:
    """Wrap every user's data key with another wrapping key, while requests go on.

    It may be interrupted at any time and called again, in several places at once. To call a rotation off, name the key
    that wrapped before.
    """
    if key_id is not None:
        confirm(f"Make {key_id} the key that wraps, and move every user's data key under it?", yes)

    async def work(ok: Ownkey) -> tuple[Encryption, Progress]:
        rotation = ok.core.rotation
        if key_id is not None:
            await rotation.promote(current_actor(), key_id, actor=current_actor())
        done = await _rewrap(rotation)
        return await rotation.describe(current_actor()), done

    state, done = with_ownkey(work)
    print(f"Moved {done.moved:,} data keys.")
    _print_state(state)
    if state.left:
        raise typer.Exit(REFUSED)


def retire(key_id: KeyArgument) -> None:
    """Close a wrapping key under which nothing is left; the database refuses to let anything come under it again."""

    async def work(ok: Ownkey) -> Encryption:
        await ok.core.rotation.retire(current_actor(), key_id, actor=current_actor())
        return await ok.core.rotation.describe(current_actor())

    _print_state(with_ownkey(work))


def destroy(key_id: KeyArgument, yes: YesOption = False) -> None:
    """Note in the audit log that a retired key is no more. Backups of the database from its time do not open then."""
    confirm(
        f"Has every copy of {key_id} been erased, and may backups of the database from its time become unreadable?", yes
    )

    async def work(ok: Ownkey) -> None:
        await ok.core.rotation.destroy(current_actor(), key_id, actor=current_actor())

    with_ownkey(work)
    print(f"Wrapping key {key_id} is destroyed.")


async def _rewrap(rotation: KeyRotation) -> Progress:
    """Work, and show how far everybody who works on it has come."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    work = asyncio.create_task(rotation.rewrap_all())
    columns = (TextColumn("data keys"), BarColumn(), MofNCompleteColumn(), TextColumn("left:"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        state = await rotation.describe(current_actor())
        total = max(state.to_move, state.left)
        shown = bar.add_task("", total=total, completed=total - state.left)
        while not work.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(work), _LOOK_SECONDS)
            state = await rotation.describe(current_actor())
            bar.update(shown, completed=max(total, state.left) - state.left)
    return await work


def _print_state(state: Encryption) -> None:
    print_table(
        ("wrapping key", "phase", "data keys", "loaded here", "not loaded in", "since"),
        [
            (
                one.id,
                one.phase,
                one.keys,
                one.id in state.loaded,
                [f"{p.host}:{p.pid}" for p in state.processes if one.id not in p.wrapping_keys]
                if one.phase != "destroyed"
                else None,
                one.changed_at,
            )
            for one in state.keys
        ],
        empty="No wrapping key is known yet.",
    )
    print(_say_next(state))


def _say_next(state: Encryption) -> str:
    """What to do, in words."""
    if state.missing:
        return f"Restore {', '.join(state.missing)}: data keys are under it, and it is not loaded here."
    if state.left:
        return f"{state.left:,} data keys are left. Go on: ownkey credential rotate-wrapping-key"
    retiring = [one.id for one in state.keys if one.phase == "retiring"]
    if retiring:
        return f"Nothing is left under {retiring[0]}. Next: ownkey credential retire-wrapping-key {retiring[0]}"
    retired = [one.id for one in state.keys if one.phase == "retired"]
    if retired:
        return (
            f"Remove {retired[0]} from every server's wrapping keys, erase its copies once no backup needs it, then: "
            f"ownkey credential destroy-wrapping-key {retired[0]}"
        )
    ready = [one.id for one in state.keys if one.phase == "known" and one.id in state.loaded]
    if ready:
        return f"{ready[0]} is ready. Next: ownkey credential rotate-wrapping-key {ready[0]}"
    place = (
        "the wrapping key file of every server" if state.from_file else "OWNKEY_WRAPPING_KEYS and restart each server"
    )
    return f"To rotate: add the line of `ownkey keygen` to {place}, as the last one."
