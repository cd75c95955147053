"""How many orders are under way in each tenant: numbers, and nothing else. It runs as the sweeper's role, which may read those columns.

It has its importers listed in the import contracts: only what keeps the platform from taking in more than it can do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import TenantId

_CARD_WITHIN: Final = timedelta(seconds=10)
"""Time in which an order that is paid by card has come to its card."""
# What waits for somebody in a shop, or for a card, keeps nobody busy. The bound is a literal: so the plan is one for a few rows.
_UNDER_WAY: Final = """
    SELECT tenant_id, count(*), count(*) FILTER (WHERE created_at > :since) FROM (
        SELECT tenant_id, created_at FROM orders.customer_order
        WHERE status = 'PENDING' AND acceptance <> 'WAITING' AND (NOT paid_by_card OR created_at > :card_since)
        LIMIT {most}) AS under_way
    GROUP BY tenant_id"""


@dataclass(frozen=True, slots=True)
class Counted:
    """What is under way by tenant, and how many of all of them began since the count before."""

    under_way: Mapping[TenantId, int]
    newer: int


class OrdersUnderWay:
    """The PENDING orders of all tenants that something has still to be done for."""

    def __init__(self, pool: AsyncEngine) -> None:
        self._pool = pool

    async def count(self, now: datetime, since: datetime, most: int) -> Counted:
        """At most `most` of them are looked at."""
        given = {"card_since": now - _CARD_WITHIN, "since": since}
        async with self._pool.connect() as connection:
            rows = (await connection.execute(text(_UNDER_WAY.format(most=int(most))), given)).all()
        return Counted({TenantId(tenant_id): number for tenant_id, number, _ in rows}, sum(newer for _, _, newer in rows))
