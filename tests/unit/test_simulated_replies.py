"""Scripted replies of the simulated providers, as the official clients understand them in each dialect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from msgspec.structs import replace

from ownkey.domain.provider import Dialect, Model, Provider
from ownkey.testing import Call, Reply, SimulatedProviders

ASK: list[Any] = [{"role": "user", "content": "What is the tide?"}]
EVERYTHING = Reply(
    thinking="The moon pulls, and so does the sun.",
    text="High water is at noon, low water at six.",
    calls=(Call(name="tide", arguments={"port": "Emden"}), Call(name="moon", arguments={"day": 3})),
    citations=(("https://example.com/tides", "Tides"),),
    logprobs=True,
    input_uncached=20,
    cache_read=5,
    cache_write=0,
    output_text=9,
    output_reasoning=4,
)

ROWS = {
    name: Provider(id=name, label=name, base_url=base_url, dialect=dialect, auth=auth, models={"m": Model(id="m")})
    for name, base_url, dialect, auth in (
        ("openai", "https://api.openai.example/v1", Dialect.OPENAI_CHAT, "bearer"),
        ("anthropic", "https://api.anthropic.example/v1", Dialect.ANTHROPIC_MESSAGES, "header:x-api-key"),
        ("gemini", "https://generativelanguage.example/v1beta", Dialect.GEMINI, "header:x-goog-api-key"),
    )
}


@pytest.fixture(scope="module")
def running() -> Iterator[SimulatedProviders]:
    with SimulatedProviders(ROWS) as simulated:
        yield simulated


@pytest.fixture
def sim(running: SimulatedProviders) -> SimulatedProviders:
    running.reset()
    return running


@pytest.fixture
def client(sim: SimulatedProviders) -> openai.OpenAI:
    return openai.OpenAI(base_url=sim.base_url("openai"), api_key="sk-good-key", max_retries=0, timeout=10)


@pytest.fixture
def claude(sim: SimulatedProviders) -> anthropic.Anthropic:
    root = sim.base_url("anthropic").removesuffix("/v1")
    return anthropic.Anthropic(base_url=root, api_key="sk-ant-good", max_retries=0, timeout=10)


def without_parsed(value: Any) -> Any:
    """Without what the clients' streaming helpers add."""
    if isinstance(value, dict):
        return {key: without_parsed(part) for key, part in value.items() if not key.startswith("parsed")}
    return [without_parsed(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("interleave", [False, True])
def test_chat_says_the_same_whole_and_in_chunks(
    sim: SimulatedProviders, client: openai.OpenAI, interleave: bool
) -> None:
    sim.reply("openai", replace(EVERYTHING, interleave=interleave), times=2)
    whole = client.chat.completions.create(model="m", messages=ASK)
    with client.chat.completions.stream(
        model="m", messages=ASK, logprobs=True, stream_options={"include_usage": True}
    ) as stream:
        final = stream.get_final_completion()
    message, streamed = whole.choices[0].message, final.choices[0].message
    assert (message.content, message.refusal) == (streamed.content, streamed.refusal) == (EVERYTHING.text, None)
    assert [call.function.arguments for call in message.tool_calls or ()] == ['{"port": "Emden"}', '{"day": 3}']
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()] == [
        (call.id, call.function.name, call.function.arguments) for call in streamed.tool_calls or ()
    ]
    assert whole.choices[0].finish_reason == final.choices[0].finish_reason == "tool_calls"
    assert whole.usage == final.usage
    assert sim.ledger()[-1].usage == whole.usage.model_dump(exclude_none=True)  # type: ignore[union-attr]


def test_responses_say_the_same_whole_and_in_events(sim: SimulatedProviders, client: openai.OpenAI) -> None:
    sim.reply("openai", EVERYTHING, times=2)
    whole = client.responses.create(model="m", input="What is the tide?")
    with client.responses.stream(model="m", input="What is the tide?") as stream:
        texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(texts) == whole.output_text == EVERYTHING.text
    assert [item.type for item in whole.output] == ["reasoning", "message", "function_call", "function_call"]
    assert without_parsed([item.to_dict() for item in whole.output]) == without_parsed(
        [item.to_dict() for item in final.output]
    )
    assert whole.usage == final.usage
    assert whole.status == "completed"


def test_messages_say_the_same_whole_and_in_events(sim: SimulatedProviders, claude: anthropic.Anthropic) -> None:
    sim.reply("anthropic", EVERYTHING, times=2)
    whole = claude.messages.create(model="m", max_tokens=99, messages=ASK)
    with claude.messages.stream(model="m", max_tokens=99, messages=ASK) as stream:
        final = stream.get_final_message()
    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert [block.to_dict() for block in whole.content] == [without_parsed(block.to_dict()) for block in final.content]
    assert whole.stop_reason == final.stop_reason == "tool_use"
    assert (whole.usage.input_tokens, whole.usage.cache_read_input_tokens, whole.usage.output_tokens) == (20, 5, 13)
    assert final.usage.output_tokens == 13


@pytest.mark.parametrize(
    ("reply", "chat", "responses", "messages"),
    [
        (Reply(finish="length"), "length", "incomplete", "max_tokens"),
        (Reply(text=None, refusal="No."), "stop", "completed", "refusal"),
        (Reply(finish="stop_sequence", stop_sequence="END"), "stop", "completed", "stop_sequence"),
    ],
)
def test_endings(
    sim: SimulatedProviders,
    client: openai.OpenAI,
    claude: anthropic.Anthropic,
    reply: Reply,
    chat: str,
    responses: str,
    messages: str,
) -> None:
    for provider, times in (("openai", 2), ("anthropic", 1)):
        sim.reply(provider, reply, times)
    assert client.chat.completions.create(model="m", messages=ASK).choices[0].finish_reason == chat
    assert client.responses.create(model="m", input="?").status == responses
    assert claude.messages.create(model="m", max_tokens=9, messages=ASK).stop_reason == messages


def test_usage_can_be_changed_in_every_dialect(sim: SimulatedProviders, client: openai.OpenAI) -> None:
    sim.set_usage("openai", output_tokens=77)
    with client.responses.stream(model="m", input="?") as stream:
        final = stream.get_final_response()
    assert final.usage is not None
    assert final.usage.output_tokens == 77
    assert (sim.ledger()[-1].usage or {})["output_tokens"] == 77


def test_an_error_in_the_middle_of_a_response(sim: SimulatedProviders, client: openai.OpenAI) -> None:
    sim.break_provider("openai", "stream_error", after_events=5)
    events = list(client.responses.create(model="m", input="?", stream=True))
    assert (len(events), events[-1].type) == (6, "error")


def test_other_operations(sim: SimulatedProviders, client: openai.OpenAI) -> None:
    drawn = client.images.generate(model="gpt-image-2", prompt="a red pixel", n=2)
    assert len(drawn.data or ()) == 2
    spoken = client.audio.speech.create(model="tts", voice="alloy", input="four", response_format="wav")
    assert spoken.content.startswith(b"RIFF")
    heard = client.audio.transcriptions.create(model="gpt-transcribe", file=("word.wav", spoken.content))
    assert heard.text == "A simulated transcript of word.wav."
    assert sim.ledger()[-1].model == "gpt-transcribe"
    assert client.moderations.create(model="omni", input="violence").results[0].flagged
    assert client.responses.input_tokens.count(model="m", input="Hello").input_tokens > 0
