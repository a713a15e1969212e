"""The messages of a chat completion as Claude wants them.

System and developer messages become the `system` text, in their order. Users and the assistant take turns, so
neighbours of one role are merged. A tool's result is a block inside the user's turn.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ownkey.errors import RequestError
from ownkey.providers.unreadable import UNREADABLE

_DATA_URL: Final = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,", re.ASCII | re.IGNORECASE)
_TOOL_ID: Final = re.compile(r"[^A-Za-z0-9_-]")


class _Function(Struct):
    name: str
    arguments: str = ""


class _ToolCall(Struct):
    id: str
    function: _Function | None = None
    type: str = "function"


class _Message(Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    refusal: str | None = None
    function_call: Any = None
    audio: Any = None


_MESSAGES: Final = msgspec.json.Decoder(list[_Message])
_ARGUMENTS: Final = msgspec.json.Decoder(dict[str, Raw])

Block = dict[str, Any]


def read_conversation(raw: Raw) -> tuple[list[Block], list[Block], bool]:
    """The turns, the system blocks, and whether the last turn answers tool calls.

    Raises RequestError with the place of what cannot be translated.
    """
    try:
        messages = _MESSAGES.decode(raw)
    except (UnicodeError, RecursionError):
        raise RequestError("`messages` cannot be read.", param="messages") from None
    except msgspec.MsgspecError as error:
        place = str(error).rpartition(" - at `$")[2].rstrip("`")
        raise RequestError(
            f"`messages` is not a list of messages: {str(error).partition(' - at')[0]}.",
            param=f"messages{place}" if place.startswith("[") else "messages",
        ) from None
    _check_names(messages)
    turns: list[Block] = []
    system: list[Block] = []
    in_tool_loop = False
    for position, message in enumerate(messages):
        place = f"messages[{position}]"
        if message.role in ("system", "developer"):
            system += _read_content(message.content, place, "system")
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _read_blocks(message, place)
        if not blocks:
            continue
        in_tool_loop = message.role == "tool" or (in_tool_loop and role == "user")
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    if not turns:
        raise RequestError("There is no message with content.", param="messages")
    for turn in turns:
        only = turn["content"][0]
        if len(turn["content"]) == 1 and only["type"] == "text" and len(only) == 2:
            turn["content"] = only["text"]
    return turns, system, in_tool_loop


def _check_names(messages: list[_Message]) -> None:
    """Claude has no names for participants. One name tells nothing; several tell speakers apart."""
    names = [(position, message.name) for position, message in enumerate(messages) if message.role == "user"]
    if len({name for _, name in names if name}) > 1:
        position = next(position for position, name in names if name)
        raise RequestError(
            "Claude cannot tell several users apart by `name`. Put the names into the text.",
            param=f"messages[{position}].name",
        )


def _read_blocks(message: _Message, place: str) -> list[Block]:
    if message.function_call is not None:
        raise RequestError("`function_call` is not translated. Use `tool_calls`.", param=f"{place}.function_call")
    if message.audio is not None:
        raise RequestError("Claude does not hear audio.", param=f"{place}.audio")
    match message.role:
        case "user":
            return _read_content(message.content, place, "user")
        case "assistant":
            blocks = _read_content(message.content, place, "assistant")
            if message.refusal:
                blocks.append({"type": "text", "text": message.refusal})
            return blocks + [
                _read_tool_call(call, f"{place}.tool_calls[{index}]")
                for index, call in enumerate(message.tool_calls or ())
            ]
        case "tool":
            return [_read_tool_result(message, place)]
        case _:
            raise RequestError(f"There is no role {message.role[:40]!r} in a conversation.", param=f"{place}.role")


def _read_tool_call(call: _ToolCall, place: str) -> Block:
    if call.function is None:
        raise RequestError("Claude takes function calls only.", param=place)
    arguments = call.function.arguments.strip() or "{}"
    try:
        _ARGUMENTS.decode(arguments)
    except UNREADABLE:
        raise RequestError("The arguments are not a JSON object.", param=f"{place}.function.arguments") from None
    return {
        "type": "tool_use",
        "id": _tool_id(call.id),
        "name": call.function.name,
        "input": Raw(arguments.encode()),
    }


def _read_tool_result(message: _Message, place: str) -> Block:
    if not message.tool_call_id:
        raise RequestError("A tool's message needs the id of its call.", param=f"{place}.tool_call_id")
    block: Block = {"type": "tool_result", "tool_use_id": _tool_id(message.tool_call_id)}
    content = _read_content(message.content, place, "tool")
    if content:
        only = content[0]
        plain = len(content) == 1 and only["type"] == "text" and len(only) == 2
        block["content"] = only["text"] if plain else content
    return block


def _tool_id(value: str) -> str:
    """Ids of other providers may hold dots and colons, which Claude refuses: a chain may have begun elsewhere."""
    return _TOOL_ID.sub("_", value)[:200]


def _read_content(content: str | list[dict[str, Any]] | None, place: str, role: str) -> list[Block]:
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    blocks = []
    for index, part in enumerate(content):
        block = _read_part(part, f"{place}.content[{index}]", role)
        if block is None:
            continue
        if isinstance(part.get("cache_control"), dict):
            block["cache_control"] = part["cache_control"]
        blocks.append(block)
    return blocks


def _read_part(part: dict[str, Any], place: str, role: str) -> Block | None:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        text = part.get(kind)
        if not isinstance(text, str):
            raise RequestError(f"A {kind} part needs `{kind}`.", param=place)
        # Claude refuses an empty text block, and it says nothing.
        return {"type": "text", "text": text} if text else None
    if kind in ("image_url", "file") and role in ("system", "assistant"):
        raise RequestError(f"Claude takes no {kind} in a message of this role.", param=place)
    if kind == "image_url":
        return _read_image(part.get("image_url"), place)
    if kind == "file":
        return _read_file(part.get("file"), place)
    if kind == "input_audio":
        raise RequestError("Claude does not hear audio.", param=place)
    raise RequestError(f"Claude has no content part of type {str(kind)[:40]!r}.", param=place)


def _read_image(value: Any, place: str) -> Block:
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str):
        raise RequestError("An image part needs `image_url.url`.", param=place)
    if url.startswith("https://"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    return {"type": "image", "source": _read_data_url(url, "An image", f"{place}.image_url")}


def _read_file(value: Any, place: str) -> Block:
    data = value.get("file_data") if isinstance(value, dict) else None
    if not isinstance(data, str):
        raise RequestError("A file must come with its data: Claude does not know OpenAI's file ids.", param=place)
    block: Block = {"type": "document", "source": _read_data_url(data, "A file", f"{place}.file.file_data")}
    if isinstance(value.get("filename"), str):
        block["title"] = value["filename"]
    return block


def _read_data_url(url: str, what: str, place: str) -> Block:
    match = _DATA_URL.match(url)
    if match is None:
        raise RequestError(f"{what} must be an https:// or a data: URL with base64.", param=place)
    return {"type": "base64", "media_type": match[1].lower(), "data": url[match.end() :]}
