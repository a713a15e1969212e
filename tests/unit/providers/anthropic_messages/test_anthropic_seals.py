"""Signed thinking comes back to Claude, and only what Claude has signed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from claude_wire import CHAT, CLAUDE, PASSING, chat_call, chunks, claude_call, decode, events

from ownkey.domain.provider import Dialect
from ownkey.providers.anthropic_messages.inbound import AnthropicInbound
from ownkey.providers.anthropic_messages.outbound import AnthropicOutbound
from ownkey.providers.anthropic_messages.write_answer import write_answer
from ownkey.providers.conversation import (
    Answer,
    Citation,
    Conversation,
    Part,
    Reasoning,
    Seal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
)
from ownkey.providers.seals import PREFIX

OLD, NEW = "claude-haiku-4-5", "claude-sonnet-5-5"
MINE = Seal(Dialect.ANTHROPIC_MESSAGES, "EqQB")
HIDDEN = Seal(Dialect.ANTHROPIC_MESSAGES, "EmwK", redacted=True)
THEIRS = Seal(Dialect.OPENAI_RESPONSES, "gAAA", id="rs_1")
GEMINIS = Seal(Dialect.GEMINI, "Ci0B")
CALL = ToolCall(id="toolu_1", name="look", arguments='{"at":1}')
THOUGHT = {"type": "thinking", "thinking": "Hm", "signature": "EqQB"}
SECRET = {"type": "redacted_thinking", "data": "EmwK"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": 1}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}
HELLO = {"role": "user", "content": "Look"}


def loop(*parts: Part, reasoning: Reasoning | None = None, model: str = NEW) -> dict[str, Any]:
    """The request for a conversation whose assistant has just called a tool."""
    conversation = Conversation(
        turns=[
            Turn(role="user", parts=[Text(text="Look")]),
            Turn(role="assistant", parts=[*parts, CALL]),
            Turn(role="user", parts=[ToolResult(call_id="toolu_1", content=[Text(text="seen")])]),
        ],
        reasoning=reasoning,
    )
    request = AnthropicOutbound().write_request(CLAUDE, CLAUDE.base_url, chat_call(model=model), conversation)
    return json.loads(request.body)


def test_claudes_own_seals_go_back_in_their_order() -> None:
    content = loop(Thinking(text="Hm", seal=MINE), Thinking(seal=HIDDEN))["messages"][1]["content"]

    assert content == [THOUGHT, SECRET, USE]


def test_other_seals_and_unsigned_thoughts_do_not() -> None:
    content = loop(Thinking(text="a", seal=THEIRS), Thinking(text="b"))["messages"][1]["content"]

    assert content == [USE]


def test_a_turn_of_foreign_thoughts_alone_disappears() -> None:
    conversation = Conversation(
        turns=[
            Turn(role="user", parts=[Text(text="a")]),
            Turn(role="assistant", parts=[Thinking(text="a", seal=THEIRS)]),
            Turn(role="user", parts=[Text(text="b")]),
        ]
    )
    request = AnthropicOutbound().write_request(CLAUDE, CLAUDE.base_url, chat_call(model=NEW), conversation)

    assert [message["role"] for message in json.loads(request.body)["messages"]] == ["user"]


def test_a_budget_goes_on_with_the_signed_thought_and_waits_without_it() -> None:
    budget = Reasoning(effort="low")

    assert "thinking" in loop(Thinking(text="Hm", seal=MINE), reasoning=budget, model=OLD)
    assert "thinking" in loop(Thinking(seal=HIDDEN), reasoning=budget, model=OLD)
    assert "thinking" not in loop(reasoning=budget, model=OLD)
    assert "thinking" not in loop(Thinking(text="Hm", seal=THEIRS), reasoning=budget, model=OLD)
    # Adaptive thinking does not ask for it.
    assert "thinking" in loop(reasoning=budget, model=NEW)


def test_a_chat_client_brings_the_signature_back() -> None:
    """Whatever a chat client was given with an answer, whole or streamed, is enough for Claude."""
    body = {"type": "message", "id": "m", "model": NEW, "content": [THOUGHT, SECRET, USE], "stop_reason": "tool_use"}
    whole = json.loads(CHAT.decode(json.dumps(body).encode(), chat_call()).body)["choices"][0]["message"]
    streamed: dict[str, Any] = {"role": "assistant", "tool_calls": [], "reasoning_details": []}
    for chunk in chunks(decode(CHAT.stream_decoder(CLAUDE, chat_call(stream=True)), [STREAM])):
        delta = chunk["choices"][0]["delta"]
        streamed["reasoning_details"] += delta.get("reasoning_details", [])
        for call in delta.get("tool_calls", []):
            if "id" in call:
                streamed["tool_calls"].append(call)
            else:
                streamed["tool_calls"][-1]["function"]["arguments"] += call["function"]["arguments"]

    for message in (whole, streamed):
        messages = [HELLO, message, {"role": "tool", "tool_call_id": "toolu_1", "content": "seen"}]
        call = chat_call(json.dumps({"messages": messages}).encode(), model=NEW)
        request = json.loads(CHAT.encode(CLAUDE, CLAUDE.base_url, call).body)
        assert request["messages"] == [
            HELLO,
            {"role": "assistant", "content": [THOUGHT, SECRET, USE]},
            {"role": "user", "content": [RESULT]},
        ]


STREAM = events(
    {"type": "message_start", "message": {"id": "m", "model": NEW, "usage": {"input_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "EqQB"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": SECRET},
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_start", "index": 2, "content_block": {**USE, "input": {}}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"at":1}'}},
    {"type": "content_block_stop", "index": 2},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
)


def answered(*parts: Part) -> list[dict[str, Any]]:
    """The content that a Claude client gets for an answer of another provider."""
    answer = Answer(id="m", model="x", created=1, parts=list(parts), finish="stop")
    return json.loads(write_answer(answer))["content"]


def given_back(content: list[dict[str, Any]]) -> list[Part]:
    """What the neutral form makes of it when the client sends it back."""
    messages = [HELLO, {"role": "assistant", "content": content}]
    body = json.dumps({"messages": messages}, separators=(",", ":")).encode()
    return AnthropicInbound().read_request(claude_call(body)).turns[1].parts


@pytest.mark.parametrize(
    "parts",
    [
        [Thinking(text="Hm", seal=THEIRS), Text(text="Hi")],
        [Thinking(seal=THEIRS), Text(text="Hi")],
        [Thinking(text="Hm"), Text(text="Hi")],
        [Thinking(text="Hm", seal=MINE), Thinking(seal=HIDDEN), CALL],
        [Thinking(text="Hm", seal=THEIRS), ToolCall(id="a", name="look", arguments="{}", seal=GEMINIS)],
        [
            ToolCall(id="a", name="look", arguments="{}", seal=GEMINIS),
            ToolCall(id="b", name="look", arguments="{}"),
            ToolCall(id="c", name="look", arguments="{}", seal=Seal(Dialect.OPENAI_RESPONSES, "x", id="fc_1")),
        ],
    ],
)
def test_a_claude_client_keeps_every_seal(parts: list[Part]) -> None:
    assert given_back(answered(*parts)) == parts


def passed_on(*messages: dict[str, Any], separators: tuple[str, str] | None = None) -> Any:
    """The messages that Claude gets of a Claude client's."""
    body = json.dumps({"model": "x", "messages": messages}, separators=separators).encode()
    return json.loads(PASSING.encode(CLAUDE, CLAUDE.base_url, claude_call(body, model=NEW)).body)["messages"]


