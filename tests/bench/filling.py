"""A million finished sagas, their orders and inbox rows, of other tenants than the benchmark's, written by the administrator."""

from collections.abc import Callable
from typing import Final

import asyncpg

_TENANTS: Final = 50
_BATCH: Final = 100_000
_DRAWN: Final = f"""
    SELECT n, md5('old tenant ' || n % {_TENANTS})::uuid AS tenant, md5('old ' || n)::uuid AS id
    FROM generate_series($1::int, $2::int) AS n"""
_SCHEMAS: Final = ("sagas", "orders", "inventory", "tenants", "ops")
_STATEMENTS: Final = (
    f"""INSERT INTO sagas.saga (tenant_id, id, name, version, subject, state, revision, started_by, instance, started_at, changed_at,
            wake_at, events, step, fingerprint, progressed_at, stuck_at)
        SELECT tenant, id, 'place-order', 2, id::text, 'COMPLETED', 4, repeat('x', 400), repeat('x', 900), now() - interval '1 day',
            now() - interval '1 day', NULL, 9, NULL, NULL, now() - interval '1 day', NULL FROM ({_DRAWN}) AS drawn""",
    f"""INSERT INTO orders.customer_order
            (tenant_id, order_id, shop_id, status, total_pence, vat_pence, revision, created_at, changed_at, paid_by_card)
        SELECT tenant, id, id, 'COMPLETED', 100, 0, 3, now() - interval '1 day', now() - interval '1 day', false
        FROM ({_DRAWN}) AS drawn""",
    *(
        f"""INSERT INTO {schema}.inbox (tenant_id, handler, message_id, answer, received_at)
            SELECT tenant, 'orders.OrderPlaced.v1', id, repeat('x', 400), now() - interval '1 day' FROM ({_DRAWN}) AS drawn"""
        for schema in _SCHEMAS
    ),
)


async def fill(administrator: asyncpg.Connection, many: int, say: Callable[[str], None]) -> None:
    """Write so many of each, then tidy up as autovacuum would; minutes for a million."""
    await administrator.execute("SET synchronous_commit = off")
    for number, statement in enumerate(_STATEMENTS, start=1):
        say(f"filling, {number} of {len(_STATEMENTS)}: {many} rows")
        for first in range(1, many + 1, _BATCH):
            await administrator.execute(statement, first, min(first + _BATCH - 1, many), timeout=600)
    for table in (
        "sagas.saga",
        "orders.customer_order",
        *(f"{schema}.inbox" for schema in ("sagas", "orders", "inventory", "tenants", "ops")),
    ):
        await administrator.execute(f"VACUUM ANALYZE {table}", timeout=1200)
    await administrator.execute("RESET synchronous_commit")
