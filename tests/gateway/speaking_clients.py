"""The official Python clients of the four dialects, each asked the same way, wherever its base URL leads.

`ask` gives an answer as plain data without what names this one call (ids, times, the model): two answers are equal
when a person using the client could not tell them apart.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from anthropic import AsyncAnthropic
from google import genai
from openai import AsyncOpenAI, LengthFinishReasonError

from ownkey.domain.provider import Dialect

SYSTEM: Final = "You are the harbour master."
QUESTION: Final = "When is high water?"
# One red pixel.
PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"port": {"type": "string"}},
    "required": ["port"],
    "additionalProperties": False,
}
# What differs from call to call, or says where an answer was made and not what it says.
_VOLATILE: Final = frozenset(
    {
        "id", "created", "created_at", "completed_at", "model", "system_fingerprint", "service_tier", "response_id",
        "model_version", "create_time", "sdk_http_response", "item_id", "call_id", "sequence_number", "obfuscation",
        "automatic_function_calling_history", "token_id",
        "responseId", "modelVersion", "sdkHttpResponse", "_request_id",
    }
)  # fmt: skip


class Asked:
    """How to reach a provider or the gateway: base URLs as each client wants them, and the key."""

    def __init__(self, openai: str, anthropic: str, google: str, key: str) -> None:
        self.openai, self.anthropic, self.google, self.key = openai, anthropic, google, key


async def ask(dialect: Dialect, at: Asked, model: str, *, stream: bool, tools: bool = False, **more: Any) -> Any:
    """The answer to the one question of these tests, in plain data."""
    return plain(await _ASK[dialect](at, model, stream, tools, more))


def plain(value: Any) -> Any:
    """Without what differs from call to call, and without what is None or empty."""
    if isinstance(value, dict):
        kept = {name: plain(part) for name, part in value.items() if name not in _VOLATILE and "parsed" not in name}
        if "arguments" in kept:
            kept["arguments"] = json.loads(kept["arguments"])  # the same values, whatever the spaces between them
        return {
            name: part
            for name, part in kept.items()
            # A counter of nothing is as good as none, and every provider tells others of them.
            if part not in (None, [], {}) and not (part == 0 and name.endswith("_tokens"))
        }
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def openai_client(at: Asked) -> AsyncOpenAI:
    """OpenAI's."""
    return AsyncOpenAI(base_url=at.openai, api_key=at.key, max_retries=0, timeout=20)


def anthropic_client(at: Asked) -> AsyncAnthropic:
    """Anthropic's."""
    return AsyncAnthropic(base_url=at.anthropic, api_key=at.key, max_retries=0, timeout=20)


def google_client(at: Asked) -> genai.Client:
    """Google's."""
    return genai.Client(api_key=at.key, http_options={"base_url": at.google, "api_version": "v1beta"})


async def _chat(at: Asked, model: str, stream: bool, tools: bool, more: dict[str, Any]) -> Any:
    fields: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": QUESTION},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                ],
            },
        ],
        "max_completion_tokens": 400,
        **more,
    }
    if tools:
        function = {"name": "tide", "description": "The tide at a port", "parameters": SCHEMA}
        fields["tools"] = [{"type": "function", "function": function}]
    async with openai_client(at) as client:
        if not stream:
            return (await client.chat.completions.create(**fields)).to_dict()
        options = {"include_usage": True}
        async with client.chat.completions.stream(**fields, stream_options=options) as answer:
            try:
                return (await answer.get_final_completion()).to_dict()
            except LengthFinishReasonError as cut:  # this client raises its answer when it was cut short
                return cut.completion.to_dict()


async def _responses(at: Asked, model: str, stream: bool, tools: bool, more: dict[str, Any]) -> Any:
    fields: dict[str, Any] = {
        "model": model,
        "instructions": SYSTEM,
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": QUESTION},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
                ],
            }
        ],
        "max_output_tokens": 400,
        "store": False,
        **more,
    }
    if tools:
        tool = {"type": "function", "name": "tide", "description": "The tide at a port"}
        fields["tools"] = [{**tool, "parameters": SCHEMA, "strict": True}]
    async with openai_client(at) as client:
        if not stream:
            return (await client.responses.create(**fields)).to_dict()
        async with client.responses.stream(**fields) as answer:
            async for event in answer:
                if event.type == "response.incomplete":  # this client's helper waits for a completed one
                    return event.response.to_dict()
            return (await answer.get_final_response()).to_dict()


async def _messages(at: Asked, model: str, stream: bool, tools: bool, more: dict[str, Any]) -> Any:
    fields: dict[str, Any] = {
        "model": model,
        "system": SYSTEM,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": QUESTION},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                ],
            }
        ],
        "max_tokens": 400,
        **more,
    }
    if tools:
        fields["tools"] = [{"name": "tide", "description": "The tide at a port", "input_schema": SCHEMA}]
    async with anthropic_client(at) as client:
        if not stream:
            return (await client.messages.create(**fields)).to_dict()
        async with client.messages.stream(**fields) as answer:
            return (await answer.get_final_message()).to_dict()


async def _google(at: Asked, model: str, stream: bool, tools: bool, more: dict[str, Any]) -> Any:
    config: dict[str, Any] = {"system_instruction": SYSTEM, "max_output_tokens": 400, **more}
    if tools:
        declared = {"name": "tide", "description": "The tide at a port", "parameters_json_schema": SCHEMA}
        config["tools"] = [{"function_declarations": [declared]}]
    contents: Any = [
        {"role": "user", "parts": [{"text": QUESTION}, {"inline_data": {"mime_type": "image/png", "data": PIXEL}}]}
    ]
    client = google_client(at).aio
    try:
        if not stream:
            whole = await client.models.generate_content(model=model, contents=contents, config=config)
            return whole.model_dump(mode="json", exclude_none=True)
        parts = [
            chunk.model_dump(mode="json", exclude_none=True)
            async for chunk in await client.models.generate_content_stream(
                model=model, contents=contents, config=config
            )
        ]
    finally:
        await client.aclose()
    return join_chunks(parts)


def join_chunks(chunks: list[Any]) -> Any:
    """Google's client hands out chunks: as one answer, neighbouring texts joined, the last usage."""
    joined: list[Any] = []
    last = chunks[-1]
    for chunk in chunks:
        for part in chunk.get("candidates", [{}])[0].get("content", {}).get("parts", []):
            same = joined and set(part) == set(joined[-1]) and set(part) <= {"text", "thought"}
            if same:
                joined[-1] = {**part, "text": joined[-1]["text"] + part["text"]}
            elif part != {"text": ""}:
                joined.append(part)
    candidate = {**last.get("candidates", [{}])[0]}
    candidate["content"] = {"role": "model", "parts": joined}
    return {**last, "candidates": [candidate]}


_ASK: Final[dict[Dialect, Callable[[Asked, str, bool, bool, dict[str, Any]], Awaitable[Any]]]] = {
    Dialect.OPENAI_CHAT: _chat,
    Dialect.OPENAI_RESPONSES: _responses,
    Dialect.ANTHROPIC_MESSAGES: _messages,
    Dialect.GEMINI: _google,
}
