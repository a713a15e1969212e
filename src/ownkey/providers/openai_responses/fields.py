"""Checks of a request's values, each with the place of what is wrong."""

from __future__ import annotations

from typing import Any

from ownkey.errors import RequestError
from ownkey.providers.counters import COUNT_LIMIT


def wrong(place: str, expected: str) -> RequestError:
    """The error for a value that is not what it must be."""
    return RequestError(f"`{place}` must be {expected}.", param=place)


def text(value: Any, place: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise wrong(place, "a text")
    return value


def name(value: Any, place: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise wrong(place, "a text that is not empty")
    return value


def optional_text(value: Any, place: str) -> str | None:
    """A text or nothing."""
    return None if value is None else text(value, place)


def flag(value: Any, place: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong(place, "true or false")
    return value


def mapping(value: Any, place: str) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise wrong(place, "an object")
    return value


def sequence(value: Any, place: str) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise wrong(place, "a list")
    return value


def number(value: Any, place: str, low: float, high: float) -> float:
    """A number in a range."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise wrong(place, f"a number from {low:g} to {high:g}")
    return value


def integer(value: Any, place: str, low: int, high: int = COUNT_LIMIT) -> int:
    """A whole number in a range."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise wrong(place, f"a whole number, at least {low}" if high == COUNT_LIMIT else f"from {low} to {high}")
    return value
