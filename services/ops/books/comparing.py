"""Lays the services' books of one tenant side by side and says what is wrong, looking twice. It changes nothing.

There is no snapshot across schemas. So the rules speak only of what has not moved for a grace, and whatever they say is looked at once
more after a pause: what is still there, and exactly as it was, is found.
"""

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final
from uuid import UUID

from contracts.values import TenantId
from infra.reconcile import Imbalance, Keepers, Line, Subject
from infra.settings import Settings
from infra.transaction import Scope, Transactions
from services.ops.books import findings
from services.ops.books.consequences import REPLAYED
from services.ops.books.findings import Part
from services.ops.books.kinds import Kind
from services.ops.books.reconciling import Finding, of_order, of_totals

SUBJECTS_MAX: Final = 200_000
"""Orders of one tenant that one run looks at: those that have not come to rest first, then those that moved last."""
_TOGETHER: Final = 500
"""Orders that are read at once."""
_SECOND_LOOK_AFTER_S: Final = 1.0

# A message that was lost may lie at the desk: then replaying it is the better mend, for it is the original.
_LOST: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.ORDER_WITHOUT_SAGA: ("orders.OrderPlaced.v1", "sagas"),
    Kind.CANCEL_WITHOUT_SAGA: ("orders.OrderCancelRequested.v1", "sagas"),
    Kind.UNCONSUMED_STOCK: ("orders.OrderCompleted.v1", "inventory"),
    Kind.UNSETTLED_QUOTA: ("orders.OrderCompleted.v1", "tenants"),
}
_LETTERS: Final = """
    SELECT id, subject, type, service FROM ops.letter
    WHERE tenant_id = $1 AND subject = ANY($2::text[]) AND type = ANY($3::text[]) AND state IN ('DEAD', 'REPLAYING')
    ORDER BY first_died_at, id"""


@dataclass
class Look:
    """What the first look at a tenant's books has seen, or at a part of them: the orders after `after`, up to and with `next`."""

    tenant_id: TenantId
    now: datetime
    grace: timedelta
    key: str | None = None
    after: UUID | None = None
    next: UUID | None = None
    """The last order that was looked at, if more are left."""
    orders: Sequence[UUID] = ()
    """Those that were looked at, if they are a part only: whole tenants wait for each other's second look, and would fill the memory."""
    count: int = 0
    """How many were looked at."""
    is_cut: bool = False
    """The tenant has more orders than are looked at."""
    found: dict[UUID, Finding] = field(default_factory=dict)
    lines: dict[str, Sequence[Line]] = field(default_factory=dict)
    moving: set[str] = field(default_factory=set)

    @property
    def part(self) -> Part:
        """Of which findings it can say whether they are there still."""
        if self.key is not None:
            return Part.of(self.key)
        return Part(None if self.is_whole else [str(one) for one in self.orders], totals=self.after is None)

    @property
    def is_whole(self) -> bool:
        """All of the tenant's books were looked at."""
        return self.after is None and self.next is None


@dataclass(frozen=True)
class Compared:
    """What is wrong with one tenant, and how much was looked at; `lines` are of the orders with which something is wrong."""

    look: Look
    findings: list[Finding]
    lines: Mapping[str, Sequence[Line]] = field(default_factory=dict)
    moving: frozenset[str] = frozenset()
    """Orders of which nothing is said, because they have moved within the grace."""

    @property
    def orders(self) -> int:
        """How many were looked at."""
        return self.look.count


