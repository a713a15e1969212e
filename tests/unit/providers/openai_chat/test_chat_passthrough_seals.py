"""What other dialects left in a client's messages does not reach a provider that would refuse it."""

from __future__ import annotations

import json
from typing import Any

from chat_wire import INBOUND, call_of, completion, provider

from ownkey.domain.provider import Dialect
from ownkey.providers.conversation import Answer, Conversation, Seal, Text, Thinking
from ownkey.providers.openai_chat.passthrough import OpenAIChat

ADAPTER = OpenAIChat()
SIGNED = Seal(Dialect.ANTHROPIC_MESSAGES, "sig")


def sent(body: bytes) -> bytes:
    request = ADAPTER.encode(provider(), "https://some.test/v1", call_of(body))
    assert isinstance(request.body, bytes)
    return request.body


def told(*thoughts: Thinking) -> dict[str, Any]:
    """The message that a client got from another dialect's provider."""
    answer = Answer(id="m", model="c", created=1, parts=[*thoughts, Text(text="Yes")], finish="stop")
    message = completion(INBOUND.write_answer(answer, call_of(), Conversation())).choices[0].message
    return message.model_dump(mode="json", exclude_unset=True)


def test_thinking_of_another_dialect_is_taken_out() -> None:
    for thought in (Thinking(text="Hm.", seal=SIGNED), Thinking(text="Hm."), Thinking(seal=SIGNED)):
        body = json.dumps({"model": "the-model", "messages": [told(thought)]}).encode()
        assert json.loads(sent(body))["messages"] == [{"role": "assistant", "content": "Yes", "refusal": None}]


def test_everything_else_keeps_its_bytes() -> None:
    plain = b'{"role":"user","content":"\\u00e9 1.0 ownkey1. ","n":1.00}'
    foreign = json.dumps(told(Thinking(text="Hm.", seal=SIGNED))).encode()
    body = b'{"messages":[%b,%b],"temperature":1.00,"model":"the-model"}'

    assert plain in sent(body % (plain, foreign))
    assert b'"temperature":1.00' in sent(body % (plain, foreign))
    assert sent(body % (plain, plain)) == body % (plain, plain)


def test_a_providers_own_details_stay() -> None:
    own = {"type": "reasoning.text", "text": "Hm.", "signature": "ownkey is not a seal"}
    message = {"role": "assistant", "content": "Yes", "reasoning_content": "Hm.", "reasoning_details": [own]}
    mixed = {**message, "reasoning_details": [own, told(Thinking(text="So.", seal=SIGNED))["reasoning_details"][0]]}
    body = json.dumps({"messages": [message, mixed]}).encode()

    assert json.loads(sent(body))["messages"] == [message, message]


def test_messages_that_cannot_be_read_are_the_providers_to_refuse() -> None:
    for messages in (b'"ownkey1."', b'["ownkey1."]', b'[{"reasoning_details":"ownkey1."}]', b'[{"role":"ownkey1."}]'):
        assert messages in sent(b'{"messages":' + messages + b"}")
