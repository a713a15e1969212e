"""Rows that administrators add: as strictly checked as the file's, and stricter where their author must not reach."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from ownkey.providers.catalog import CatalogFault, load_catalog, read_stored_provider
from ownkey.providers.live_catalog import LiveCatalog

TABLE: dict[str, Any] = {
    "label": "House",
    "dialect": "openai_chat",
    "base_url": "https://llm.example.com/v1",
    "defaults": {"default": "house-large"},
}


@pytest.mark.parametrize("name", list(load_catalog()))
def test_every_field_of_the_file_can_be_stored(name: str) -> None:
    """What the file's rows hold passes here too, but for what only the operator may say."""
    known = load_catalog()[name]
    fields = [{"name": one.name, "label": one.label, "pattern": "[a-z]{1,9}"} for one in known.fields]
    table = {
        "label": known.label,
        "dialect": known.dialect.value,
        "base_url": known.base_url,
        "auth": known.auth,
        "get_key_url": known.get_key_url,
        "docs_url": known.docs_url,
        "probe": known.probe,
        "headers": known.headers,
        "key_prefixes": list(known.key_prefixes),
        "serves": list(known.serves),
        "defaults": known.defaults,
        "quirks": [quirk.value for quirk in known.quirks],
        "local": known.local,
        "prices": known.prices,
        "fields": fields,
    }
    assert read_stored_provider(f"my_{name}", table).stored


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"environment": "OPENAI_API_KEY"}, "environment"),
        ({"stored": True}, "stored"),
        ({"label": "a\tb"}, "label"),
        ({"label": "a\u2028b"}, "label"),
        ({"get_key_url": "https://x.example/<b>"}, "get_key_url"),
        ({"get_key_url": "https://"}, "get_key_url"),
        ({"base_url": "https://llm.ex\u0430mple.com/v1"}, "base_url"),
        ({"defaults": {"default": "a b"}}, "defaults.default"),
    ],
)
def test_a_faulty_row_names_its_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(CatalogFault) as caught:
        read_stored_provider("house", {**TABLE, **change})
    assert caught.value.field == field


def test_the_file_wins_and_the_swap_is_whole() -> None:
    base = load_catalog()
    catalog, heard = LiveCatalog(base), []
    catalog.follow(lambda: heard.append(len(catalog)))
    evil = read_stored_provider("groq", TABLE)
    house = read_stored_provider("house", TABLE)
    catalog.adopt({"house": house, "groq": evil})
    assert catalog["groq"] is base["groq"]
    assert list(catalog) == [*base, "house"]
    reader = iter(catalog.values())
    catalog.adopt({"house": house})
    assert heard == [len(base) + 1], "what changes nothing is not told"
    catalog.adopt({})
    assert len(list(reader)) == len(base) + 1, "who reads goes on reading what it began with"
    assert "house" not in catalog
    assert catalog.get("house") is None
    assert (list(catalog.keys()), len(catalog.items())) == (list(base), len(base))
    assert catalog == MappingProxyType(dict(base))
