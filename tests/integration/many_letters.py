"""Dead letters by the thousand, made in the database: what an operator finds after a bad night."""

from typing import Final

import asyncpg

CAUSES: Final = 12

_ADD: Final = """
    INSERT INTO ops.letter (tenant_id, id, queue, service, type, message_id, saga_id, subject, state, fingerprint, exception_type, error,
        stack, build, attempts, deaths, is_native, is_readable, sent_at, first_died_at, died_at, changed_at, form, body, headers)
    SELECT ('00000000-0000-0000-0000-' || lpad(to_hex(number / $3 % $2), 12, '0'))::uuid, gen_random_uuid(),
        (ARRAY['inventory.commands.0', 'orders.commands.0', 'payments.commands.0'])[1 + number % 3],
        (ARRAY['inventory', 'orders', 'payments'])[1 + number % 3], 'inventory.ReserveStock.v1', gen_random_uuid(), gen_random_uuid(),
        'order', 'DEAD', md5((number % $3)::text), 'KeyError', 'nothing there for ' || number, repeat('File x line y' || chr(10), 150),
        'build ' || number % 2, 1, 1, false, true, at, at, at, at, 'ENVELOPE', '{"data": {"order_id": "x"}}', '{"x-attempt": 1}'
    FROM (SELECT number, now() - interval '1 day' * random() AS at FROM generate_series($4::integer, $4 + $1 - 1) AS number) AS made"""


async def add_letters(administrator: asyncpg.Connection, number: int, tenants: int, *, first: int = 0) -> None:
    """So many letters of CAUSES causes on three queues; their tenants are the UUIDs from 0 to `tenants` - 1."""
    await administrator.execute(_ADD, number, tenants, CAUSES, first)


async def forget_letters(administrator: asyncpg.Connection) -> None:
    """No letter at all."""
    await administrator.execute("TRUNCATE ops.letter CASCADE")
