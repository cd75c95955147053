"""A platform whose number of shards is changed under way: 1, then 4, then 2 beside 4, and each process but the last is killed."""

import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from contracts.addresses import queues, shard_of, spread_over
from contracts.orders import OrderPlaced
from contracts.values import OrderId, OrderLine, ShopId, TenantId, VatAmount, VatRate
from infra.services import MODULES
from tests.integration.letters import forget_all
from tests.integration.messaging import Stage, parts, until
from tests.integration.sharded import Sharded, a_tenant_of
from tests.integration.workers import WorkerProcess, oaas_worker, worker_process

MOST = 4
ORDERS = 8
"""Of each tenant at a time; each one's last asks more than the tenant may spend."""
PENCE, QUOTA_PENCE = 100, 100_000
_TENANT = """
    INSERT INTO tenants.tenant (tenant_id, name, status, orders_per_month, spending_limit_pence, created_at, changed_at)
    VALUES ($1, 'Retailer', 'ACTIVE', 1000000, $2, now(), now())"""
_SHOP = "INSERT INTO inventory.shop (tenant_id, shop_id, name, created_at) VALUES ($1, $1, 'Shop', now())"
_STOCK = """
    INSERT INTO inventory.stock (tenant_id, shop_id, sku, available, held, consumed, received, changed_at)
    VALUES ($1, $1, 'APPLE', 1000000, 0, 0, 1000000, now())"""
_PRODUCT = """
    INSERT INTO inventory.product (tenant_id, sku, version, name, price_pence, vat_rate, allergen_mask, ingredients, created_at, changed_at)
    VALUES ($1, 'APPLE', 1, 'Apple', 100, 'ZERO', 0, '{}', now(), now())"""
_ORDER = """
    INSERT INTO orders.customer_order
        (tenant_id, order_id, shop_id, status, total_pence, vat_pence, revision, created_at, changed_at, paid_by_card)
    VALUES ($1, $2, $1, 'PENDING', $3, 0, 1, $4, $4, false)"""
_STANDING = """
    SELECT count(*) FILTER (WHERE status = 'CONFIRMED') AS confirmed, count(*) FILTER (WHERE rejection = 'OVER_QUOTA') AS refused,
        count(*) FILTER (WHERE status NOT IN ('CONFIRMED', 'REJECTED')) AS open, count(*) AS placed
    FROM orders.customer_order WHERE tenant_id = ANY($1)"""
_HELD = "SELECT sum(held) AS units FROM inventory.stock WHERE tenant_id = ANY($1)"
_OPEN = "SELECT id FROM sagas.saga WHERE tenant_id = ANY($1) AND state NOT IN ('COMPLETED', 'ABANDONED')"


@pytest.fixture
async def sharded(stage: Stage) -> AsyncIterator[Sharded]:
    found = Sharded(stage)
    await forget_all(stage)
    yield found
    await found.back_to(1)


async def furnish(stage: Stage, tenants: Sequence[TenantId]) -> None:
    """A shop with ample stock and a quota for each."""
    for tenant in tenants:
        for statement in (_SHOP, _PRODUCT, _STOCK):
            await stage.administrator.execute(statement, tenant)
        await stage.administrator.execute(_TENANT, tenant, QUOTA_PENCE)


async def place(sharded: Sharded, tenants: Sequence[TenantId], shards: int) -> None:
    """Orders of each tenant, by a process that spreads tenants over so many shards."""
    async with parts(sharded.settings(shards), "orders") as api:
        with spread_over(shards):
            for tenant in tenants:
                async with api.transaction(tenant) as scope:
                    for number in range(ORDERS):
                        order, pence = OrderId(uuid4()), PENCE if number < ORDERS - 1 else QUOTA_PENCE + 1
                        await scope.connection.execute(_ORDER, tenant, order, pence, scope.now)
                        placed = OrderPlaced(
                            order_id=order,
                            shop_id=ShopId(UUID(int=tenant.int)),
                            lines=(OrderLine(sku="APPLE", quantity=1),),
                            total=pence,
                            placed_at=scope.now,
                            vat=(VatAmount(rate=VatRate.ZERO, total=pence, vat=0),),
                        )
                        scope.send(placed, subject=str(order))


async def test_every_order_ends_right_although_the_number_of_shards_changes_and_processes_are_killed(
    sharded: Sharded, tmp_path: Path
) -> None:
    stage, tenants = sharded.stage, [a_tenant_of(shard, MOST, number) for shard in range(MOST) for number in range(2)]
    # Those that move and those that stay, in both directions.
    assert len({(shard_of(tenant, 2), shard_of(tenant, 4)) for tenant in tenants}) == MOST
    await furnish(stage, tenants)

    def working(shards: int) -> AbstractAsyncContextManager[WorkerProcess]:
        # Patient: on a busy machine the processes are away for longer than a step may take, and that an order then ends is another story.
        given = {"OAAS_SHARDS": str(shards), "OAAS_RESEND_AFTER_S": "0.5", "OAAS_DEADLINE_FACTOR": "10"}
        return worker_process(oaas_worker(), sharded.settings(shards), tmp_path, **given)

    async def killed_under_way(worker: WorkerProcess) -> None:
        async def is_under_way() -> bool:
            return await stage.rows(_OPEN, tenants) != []

        await until(is_under_way, lambda: "no saga begins")
        await worker.end(signal.SIGKILL)
        assert await stage.rows(_OPEN, tenants), "it was killed too late to show anything"

    async with working(1) as one:
        await place(sharded, tenants, 1)
        await killed_under_way(one)
    await sharded.apply(MOST)
    async with working(MOST) as four:
        assert await sharded.apply(2) == []
        async with working(2):
            await place(sharded, tenants, MOST)
            await place(sharded, tenants, 2)
            await killed_under_way(four)
            told: dict[str, int] = {}

            async def all_ended() -> bool:
                told.update(dict((await stage.rows(_STANDING, tenants))[0]))
                return told["open"] == 0 and await stage.rows(_OPEN, tenants) == []

            await until(all_ended, lambda: f"{told}")

            async def nothing_left() -> bool:
                waiting = {queue: count for queue in queues(MOST) if (count := await stage.waiting(queue))}
                rows = [len(await stage.rows(f"SELECT id FROM {service}.outbox")) for service in MODULES]
                return not waiting and not any(rows)

            await until(nothing_left, lambda: "messages or rows are left")
    rounds = 3 * len(tenants)
    assert told == {"confirmed": rounds * (ORDERS - 1), "refused": rounds, "open": 0, "placed": rounds * ORDERS}
    [held] = await stage.rows(_HELD, tenants)
    assert held["units"] == rounds * (ORDERS - 1)
    assert await stage.rows("SELECT id FROM ops.letter") == []
