"""A call is in the spool from before it is made until it is in the database, whatever becomes of the process."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.unit.spool.test_frames import call

from ownkey.domain.usage import Outcome, TokensSource, UsageEvent, new_id
from ownkey.errors import ConfigError
from ownkey.spool.frames import HEAD
from ownkey.spool.leftovers import QUARANTINE_SUFFIX, take_leftovers
from ownkey.spool.segment import Segment
from ownkey.spool.spool import Spool, SpoolFull

SMALL = 256 * 1024


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(directory: Path) -> Iterator[Spool]:
    made = Spool(directory, max_bytes=10 * SMALL, segment_bytes=SMALL)
    yield made
    if made._lock >= 0:
        made.close()


def die(spool: Spool) -> None:
    """As the kernel ends a process: its files are closed, and nothing else is done."""
    os.close(spool._lock)
    spool._lock = -1


def leftovers(directory: Path) -> list[UsageEvent]:
    found = []
    for left in take_leftovers(directory):
        try:
            # Of one that comes twice the first counts, as in the database.
            events = {event.id: event for batch in reversed(list(left.batches(7))) for event in reversed(batch)}
        except OSError:
            left.leave()
            continue
        found += events.values()
        left.discard()
    return found


def new_call(**fields: object) -> UsageEvent:
    return replace(call(), id=new_id(), **fields)


def test_what_a_dead_process_had_under_way_and_had_ended_is_found_once(spool: Spool, directory: Path) -> None:
    ended, cut_off, recorded = new_call(), new_call(tokens=None, outcome=Outcome.INTERNAL), new_call()
    for one in (ended, cut_off, recorded):
        spool.begin(one, 4000)
    spool.finish(ended)
    spool.finish(recorded)
    spool.release([recorded])
    assert list(take_leftovers(directory)) == [], "the process lives"
    die(spool)
    found = {one.id: one for one in leftovers(directory)}
    # What is in the database may be there still: writing it again changes nothing.
    assert found.keys() == {ended.id, cut_off.id, recorded.id}
    assert found[ended.id] == ended
    interrupted = found[cut_off.id]
    assert (interrupted.outcome, interrupted.finish_reason) == (Outcome.INTERNAL, "interrupted")
    assert interrupted.tokens is not None
    assert (interrupted.tokens.input_uncached, interrupted.tokens_source) == (1000, TokensSource.ESTIMATED)
    assert interrupted.occurred_at == cut_off.occurred_at, "or it would be another row"
    assert list(directory.iterdir()) == []


def test_what_cannot_be_kept_now_waits_and_holds_up_nobody(spool: Spool, directory: Path) -> None:
    """A damaged segment whose copy finds no room, as on a full disk."""
    lost, kept = new_call(), new_call()
    spool.begin(lost, 1)
    spool.begin(kept, 1)
    die(spool)
    [segment] = directory.glob("*.spool")
    data = bytearray(segment.read_bytes())
    data[30] ^= 1
    segment.write_bytes(data)
    other = Spool(directory, max_bytes=10 * SMALL, segment_bytes=SMALL)
    elsewhere = new_call()
    other.begin(elsewhere, 1)
    die(other)
    in_the_way = segment.with_suffix(QUARANTINE_SUFFIX)
    in_the_way.mkdir()
    assert [one.id for one in leftovers(directory)] == [elsewhere.id]
    in_the_way.rmdir()
    assert [one.id for one in leftovers(directory)] == [kept.id]
    assert in_the_way.is_file()


def test_what_is_left_alone_stays_for_the_next_one(spool: Spool, directory: Path) -> None:
    spool.begin(one := new_call(), 10)
    spool.finish(one)
    die(spool)
    [left] = take_leftovers(directory)
    assert list(take_leftovers(directory)) == [], "one heir at a time"
    left.leave()
    assert [event.id for event in leftovers(directory)] == [one.id]


def test_segments_go_when_all_in_them_is_in_the_database(spool: Spool, directory: Path) -> None:
    for _ in range(40):
        batch = [new_call(raw_usage=b"x" * 4000) for _ in range(30)]
        for one in batch:
            spool.begin(one, 10)
            spool.finish(one)
        spool.release(batch)
    assert len(list(directory.glob("*.spool"))) <= 2
    assert spool.open_calls == 0


def test_a_long_call_does_not_hold_up_the_others_and_is_not_lost(spool: Spool, directory: Path) -> None:
    long = new_call()
    spool.begin(long, 400)
    for _ in range(60):
        batch = [new_call(raw_usage=b"x" * 4000) for _ in range(60)]
        for one in batch:
            spool.begin(one, 10)
            spool.finish(one)
        spool.release(batch)
    assert len(list(directory.glob("*.spool"))) <= 10
    die(spool)
    assert [one.id for one in leftovers(directory) if one.finish_reason == "interrupted"] == [long.id]


def test_when_the_bound_is_reached_there_is_no_room_and_then_there_is(spool: Spool) -> None:
    written = []
    while spool.has_room():
        one = new_call(raw_usage=b"x" * 8000)
        spool.begin(one, 10)
        spool.finish(one)
        written.append(one)
        assert spool.size_bytes <= 10 * SMALL
    assert len(written) > 100
    spool.release(written)
    spool._retry_at = 0.0
    assert spool.has_room()


def test_a_disk_that_is_full_is_no_room_and_loses_nothing(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    written = []
    while spool.has_room():
        written.append(one := new_call(raw_usage=b"x" * 8000))
        spool.begin(one, 10)
        spool.finish(one)
    monkeypatch.undo()
    spool._retry_at = 0.0
    assert spool.has_room()
    die(spool)
    assert {one.id for one in leftovers(directory)} == {one.id for one in written}


def test_a_call_whose_end_could_not_be_written_does_not_hold_its_segment_for_ever(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.begin(one := new_call(), 10)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool, "_append", full)
    with pytest.raises(OSError, match="No space"):
        spool.finish(one)
    monkeypatch.undo()
    spool.release([one])
    assert spool.open_calls == 0
    assert [segment.open_frames for segment in spool._segments] == [0]


async def test_a_file_is_not_closed_while_the_disk_is_asked_for_it(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = threading.Event(), threading.Event()
    sync = Segment.sync

    def slow(segment: Segment) -> None:
        asked.set()
        assert answer.wait(10)
        sync(segment)

    monkeypatch.setattr(Segment, "sync", slow)
    spool.begin(one := new_call(), 10)
    waiting = asyncio.ensure_future(spool.sync())
    await asyncio.to_thread(asked.wait, 10)
    spool.finish(one)
    spool._turn_over()
    spool.release([one])
    assert len(spool._segments) == 2
    answer.set()
    await waiting
    spool.release([])
    assert len(spool._segments) == 1


async def test_all_who_wait_at_once_wait_for_few_writes_to_the_disk(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0
    sync = Segment.sync

    def counted(segment: Segment) -> None:
        nonlocal count
        count += 1
        sync(segment)

    monkeypatch.setattr(Segment, "sync", counted)

    async def one_call() -> None:
        spool.begin(one := new_call(), 10)
        spool.finish(one)
        await spool.sync()

    await asyncio.gather(*(one_call() for _ in range(100)))
    assert 1 <= count <= 3


async def test_what_a_disk_did_not_take_is_written_to_another_file(
    spool: Spool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.begin(ended := new_call(), 10)
    spool.finish(ended)
    spool.begin(under_way := new_call(), 10)
    failing = [spool._segments[-1]]
    sync = Segment.sync

    def broken(segment: Segment) -> None:
        if segment in failing:
            raise OSError(5, "Input/output error")
        sync(segment)

    monkeypatch.setattr(Segment, "sync", broken)
    await spool.sync()
    assert spool._segments[-1] is not failing[0]
    die(spool)
    assert {one.id for one in leftovers(directory)} == {ended.id, under_way.id}


def test_a_directory_that_others_may_look_into_is_closed(directory: Path) -> None:
    directory.mkdir(mode=0o755)
    Spool(directory, max_bytes=10 * SMALL, segment_bytes=SMALL).close()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert list(directory.iterdir()) == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "spool").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="or is a link"):
        Spool(tmp_path / "spool", max_bytes=10 * SMALL)


def test_a_place_where_nothing_can_be_made_is_told_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="OWNKEY_USAGE_DURABILITY=database"):
        Spool(tmp_path / "file" / "spool", max_bytes=10 * SMALL)


def test_what_is_left_for_others_takes_no_more_room_than_it_fills(directory: Path) -> None:
    spool = Spool(directory, max_bytes=10 * SMALL, segment_bytes=SMALL)
    open_call, done = new_call(), new_call()
    spool.begin(open_call, 400)
    spool.begin(done, 400)
    spool.finish(done)
    spool.close()
    [segment] = directory.glob("*.spool")
    assert segment.stat().st_size < SMALL / 2
    assert {one.id for one in leftovers(directory)} == {open_call.id, done.id}


def test_a_full_disk_of_the_dead_makes_room_for_the_living(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them has taken a segment at its full size and hardly written into it."""
    allocate, disk = os.posix_fallocate, 3 * SMALL

    def small_disk(fd: int, offset: int, length: int) -> None:
        if sum(path.stat().st_size for path in directory.glob("*.spool")) + length > disk:
            raise OSError(errno.ENOSPC, "No space left on device")
        allocate(fd, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", small_disk)
    calls = []
    for _ in range(3):
        spool = Spool(directory, max_bytes=10 * SMALL, segment_bytes=SMALL)
        calls.append(new_call())
        spool.begin(calls[-1], 400)
        die(spool)
    alive = Spool(directory, max_bytes=10 * SMALL, segment_bytes=SMALL)
    assert alive.has_room()
    assert {one.id for one in leftovers(directory)} == {one.id for one in calls}
    alive.close()


def test_a_disk_that_is_really_full_is_said_and_nothing_is_left_behind(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SpoolFull, match="No space left"):
        Spool(directory, max_bytes=10 * SMALL, segment_bytes=SMALL)
    assert list(directory.iterdir()) == []


def test_however_much_there_is_only_what_is_under_way_is_in_memory(directory: Path) -> None:
    """A spool may hold a gigabyte: whoever reads it back must not need several."""
    spool = Spool(directory, max_bytes=400 * SMALL, segment_bytes=SMALL)
    long_call = new_call()
    spool.begin(long_call, 400)
    for _ in range(2000):
        one = new_call(raw_usage=bytes(4000))
        spool.begin(one, 400)
        spool.finish(one)
    die(spool)
    [left] = take_leftovers(directory)
    tracemalloc.start()
    count = sum(len(batch) for batch in left.batches(50))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    left.discard()
    assert count == 2001
    assert peak < 3_000_000, "of 16,000,000"


def test_what_is_made_ready_ahead_overwrites_nothing(tmp_path: Path) -> None:
    """Frames of all sizes, across the borders up to which a segment is made ready, and up to its last byte."""
    segment = Segment(tmp_path / "one.seg", 300_000)
    written = HEAD
    sizes = itertools.cycle((1, 700, 24_000, 65_536, 3, 40_000))
    while segment.room:
        frame = os.urandom(min(next(sizes), segment.room))
        segment.append(frame)
        written += frame
        assert (tmp_path / "one.seg").read_bytes()[: len(written)] == written
    segment.close(remove=True)
    assert len(written) == 300_000
