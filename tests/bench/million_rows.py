"""A million sagas with their histories, written into a migrated schema by its administrator: 50 tenants, a month, mostly ended well.

97 % COMPLETED, 2 % ABANDONED, 1 % open, of which every tenth waits for people. One saga in a hundred thousand is of a rare kind.
"""

import json
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import asyncpg

from contracts.catalog import name_of
from contracts.orders import OrderPlaced
from contracts.values import OrderId, OrderLine, SagaId, ShopId, TenantId, VatAmount, VatRate
from infra.clock import now
from sagas.engine import machine
from sagas.engine.instance import to_json
from sagas.place_order import PLACE_ORDER

TENANTS: Final = 50
SPAN: Final = timedelta(days=30)
EVENTS_PER_SAGA: Final = 12

# `n` goes from the oldest to the newest; md5 of it stands for chance, the same in every run.
_DRAWN: Final = """
    SELECT n, tenant.id AS tenant_id, md5('saga' || n)::uuid AS id, md5('order' || n) AS subject,
        $1::timestamptz - ($2 * interval '1 second' * ($3 - n) / $3) AS started_at,
        ('x' || substr(md5('chance' || n), 1, 7))::bit(28)::int % 10000 AS chance,
        ('x' || substr(md5('kind' || n), 1, 7))::bit(28)::int % 100000 AS kind
    FROM generate_series($4::int, $5::int) AS n
    JOIN bench_tenant AS tenant ON tenant.number = ('x' || substr(md5('tenant' || n), 1, 7))::bit(28)::int % $6"""
_STATED: Final = f"""
    SELECT drawn.*, CASE
        WHEN chance < 9700 THEN 'COMPLETED' WHEN chance < 9900 THEN 'ABANDONED' WHEN chance < 9960 THEN 'RUNNING'
        WHEN chance < 9975 THEN 'COMPENSATING' WHEN chance < 9985 THEN 'COMPLETING' WHEN chance < 9989 THEN 'ABANDONING'
        WHEN chance < 9995 THEN 'PARKED' WHEN chance < 9998 THEN 'NEEDS_ATTENTION' ELSE 'PAUSED' END AS state
    FROM ({_DRAWN}) AS drawn"""
_SAGAS: Final = f"""
    INSERT INTO sagas.saga (tenant_id, id, name, version, subject, state, revision, started_by, instance, started_at, changed_at,
        wake_at, events, step, fingerprint, progressed_at, stuck_at)
    SELECT tenant_id, id, CASE WHEN kind = 0 THEN 'restock' WHEN kind < 3000 THEN 'cancel-order' ELSE 'place-order' END, 2, subject,
        state, 6, $7, $8, started_at, started_at + interval '1 second',
        CASE WHEN state IN ('COMPLETED', 'ABANDONED', 'NEEDS_ATTENTION', 'PAUSED') THEN NULL ELSE started_at + interval '1 day' END, 12,
        CASE WHEN state IN ('COMPLETED', 'ABANDONED') THEN NULL
             ELSE (ARRAY['reserve-stock', 'reserve-quota, reserve-stock', 'undo of reserve-stock', 'authorise-payment'])[1 + n % 4] END,
        CASE WHEN state IN ('PARKED', 'NEEDS_ATTENTION') THEN md5('fault' || n % 7) END, started_at + interval '1 second',
        CASE WHEN state IN ('COMPLETED', 'ABANDONED') THEN NULL ELSE started_at + interval '15 minutes' + n % 30 * interval '1 day' END
    FROM ({_STATED}) AS stated ORDER BY n"""
_EVENTS: Final = f"""
    INSERT INTO sagas.saga_event (tenant_id, saga_id, number, kind, step, phase, attempt, detail, trace_id, at, message_id)
    SELECT tenant_id, id, number, CASE WHEN number = 1 THEN 'STARTED' WHEN number % 2 = 0 THEN 'ASKED' ELSE 'ANSWERED' END,
        CASE WHEN number > 1 THEN 'reserve-stock' END, CASE WHEN number > 1 THEN 'ask' END, CASE WHEN number > 1 THEN 1 END,
        CASE WHEN number > 1 THEN 'ReserveStock' ELSE '' END, md5('trace' || n), started_at + number * interval '10 milliseconds',
        CASE WHEN number = 1 OR number % 2 = 0 THEN md5('message' || n || '.' || number)::uuid END
    FROM ({_DRAWN}) AS drawn CROSS JOIN generate_series(1, $7::int) AS number ORDER BY n, number"""
_BATCH: Final = 100_000


async def fill(connection: asyncpg.Connection, sagas: int) -> None:
    """Write so many sagas and their histories, then tidy up as autovacuum would; minutes for a million."""
    await connection.execute("SET synchronous_commit = off; SET session_replication_role = replica; SET row_security = off")
    await connection.execute("CREATE TABLE bench_tenant (number int PRIMARY KEY, id uuid NOT NULL)")
    await connection.execute(
        "INSERT INTO bench_tenant SELECT n, md5('tenant ' || n)::uuid FROM generate_series(0, $1::int - 1) AS n", TENANTS
    )
    # The histories' key is built once instead of grown in random order; the rows are the same.
    await connection.execute("ALTER TABLE sagas.saga_event DROP CONSTRAINT saga_event_pkey")
    started_by, instance = _contents()
    end, span_s = now(), SPAN.total_seconds()
    for first in range(1, sagas + 1, _BATCH):
        drawn = (end, span_s, sagas, first, min(first + _BATCH - 1, sagas), TENANTS)
        await connection.execute(_SAGAS, *drawn, started_by, instance, timeout=600)
        await connection.execute(_EVENTS, *drawn, EVENTS_PER_SAGA, timeout=600)
    await connection.execute("ALTER TABLE sagas.saga_event ADD PRIMARY KEY (tenant_id, saga_id, number)", timeout=1200)
    for table in ("saga", "saga_event"):
        await connection.execute(f"VACUUM ANALYZE sagas.{table}", timeout=1200)


def _contents() -> tuple[str, str]:
    """What `started_by` and `instance` of a saga under way hold, in their real size."""
    at = now()
    amounts = (VatAmount(rate=VatRate.STANDARD, total=600, vat=100),)
    lines = tuple(OrderLine(sku=f"SKU-{number}", quantity=number) for number in range(1, 5))
    order = OrderPlaced(order_id=OrderId(uuid4()), shop_id=ShopId(uuid4()), lines=lines, total=600, placed_at=at, vat=amounts)
    moved = machine.start(PLACE_ORDER, SagaId(uuid4()), TenantId(uuid4()), order, at)
    started_by: dict[str, Any] = {"type": name_of(OrderPlaced), "data": order.model_dump(mode="json")}
    return json.dumps(started_by), to_json(moved.instance)
