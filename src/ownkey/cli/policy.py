"""`ownkey policy`: what is decided for everybody, as a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from ownkey.cli.commands import examples, new_group
from ownkey.cli.output import print_json
from ownkey.cli.session import current_actor, with_ownkey
from ownkey.domain.policy import PolicyDocument, check_nothing_left_out
from ownkey.errors import RequestError

if TYPE_CHECKING:
    from ownkey.app import Ownkey
    from ownkey.storage.policy import StoredPolicy

app = new_group(
    "The policy: who may use the operator's keys and how much, and what users cannot choose.",
    epilog=examples("ownkey policy show > policy.json", "ownkey policy set policy.json"),
)


@app.command(epilog=examples("ownkey policy show", "ownkey policy show > policy.json"))
def show() -> None:
    """Print the policy as JSON, as `set` takes it."""

    async def work(ok: Ownkey) -> StoredPolicy:
        return await ok.policies.get(current_actor())

    print_json(with_ownkey(work).document)


@app.command("set", epilog=examples("ownkey policy set policy.json", "ownkey policy set - < policy.json"))
def replace(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What `show` prints, with changes; - reads from standard input.")
    ],
    reset: Annotated[bool, typer.Option("--reset", help="Set what is left out back to its default.")] = False,
) -> None:
    """Replace the whole policy, in every process and from now on."""
    document = _read(file, reset=reset)

    async def work(ok: Ownkey) -> StoredPolicy:
        return await ok.policies.put(current_actor(), document)

    stored = with_ownkey(work)
    print("The policy is in force.")
    if stored.unknown_users:
        print(f"Nobody has these ids (yet): {', '.join(stored.unknown_users)}", file=sys.stderr)


def _read(file: Path, *, reset: bool) -> PolicyDocument:
    """Raises RequestError."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        given = msgspec.json.decode(text)
        document = msgspec.convert(given, PolicyDocument)
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{file} cannot be read: {error}.") from None
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RequestError(f"{file} is no policy: {error}.") from None
    unknown = _find_unknown(given, msgspec.to_builtins(document), "")
    if unknown:
        raise RequestError(f"{file} has {', '.join(unknown)}, which no policy has.")
    if not reset:
        check_nothing_left_out(given, "Change what `ownkey policy show` prints, or mean it: --reset.")
    return document


def _find_unknown(given: Any, known: Any, place: str) -> list[str]:
    """Names that were passed over: a slip in one would be no limit."""
    if not isinstance(given, dict) or not isinstance(known, dict):
        return []
    found = [f"{place}{name}" for name in given if name not in known]
    for name in given.keys() & known.keys():
        found += _find_unknown(given[name], known[name], f"{place}{name}.")
    return sorted(found)
