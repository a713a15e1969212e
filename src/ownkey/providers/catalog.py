"""The providers that Ownkey knows: `catalog.toml`, and an operator's own file on top of it.

A provider is a table. A second file may add tables and change single keys of the tables that exist, so
pointing a provider elsewhere takes two lines:

    [openai]
    base_url = "https://openai.internal.example/v1"

Everything is checked here, once, at start-up: what passes is safe to use without looking again.
"""

from __future__ import annotations

import re
import string
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from ownkey.domain.provider import Field, Model, Provider, Quirk
from ownkey.errors import ConfigError

BUILT_IN: Final = "catalog.toml"

_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TASK: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_ENVIRONMENT: Final = re.compile(r"[A-Z][A-Z0-9_]{0,79}")
_HEADER_NAME: Final = re.compile(r"[a-z0-9-]{1,60}")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,200}")
_WORD: Final = re.compile(r"[\x21-\x7e]{1,200}")
# Sets with at most one count each, of which few leave a choice: nothing in it can be tried in many ways for long.
_PLAIN_PATTERN: Final = re.compile(
    r"(?:(?:\[[^\[\]\\^]{1,60}\]|[A-Za-z0-9_-])(?:\{\d{1,2}(?:,\d{1,2})?\})?){1,10}", re.ASCII
)
_PATTERN_LENGTH: Final = 200
_CHOICES_LIMIT: Final = 3
# Cc: control characters; Cf: marks that turn the direction of what follows; the others are broken text and line ends.
_NOT_SHOWN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_PROBE: Final = re.compile(r"(?:GET|POST) /[A-Za-z0-9/_.?=&-]*")
# These belong to the transport or to the credential, never to a row.
_RESERVED_HEADERS: Final = frozenset(
    {
        "accept", "accept-encoding", "authorization", "connection", "content-encoding", "content-length",
        "content-type", "cookie", "expect", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te",
        "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
# A key in one of these would say how long the request is, or to whom it goes.
_NO_KEY_HEADERS: Final = _RESERVED_HEADERS - {"authorization"}
# These hold entries that a second file may add or replace one by one; every other key is replaced whole.
_MERGED: Final = ("defaults", "headers", "models")


def load_catalog(extra: Path | None = None) -> Mapping[str, Provider]:
    """Every provider by its id, in the order of the file. The result cannot be changed.

    `extra` is an operator's TOML file of the same form. Raises ConfigError, which names the file, the table and
    the field.
    """
    tables = _read_tables(files(__package__).joinpath(BUILT_IN).read_bytes(), BUILT_IN)
    sources = dict.fromkeys(tables, BUILT_IN)
    if extra is not None:
        try:
            content = extra.read_bytes()
        except OSError as error:
            raise ConfigError(f"The catalogue {extra} cannot be read: {error.strerror}.") from None
        for provider_id, table in _read_tables(content, str(extra)).items():
            tables[provider_id] = _merge(tables.get(provider_id, {}), table)
            sources[provider_id] = str(extra)
    return MappingProxyType({name: _read_provider(name, table, sources[name]) for name, table in tables.items()})


def is_provider_id(text: str) -> bool:
    """Whether a provider could have this id."""
    return _ID.fullmatch(text) is not None


def read_stored_provider(provider_id: str, table: Mapping[str, Any]) -> Provider:
    """A row that an administrator added, in the form of a table of the file. Raises CatalogFault.

    It may not name an environment variable: its author would choose both what is read from the server's environment
    and where that is sent. A field's pattern is a plain sequence of characters, because it is run on users' input.
    """
    row = _Row(provider_id, "The provider")
    if not is_provider_id(provider_id):
        raise row.fault("id", "must be lower-case letters, digits and underscores, 40 at most")
    for key in ("environment", "stored"):
        if table.get(key):
            raise row.fault(key, "can only be given in the operator's own file")
    # Before anything is matched with them.
    for position, field in enumerate(_list(table.get("fields"))):
        pattern = field.get("pattern") if isinstance(field, dict) else None
        if isinstance(pattern, str) and (problem := _pattern_problem(pattern)):
            raise row.fault(f"fields[{position}].pattern", problem)
    provider = _read_provider(provider_id, dict(table), row.source)
    return msgspec.structs.replace(provider, stored=True)


def _pattern_problem(pattern: str) -> str | None:
    """What is wrong with a pattern that may not take long on any text."""
    if len(pattern) > _PATTERN_LENGTH or not _PLAIN_PATTERN.fullmatch(pattern):
        return "must be made of characters, [sets] and {counts} only"
    outside_sets = re.sub(r"\[[^\]]*\]", "", pattern)
    if outside_sets.count(",") > _CHOICES_LIMIT:
        return f"must not hold more than {_CHOICES_LIMIT} counts from … to"
    return None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _read_tables(content: bytes, source: str) -> dict[str, dict[str, Any]]:
    try:
        tables = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source} is not valid TOML: {error}") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{source}: `{name}` is not inside a table. Each provider is a table such as [openai].")
        if not _ID.fullmatch(name):
            raise ConfigError(
                f"{source}: [{name[:60]}] is not a provider id: lower-case letters, digits and underscores."
            )
    return tables


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = {**base, **change}
    for key in _MERGED:
        if isinstance(base.get(key), dict) and isinstance(change.get(key), dict):
            merged[key] = {**base[key], **change[key]}
    return merged