class Comparing:
    """Compares the books of one tenant at a time."""

    def __init__(self, keepers: Keepers, transaction: Transactions, settings: Settings) -> None:
        """`transaction` is the desk's own."""
        self._keepers = keepers
        self._transaction = transaction
        self._grace = timedelta(seconds=settings.reconcile_grace_s)
        self._forgotten = timedelta(seconds=settings.reconcile_forgotten_s)
        self._back = timedelta(seconds=settings.reconcile_back_s)

    async def compare(self, tenant_id: TenantId, now: datetime, key: str | None = None, *, in_motion: bool = False) -> Compared:
        """Everything that is wrong with the tenant's books, or only with one order or total; with `in_motion` without any grace."""
        [compared] = await self.settle([await self.look(tenant_id, now, key, in_motion=in_motion)])
        return compared

    async def look(
        self,
        tenant_id: TenantId,
        now: datetime,
        key: str | None = None,
        *,
        in_motion: bool = False,
        after: UUID | None = None,
        for_s: float = math.inf,
    ) -> Look:
        """The first look; it ends early, with `next`, once it has looked at orders for `for_s` seconds."""
        look = Look(tenant_id, now, timedelta() if in_motion else self._grace, key, after)
        if key is None:
            subjects = await self._subjects(tenant_id, now)
            look.is_cut = len(subjects) >= SUBJECTS_MAX
            # By id, so that whoever goes on after one of them misses none, however they have moved since.
            subjects = sorted(one for one in subjects if after is None or one > after)
        else:
            subjects = [only] if (only := _order_of(key)) else []
        if after is None:
            look.found |= await self._totals(tenant_id, key)
        until_s = asyncio.get_running_loop().time() + for_s
        for first in range(0, len(subjects), _TOGETHER):
            await self._look_at(look, subjects[first : first + _TOGETHER])
            if asyncio.get_running_loop().time() >= until_s and first + _TOGETHER < len(subjects):
                subjects = subjects[: first + _TOGETHER]
                look.next = subjects[-1]
                break
        look.count = len(subjects)
        look.orders = () if look.is_whole else subjects
        return look

    async def settle(self, looks: Sequence[Look]) -> list[Compared]:
        """The second look, after one pause for all of them: what is still there, and exactly as it was, is found."""
        if any(look.found for look in looks):
            await _pause()
        return [await self._again(look) for look in looks]

    async def totals(self, tenant_id: TenantId) -> list[Finding]:
        """The tenant's totals that do not add up."""
        return list((await self._totals(tenant_id, None)).values())

    async def _subjects(self, tenant_id: TenantId, now: datetime) -> list[UUID]:
        found: list[Subject] = []
        for keeper in self._keepers.values():
            async with keeper.transaction(tenant_id) as scope:
                found += await keeper.books.subjects(scope, now - self._back, SUBJECTS_MAX)
        async with self._transaction(tenant_id) as scope:
            # What was found once is looked at until it is gone, however long ago it moved.
            known = [order for one in await findings.open_in(scope, Part()) if (order := _order_of(one.key)) is not None]
        # An order that is at rest in one book and not in another comes as one that is not.
        found.sort(key=attrgetter("changed_at"), reverse=True)
        found.sort(key=attrgetter("is_at_rest"))
        return list(dict.fromkeys([*known, *(one.order_id for one in found)]))[:SUBJECTS_MAX]

    async def _again(self, first: Look) -> Compared:
        again = Look(first.tenant_id, first.now, first.grace, first.key)
        if first.found:
            again.found |= await self._totals(first.tenant_id, first.key)
            suspects = sorted({order for one in first.found.values() if (order := _order_of(one.key)) is not None})
            for begin in range(0, len(suspects), _TOGETHER):
                await self._look_at(again, suspects[begin : begin + _TOGETHER])
        still = [one for id, one in again.found.items() if first.found.get(id) == one]
        told = await self._with_letters(first.tenant_id, sorted(still, key=lambda one: (one.since, one.id)))
        return Compared(first, told, again.lines, frozenset(first.moving | again.moving))

    async def _look_at(self, look: Look, orders: Sequence[UUID]) -> None:
        for order, lines in (await self._lines(look.tenant_id, orders)).items():
            if max(line.changed_at for line in lines) > look.now - look.grace:
                look.moving.add(order)
            elif wrong := of_order(look.tenant_id, lines, look.now, self._forgotten):
                look.found |= {one.id: one for one in wrong}
                look.lines[order] = lines

    async def _lines(self, tenant_id: TenantId, subjects: Sequence[UUID]) -> dict[str, list[Line]]:
        by_order: dict[str, list[Line]] = {}
        for keeper in self._keepers.values():
            async with keeper.transaction(tenant_id) as scope:
                for line in await keeper.books.lines(scope, subjects):
                    by_order.setdefault(str(line.subject), []).append(line)
        return by_order

    async def _totals(self, tenant_id: TenantId, key: str | None) -> dict[UUID, Finding]:
        imbalances: list[Imbalance] = []
        for keeper in self._keepers.values():
            async with keeper.transaction(tenant_id) as scope:
                imbalances += await keeper.books.imbalances(scope)
        return {one.id: one for one in of_totals(tenant_id, imbalances) if key in (None, one.key)}

    async def _with_letters(self, tenant_id: TenantId, found: list[Finding]) -> list[Finding]:
        lost = [one for one in found if one.kind in _LOST]
        if not lost:
            return found
        async with self._transaction(tenant_id) as scope:
            letters = await _letters(scope, {one.key for one in lost})
        return [_replayed(one, letters.get((one.key, *_LOST[one.kind]))) if one.kind in _LOST else one for one in found]


async def _pause() -> None:
    await asyncio.sleep(_SECOND_LOOK_AFTER_S)


def _replayed(found: Finding, letter_id: UUID | None) -> Finding:
    if letter_id is None:
        return found
    command = f"oaas dead-letters replay {letter_id} --reason '...'"
    what = f"{found.what}; the message that was lost is dead letter {letter_id}"
    return replace(found, what=what, command=command, mending=REPLAYED.mending, confirm=REPLAYED.confirm)


async def _letters(scope: Scope, keys: Collection[str]) -> dict[tuple[str, str, str], UUID]:
    """Order, type and service -> the oldest such letter."""
    rows = await scope.connection.fetch(_LETTERS, scope.tenant_id, sorted(keys), sorted({type_ for type_, _ in _LOST.values()}))
    return {(row["subject"], row["type"], row["service"]): row["id"] for row in reversed(rows)}


def _order_of(key: str) -> UUID | None:
    """The order whose id the key is, if it is one."""
    try:
        return UUID(key)
    except ValueError:
        return None
