"""How many searches a provider may make, and charge for, while it answers a request.

A search costs a fee besides the tokens that it finds: $2.50 to $35 for a thousand. Where the request limits them
(`max_uses` of Anthropic's tools, `max_tool_calls` of Responses) that counts; else what answers rarely exceed is taken.
Whatever was really searched is charged afterwards, if the provider says so.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from ownkey.domain.budget import MICRODOLLARS_LIMIT
from ownkey.providers.unreadable import UNREADABLE

# A model that researches asks some dozen times; most answers take three searches or fewer.
ASSUMED_SEARCHES: Final = 20
# More results than anybody reads: what is beyond is no number of results.
_MOST_RESULTS: Final = 1_000
# Tools with a fee for each call, as they are called in a `type` or, at Gemini, in a field. Pages that are fetched and
# servers that are asked cost their tokens only. A container for code costs three cents, about as much as a search.
_CHARGED: Final = ("search", "maps", "code_interpreter")
# Tools of the client's own, whatever they are called.
_OWN_TOOLS: Final = frozenset({"function", "custom"})
# What is to be seen of them in any spelling.
_MARKS: Final = (b"earch", b"aps", b"code_interpreter")
# Names of models that search unasked, once in each answer; and of those that go on until they have found something.
_SEARCHING: Final = ("-search-", ":online")
_RESEARCHING: Final = "deep-research"
# Where one may say how many results are looked at: those of xAI and OpenRouter are charged by it.
_RESULTS: Final = ("max_search_results", "max_results")


class SearchFields(Struct):
    """The words in which the dialects ask for searches, and limit them."""

    tools: Raw = Raw(b"")
    max_tool_calls: object = None
    plugins: object = None
    web_search_options: object = None
    search_parameters: object = None
    enable_search: object = None


class _Tool(Struct):
    type: object = None
    max_uses: object = None

    @property
    def is_anthropics(self) -> bool:
        """Whether it is one of the dated tools, whose limit Anthropic keeps."""
        return str(self.type).startswith("web_search_2")


_LIST: Final = msgspec.json.Decoder(list[Raw])
_TOOL: Final = msgspec.json.Decoder(_Tool)
_NAMES: Final = msgspec.json.Decoder(dict[str, Raw])


def searches_unasked(model: str) -> bool:
    """Whether a model searches in every answer."""
    return _RESEARCHING in model or any(word in model for word in _SEARCHING)


def count_searches(fields: SearchFields, model: str) -> int:
    """The most searches that are to be expected; 0 where none are asked for."""
    most = _count_tools(fields)
    # Of options, an empty object asks for them as well.
    if fields.web_search_options is not None or fields.search_parameters is not None or fields.enable_search:
        most = max(most, ASSUMED_SEARCHES)
    if fields.plugins or ":online" in model:
        most = max(most, ASSUMED_SEARCHES)
    if _RESEARCHING in model:
        most = max(most, ASSUMED_SEARCHES)
    elif searches_unasked(model):
        most = max(most, 1)
    return most if most == 0 else max(most, _read_results(fields))


def _count_tools(fields: SearchFields) -> int:
    raw = bytes(fields.tools)
    if not any(mark in raw for mark in _MARKS):
        return 0
    try:
        charged = [tool for one in _LIST.decode(raw) if (tool := _read_charged(one)) is not None]
    except UNREADABLE:
        return ASSUMED_SEARCHES
    if not charged:
        return 0
    limits = [_read_limit(tool.max_uses) if tool.is_anthropics else None for tool in charged]
    all_together = _read_limit(fields.max_tool_calls)
    if all_together is None:
        return sum(ASSUMED_SEARCHES if limit is None else limit for limit in limits)
    return all_together if None in limits else min(all_together, sum(one for one in limits if one is not None))


def _read_charged(raw: Raw) -> _Tool | None:
    """A tool whose calls are charged. Raises what decoding raises."""
    tool = _TOOL.decode(raw)
    if isinstance(tool.type, str):
        charged = tool.type not in _OWN_TOOLS and _names_charged(tool.type)
    else:
        # Gemini's, whose name is the field.
        charged = any(_names_charged(name) for name in _NAMES.decode(raw))
    return tool if charged else None


def _names_charged(name: str) -> bool:
    return any(word in name.lower() for word in _CHARGED)


def _read_limit(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        return None
    return min(value, MICRODOLLARS_LIMIT)


def _read_results(fields: SearchFields) -> int:
    plugins = fields.plugins if isinstance(fields.plugins, list) else []
    options = [one for one in (fields.search_parameters, fields.web_search_options, *plugins) if isinstance(one, dict)]
    numbers = [_read_limit(one.get(name)) or 0 for one in options for name in _RESULTS]
    return min(max(numbers, default=0), _MOST_RESULTS)
