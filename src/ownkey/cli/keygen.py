"""`ownkey keygen`: a new wrapping key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ownkey.cli.commands import examples

EPILOG = examples(
    "ownkey keygen",
    "ownkey keygen --output /etc/ownkey/wrapping.key",
    'export OWNKEY_WRAPPING_KEYS="$OWNKEY_WRAPPING_KEYS,$(ownkey keygen)"   # then: credential rotate-wrapping-key',
)


def keygen(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it to a new file, mode 0600, instead of printing it.")
    ] = None,
) -> None:
    """Make a new wrapping key: the key that locks every user's stored API keys.

    It belongs into OWNKEY_WRAPPING_KEYS, or into the file that OWNKEY_WRAPPING_KEY_FILE names, and into a backup
    that is kept apart from the database. Without it nobody can read the stored API keys again.
    """
    from ownkey.crypto.key_text import generate_key_line
    from ownkey.crypto.wrapping import LocalWrappingKeys

    if output is None:
        print(generate_key_line())
        return
    keys = LocalWrappingKeys.generate_file(output)
    print(f"Wrapping key {keys.primary_id} is in {output}. Set OWNKEY_WRAPPING_KEY_FILE={output.absolute()}")
