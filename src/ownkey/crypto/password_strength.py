"""How many guesses a password withstands from somebody who knows how people choose theirs.

`zxcvbn` knows the 30,000 commonest passwords (1,090 of those that are long enough for us), names, words, dates,
keyboard walks and repetitions, and the ways in which they are put together. Its lists take 12 MB, so they are read
with the first new password and not at the start.
"""

from __future__ import annotations

import re
from typing import Final

# "Safely unguessable" in zxcvbn's own scale of 0 to 4: more than 10^8 guesses, each of which costs 60 ms here.
_LEAST_SCORE: Final = 3
# Its work grows with the square of the length; a password is as strong as its beginning at least.
_LOOKED_AT: Final = 72


def is_easily_guessed(password: str, *, login: str) -> bool:
    """Whether it is too weak to be taken. Takes up to 0.15 s: run it in a thread."""
    from zxcvbn import zxcvbn

    known = [login, *re.split(r"[\W_]+", login), "ownkey"]
    return bool(zxcvbn(password[:_LOOKED_AT], user_inputs=known, max_length=_LOOKED_AT)["score"] < _LEAST_SCORE)
