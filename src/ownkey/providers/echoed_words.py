"""Which words of an error are the provider's own, and not an echo of what the client sent.

Where a provider has no code, its words decide whether a key is blamed. An error about the request repeats parts
of it, so a client could otherwise write the words that block a key which others share.
"""

from __future__ import annotations

import re
from typing import Final

from ownkey.providers.error_body import ErrorBody

# With these statuses the request may be what is wrong.
_ABOUT_THE_REQUEST: Final = frozenset({400, 404, 413, 422})
# Codes that say no more than such a status does. Any other one says what is wrong, and it is not the key.
_VAGUE_CODES: Final = frozenset(
    {
        "api_error",
        "bad_request",
        "badrequesterror",
        "client specified an invalid argument",  # xAI
        "failed_precondition",
        "invalid_argument",
        "invalid_request",
        "invalid_request_error",
        "validationexception",  # Bedrock
    }
)
# Complaints that name a field without quotes: a client chooses its fields' names.
_NAMES_A_FIELD: Final = re.compile(
    r"unrecognized request argument|unknown (?:field|name|parameter)|inputs? (?:are|is) not permitted"
    r"|\binput (?:should|must|tag)\b|\bfield required\b",
    re.I,
)
# A quote that opens: the one in "doesn't" follows a letter.
_OPENING: Final = re.compile(r"""(?<!\w)['"`“‘«]""")
_QUOTED: Final = re.compile(r"""(?<!\w)(?:'[^']*'|"[^"]*"|`[^`]*`|“[^”]*”|‘[^’]*’|«[^»]*»)""")


def own_words(status: int, error: ErrorBody, *, known_code: bool) -> str:
    """The part of the message that no client can have written; possibly nothing.

    `known_code`: one of the error's codes has a meaning of its own, which beats words about the request.
    """
    if status not in _ABOUT_THE_REQUEST:
        return _QUOTED.sub("…", error.message)
    if known_code or error.names_field or not all(map(_is_vague, error.codes)):
        return ""
    if _NAMES_A_FIELD.search(error.message):
        return ""
    # Quoted text may hold quotes of its own, and may be cut short: nothing behind the first one is certain.
    return _OPENING.split(error.message, maxsplit=1)[0]


def _is_vague(code: str) -> bool:
    return code.isdigit() or code in _VAGUE_CODES
