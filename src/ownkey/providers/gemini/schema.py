"""Google's own form of a schema, a subset of OpenAPI 3.0, as a JSON schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ownkey.errors import RequestError
from ownkey.providers.gemini.fields import read_flag, read_integer, read_list, read_number, read_object, read_text

_UNSPECIFIED: Final = "TYPE_UNSPECIFIED"
_SAME: Final = frozenset({"default", "description", "enum", "format", "pattern", "required", "title"})
_COUNTS: Final = frozenset({"maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties"})
_LIMITS: Final = frozenset({"maximum", "minimum"})


def to_json_schema(value: Any, place: str) -> dict[str, Any]:
    """The JSON schema. Raises RequestError for what is no schema."""
    schema: dict[str, Any] = {}
    nullable = False
    for name, given in read_object(value, place).items():
        where = f"{place}.{name}"[:200]
        if name == "type":
            _read_type(schema, given, where)
        elif name == "nullable":
            nullable = read_flag(given, where)
        elif name in _SAME:
            schema[name] = given
        elif name in _COUNTS:
            schema[name] = read_integer(given, where)
        elif name in _LIMITS:
            schema[name] = read_number(given, where)
        elif name in _INNER:
            _INNER[name](schema, given, where)
        elif name == "example":
            schema["examples"] = [given]
        elif name not in ("propertyOrdering",):  # the order in which to write; JSON's objects have none
            raise RequestError(f"A schema has no field `{name[:40]}`.", param=where)
    return _or_null(schema) if nullable else schema


def _read_type(schema: dict[str, Any], value: Any, place: str) -> None:
    word = read_text(value, place)
    if word.upper() != _UNSPECIFIED:
        schema["type"] = word.lower()


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    if "type" not in schema:
        return schema
    allowed = {**schema, "type": [schema["type"], "null"]}
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        allowed["enum"] = [*schema["enum"], None]
    return allowed


def _read_items(schema: dict[str, Any], value: Any, place: str) -> None:
    schema["items"] = to_json_schema(value, place)


def _read_properties(schema: dict[str, Any], value: Any, place: str) -> None:
    if not isinstance(value, dict):
        raise RequestError(f"`{place}` must be an object.", param=place)
    schema["properties"] = {name: to_json_schema(given, f"{place}.{name}") for name, given in value.items()}


def _read_any_of(schema: dict[str, Any], value: Any, place: str) -> None:
    options = read_list(value)
    schema["anyOf"] = [to_json_schema(option, f"{place}[{position}]") for position, option in enumerate(options)]


def _read_additional(schema: dict[str, Any], value: Any, place: str) -> None:
    schema["additionalProperties"] = value if isinstance(value, bool) else to_json_schema(value, place)


def _read_definitions(schema: dict[str, Any], value: Any, place: str) -> None:
    if not isinstance(value, dict):
        raise RequestError(f"`{place}` must be an object.", param=place)
    schema["$defs"] = {name: to_json_schema(given, f"{place}.{name}") for name, given in value.items()}


def _read_reference(schema: dict[str, Any], value: Any, place: str) -> None:
    name = read_text(value, place)
    schema["$ref"] = name.replace("#/defs/", "#/$defs/", 1)


_INNER: Final[dict[str, Callable[[dict[str, Any], Any, str], None]]] = {
    "$defs": _read_definitions,
    "$ref": _read_reference,
    "additionalProperties": _read_additional,
    "anyOf": _read_any_of,
    "defs": _read_definitions,
    "items": _read_items,
    "properties": _read_properties,
    "ref": _read_reference,
}
