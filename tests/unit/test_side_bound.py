"""The bound of calls with pictures or sound: never less than they may cost, and not by the bytes of a file."""

from __future__ import annotations

import pytest
from tests.unit.test_call_bound import ASSUMED, NOW, attempt

from ownkey.services.call_bound import price
from ownkey.services.pricing import Pricing
from ownkey.services.side_bound import read_side_extent

MEGABYTE = 1024 * 1024


def form(*fields: bytes) -> bytes:
    return b"".join(b"--x\r\nContent-Disposition: form-data; " + field + b"\r\n" for field in fields) + b"--x--\r\n"


@pytest.mark.parametrize("operation", ["transcriptions", "translations"])
def test_sound_is_bounded_by_how_long_it_can_be(operation: str) -> None:
    found = read_side_extent(
        attempt("whisper-1"),
        operation,
        form(b'name="file"; filename="a.wav"\r\n\r\n' + bytes(MEGABYTE)),
        assumed_output_tokens=ASSUMED,  # type: ignore[arg-type]
    )
    assert found.audio_seconds >= MEGABYTE / 600, "as long as the slowest codec makes of so many bytes"
    assert found.input_tokens < MEGABYTE, "and not a token for each of them"
    cost = price(Pricing(), attempt("whisper-1"), found, NOW).cost_microdollars
    assert cost is not None
    assert 100_000 < cost < 1_000_000


def test_the_shortest_sound_costs_ten_seconds() -> None:
    sound = form(b'name="file"; filename="a.wav"\r\n\r\nx')
    found = read_side_extent(attempt("whisper-1"), "transcriptions", sound, assumed_output_tokens=ASSUMED)
    assert found.audio_seconds == 10


@pytest.mark.parametrize(
    "field",
    [
        b'name="url"\r\n\r\nhttps://x.test/a.mp3',
        b"name=url\r\n\r\nhttps://x.test/a.mp3",
        b'NAME="file_url"; x=y\r\n\r\nhttps://x.test/a.mp3',
        b'name="file_id"\r\n\r\nfile-1',
        b'name="language"\r\n\r\nde',
        b'name="file"; filename="a.mp3"\r\n\r\n\0--x\0\r\n--x\r\nContent-Disposition: form-data; name="url"\r\n\r\nhttps://x',
    ],
)
def test_sound_that_lies_elsewhere_may_be_the_longest_that_is_fetched(field: bytes) -> None:
    found = read_side_extent(attempt("whisper-1"), "transcriptions", form(field), assumed_output_tokens=ASSUMED)
    assert found.audio_seconds > 200_000
    named = form(b'name="file"; filename="my url.mp3"\r\n\r\n' + bytes(100), b'name="language"\r\n\r\nurl')
    near = read_side_extent(attempt("whisper-1"), "transcriptions", named, assumed_output_tokens=ASSUMED)
    assert near.audio_seconds == 10


def test_pictures_to_edit_count_by_number_and_answers_too() -> None:
    picture = b'name="image[]"; filename="a.png"\r\n\r\n' + bytes(MEGABYTE)
    one = read_side_extent(attempt("gpt-image-1"), "image_edits", form(picture), assumed_output_tokens=ASSUMED)
    three = form(picture, picture, b'name="n"\r\n\r\n3')
    two = read_side_extent(attempt("gpt-image-1"), "image_edits", three, assumed_output_tokens=ASSUMED)
    assert one.input_tokens < MEGABYTE
    assert two.input_tokens >= one.input_tokens + 50_000
    assert (one.output_tokens, two.output_tokens) == (ASSUMED, 3 * ASSUMED)
    assert one.special and two.special
    twice = form(picture, b'name="n"\r\n\r\n1', b'name="n"\r\n\r\n9')
    assert (
        read_side_extent(attempt("gpt-image-1"), "image_edits", twice, assumed_output_tokens=ASSUMED).output_tokens
        == 9 * ASSUMED
    )


@pytest.mark.parametrize("body", [b'{"input": "\\u00e4bb\\u00e4"}', '{"input": "äbbä"}'.encode()])
def test_speech_that_is_charged_by_its_text_is_bounded_by_it(body: bytes) -> None:
    found = read_side_extent(attempt("tts-1"), "speech", body, assumed_output_tokens=ASSUMED)
    assert found.characters == 4
    assert price(Pricing(), attempt("tts-1"), found, NOW).cost_microdollars == 60


def test_speech_is_as_long_as_its_text() -> None:
    found = read_side_extent(
        attempt("gpt-4o-mini-tts"), "speech", b'{"input": "Hello", "voice": "alloy"}', assumed_output_tokens=ASSUMED
    )
    assert found.output_tokens < 300
    assert found.special
