"""Why an answer ended, as far as it goes into a record: a provider may write anything there."""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = re.compile(r"[\w.-]{1,40}", re.ASCII)


def finish_word(value: str | None) -> str | None:
    """A finish reason that is a plain word, else None."""
    return value if value and _WORD.fullmatch(value) else None
