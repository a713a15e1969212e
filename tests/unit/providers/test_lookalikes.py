"""Fields that a provider could take for the ones that were read here."""

from __future__ import annotations

import json

import pytest

from ownkey.domain.provider import Dialect
from ownkey.errors import RequestError
from ownkey.providers.adapters import get_adapter
from ownkey.providers.catalog import load_catalog
from ownkey.providers.dialect import Call

OPENAI = load_catalog()["openai"]
ASKED = {
    Dialect.OPENAI_CHAT: {"messages": []},
    Dialect.OPENAI_RESPONSES: {"input": "a"},
    Dialect.ANTHROPIC_MESSAGES: {"max_tokens": 9, "messages": []},
}


def encode(dialect: Dialect, body: bytes, operation: str = "chat") -> bytes:
    call = Call(operation=operation, body=body, model="checked", dialect=dialect)
    written = get_adapter(dialect, dialect, operation).encode(OPENAI, OPENAI.base_url, call).body
    assert isinstance(written, bytes)
    return written


@pytest.mark.parametrize("dialect", ASKED)
@pytest.mark.parametrize("name", ["Model", "MODEL", "Stream", "\u017ftream", "sTREAM", "bac\u212aground"])
def test_another_spelling_is_refused(dialect: Dialect, name: str) -> None:
    with pytest.raises(RequestError) as caught:
        encode(dialect, json.dumps({**ASKED[dialect], "model": "m", name: "other"}).encode())

    assert caught.value.param == name


@pytest.mark.parametrize("operation", ["images", "speech", "moderations"])
def test_another_spelling_is_refused_in_other_operations(operation: str) -> None:
    with pytest.raises(RequestError):
        encode(Dialect.OPENAI_CHAT, b'{"model":"m","Model":"other"}', operation)


@pytest.mark.parametrize("dialect", ASKED)
def test_of_a_field_that_is_there_twice_one_is_passed_on(dialect: Dialect) -> None:
    body = json.dumps(ASKED[dialect]).encode()[:-1] + b',"model":"one","mod\\u0065l":"two"}'

    assert encode(dialect, body).count(b'"model"') == 1
    assert json.loads(encode(dialect, body))["model"] == "checked"


@pytest.mark.parametrize("value", ["true", "1", '"true"', '"yes"', "[]"])
def test_an_answer_that_comes_later_is_refused_in_whatever_way_it_is_asked_for(value: str) -> None:
    with pytest.raises(RequestError) as caught:
        encode(Dialect.OPENAI_RESPONSES, b'{"input":"a","background": %b }' % value.encode())

    assert caught.value.param == "background"
    for said in (b"false", b"null"):
        assert encode(Dialect.OPENAI_RESPONSES, b'{"input":"a","background": %b }' % said)
