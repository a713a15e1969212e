"""Verifying the audit trail: every hash, every seal, and every anchor that was kept outside the database."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from ownkey.crypto.audit_seal import AuditKey
from ownkey.domain.audit_chain import CHAINS, first_hash
from ownkey.services.audit_anchors import Anchor, AnchorFile
from ownkey.services.audit_seals import recompute_hash
from ownkey.storage import audit as rows
from ownkey.storage.database import Database

_CHUNK: Final = 500
# A hash and a seal take some 30 µs, during which nobody is served.
_ROWS_PER_TURN: Final = 50


class BrokenLink(Struct, frozen=True, kw_only=True):
    """The first entry of a chain that is not as it was written. `anchor` names the anchor that says so, if one does."""

    chain: int
    position: int
    reason: str
    anchor: str | None = None


class Verification(Struct, frozen=True, kw_only=True):
    """What was found. `first_broken` None: every entry is as it was written.

    `unsealed` entries are older than the seals of this installation, and only their hashes speak for them. `anchors`
    is how many ends of chains, kept outside the database, the trail was compared with.
    """

    ok: bool
    chains: int
    entries: int
    unsealed: int
    anchors: int
    first_broken: BrokenLink | None


class _Chain:
    """One chain on its way from the first entry to the last. `fault` is the first."""

    def __init__(self, chain: int, key: AuditKey, start: rows.AuditStart | None, anchors: Sequence[Anchor]) -> None:
        self._chain, self._key, self._start = chain, key, start
        self._anchors: dict[int, list[Anchor]] = {}
        for anchor in anchors:
            self._anchors.setdefault(anchor.position, []).append(anchor)
        self.position, self.hash, self.unsealed = 0, first_hash(chain), 0
        self.fault: BrokenLink | None = None
        # Where other places than the end have to be compared with the hash of an entry.
        self.hashes: dict[int, bytes] = {}
        if start is None:
            self.break_at(0, "the start of the seals is missing")
        elif start.seal != key.seal_start(chain, start.position, start.hash):
            self.break_at(start.position, "the start of the seals is not ours")
        elif start.position == 0 and start.hash != self.hash:
            self.break_at(0, "the start of the seals is not ours")

    def break_at(self, position: int, reason: str, anchor: str | None = None) -> None:
        if self.fault is None:
            self.fault = BrokenLink(chain=self._chain, position=position, reason=reason, anchor=anchor)

    def take(self, row: rows.AuditRow, wanted: frozenset[int]) -> None:
        """The next entry."""
        reason = self._find_fault(row)
        if reason is not None:
            self.break_at(row.position, reason)
        self.position, self.hash = row.position, row.hash
        if row.position in wanted:
            self.hashes[row.position] = row.hash
        for anchor in self._anchors.get(row.position, ()):
            if anchor.hash != row.hash:
                self.break_at(row.position, "an anchor outside the database says otherwise", anchor.taken_at)

    def end(self) -> None:
        """There are no more."""
        last = max(self._anchors, default=0)
        if last > self.position:
            taken_at = self._anchors[last][0].taken_at
            self.break_at(self.position, "entries after this one are gone: an anchor tells of them", taken_at)

    def _find_fault(self, row: rows.AuditRow) -> str | None:
        if row.position != self.position + 1:
            return "rows are missing before this one"
        if row.previous_hash != self.hash:
            return "the row does not follow the one before it"
        if row.hash != recompute_hash(row):
            return "the row was changed"
        start = self._start
        if start is not None and row.position <= start.position:
            self.unsealed += 1
            if row.seal is not None:
                return "the row has a seal, and is said to be older than all seals"
            return None if row.position < start.position or row.hash == start.hash else "the row was changed"
        if row.seal is None:
            return "the row was never sealed"
        if row.seal != self._key.seal(row.chain, row.position, row.hash):
            return "the seal of the row is not ours"
        return None


async def verify_audit(database: Database, key: AuditKey, file: AnchorFile | None) -> Verification:
    """Read and recompute everything. Raises StorageError, and ConfigError for anchors that cannot be read."""
    read = [] if file is None else await file.read()
    async with database.transaction(None, role="ownkey_auditor") as tx:
        starts = {one.chain: one for one in await rows.read_starts(tx)}
        # Others append meanwhile: what is there now has to be among what is read then, and nothing behind what is there
        # at the end.
        heads = await rows.read_heads(tx)
        genuine = [one for one in read if one.genuine]
        chains = {
            number: _Chain(number, key, starts.get(number), [one for one in genuine if one.chain == number])
            for number in range(CHAINS)
        }
        stray = await _walk(tx, chains, heads)
        late = {one.chain: one for one in await rows.read_heads(tx)}
    for number, chain in chains.items():
        chain.end()
        if number not in late:
            chain.break_at(0, "the head of the chain is missing")
        elif chain.position > late[number].position:
            chain.break_at(late[number].position, "the end of the chain is not the row that was written last")
    forged = next((one for one in read if not one.genuine), None)
    found = (*(chain.fault for chain in chains.values()), stray)
    faults = [fault for fault in found if fault is not None]
    if forged is not None:
        faults.append(
            BrokenLink(
                chain=forged.chain,
                position=forged.position,
                reason="an anchor is not signed by this installation",
                anchor=forged.taken_at,
            )
        )
    return Verification(
        ok=not faults,
        chains=len(heads),
        entries=sum(head.position for head in heads),
        unsealed=sum(chain.unsealed for chain in chains.values()),
        anchors=len(read),
        first_broken=min(faults, key=lambda fault: (fault.chain, fault.position), default=None),
    )


async def _walk(tx: Any, chains: Mapping[int, _Chain], heads: Sequence[rows.AuditHead]) -> BrokenLink | None:
    """Take every entry to its chain; gives one that belongs to none, and would be shown to people all the same."""
    stray: BrokenLink | None = None
    wanted = {head.chain: frozenset({head.position}) for head in heads}
    async for chunk in rows.read_rows(tx, chunk=_CHUNK):
        for number, row in enumerate(chunk):
            if number % _ROWS_PER_TURN == 0:
                await asyncio.sleep(0)
            chain = chains.get(row.chain)
            if chain is None:
                stray = stray or BrokenLink(chain=row.chain, position=row.position, reason="there is no such chain")
            elif chain.fault is None:
                chain.take(row, wanted.get(row.chain, frozenset()))
    for head in heads:
        chain = chains[head.chain]
        if chain.fault is None and head.position > 0 and chain.hashes.get(head.position) != head.hash:
            chain.break_at(head.position, "the end of the chain is not the row that was written last")
    return stray
