"""Notices limits that are near or reached as calls ask for money, and tells the host of each once."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ownkey.domain.budget import RATES, CapAction, Counter, Scope
from ownkey.domain.event import EventType
from ownkey.domain.settings import Snapshot
from ownkey.errors import StorageError
from ownkey.storage import events
from ownkey.storage.database import Database

_NEAR_PERCENT: Final = 80
_REMEMBERED: Final = 10_000

logger = logging.getLogger(__name__)


class LimitNews(Struct, frozen=True):
    """A limit that is near or reached. `once` is the name under which it is told only once."""

    kind: EventType
    counter: Counter
    snapshot: Snapshot
    once: str


class SpendingWatch:
    """What was told already is remembered here, so that a call costs no query. The database knows for all processes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._told: OrderedDict[str, None] = OrderedDict()

    def find_news(self, snapshot: Snapshot, counters: Sequence[Counter], *, refused: bool) -> list[LimitNews]:
        """What there is to `tell`: limits that this process has not told of yet. No I/O.

        A limit is reached when a call was refused for it though nothing is under way, or all of it is spent.
        """
        news = []
        for one in counters:
            kind = _judge(one, refused=refused)
            if kind is None:
                continue
            owner = _owner(one, snapshot)
            # A limit that is raised is another one.
            once = f"{kind}/{one.scope}/{owner or ''}/{one.period}/{one.resets_at:%Y-%m-%d}/{one.limit}"
            if once in self._told:
                continue
            self._told[once] = None
            if len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
            news.append(LimitNews(kind, one, snapshot, once))
        return news

    async def tell(self, news: LimitNews) -> None:
        """Keep one event for the host, unless another process has."""
        counter, snapshot = news.counter, news.snapshot
        about = snapshot.user_id if counter.scope in (Scope.USER, Scope.OWN) else None
        data = {
            "scope": counter.scope.value,
            "period": counter.period.value,
            "group": snapshot.group if counter.scope is Scope.GROUP else None,
            "action": (CapAction.STOP if counter.stop else CapAction.WARN).value,
            "limit_microdollars": counter.limit,
            "spent_microdollars": counter.spent,
            "resets_at": counter.resets_at,
        }
        try:
            async with self._database.transaction(None) as tx:
                await events.emit(tx, news.kind, about, data, once=news.once)
        except StorageError as error:
            self._told.pop(news.once, None)
            logger.warning("the host could not be told of a limit: %s", error.message)


def _judge(one: Counter, *, refused: bool) -> EventType | None:
    if one.scope in RATES:
        return None
    if one.spent >= one.limit or (refused and one.stop and one.used_up):
        return EventType.SPENDING_LIMIT_REACHED
    return EventType.SPENDING_LIMIT_NEAR if one.spent * 100 >= one.limit * _NEAR_PERCENT else None


def _owner(one: Counter, snapshot: Snapshot) -> str | None:
    if one.scope is Scope.TOTAL:
        return None
    return snapshot.group if one.scope is Scope.GROUP else snapshot.user_id
