"""Log lines without secrets: the last thing that happens to a line before it is written, whoever it comes from.

Our own code logs no secret; a library may log anything, an exception's text and a traceback included. What is taken
out: the values that this process was started with, the keys of the requests that run at this moment, and whatever has
the form of a key, a token or a password. Where nothing is logged it costs nothing; a line takes some 15 µs.
"""

from __future__ import annotations

import logging
import re
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final
from urllib.parse import quote

from ownkey.domain.credential import Secret

REDACTED: Final = "[redacted]"
# A shorter value would be found in innocent words.
_SHORTEST: Final = 8
_NAMES: Final = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL|DSN|DATABASE_URL", re.IGNORECASE)
_PASSWORD_IN_URL: Final = re.compile(r"(://[^:/?#\s@]*:)[^@/\s]+(@)")
_FORMS: Final = (
    _PASSWORD_IN_URL,
    re.compile(r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}()", re.IGNORECASE),
    re.compile(
        r"""((?:(?:api[_-]?key|authorization|password|secret|token)["']?\s*[:=]\s*|[?&]key=)["']?)"""
        r"""[\w.~+/=%-]{8,}()""",
        re.IGNORECASE,
    ),
    # JSON web tokens.
    re.compile(r"()\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*()"),
)


class LogRedaction(logging.Formatter):
    """A formatter that takes secrets out of whatever it has formatted.

    `prefixes` are those of providers' keys. `follow` names the secrets that come and go.
    """

    def __init__(self, text: str, environ: Mapping[str, str], prefixes: Collection[str] = ()) -> None:
        super().__init__(text)
        self._known = tuple(shape for value in _read_secrets(environ) for shape in _shapes(value))
        self._live: Callable[[], Iterable[Secret]] = tuple
        self._keys = _compile_prefixes(prefixes)

    def follow(self, live: Callable[[], Iterable[Secret]], prefixes: Collection[str]) -> None:
        """From now on also these: the secrets in use, and what keys of the catalogue's providers begin with."""
        self._live, self._keys = live, _compile_prefixes(prefixes)

    def format(self, record: logging.LogRecord) -> str:
        """The line, with its exception and stack, and without secrets."""
        return self.scrub(super().format(record))

    def scrub(self, text: str) -> str:
        """A text without secrets."""
        for value in self._known:
            if value in text:
                text = text.replace(value, REDACTED)
        for secret in self._live():
            text = secret.scrub(text)
        for form in _FORMS:
            text = form.sub(rf"\1{REDACTED}\2", text)
        return self._keys.sub(REDACTED, text)


def _read_secrets(environ: Mapping[str, str]) -> set[str]:
    """What the process was started with that is nobody's business."""
    found: set[str] = set()
    for name, value in environ.items():
        if _NAMES.search(name):
            found |= set(_PASSWORD_IN_URL.findall(value) and re.findall(r"://[^:/?#\s@]*:([^@/\s]+)@", value))
            if "://" not in value:
                # Wrapping keys are a list of `id:key`.
                found |= {part for entry in value.split(",") for part in (entry.strip(), entry.partition(":")[2])}
    return {value for value in found if len(value) >= _SHORTEST}


def _shapes(value: str) -> tuple[str, ...]:
    """How a value is written down by those who do not know what it is."""
    raw = value.encode()
    # The last characters of base64 depend on what follows.
    encoded = b64encode(raw).decode().rstrip("=")[:-2]
    return tuple(dict.fromkeys((value, quote(value, safe=""), raw.hex(), encoded)))


def _compile_prefixes(prefixes: Collection[str]) -> re.Pattern[str]:
    """Keys by what they begin with. Tokens of our own are always among them."""
    begins = sorted({*prefixes, "ok-", "okp-", "oks-", "okl-"}, key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, begins))})[\w.~+/=-]{{8,}}")
