"""What is read from a segment is what was written to it, or nothing: never a call that was not made."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.domain.settings import Payer
from ownkey.domain.usage import Outcome, Tokens, UsageEvent, new_id
from ownkey.spool.frames import HEAD, Damage, Frame, Intent, encode_final, encode_intent, read_frames


def call(number: int = 0) -> UsageEvent:
    return UsageEvent(
        id=new_id(),
        request_id=new_id(),
        user_id=f"user-{number}",
        occurred_at=datetime(2026, 11, 26, 12, tzinfo=UTC),
        attempt=1,
        task=None,
        provider="groq",
        model="m",
        requested_model="auto",
        credential_id=None,
        payer=Payer.OWN,
        operation="chat",
        streamed=False,
        outcome=Outcome.OK,
        tokens=Tokens(input_uncached=number, output_text=7),
        raw_usage=b'{"prompt_tokens":1}',
    )


CALLS = [call(number) for number in range(4)]
FRAMES = [encode_intent(CALLS[0], 900), *(encode_final(one) for one in CALLS)]
CONTENTS = [Intent(CALLS[0], 900), *CALLS]
SEGMENT = HEAD + b"".join(FRAMES) + bytes(500)
ENDS = [len(HEAD) + sum(map(len, FRAMES[:count])) for count in range(len(FRAMES) + 1)]


def read(segment: bytes) -> list[Intent | UsageEvent | Damage]:
    return [one.content if isinstance(one, Frame) else one for one in read_frames(segment)]


def test_what_was_written_is_read() -> None:
    assert read(SEGMENT) == CONTENTS


def test_wherever_it_is_cut_off_all_whole_frames_are_read() -> None:
    for length in range(len(HEAD), ENDS[-1] + 1):
        for rest in (b"", bytes(100)):
            whole = sum(end <= length for end in ENDS[1:])
            assert read(SEGMENT[:length] + rest) == CONTENTS[:whole]


def test_one_byte_that_changed_costs_one_frame_and_is_told() -> None:
    for offset in range(len(HEAD), ENDS[-1]):
        damaged = bytearray(SEGMENT)
        damaged[offset] ^= 0x40
        found = read(bytes(damaged))
        hit = next(number for number, end in enumerate(ENDS[1:]) if offset < end)
        expected: list[Intent | UsageEvent | Damage] = [*CONTENTS]
        if hit == len(FRAMES) - 1:
            del expected[hit]  # at the end nobody can tell damage from a write that was cut short
        else:
            expected[hit] = Damage(ENDS[hit], len(FRAMES[hit]))
        assert found == expected


@given(st.binary(max_size=300))
def test_chance_is_no_call(noise: bytes) -> None:
    assert [one for one in read(HEAD + noise) if not isinstance(one, Damage)] == []


@given(st.binary(max_size=200))
def test_a_call_behind_noise_is_found(noise: bytes) -> None:
    assert read(HEAD + noise.strip(b"\0") + FRAMES[1])[-1] == CALLS[0]


@pytest.mark.parametrize("segment", [b"", b"OKSPOOL", b"OKSPOOL2", b"\0" * 100])
def test_another_file_is_none_of_ours(segment: bytes) -> None:
    with pytest.raises(ValueError, match="not a segment"):
        read(segment)
