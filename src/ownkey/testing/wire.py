"""Brings llmock's answers closer to what each provider really sends, and reads the usage out of them.

llmock speaks the formats; these are the differences that matter to a gateway that counts tokens:
- providers that report stream usage unasked (Mistral and others) do so, in the chunk with the finish reason;
- Mistral refuses fields that it does not know, `stream_options` among them;
- a body that does not validate is status 400, not 422, where the provider says 400;
- the list of models is the catalogue's;
- embeddings come as base64 of float32 when asked for, cut to `dimensions`;
- usage objects carry the detail fields of the provider, which tests may set.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from typing import Any, Final

from ownkey.domain.provider import Dialect, Provider, Quirk

_DONE: Final = b"[DONE]"
_OLD_CLAUDE: Final = re.compile(r"claude-(?:[0-3]\b|(?:sonnet|haiku|opus)-4|haiku-5$|sonnet-5$)(?!-8)")
# These validate in a layer that answers 422.
_ANSWERS_422: Final = frozenset({"mistral", "cohere"})
_OPENAI_DETAILS: Final = {
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
_ANTHROPIC_DETAILS: Final = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}

# As many as OpenAI makes of one request; Google makes fewer.
_MOST: Final = {
    "n": 128, "candidateCount": 128, "candidate_count": 128, "dimensions": 4096, "outputDimensionality": 4096,
}  # fmt: skip


def reports_usage_unasked(provider: Provider) -> bool:
    """Whether a stream ends with usage even though nobody asked."""
    return provider.dialect is Dialect.OPENAI_CHAT and Quirk.NO_STREAM_OPTIONS in provider.quirks


def find_request_fault(provider: Provider, headers: dict[str, str], body: Any) -> tuple[int, bytes] | None:
    """The provider's answer to a request that it does not take, or None."""
    if provider.dialect is Dialect.ANTHROPIC_MESSAGES and "anthropic-version" not in headers:
        error = {"type": "invalid_request_error", "message": "anthropic-version: header is required"}
        return 400, json.dumps({"type": "error", "error": error}).encode()
    if provider.dialect is Dialect.ANTHROPIC_MESSAGES and _has_misplaced_system(body):
        message = (
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not "system" '
            "as an input message role."
        )
        error = {"type": "invalid_request_error", "message": message}
        return 400, json.dumps({"type": "error", "error": error}).encode()
    if (
        provider.dialect is Dialect.OPENAI_RESPONSES
        and isinstance(body, dict)
        and not body.keys() & {"input", "prompt"}
    ):
        refused = {"type": "invalid_request_error", "param": "input", "code": "missing_required_parameter"}
        return 400, json.dumps({"error": {"message": "Missing required parameter: 'input'.", **refused}}).encode()
    excess = _find_excess(body)
    if excess is not None:
        rest = {"type": "invalid_request_error", "param": None, "code": "integer_above_max_value"}
        return 400, json.dumps({"error": {"message": excess, **rest}}).encode()
    if provider.id == "mistral" and isinstance(body, dict) and "stream_options" in body:
        detail = {"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}
        refusal = {"object": "error", "message": {"detail": [detail]}, "type": "invalid_request_error"}
        return 422, json.dumps({**refusal, "param": None, "code": None}).encode()
    return None


def _find_excess(body: Any) -> str | None:
    """The complaint about a number of answers or of dimensions that nobody makes, in JSON or in a form."""
    fields = body if isinstance(body, dict) else {}
    inner = [one for name in ("generationConfig", "generation_config") if isinstance(one := fields.get(name), dict)]
    for one in (fields, *inner):
        for name, most in _MOST.items():
            try:
                number = float(one.get(name) or 0)
            except (TypeError, ValueError, OverflowError):
                continue  # whatever that is, nothing is counted out by it
            if not number <= most:
                return f"Invalid '{name}': integer above maximum value. Expected a value <= {most}."
    return None


def _has_misplaced_system(body: Any) -> bool:
    """Newer models take a system message right after a user's, at the end or before the assistant's."""
    messages = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(messages, list):
        return False
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    for place, role in enumerate(roles):
        if role != "system":
            continue
        before = roles[place - 1] if place else None
        after = roles[place + 1] if place + 1 < len(roles) else "assistant"
        if before != "user" or after != "assistant" or _OLD_CLAUDE.search(str(body.get("model"))):
            return True
    return False


def prepare_body(provider: Provider, body: Any, raw: bytes) -> bytes:
    """What llmock is given."""
    if isinstance(body, dict) and body.get("stream") is True and reports_usage_unasked(provider):
        return json.dumps({**body, "stream_options": {"include_usage": True}}).encode()
    return raw


def prepare_status(provider: Provider, status: int) -> int:
    """The provider's own status for a body that does not validate."""
    return 400 if status == 422 and provider.id not in _ANSWERS_422 else status


class AnswerShaper:
    """Shapes one answer; `usage` is the last usage object in it."""

    def __init__(self, provider: Provider, request: Any, changes: dict[str, Any]) -> None:
        self._provider = provider
        self._request = request if isinstance(request, dict) else {}
        self._changes = changes
        self._merge_usage = reports_usage_unasked(provider)
        self._held: dict[str, Any] | None = None
        self.usage: dict[str, Any] | None = None

    def shape_body(self, raw: bytes) -> bytes:
        """A whole answer."""
        try:
            answer = json.loads(raw)
        except ValueError:
            return raw
        if not isinstance(answer, dict):
            return raw
        if self._provider.models and isinstance(answer.get("data"), list) and "usage" not in answer:
            answer["data"] = [{**item, "id": name} for name in self._provider.models for item in answer["data"][:1]]
        if isinstance(answer.get("usage"), dict):
            answer["usage"] = self._complete(answer["usage"], details=answer.get("object") != "list")
        if answer.get("object") == "list" and "usage" in answer:
            answer["usage"].pop("completion_tokens", None)
            for item in answer["data"]:
                item["embedding"] = self._shape_vector(item["embedding"])
        return json.dumps(answer, separators=(",", ":")).encode()

    def shape_event(self, raw: bytes) -> list[bytes]:
        """One event of a stream: no, one or two events."""
        head, _, data = raw.partition(b"data: ")
        data = data.rstrip(b"\n")
        if data == _DONE:
            return [*self._release_held(), raw]
        try:
            event = json.loads(data)
        except ValueError:
            return [raw]
        if self._provider.dialect is Dialect.ANTHROPIC_MESSAGES:
            self._shape_anthropic(event)
            return [_encode(event, head)]
        return self._shape_chunk(event, head)

    def _shape_chunk(self, chunk: dict[str, Any], head: bytes) -> list[bytes]:
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            chunk["usage"] = self._complete(usage)
        if not self._merge_usage:
            return [_encode(chunk, head)]
        if isinstance(usage, dict):
            if self._held is not None:
                self._held["usage"] = chunk["usage"]
            return self._release_held()
        chunk.pop("usage", None)
        earlier = self._release_held()
        if any(choice.get("finish_reason") for choice in chunk["choices"]):
            self._held = chunk
            return earlier
        return [*earlier, _encode(chunk, head)]

    def _release_held(self) -> list[bytes]:
        held, self._held = self._held, None
        return [] if held is None else [_encode(held, b"")]

    def _shape_anthropic(self, event: dict[str, Any]) -> None:
        if event.get("type") == "message_start":
            output = event["message"]["usage"]["output_tokens"]
            event["message"]["usage"] = {**self._complete(event["message"]["usage"]), "output_tokens": output}
            self.usage = event["message"]["usage"]
        elif event.get("type") == "message_delta":
            output = self._changes.get("output_tokens", event["usage"]["output_tokens"])
            event["usage"] = {"output_tokens": output}
            self.usage = {**(self.usage or {}), "output_tokens": output}

    def _complete(self, usage: dict[str, Any], *, details: bool = True) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        if self._provider.dialect is Dialect.ANTHROPIC_MESSAGES:
            extra = _ANTHROPIC_DETAILS
        elif self._provider.id == "openai" and details:
            extra = _OPENAI_DETAILS
        self.usage = {**usage, **extra, **self._changes}
        return self.usage

    def _shape_vector(self, vector: list[float]) -> list[float] | str:
        wanted = self._request.get("dimensions")
        if isinstance(wanted, int):
            vector = vector[:wanted]
        if self._request.get("encoding_format") == "base64":
            return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        return vector


def _encode(event: dict[str, Any], head: bytes) -> bytes:
    return head + b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"
