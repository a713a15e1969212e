"""Pictures, sound, moderation and ranking through the gateway, with OpenAI's own client where it has them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from msgspec.structs import replace

from tests.gateway.conftest import Platform, User
from tests.gateway.test_wire import events_of

SOUND = b"RIFF" + bytes(range(256)) * 40


@pytest.fixture
async def user(platform: Platform) -> User:
    return await platform.user(openai="sk-proj-side-00000000000001", groq="gsk_side_0000000000000001")


@pytest.fixture
async def client(platform: Platform, user: User) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {user.token}"}
    async with httpx2.AsyncClient(base_url=platform.url, timeout=20, headers=headers) as made:
        yield made


async def test_pictures(platform: Platform, user: User) -> None:
    raw = await user.client.images.with_raw_response.generate(prompt="A tide", n=2)
    drawn = raw.parse()
    assert drawn.data and len(drawn.data) == 2 and drawn.data[0].b64_json
    assert (raw.headers["x-ownkey-provider"], raw.headers["x-ownkey-model"]) == ("openai", "gpt-image-2")
    edited = await user.client.images.edit(model="openai/gpt-image-1.5", image=("a.png", b"\x89PNG"), prompt="Blue")
    assert edited.data
    first, second = platform.providers.ledger()
    assert first.body["model"] == "gpt-image-2" and first.path.endswith("/images/generations")
    assert second.body["model"] == "gpt-image-1.5" and second.body["image"] == {"filename": "a.png", "bytes": 4}
    events = await events_of(platform, user)
    assert [event["operation"] for event in events] == ["images", "image_edits"]
    assert (events[0]["input_uncached"], events[0]["output_text"]) == (12, 544)
    assert events[0]["task"] == "image" and events[0]["cost_microdollars"] is not None


async def test_speech_is_streamed_as_it_comes(platform: Platform, user: User) -> None:
    text = "High water is at noon. " * 40
    async with user.client.audio.speech.with_streaming_response.create(
        model="auto", voice="alloy", input=text, response_format="wav"
    ) as answer:
        heard = b"".join([part async for part in answer.iter_bytes()])
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.headers["x-ownkey-provider"] == "openai"
    assert heard.startswith(b"RIFF") and len(heard) > len(text) * 80
    [event] = await events_of(platform, user)
    assert (event["operation"], event["outcome"], event["streamed"]) == ("speech", "ok", True)
    assert event["tokens_source"] == "none" and event["cost_microdollars"] is None


@pytest.mark.parametrize(
    ("model", "microdollars"),
    [("openai/tts-1", 15 * 200), ("openai/tts-1-hd", 30 * 200), ("groq/canopylabs/orpheus-v1-english", 22 * 200)],
)
async def test_speech_that_is_charged_by_its_text_costs_what_was_to_be_spoken(
    platform: Platform, user: User, model: str, microdollars: int
) -> None:
    """No answer says so; a letter is one character, whatever number of bytes it has."""
    await user.client.audio.speech.create(model=model, voice="alloy", input="Ebbe – " * 25 + "ä" * 25)
    [event] = await events_of(platform, user)
    assert (event["cost_microdollars"], event["cost_source"]) == (microdollars, "computed")
    assert event["tokens_source"] == "none" and json.loads(event["raw_usage"]) == {"ownkey_characters": 200}


async def test_speech_that_fails_costs_nothing(platform: Platform, user: User) -> None:
    platform.providers.break_provider("openai", "bad_request", times=1)
    with pytest.raises(openai.BadRequestError):
        await user.client.audio.speech.create(model="openai/tts-1", voice="alloy", input="Ebb")
    [event] = await events_of(platform, user)
    assert event["cost_microdollars"] is None and event["raw_usage"] is None


async def test_sound_that_comes_with_its_end_is_not_waited_for(platform: Platform, user: User) -> None:
    """Nothing but the end of the answer says that it is all, and both may come in one piece."""
    for size in (200, 2_000, 4_000):
        heard = await user.client.audio.speech.create(model="openai/tts-1", voice="alloy", input="a" * size, timeout=15)
        assert len(heard.content) == 44 + 80 * size


async def test_transcripts(platform: Platform, user: User) -> None:
    heard = await user.client.audio.transcriptions.create(model="auto", file=("note.wav", SOUND), language="de")
    assert "note.wav" in heard.text
    seconds = await user.client.audio.transcriptions.create(model="groq/whisper-large-v3-turbo", file=("b.wav", SOUND))
    assert "b.wav" in seconds.text
    subtitles = await user.client.audio.translations.create(
        model="whisper-1", file=("c.wav", SOUND), response_format="srt"
    )
    assert "c.wav" in str(subtitles)
    seen = platform.providers.ledger()
    assert [(one.provider, one.body["model"]) for one in seen] == [
        ("openai", "gpt-4o-transcribe"),
        ("groq", "whisper-large-v3-turbo"),
        ("openai", "whisper-1"),
    ]
    assert all(one.body["file"]["bytes"] == len(SOUND) for one in seen) and seen[0].body["language"] == "de"
    events = await events_of(platform, user)
    assert [event["operation"] for event in events] == ["transcriptions", "transcriptions", "translations"]
    assert (events[0]["input_uncached"], events[0]["output_text"]) == (14, 9)
    # Tokens of sound have a price of their own, Groq charges at least ten seconds, and subtitles tell no usage.
    assert [event["cost_microdollars"] for event in events] == [174, 111, None]
    assert json.loads(events[1]["raw_usage"]) == {"type": "duration", "seconds": 3}


async def test_moderation_and_ranking(platform: Platform, client: httpx2.AsyncClient, user: User) -> None:
    judged = await user.client.moderations.create(input="some violence")
    assert judged.results[0].flagged
    ranked = await client.post("/v1/rerank", json={"query": "tide", "documents": ["a", "the tide"], "model": "auto"})
    # Neither OpenAI nor Groq ranks.
    assert (ranked.status_code, ranked.json()["error"]["code"]) == (424, "no_provider_available")
    assert {hop["reason"] for hop in ranked.json()["error"]["ownkey"]["skipped"]} == {"lacks_operation"}
    await platform.ok.settings.add_credential(user.id, "together", "tgp_v1_side_0000000001")
    ranked = await client.post(
        "/v1/rerank", json={"query": "tide", "documents": ["a", "the tide"], "model": "together/rank-1", "top_n": 1}
    )
    assert ranked.json()["results"] == [{"index": 1, "relevance_score": 1.0}]
    assert [event["operation"] for event in await events_of(platform, user)] == ["moderations", "rerank"]


async def test_a_large_file_goes_through_whole(platform: Platform, client: httpx2.AsyncClient) -> None:
    size = 8 * 1024 * 1024
    answer = await client.post(
        "/v1/audio/transcriptions", data={"model": "auto"}, files={"file": ("long.wav", b"\x00\x01" * (size // 2))}
    )
    assert answer.status_code == 200
    [seen] = platform.providers.ledger()
    assert seen.body["file"]["bytes"] == size and seen.body["model"] == "gpt-4o-transcribe"


async def test_another_key_may_serve_but_never_another_model(platform: Platform, user: User) -> None:
    await platform.ok.settings.add_credential(user.id, "openai", "sk-proj-side-00000000000002")
    platform.providers.break_provider("openai", "bad_key", key="sk-proj-side-00000000000001")
    assert (await user.client.images.generate(prompt="A tide")).data
    assert [entry.key for entry in platform.providers.ledger()] == [
        "sk-proj-side-00000000000001",
        "sk-proj-side-00000000000002",
    ]
    platform.providers.reset()
    platform.providers.break_provider("openai", "unavailable")
    with pytest.raises(openai.InternalServerError):
        await user.client.audio.transcriptions.create(model="auto", file=("a.wav", SOUND))
    assert {entry.provider for entry in platform.providers.ledger()} == {"openai"}


@pytest.mark.parametrize(
    ("path", "content", "kind", "param"),
    [
        ("/v1/images/generations", b"{", "application/json", None),
        ("/v1/images/generations", b'{"model":3}', "application/json", "model"),
        ("/v1/images/edits", b"{}", "application/json", "Content-Type"),
        ("/v1/audio/transcriptions", b"--b\r\n", "multipart/form-data; boundary=b", None),
        ("/v1/audio/speech", b'{"model":"a b"}', "application/json", "model"),
    ],
)
async def test_wrong_bodies(
    client: httpx2.AsyncClient, path: str, content: bytes, kind: str, param: str | None
) -> None:
    answer = await client.post(path, content=content, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.fixture
async def half(platform: Platform) -> AsyncIterator[str]:
    """A provider that announces more sound than it sends; gives its id."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 1000\r\n\r\nID3half")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    row = replace(
        platform.ok.core.catalog["openai"], id="half", label="Half", base_url=f"http://127.0.0.1:{port}/v1", local=True
    )
    catalog: Any = platform.ok.core.catalog
    before = {name: one for name, one in catalog.items() if name not in catalog.base}
    platform.ok.core.completion.pool._trusted.add(("http", "127.0.0.1", port))
    catalog.adopt({**before, "half": row})
    yield "half"
    catalog.adopt(before)
    server.close()


async def test_sound_that_breaks_off_does_not_end_as_if_it_were_whole(
    platform: Platform, client: httpx2.AsyncClient, user: User, half: str
) -> None:
    await platform.ok.settings.add_credential(user.id, half, "key-half-000000000000001")
    heard = b""
    with pytest.raises(httpx2.RemoteProtocolError):
        async with client.stream("POST", "/v1/audio/speech", json={"model": "half/voice", "input": "a"}) as answer:
            assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")
            async for part in answer.aiter_bytes():
                heard += part
    assert heard == b"ID3half"
    in_process = platform.ok.openai_client(user.id)
    with pytest.raises(openai.APIConnectionError):
        await in_process.audio.speech.create(model="half/voice", voice="alloy", input="a")
    assert {event["outcome"] for event in await events_of(platform, user)} == {"stream_broken"}
