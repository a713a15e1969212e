"""Sources of an answer: `groundingMetadata` of a search, `citationMetadata` of what was learnt by heart.

Google counts positions in bytes of UTF-8, and for a search in those of one part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from ownkey.providers.conversation import Citation
from ownkey.providers.unreadable import UNREADABLE


class _Source(Struct):
    uri: str | None = None
    title: str | None = None


class _Chunk(Struct, rename="camel"):
    web: _Source | None = None
    maps: _Source | None = None
    retrieved_context: _Source | None = None


class _Segment(Struct, rename="camel"):
    part_index: int = 0
    start_index: int = 0
    end_index: int | None = None


class _Support(Struct, rename="camel"):
    segment: _Segment | None = None
    grounding_chunk_indices: list[int] = []


class _Grounding(Struct, rename="camel"):
    grounding_chunks: list[_Chunk] = []
    grounding_supports: list[_Support] = []


class _Cited(Struct, rename="camel"):
    uri: str | None = None
    title: str | None = None
    start_index: int = 0
    end_index: int | None = None


class _Citations(Struct, rename="camel"):
    citations: list[_Cited] = []
    citation_sources: list[_Cited] = []  # how the first version of the API called them


# No answer has a tenth of them, and for each one the text is counted anew.
MOST_CITATIONS: Final = 1_000
_GROUNDING: Final = msgspec.json.Decoder(_Grounding)
_CITATIONS: Final = msgspec.json.Decoder(_Citations)


def read_citations(
    grounding: bytes | None, citations: bytes | None, text: str, starts: Sequence[int]
) -> list[Citation]:
    """The sources of `text`. `starts` are the positions of the answer's parts in its bytes.

    What cannot be read is no source: an answer does not fail for that.
    """
    encoded = text.encode()
    found: list[Citation] = []
    try:
        if grounding is not None:
            found += _read_grounding(_GROUNDING.decode(grounding), encoded, starts)
        if citations is not None:
            cited = _CITATIONS.decode(citations)
            for source in (*cited.citations, *cited.citation_sources)[:MOST_CITATIONS]:
                if source.uri:
                    start, end = _place(encoded, source.start_index, source.end_index)
                    found.append(Citation(url=source.uri, title=source.title or "", start=start, end=end))
    except UNREADABLE:
        pass
    return found


def _read_grounding(grounding: _Grounding, encoded: bytes, starts: Sequence[int]) -> list[Citation]:
    sources = [chunk.web or chunk.maps or chunk.retrieved_context or _Source() for chunk in grounding.grounding_chunks]
    found, placed = [], set()
    for support in grounding.grounding_supports[:MOST_CITATIONS]:
        segment = support.segment or _Segment()
        shift = starts[segment.part_index] if 0 <= segment.part_index < len(starts) else 0
        end = None if segment.end_index is None else segment.end_index + shift
        first, last = _place(encoded, segment.start_index + shift, end)
        for index in support.grounding_chunk_indices[:MOST_CITATIONS]:
            source = sources[index] if 0 <= index < len(sources) else _Source()
            if source.uri:
                placed.add(index)
                found.append(Citation(url=source.uri, title=source.title or "", start=first, end=last))
    for index, source in enumerate(sources):
        if source.uri and index not in placed:
            found.append(Citation(url=source.uri, title=source.title or ""))
    return found


def _place(encoded: bytes, start: int, end: int | None) -> tuple[int | None, int | None]:
    """Positions in characters."""
    if end is None or not 0 <= start <= end <= len(encoded):
        return None, None
    before = len(encoded[:start].decode("utf-8", "ignore"))
    return before, before + len(encoded[start:end].decode("utf-8", "ignore"))


def write_grounding(texts: Sequence[tuple[int, str, Sequence[Citation]]]) -> dict[str, Any] | None:
    """`groundingMetadata` for (the part's index, its text, its sources), None where there are no sources."""
    chunks: dict[tuple[str, str], int] = {}
    supports: list[dict[str, Any]] = []
    for part, text, citations in texts:
        for citation in citations:
            index = chunks.setdefault((citation.url, citation.title), len(chunks))
            if citation.start is None or citation.end is None:
                continue
            cited = text[citation.start : citation.end]
            start = len(text[: citation.start].encode())
            segment: dict[str, Any] = {"startIndex": start, "endIndex": start + len(cited.encode()), "text": cited}
            if part:
                segment["partIndex"] = part
            supports.append({"segment": segment, "groundingChunkIndices": [index]})
    if not chunks:
        return None
    grounding: dict[str, Any] = {"groundingChunks": [{"web": {"uri": url, "title": title}} for url, title in chunks]}
    if supports:
        grounding["groundingSupports"] = supports
    return grounding