@pytest.mark.parametrize("separators", [None, (",", ":")])
def test_passing_through_takes_out_what_is_not_claudes(separators: tuple[str, str] | None) -> None:
    cited = Text(text="Hi", citations=[Citation(url="https://a.test")])
    foreign = answered(
        Thinking(text="a", seal=THEIRS),
        Thinking(text="b"),
        cited,
        ToolCall(id="toolu_1", name="look", arguments='{"at":1}', seal=GEMINIS),
    )

    assert passed_on(HELLO, {"role": "assistant", "content": foreign}, separators=separators) == [
        HELLO,
        {"role": "assistant", "content": [{"type": "text", "text": "Hi", "citations": None}, USE]},
    ]


def test_passing_through_keeps_claudes_own_and_what_people_write() -> None:
    speech = {"role": "user", "content": f'What is "signature":"" and {PREFIX}?'}
    own = {
        "type": "text",
        "text": PREFIX,
        "citations": [{"type": "web_search_result_location", "encrypted_index": "Eo8B"}],
    }
    answer = {"role": "assistant", "content": [THOUGHT, SECRET, own, USE]}

    assert passed_on(speech, answer) == [speech, answer]


def test_passing_through_puts_back_what_was_wrapped() -> None:
    wrapped = (
        PREFIX + "eyJkaWFsZWN0IjoiYW50aHJvcGljX21lc3NhZ2VzIiwiZGF0YSI6IkVtd0siLCJpZCI6bnVsbCwicmVkYWN0ZWQiOnRydWV9"
    )
    block = {"type": "thinking", "thinking": "", "signature": wrapped}

    assert passed_on(HELLO, {"role": "assistant", "content": [block, USE]})[1]["content"] == [SECRET, USE]


def test_a_message_of_foreign_thoughts_alone_is_left_out() -> None:
    thoughts = {"role": "assistant", "content": answered(Thinking(text="a", seal=THEIRS))}

    assert passed_on(HELLO, thoughts, HELLO) == [HELLO, HELLO]


@pytest.mark.parametrize(
    "messages",
    [
        b'"' + PREFIX.encode() + b'"',
        b'[{"role":"assistant","content":[{"type":"thinking","signature":"ownkey1.%%%"}]}]',
        b'[{"role":"assistant","content":[{"signature":""}, 3]}]',
        b'[{"role":"assistant","content":[{"type":["thinking"],"signature":""}]}]',
        b'[{"role":"assistant","content":[{"type":"text","citations":"ownkey1."}]}]',
        b'[[{"signature":""}]]',
    ],
)
def test_strange_messages_are_for_claude_to_refuse(messages: bytes) -> None:
    body = b'{"messages":%b}' % messages

    assert PASSING.encode(CLAUDE, CLAUDE.base_url, claude_call(body, model=NEW)).body