def _read_provider(provider_id: str, table: dict[str, Any], source: str) -> Provider:
    row = _Row(provider_id, source)
    known = set(Provider.__struct_fields__) - {"id", "stored"}
    for key in table:
        if key not in known:
            raise row.fault(key, f"is not a field. The fields are: {', '.join(sorted(known))}")
    models = table.get("models", {})
    if not isinstance(models, dict):
        raise row.fault("models", "must be a table of models")
    entries: dict[str, Any] = {}
    for model_id, model in models.items():
        if not isinstance(model, dict):
            raise row.fault(f"models.{model_id}", "must be a table")
        for key in model:
            if key not in Model.__struct_fields__ or key == "id":
                raise row.fault(f"models.{model_id}.{key}", "is not a field of a model")
        entries[model_id] = {**model, "id": model_id}
    for position, field in enumerate(table.get("fields") or ()):
        for key in field if isinstance(field, dict) else ():
            if key not in Field.__struct_fields__:
                raise row.fault(f"fields[{position}].{key}", "is not a field of a form field")
    try:
        provider = msgspec.convert({**table, "models": entries, "id": provider_id}, Provider)
    except msgspec.ValidationError as error:
        raise row.fault(*_locate(error)) from None
    for name, problem in _problems(provider):
        raise row.fault(name, problem)
    return provider


class CatalogFault(ConfigError):
    """What is wrong with a row, and where."""

    def __init__(self, message: str, field: str, problem: str) -> None:
        super().__init__(message)
        self.field, self.problem = field, problem


class _Row:
    """Where a fault is."""

    def __init__(self, provider_id: str, source: str) -> None:
        self.provider_id, self.source = provider_id, source

    def fault(self, field: str, problem: str) -> CatalogFault:
        return CatalogFault(f"{self.source}: [{self.provider_id[:60]}] {field}: {problem}.", field, problem)


def _locate(error: msgspec.ValidationError) -> tuple[str, str]:
    """The field and the problem from msgspec's "Expected `str`, got `int` - at `$.label`"."""
    text = str(error)
    problem, _, place = text.partition(" - at `$.")
    if place:
        return place.rstrip("`"), problem[:1].lower() + problem[1:]
    missing = re.search(r"required field `(\w+)`", text)
    return (missing[1], "is missing") if missing else ("", text)


def _problems(provider: Provider) -> Iterator[tuple[str, str]]:
    """What is wrong with a row whose types are right, as (field, problem)."""
    if not provider.label.strip():
        yield "label", "must not be empty"
    yield from _text_problems(provider)
    yield from _base_url_problems(provider)
    auth_header = provider.auth.removeprefix("header:") if provider.auth.startswith("header:") else None
    if provider.auth not in {"bearer", "none"} and not (auth_header and _HEADER_NAME.fullmatch(auth_header)):
        yield "auth", "must be `bearer`, `none` or `header:` and a lower-case header name"
    if auth_header in _NO_KEY_HEADERS:
        yield "auth", "must not name a header that the transport sets itself"
    if provider.environment is not None and not _ENVIRONMENT.fullmatch(provider.environment):
        yield "environment", "must be the name of an environment variable in capitals"
    for name in ("get_key_url", "docs_url", "billing_url", "limits_url"):
        url: str | None = getattr(provider, name)
        if url is not None and not url.startswith("https://"):
            yield name, "must begin with https://"
        elif url is not None and not _is_link(url):
            yield name, "must be a plain URL"
    if not _PROBE.fullmatch(provider.probe):
        yield "probe", "must be a method and a path, such as `GET /models`"
    for name, value in provider.headers.items():
        if not _HEADER_NAME.fullmatch(name) or name in _RESERVED_HEADERS or name == auth_header:
            yield f"headers.{name}", "must be a lower-case header name that the transport does not set itself"
        if not _HEADER_VALUE.fullmatch(value):
            yield f"headers.{name}", "must be printable ASCII on one line"
    yield from _model_problems(provider)


