"""A whole answer of Gemini's."""

from __future__ import annotations

from time import time

from msgspec.structs import replace

from ownkey.domain.provider import Dialect
from ownkey.domain.usage import new_id
from ownkey.providers.conversation import Answer, Citation, Part, Refusal, Seal, Text, Thinking, ToolCall
from ownkey.providers.dialect import AnswerFailed, Call
from ownkey.providers.failures import read_failure_in_answer
from ownkey.providers.gemini import response as wire
from ownkey.providers.gemini.citations import read_citations
from ownkey.providers.gemini.finish import has_ended, read_failed_finish, read_finish, refusal_words
from ownkey.providers.gemini.usage import read_usage
from ownkey.providers.unreadable import UNREADABLE


def read_answer(body: bytes, call: Call) -> Answer:
    """The neutral form. Raises AnswerFailed for an error with status 200, ValueError for what is no answer."""
    try:
        response = wire.RESPONSE.decode(body)
        error = wire.present(response.error)
        if error is not None:
            raise AnswerFailed(read_failure_in_answer(body))
        return _read(response, call)
    except UNREADABLE:
        raise ValueError("not an answer in Gemini's form") from None


def _read(response: wire.Response, call: Call) -> Answer:
    raw_usage = wire.present(response.usage_metadata)
    answer = Answer(
        id=response.response_id or new_id(),
        model=response.model_version or call.model,
        created=int(time()),
        parts=[],
        finish="stop",
        tokens=read_usage(raw_usage) if raw_usage else None,
        raw_usage=raw_usage,
    )
    if not response.candidates:
        feedback = response.prompt_feedback
        if feedback is None or not feedback.block_reason:
            raise ValueError("an answer without candidates")
        answer.finish = "refusal"
        answer.parts = [Refusal(text=refusal_words(feedback.block_reason, feedback.block_reason_message))]
        return answer
    candidate = response.candidates[0]
    answer.parts = _read_parts(candidate)
    if candidate.logprobs_result is not None:
        answer.logprobs = wire.read_logprobs(candidate.logprobs_result)
    reason = candidate.finish_reason
    if reason is not None and has_ended(reason):
        failure = read_failed_finish(reason, candidate.finish_message)
        if failure is not None:
            raise AnswerFailed(failure, answer.tokens, raw_usage)
        called = any(isinstance(part, ToolCall) for part in answer.parts)
        answer.finish = read_finish(reason, called=called)
        if answer.finish == "refusal" and not any(not isinstance(part, Thinking) for part in answer.parts):
            answer.parts.append(Refusal(text=refusal_words(reason, candidate.finish_message)))
    return answer


def _read_parts(candidate: wire.Candidate) -> list[Part]:
    parts: list[Part] = []
    ids = wire.CallIds()
    given = candidate.content.parts or [] if candidate.content is not None else []
    starts, length = [], 0
    for part in given:
        starts.append(length)
        seal = Seal(Dialect.GEMINI, part.thought_signature) if part.thought_signature else None
        if part.function_call is not None:
            called = part.function_call
            arguments = wire.read_arguments(called.args)
            parts.append(ToolCall(id=ids.take(called.id), name=called.name, arguments=arguments, seal=seal))
        elif part.thought:
            parts.append(Thinking(text=part.text or "", seal=seal))
        else:
            text = shown_text(part)
            length += len(text.encode())
            _add_text(parts, text)
            if seal is not None:
                parts.append(Thinking(seal=seal))
    _cite(parts, candidate, starts)
    return parts


def shown_text(part: wire.Part) -> str:
    """What a part shows. A picture is one in Markdown: no other dialect has pictures in a text answer."""
    blob = part.inline_data
    if blob is not None and blob.data:
        return f"![{blob.mime_type.partition('/')[0]}](data:{blob.mime_type};base64,{blob.data})"
    return part.text or ""


def _add_text(parts: list[Part], text: str) -> None:
    if not text:
        return
    last = parts[-1] if parts else None
    if isinstance(last, Text):
        last.text += text
    else:
        parts.append(Text(text=text))


def _cite(parts: list[Part], candidate: wire.Candidate, starts: list[int]) -> None:
    """Give the sources to the text that they are of; those of no place to the last one."""
    grounding, cited = wire.present(candidate.grounding_metadata), wire.present(candidate.citation_metadata)
    texts = [part for part in parts if isinstance(part, Text)]
    if not texts or (grounding is None and cited is None):
        return
    for citation in read_citations(grounding, cited, "".join(text.text for text in texts), starts):
        start = 0
        for text in texts:
            length = len(text.text)
            if text is texts[-1] or (citation.start is not None and citation.start < start + length):
                text.citations = [*text.citations, _within(citation, start, length)]
                break
            start += length


def _within(citation: Citation, start: int, length: int) -> Citation:
    """With the positions in a text that begins at `start` of the whole."""
    if citation.start is None or citation.end is None:
        return citation
    return replace(citation, start=citation.start - start, end=min(citation.end - start, length))
