"""Time that passes, whatever the wall clock is set to."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

# The monotonic clock stands still while a machine is suspended, or a virtual one is moved: what was true an hour ago
# would count as new. Only Linux has the other one.
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None)

# Seconds since some moment; goes on while the machine sleeps.
elapsed_seconds: Callable[[], float] = (
    time.monotonic if _BOOT_CLOCK is None else partial(time.clock_gettime, _BOOT_CLOCK)
)
