"""Whatever comes in whatever order, the books of a tenant balance and no limit is passed: in memory and on PostgreSQL.

A failure names its seed; `Story(seed)` tells the same again, but for ids.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any, Final
from uuid import uuid4

import pytest

from contracts.messages import Message
from contracts.orders import OrderCompleted
from contracts.tenants import ChargeOrder, RefundOrder, ReleaseQuota, ReserveQuota
from contracts.values import OrderId, TenantId, VatAmount, VatRate
from infra.settings import Settings
from services.tenants import repository
from services.tenants.usage import Limits
from tests.conformance.books import Rows, net_pence, spent_pence, unbalanced
from tests.conformance.places import PLACED_AT, LedgerInMemory, LedgerOf, answers, new_tenant, opened

ORDERS: Final = 14
LIMITS: Final = Limits(orders_per_month=5, spending_limit_pence=1500)
WORKERS: Final = 4


class Story:
    """What is said about a handful of orders of one tenant: asks and undos of quota and ledger, again and again, in no order at all."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.tenant_id = TenantId(uuid4())
        orders = [OrderId(uuid4()) for _ in range(ORDERS)]
        self.undone = orders[: ORDERS // 3]
        self.charges = {order: self._charge(order) for order in orders}
        words = [word for order in orders for word in self._words(order) for _ in range(self.random.choice((1, 1, 2)))]
        self.random.shuffle(words)
        self.groups: list[list[Message]] = []
        while words:
            size = self.random.choice((1, 2, 5, 20))
            self.groups.append(words[:size])
            words = words[size:]

    def _charge(self, order: OrderId) -> ChargeOrder:
        rates = self.random.sample(list(VatRate), self.random.randint(1, len(VatRate)))
        totals = [self.random.choice((0, 1, 60, 240)) for _ in rates]
        amounts = tuple(
            VatAmount(rate=rate, total=total, vat=total // 6 if rate.percent else 0) for rate, total in zip(rates, totals, strict=True)
        )
        placed_at = PLACED_AT.replace(month=self.random.choice((10, 11)))
        return ChargeOrder(order_id=order, total=sum(totals), amounts=amounts, placed_at=placed_at)

    def _words(self, order: OrderId) -> list[Message]:
        charge = self.charges[order]
        asks: list[Message] = [ReserveQuota(order_id=order, amount=charge.total, placed_at=charge.placed_at)]
        # An order of before the ledger is never charged; one that is cancelled is refunded all the same.
        asks += [charge] if self.random.random() < 0.8 else []
        undo: list[Message] = [ReleaseQuota(order_id=order), RefundOrder(order_id=order)]
        if order in self.undone:
            return [*asks, *undo]
        return [*asks, *([OrderCompleted(order_id=order)] if self.random.random() < 0.5 else [])]


Books = tuple[Rows, Rows, Rows]


async def stored(tenants: LedgerOf, tenant_id: TenantId) -> Books:
    """The tenant's months, holds and entries as rows."""
    if isinstance(tenants, LedgerInMemory):
        quotas = tenants.quotas
        kept: tuple[Any, ...] = (quotas.months[tenant_id].values(), quotas.holds[tenant_id].values(), quotas.entries.get(tenant_id, ()))
        months, holds, entries = ([asdict(one) for one in rows] for rows in kept)
        return months, holds, entries
    async with tenants.enter(tenant_id) as scope:
        tables = ("quota", "quota_hold", "financial_transactions")
        months, holds, entries = [
            [dict(row) for row in await scope.connection.fetch(f"SELECT * FROM tenants.{table} WHERE tenant_id = $1", tenant_id)]
            for table in tables
        ]
        return months, holds, entries


async def stage(tenants: LedgerOf, tenant_id: TenantId) -> None:
    if isinstance(tenants, LedgerInMemory):
        tenants.quotas.limits[tenant_id] = LIMITS
        return
    async with tenants.enter(tenant_id) as scope:
        await repository.add_tenant(scope, new_tenant(scope, LIMITS.orders_per_month, LIMITS.spending_limit_pence))


def check(books: Books, seed: int) -> None:
    """The books balance and keep to the limits."""
    months, holds, entries = books
    assert list(unbalanced(months, holds, entries)) == [], f"seed {seed}"
    for month in months:
        assert month["orders_held"] + month["orders_settled"] <= LIMITS.orders_per_month, f"seed {seed}"
        assert spent_pence(month["month"], holds, entries) <= LIMITS.spending_limit_pence, f"seed {seed}"


@pytest.fixture(params=["memory", "PostgreSQL"])
def kind(request: pytest.FixtureRequest) -> Settings | None:
    # Not async, so that servers are started outside the event loop, and only if a database is asked for.
    return None if request.param == "memory" else request.getfixturevalue("settings")


@pytest.fixture
async def tenants(kind: Settings | None) -> AsyncIterator[LedgerOf]:
    if kind is None:
        yield LedgerInMemory()
        return
    async with opened(kind, "tenants") as transaction:
        yield LedgerOf(transaction)


async def test_after_every_group_of_a_random_story_the_books_balance(tenants: LedgerOf) -> None:
    for seed in range(200 if isinstance(tenants, LedgerInMemory) else 20):
        story = Story(seed)
        await stage(tenants, story.tenant_id)
        for group in story.groups:
            await answers(tenants, story.tenant_id, group)
            check(await stored(tenants, story.tenant_id), seed)
        _, _, entries = await stored(tenants, story.tenant_id)
        assert [net_pence(entries, order) for order in story.undone] == [0] * len(story.undone), f"seed {seed}"


async def test_a_random_story_ends_alike_in_memory_and_on_postgresql(settings: Settings) -> None:
    async with opened(settings, "tenants") as transaction:
        real, fake = LedgerOf(transaction), LedgerInMemory()
        for seed in range(10):
            story = Story(seed)
            for tenants in (real, fake):
                await stage(tenants, story.tenant_id)
            for group in story.groups:
                assert await answers(real, story.tenant_id, group) == await answers(fake, story.tenant_id, group), f"seed {seed}"


async def test_after_a_random_story_told_by_four_workers_at_once_the_books_balance(settings: Settings) -> None:
    async with opened(settings, "tenants") as transaction:
        tenants = LedgerOf(transaction)
        for seed in range(10):
            story = Story(seed)
            await stage(tenants, story.tenant_id)

            async def work(share: list[list[Message]], tenant_id: TenantId = story.tenant_id) -> None:
                for group in share:
                    await answers(tenants, tenant_id, group)

            await asyncio.gather(*(work(story.groups[worker::WORKERS]) for worker in range(WORKERS)))
            books = await stored(tenants, story.tenant_id)
            check(books, seed)
            assert [net_pence(books[2], order) for order in story.undone] == [0] * len(story.undone), f"seed {seed}"
