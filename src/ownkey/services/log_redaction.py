"""Log lines without secrets: the last thing that happens to a line before it is written, whoever it comes from.

Our own code logs no secret; a library may log anything, an exception's text and a traceback included. What is taken
out: the values that this process was started with, the keys of the requests that run at this moment, and whatever has
the form of a key, a token or a password. Where nothing is logged it costs nothing; a line takes some 15 µs.
"""

from __future__ import annotations

import logging
import re
import time
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final
from urllib.parse import quote, unquote

from ownkey.domain.credential import Secret

REDACTED: Final = "[redacted]"
# A shorter value would be found in innocent words.
_SHORTEST: Final = 8
_NAMES: Final = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL|DSN|DATABASE_URL", re.IGNORECASE)
# What holds the name of a place, and not what lies there.
_PLACES: Final = re.compile(r"_(?:FILE|PATH|DIR)\Z", re.IGNORECASE)
# To the last @: people write passwords that hold one.
_PASSWORD_IN_URL: Final = re.compile(r"""(://[^:/?#\s@]*:)([^/\s"]+)(@)""")


def _at_word(literal: str) -> str:
    """A literal where a word begins, also behind a character that is written as `%20`, `\\n`, `\\x20` or `\\u003d`.

    In front of what may be long: a line without an end is looked at once, and not from each place in it.
    """
    behind = (r"%[0-9A-Fa-f]{2}", r"\\[abfnrtv]", r"\\x[0-9A-Fa-f]{2}", r"\\u[0-9A-Fa-f]{4}")
    escaped = re.escape(literal)
    return rf"{escaped}(?:(?<![\w-]{escaped})|{'|'.join(f'(?<={one}{escaped})' for one in behind)})"


_FORMS: Final = (
    re.compile(r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}()", re.IGNORECASE),
    # As a header, in a query, in JSON (also within JSON), and as a pair of a list of headers.
    re.compile(
        r"""((?:(?:api[_-]?key|authorization|password|secret|token)(?:\\*["']?\s*[:=]\s*|["']\s*,\s*)|[?&]key=)"""
        r"""(?:b(?=["']))?\\*["']?)[\w.~+/=%-]{8,}()""",
        re.IGNORECASE,
    ),
    # JSON web tokens.
    re.compile(rf"(){_at_word('eyJ')}[\w-]{{8,}}\.[\w-]{{8,}}\.[\w-]*()"),
)


class LogRedaction(logging.Formatter):
    """A formatter that takes secrets out of whatever it has formatted, with times in UTC.

    `prefixes` are those of providers' keys. `follow` names the secrets that come and go.
    """

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, text: str, environ: Mapping[str, str], prefixes: Collection[str] = ()) -> None:
        super().__init__(text)
        # The longest first: a value may begin as another one does.
        values = sorted(_read_secrets(environ), key=len, reverse=True)
        self._known = tuple(shape for value in values for shape in _shapes(value))
        self._live: Callable[[], Iterable[Secret]] = tuple
        self._keys = _compile_prefixes(prefixes)

    def follow(self, live: Callable[[], Iterable[Secret]], prefixes: Collection[str]) -> None:
        """From now on also these: the secrets in use, and what keys of the catalogue's providers begin with."""
        self._live, self._keys = live, _compile_prefixes(prefixes)

    def format(self, record: logging.LogRecord) -> str:
        """The line, with its exception and stack, and without secrets.

        Whatever goes wrong: of an exception `logging` would make lines of its own, with the arguments as they came.
        """
        try:
            text = super().format(record)
        except Exception as error:  # noqa: BLE001  # too few arguments, or one that cannot be printed
            text = f"{record.levelname} {record.name}: {type(error).__name__} in the log line {_name(record.msg)}"
        # Whatever somebody has put into it: a line that begins with a time is one of ours.
        text = text.replace("\r", "\\r").replace("\n", "\n    ")
        try:
            return self.scrub(text)
        except Exception as error:  # noqa: BLE001
            return f"a log line of {record.name} is withheld: {type(error).__name__} while secrets were looked for"

    def scrub(self, text: str) -> str:
        """A text without secrets."""
        for value in self._known:
            if value in text:
                text = text.replace(value, REDACTED)
        for secret in self._live():
            text = secret.scrub(text)
        text = _PASSWORD_IN_URL.sub(rf"\1{REDACTED}\3", text)
        for form in _FORMS:
            text = form.sub(rf"\1{REDACTED}\2", text)
        for begin, form in self._keys:
            if begin in text:
                text = form.sub(REDACTED, text)
        return text


def _read_secrets(environ: Mapping[str, str]) -> set[str]:
    """What the process was started with that is nobody's business."""
    found: set[str] = set()
    for name, value in environ.items():
        for _, password, _ in _PASSWORD_IN_URL.findall(value):
            found |= {password, unquote(password)}
        # Our own names all begin with a KEY.
        if not _NAMES.search(name.removeprefix("OWNKEY_")) or _PLACES.search(name):
            continue
        if "://" not in value:
            found.add(value.strip())
        # Wrapping keys are a list of `id:key`, and of `id:URL`.
        for entry in (one.strip() for one in re.split(r"[,\n]", value) if "://" not in one):
            found |= {entry, entry.partition(":")[2].strip()}
    return {value for value in found if len(value) >= _SHORTEST}


def _name(text: object) -> str:
    return repr(text) if isinstance(text, str) else type(text).__name__


def _shapes(value: str) -> tuple[str, ...]:
    """How a value is written down by those who do not know what it is."""
    raw = value.encode()
    # The last characters of base64 depend on what follows.
    encoded = b64encode(raw).decode().rstrip("=")[:-2]
    return tuple(dict.fromkeys((value, quote(value, safe=""), raw.hex(), encoded)))


def _compile_prefixes(prefixes: Collection[str]) -> list[tuple[str, re.Pattern[str]]]:
    """Keys by what they begin with. Tokens of our own are always among them."""
    begins = sorted({*prefixes, "ok-", "okp-", "oks-", "okl-"}, key=len, reverse=True)
    return [(begin, re.compile(rf"{_at_word(begin)}[\w.~+/=-]{{8,}}")) for begin in begins]
