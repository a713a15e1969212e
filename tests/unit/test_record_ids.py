"""The ids of requests and calls: ordered by time, and nobody's twice."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID

from ownkey.domain.usage import first_id, is_record_id, new_id


def test_an_id_is_a_uuid_of_its_moment() -> None:
    moment = datetime(2026, 11, 27, 12, tzinfo=UTC)
    one = new_id(moment)
    assert is_record_id(one)
    assert (UUID(one).version, UUID(one).variant) == (7, "specified in RFC 4122")
    assert one.startswith(first_id(moment))


def test_no_id_is_given_out_twice_whichever_thread_asks() -> None:
    with ThreadPoolExecutor(8) as pool:
        found = [one for many in pool.map(lambda _: [new_id() for _ in range(2_000)], range(8)) for one in many]
    assert len(set(found)) == len(found) == 16_000


def test_a_child_does_not_go_on_where_its_parent_was() -> None:
    new_id()  # more of them are at hand now
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, "".join(new_id()[-12:] for _ in range(200)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 65_536).decode()
    os.close(reader)
    os.close(writer)
    ours = {new_id()[-12:] for _ in range(200)}
    assert len(theirs) == 200 * 12
    assert not ours & {theirs[begin : begin + 12] for begin in range(0, len(theirs), 12)}
