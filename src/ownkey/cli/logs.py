"""Where the server's log goes, and that no secret goes with it."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from ownkey.services.log_redaction import LogRedaction

if TYPE_CHECKING:
    from ownkey.app import Ownkey


def open_log(level: str, *, worker: int | None = None) -> LogRedaction:
    """Log to standard error, every library's lines included, each with its time."""
    place = "" if worker is None else f"worker {worker} "
    redaction = LogRedaction(f"%(asctime)s %(levelname)s {place}%(name)s: %(message)s", os.environ)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(redaction)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    return redaction


def follow(redaction: LogRedaction, ok: Ownkey) -> None:
    """Know the secrets that this server has in use, and the forms of its providers' keys."""
    prefixes = {prefix for provider in ok.core.catalog.values() for prefix in provider.key_prefixes}
    redaction.follow(ok.core.completion.running.list_secrets, prefixes)