def _text_problems(provider: Provider) -> Iterator[tuple[str, str]]:
    """What people read and what goes into headers: one line each, and no longer than there is room for."""
    shown = {"label": provider.label, "prices": provider.prices or ""}
    for position, field in enumerate(provider.fields):
        shown |= {f"fields[{position}].label": field.label, f"fields[{position}].example": field.example}
    for name, text in shown.items():
        if len(text) > 100 or any(unicodedata.category(character) in _NOT_SHOWN for character in text):
            yield name, "must be one line of at most 100 characters"
    for prefix in provider.key_prefixes:
        if not _WORD.fullmatch(prefix):
            yield "key_prefixes", "must be printable ASCII without blanks"
    for pattern in provider.serves:
        if not _WORD.fullmatch(pattern):
            yield "serves", "must be patterns of model names"
    if not (provider.base_url.isascii() and provider.base_url.isprintable()) or " " in provider.base_url:
        yield "base_url", "must be printable ASCII without blanks"


def _is_link(url: str) -> bool:
    """Whether a URL may become a link of a page."""
    if len(url) > 500 or not url.isascii() or not url.isprintable() or set(url) & set(' "<>\\^`{|}'):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        return False


def _base_url_problems(provider: Provider) -> Iterator[tuple[str, str]]:
    names = [field.name for field in provider.fields]
    for position, field in enumerate(provider.fields):
        if not field.name.isidentifier() or names.count(field.name) > 1:
            yield f"fields[{position}].name", "must be a name of its own: letters, digits and underscores"
            return
        try:
            pattern = re.compile(field.pattern, re.ASCII)
        except re.error as error:
            yield f"fields[{position}].pattern", f"is not a regular expression: {error}"
            return
        if field.example and not pattern.fullmatch(field.example):
            yield f"fields[{position}].example", "does not match the pattern"
        # A field becomes a part of a host name: what it lets through decides where a secret goes.
        if any(pattern.fullmatch(sample) for sample in ("a/b", "a.b/", "a@b", "a#b", "a?b", "a:b", "")):
            yield f"fields[{position}].pattern", "lets characters through that would change the host of the URL"
    try:
        used = [found[1:] for found in string.Formatter().parse(provider.base_url) if found[1] is not None]
    except ValueError:
        used = []
    # Nothing but the name: what may follow it asks for a width of any size, or for another field.
    if {name for name, _, _ in used} != set(names) or any(spec or conversion for _, spec, conversion in used):
        yield "base_url", f"must use exactly the declared fields ({', '.join(names) or 'none'}) in braces"
        return
    try:
        parts = urlsplit(provider.base_url.format_map(dict.fromkeys(names, "x")))
        port = parts.port
    except ValueError:
        yield "base_url", "is not a URL"
        return
    schemes = {"http", "https"} if provider.local else {"https"}
    if parts.scheme not in schemes:
        yield "base_url", "must begin with https:// (http:// needs `local = true`)"
    if not parts.hostname or port == 0 or parts.username is not None or parts.query or parts.fragment:
        yield "base_url", "must be a plain URL: no user, no query, no fragment"
    if provider.base_url.endswith("/"):
        yield "base_url", "must not end with a slash"


def _model_problems(provider: Provider) -> Iterator[tuple[str, str]]:
    for model in provider.models.values():
        if not _WORD.fullmatch(model.id):
            yield f"models.{model.id[:60]}", "must be a model's name"
        if model.context_tokens is not None and model.context_tokens < 1:
            yield f"models.{model.id}.context_tokens", "must be positive"
        if model.output_tokens is not None and model.output_tokens < 1:
            yield f"models.{model.id}.output_tokens", "must be positive"
    for task, model_id in provider.defaults.items():
        if not _TASK.fullmatch(task):
            yield f"defaults.{task}", "must be a task's name: lower-case letters, digits, hyphens, underscores"
        if not _WORD.fullmatch(model_id):
            yield f"defaults.{task}", "must name a model"
        known = provider.find_model(model_id)
        if known is not None and known.embedding is not (task == "embedding"):
            kind = "an embedding model" if known.embedding else "a chat model"
            yield f"defaults.{task}", f"names {kind}"
    if "embedding" in provider.defaults and Quirk.NO_EMBEDDINGS in provider.quirks:
        yield "defaults.embedding", "contradicts the quirk no_embeddings"
    for pattern in provider.serves:
        if not pattern.strip("*?"):
            yield "serves", "must not match every model there is"
