"""What reading or writing JSON can fail with, for the places where any failure means the same."""

from __future__ import annotations

from typing import Final

import msgspec

from ownkey.domain.exchange import Failure
from ownkey.domain.usage import Outcome

# msgspec raises the two others itself: for text that is not UTF-8, and for arrays inside arrays without end.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)

TOO_DEEP: Final = Failure(outcome=Outcome.STREAM_BROKEN, message="The provider sent an event nested too deeply.")
