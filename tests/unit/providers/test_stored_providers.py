"""Rows that administrators add: as strictly checked as the file's, and stricter where their author must not reach."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest

from ownkey.errors import RequestError
from ownkey.providers.catalog import CatalogFault, load_catalog, read_stored_provider
from ownkey.providers.live_catalog import LiveCatalog
from ownkey.services.destination import choose_base_url

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
        ({"auth": "header:host"}, "auth"),
        ({"auth": "header:content-length"}, "auth"),
        ({"auth": "header:transfer-encoding"}, "auth"),
        ({"headers": {"expect": "100-continue"}}, "headers.expect"),
        ({"headers": {"content-encoding": "gzip"}}, "headers.content-encoding"),
    ],
)
def test_a_faulty_row_names_its_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(CatalogFault) as caught:
        read_stored_provider("house", {**TABLE, **change})
    assert caught.value.field == field


@pytest.fixture
def soon() -> Iterator[None]:
    """What takes longer than some seconds is stopped: a pattern that is tried for ever holds the whole process."""

    def stop(*_: object) -> None:
        raise AssertionError("it ran for ever")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("pattern", "example"),
    [
        ("([a-z]+)+[0-9]", "a" * 80),
        ("[a-z]*[a-z]*[a-z]*[a-z]*[a-z]*[0-9]", "a" * 80),
        ("[a]{0,99}" * 9 + "b", "a" * 80),
        ("[a,b]{0,99}" * 4 + "c", "a" * 80),
    ],
)
@pytest.mark.usefixtures("soon")
def test_a_pattern_is_not_tried_before_it_is_known_to_be_plain(pattern: str, example: str) -> None:
    fields = [{"name": "region", "label": "Region", "pattern": pattern, "example": example}]
    with pytest.raises(CatalogFault) as caught:
        read_stored_provider("house", {**TABLE, "base_url": "https://{region}.example.com/v1", "fields": fields})
    assert caught.value.field == "fields[0].pattern"


@pytest.mark.usefixtures("soon")
def test_what_is_allowed_ends_soon_on_any_text() -> None:
    fields = [{"name": "region", "label": "Region", "pattern": "[a-z]{0,99}" * 3 + "-{1}[a,b]{2}", "example": ""}]
    provider = read_stored_provider("house", {**TABLE, "base_url": "https://{region}.example.com/v1", "fields": fields})
    with pytest.raises(RequestError):
        choose_base_url(
            provider, base_url=None, fields={"region": "a" * 50_000}, custom_allowed=False, allow_private=False
        )


@pytest.mark.parametrize(
    "place", ["{region:>900000000}", "{region:{other}}", "{region!r}", "{region[0]}", "{region.x}"]
)
@pytest.mark.usefixtures("soon")
def test_a_field_in_an_address_is_only_its_name(place: str) -> None:
    fields = [{"name": "region", "label": "Region", "pattern": "[a-z]{1,9}"}]
    with pytest.raises(CatalogFault) as caught:
        read_stored_provider("house", {**TABLE, "base_url": f"https://{place}.example.com/v1", "fields": fields})
    assert caught.value.field == "base_url"


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
