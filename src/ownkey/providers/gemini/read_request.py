"""A client's `GenerateContentRequest` in the neutral form.

What only Google's API can do goes into `foreign`. Left out is what only advises (labels, resolutions of media, whether
Google may log) and what happens anyway (filters that are turned off, text as the only modality).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ownkey.errors import RequestError
from ownkey.providers.conversation import Conversation, OutputFormat, Reasoning, Tool, ToolChoice
from ownkey.providers.gemini.count_tokens import unwrap_request
from ownkey.providers.gemini.fields import (
    read_body,
    read_flag,
    read_integer,
    read_list,
    read_number,
    read_object,
    read_text,
    read_texts,
    read_word,
)
from ownkey.providers.gemini.read_contents import ContentsReader, read_instruction
from ownkey.providers.gemini.schema import to_json_schema
from ownkey.providers.gemini.thinking import read_thinking

Fields = dict[str, Any]

_ADVICE: Final = frozenset({"contents", "labels", "model", "store"})
_CONFIG_ADVICE: Final = frozenset({"audioTimestamp", "mediaResolution"})
_TIERS: Final = {"STANDARD": "default", "FLEX": "flex", "PRIORITY": "priority"}
_UNSPECIFIED: Final = frozenset({"", "UNSPECIFIED", "SERVICE_TIER_UNSPECIFIED"})
# Thresholds that ask for no filter, and the one that leaves it to the provider.
_UNFILTERED: Final = frozenset({"BLOCK_NONE", "OFF", "HARM_BLOCK_THRESHOLD_UNSPECIFIED"})


def read_request(body: bytes, *, counts: bool = False) -> Conversation:
    """The neutral form of a body, or with `counts` of what is to be counted.

    Raises RequestError with the place of what cannot be read.
    """
    try:
        fields = read_body(body)
        return _read_conversation(unwrap_request(fields) if counts else fields)
    except RecursionError:
        raise RequestError("The body is nested too deeply.") from None


def _read_conversation(fields: Fields) -> Conversation:
    conversation = Conversation()
    if "contents" not in fields:
        raise RequestError("`contents` is missing.", param="contents")
    reader = ContentsReader(conversation.foreign)
    reader.read(fields["contents"], "contents")
    conversation.turns = reader.turns
    for name, value in fields.items():
        read = _FIELDS.get(name)
        if read is not None:
            read(conversation, value)
        elif name not in _ADVICE:
            conversation.foreign[name] = value
    return conversation


def _read_instruction(conversation: Conversation, value: Any) -> None:
    conversation.instructions = read_instruction(value, "systemInstruction", conversation.foreign)


def _read_tools(conversation: Conversation, value: Any) -> None:
    for position, tool in enumerate(read_list(value)):
        place = f"tools[{position}]"
        for name, given in read_object(tool, place).items():
            where = f"{place}.{name}"
            if name != "functionDeclarations":
                conversation.foreign[where] = given
                continue
            for index, declared in enumerate(read_list(given)):
                conversation.tools.append(_read_function(declared, f"{where}[{index}]", conversation.foreign))


def _read_function(value: Any, place: str, foreign: Fields) -> Tool:
    fields = read_object(value, place)
    tool = Tool(name=read_text(fields.pop("name", ""), f"{place}.name"))
    if not tool.name:
        raise RequestError(f"`{place}` needs `name`.", param=place)
    description = fields.pop("description", None)
    if description is not None:
        tool.description = read_text(description, f"{place}.description")
    schema, plain = fields.pop("parametersJsonSchema", None), fields.pop("parameters", None)
    if schema is not None:
        if not isinstance(schema, dict):
            raise RequestError("A schema must be an object.", param=f"{place}.parametersJsonSchema")
        tool.schema = schema
    elif plain is not None:
        tool.schema = to_json_schema(plain, f"{place}.parameters")
    # What the function answers is told for the model's information.
    fields.pop("response", None)
    fields.pop("responseJsonSchema", None)
    if fields.get("behavior") in ("UNSPECIFIED", "BLOCKING"):
        del fields["behavior"]
    foreign.update((f"{place}.{name}", given) for name, given in fields.items())
    return tool


def _read_tool_config(conversation: Conversation, value: Any) -> None:
    for name, given in read_object(value, "toolConfig").items():
        where = f"toolConfig.{name}"
        if name == "functionCallingConfig":
            conversation.tool_choice = _read_calling(read_object(given, where), where, conversation.foreign)
        elif given is not False:  # `includeServerSideToolInvocations`
            conversation.foreign[where] = given


def _read_calling(fields: Fields, place: str, foreign: Fields) -> ToolChoice | None:
    mode = read_word(fields.pop("mode", ""), f"{place}.mode")
    names = tuple(read_texts(fields.pop("allowedFunctionNames", []), f"{place}.allowedFunctionNames"))
    foreign.update((f"{place}.{name}", given) for name, given in fields.items() if given is not False)
    match mode:
        case "" | "MODE_UNSPECIFIED":
            return ToolChoice(names=names) if names else None
        case "AUTO" | "VALIDATED":
            return ToolChoice(mode="auto", names=names)
        case "NONE":
            return ToolChoice(mode="none")
        case "ANY":
            return ToolChoice(mode="named" if len(names) == 1 else "required", names=names)
    raise RequestError("The mode is one of AUTO, ANY, NONE and VALIDATED.", param=f"{place}.mode")


def _read_safety(conversation: Conversation, value: Any) -> None:
    for position, setting in enumerate(read_list(value)):
        place = f"safetySettings[{position}]"
        threshold = read_word(read_object(setting, place).get("threshold", ""), f"{place}.threshold")
        if threshold not in _UNFILTERED:
            conversation.foreign[place] = setting


def _read_tier(conversation: Conversation, value: Any) -> None:
    word = read_word(value, "serviceTier")
    if word not in _UNSPECIFIED:
        conversation.service_tier = _TIERS.get(word, word.lower())


def _read_config(conversation: Conversation, value: Any) -> None:
    fields = read_object(value, "generationConfig")
    conversation.output = _read_output(fields, conversation.foreign)
    for name, given in fields.items():
        where = f"generationConfig.{name}"
        if name in _NUMBERS:
            setattr(conversation, _NUMBERS[name], read_number(given, where))
        elif name in _INTEGERS:
            setattr(conversation, _INTEGERS[name], read_integer(given, where))
        elif name == "stopSequences":
            conversation.stop = read_texts(given, where)
        elif name == "thinkingConfig":
            reasoning = read_thinking(given, where)
            conversation.reasoning = None if reasoning == Reasoning() else reasoning
        elif name == "responseLogprobs":
            if read_flag(given, where):
                conversation.logprobs = conversation.logprobs or 0
        elif name == "logprobs":
            if fields.get("responseLogprobs") is True:
                conversation.logprobs = read_integer(given, where)
        elif name == "responseModalities":
            if [word.upper() for word in read_texts(given, where)] not in ([], ["TEXT"]):
                conversation.foreign[where] = given
        elif name not in _CONFIG_ADVICE and given is not False:
            conversation.foreign[where] = given


def _read_output(fields: Fields, foreign: Fields) -> OutputFormat | None:
    """The form of the answer, in any of the ways in which it can be said. Takes what it reads out of `fields`."""
    place = "generationConfig"
    kind = read_text(fields.pop("responseMimeType", ""), f"{place}.responseMimeType").lower()
    plain = fields.pop("responseSchema", None)
    schema = fields.pop("responseJsonSchema", None) or fields.pop("_responseJsonSchema", None)
    formats = fields.pop("responseFormat", None)
    if formats is not None:
        for position, given in enumerate(read_list(formats)):
            where = f"{place}.responseFormat[{position}]"
            for name, inner in read_object(given, where).items():
                if name != "text":
                    foreign[f"{where}.{name}"] = inner
                    continue
                text = read_object(inner, f"{where}.text")
                kind = read_text(text.get("mimeType", kind), f"{where}.text.mimeType").lower().replace("_", "/")
                schema = text.get("schema", schema)
    if kind in ("", "text/plain"):
        if schema is not None or plain is not None:
            # Google refuses it as well: without the type, the answer would not keep to the schema.
            where = f"{place}.responseMimeType"
            raise RequestError(f"A schema needs `{where}` to be `application/json`.", param=where)
        return None
    if kind != "application/json":
        foreign[f"{place}.responseMimeType"] = kind
        return None
    if schema is None and plain is not None:
        schema = to_json_schema(plain, f"{place}.responseSchema")
    if schema is None:
        return OutputFormat(kind="json_object")
    if not isinstance(schema, dict):
        raise RequestError("A schema must be an object.", param=f"{place}.responseJsonSchema")
    return OutputFormat(kind="json_schema", schema=schema)


_NUMBERS: Final = {
    "temperature": "temperature",
    "topP": "top_p",
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
}
_INTEGERS: Final = {
    "candidateCount": "choices",
    "maxOutputTokens": "max_output_tokens",
    "seed": "seed",
    "topK": "top_k",
}
_FIELDS: Final[dict[str, Callable[[Conversation, Any], None]]] = {
    "generationConfig": _read_config,
    "safetySettings": _read_safety,
    "serviceTier": _read_tier,
    "systemInstruction": _read_instruction,
    "toolConfig": _read_tool_config,
    "tools": _read_tools,
}
