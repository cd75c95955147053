"""Lays the services' books of one tenant side by side and says what is wrong, looking twice. It changes nothing.

There is no snapshot across schemas. So the rules speak only of what has not moved for a grace, and whatever they say is looked at once
more after a pause: what is still there, and exactly as it was, is found.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from contracts.values import TenantId
from infra.reconcile import Imbalance, Keepers, Line, Subject
from infra.settings import Settings
from infra.transaction import Scope, Transactions
from services.ops.books import findings
from services.ops.books.reconciling import Finding, Kind, of_order, of_totals

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


@dataclass(frozen=True)
class Compared:
    """What is wrong with one tenant, and how much was looked at; `lines` are of the orders with which something is wrong."""

    findings: list[Finding]
    orders: int
    is_cut: bool = False
    lines: Mapping[str, Sequence[Line]] = field(default_factory=dict)
    moving: frozenset[str] = frozenset()
    """Orders of which nothing is said, because they have moved within the grace."""


@dataclass
class _Look:
    """What one look has seen."""

    found: dict[UUID, Finding] = field(default_factory=dict)
    lines: dict[str, Sequence[Line]] = field(default_factory=dict)
    moving: set[str] = field(default_factory=set)


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
        grace = timedelta() if in_motion else self._grace
        only = None if key is None else _order_of(key)
        subjects = await self._subjects(tenant_id, now) if key is None else [only] if only else []
        first = await self._look(tenant_id, subjects, now, grace, key)
        again = _Look()
        if first.found:
            await asyncio.sleep(_SECOND_LOOK_AFTER_S)
            suspects = sorted({order for one in first.found.values() if (order := _order_of(one.key)) is not None})
            again = await self._look(tenant_id, suspects, now, grace, key)
        still = [one for id, one in again.found.items() if first.found.get(id) == one]
        told = await self._with_letters(tenant_id, sorted(still, key=lambda one: (one.since, one.id)))
        moving = frozenset(first.moving | again.moving)
        return Compared(told, len(subjects), len(subjects) >= SUBJECTS_MAX, again.lines, moving)

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
            known = [order for one in await findings.open_in(scope) if (order := _order_of(one.key)) is not None]
        # An order that is at rest in one book and not in another comes as one that is not.
        found.sort(key=lambda one: (one.is_at_rest, -one.changed_at.timestamp()))
        return list(dict.fromkeys([*known, *(one.order_id for one in found)]))[:SUBJECTS_MAX]

    async def _look(self, tenant_id: TenantId, subjects: Sequence[UUID], now: datetime, grace: timedelta, key: str | None) -> _Look:
        look = _Look(await self._totals(tenant_id, key))
        for first in range(0, len(subjects), _TOGETHER):
            for order, lines in (await self._lines(tenant_id, subjects[first : first + _TOGETHER])).items():
                if max(line.changed_at for line in lines) > now - grace:
                    look.moving.add(order)
                elif wrong := of_order(tenant_id, lines, now, self._forgotten):
                    look.found |= {one.id: one for one in wrong}
                    look.lines[order] = lines
        return look

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


def _replayed(found: Finding, letter_id: UUID | None) -> Finding:
    if letter_id is None:
        return found
    command = f"oaas dead-letters replay {letter_id} --reason '...'"
    return replace(found, what=f"{found.what}; the message that was lost is dead letter {letter_id}", command=command)


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
