"""Notices limits that are near, reached or in a call's way as calls ask for money, and tells the host of each once."""

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
_AS_GOOD_AS_SPENT_PERCENT: Final = 95
_REMEMBERED: Final = 10_000

logger = logging.getLogger(__name__)


class LimitNews(Struct, frozen=True):
    """A limit that is near or reached, or that was in a call's way. `once` is the name under which it is told once."""

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
        """What there is to `tell`: of limits and refusals that this process has not told of yet. No I/O."""
        news = []
        for one in counters:
            for kind in _judge(one, refused=refused):
                # A limit that is raised is another one.
                about = _about(kind, one, snapshot)
                owner = snapshot.group if one.scope is Scope.GROUP else about
                once = f"{kind}/{one.scope}/{owner or ''}/{one.period}/{one.resets_at:%Y-%m-%d}/{one.limit}"
                if kind is EventType.SPENDING_REQUEST_REFUSED:
                    once += f"/{about}"
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
        about = _about(news.kind, counter, snapshot)
        data = {
            "scope": counter.scope.value,
            "period": counter.period.value,
            "group": snapshot.group if counter.scope is Scope.GROUP else None,
            "action": (CapAction.STOP if counter.stop else CapAction.WARN).value,
            "limit_microdollars": counter.limit,
            "spent_microdollars": counter.spent,
            "resets_at": counter.resets_at,
        }
        if news.kind is EventType.SPENDING_REQUEST_REFUSED:
            data["needed_microdollars"] = counter.needed
        try:
            async with self._database.transaction(None) as tx:
                await events.emit(tx, news.kind, about, data, once=news.once)
        except StorageError as error:
            self._told.pop(news.once, None)
            logger.warning("the host could not be told of a limit: %s", error.message)


def _judge(one: Counter, *, refused: bool) -> list[EventType]:
    """What a call that asked for money tells of a limit.

    Calls are let in by the most that they may cost, so that a limit that holds is hardly ever spent to the last cent:
    it counts as reached when a call is refused and next to nothing is left. A call that is refused before that was
    too large, and says nothing of the calls after it.
    """
    if one.scope in RATES:
        return []
    in_the_way = refused and one.stop and one.used_up
    if one.spent >= one.limit or (in_the_way and one.spent * 100 >= one.limit * _AS_GOOD_AS_SPENT_PERCENT):
        return [EventType.SPENDING_LIMIT_REACHED]
    told = [EventType.SPENDING_LIMIT_NEAR] if one.spent * 100 >= one.limit * _NEAR_PERCENT else []
    return [*told, EventType.SPENDING_REQUEST_REFUSED] if in_the_way else told


def _about(kind: EventType, counter: Counter, snapshot: Snapshot) -> str | None:
    """A budget of many is about nobody alone, but a request is always somebody's."""
    if kind is EventType.SPENDING_REQUEST_REFUSED or counter.scope in (Scope.USER, Scope.OWN):
        return snapshot.user_id
    return None
