"""How a participant comes to the holds that a group of commands is about: put there, locked and read, in one statement.

A hold and its tombstone are one row `(tenant_id, order_id, step)`: whoever asks or undoes puts it there first (state NEW, nothing held)
and then has it locked, so whichever commits first is seen by the other.
"""

from collections.abc import Set as AbstractSet

from contracts.values import OrderId
from infra.transaction import Scope
from infra.wire import Answer
from infra.wire_values import Row


class Holds:
    """One service's table of holds. `read`: its columns that are wanted beside order_id."""

    def __init__(self, table: str, step: str, read: str) -> None:
        self._step = step
        add = f"""
            INSERT INTO {table} AS hold (tenant_id, order_id, step, state, created_at, changed_at)
            SELECT $1::uuid, asked.order_id, $3::text, 'NEW', $4::timestamptz, $4::timestamptz"""
        # To change nothing of a row that is there is how it comes to be locked and read by the statement that would have put it there. All
        # are locked in one order, those that are noted and those that are not: or two batches could wait for each other.
        lock = f"""
            ORDER BY asked.order_id
            ON CONFLICT (tenant_id, order_id, step) DO UPDATE SET state = hold.state RETURNING order_id, {read}"""
        self._lock = f"{add} FROM unnest($2::uuid[]) AS asked (order_id) {lock}"
        self._lock_if_there = f"""
            {add} FROM unnest($2::uuid[], $5::boolean[]) AS asked (order_id, is_noted)
            WHERE asked.is_noted
                OR order_id IN (SELECT order_id FROM {table} WHERE tenant_id = $1 AND order_id = ANY($2::uuid[]) AND step = $3)
            {lock}"""  # noqa: S608 - the table and its columns are named in our own code

    async def lock(self, scope: Scope, noted: AbstractSet[OrderId], others: AbstractSet[OrderId]) -> list[Row]:
        """Their rows, locked until the transaction ends. Those that are `noted` are put there; of the others, those that are there."""
        return scope.connection.rows(await self.ask(scope, noted, others))

    def ask(self, scope: Scope, noted: AbstractSet[OrderId], others: AbstractSet[OrderId]) -> Answer:
        """The same without waiting for the rows: what is asked next travels with it."""
        orders = sorted(noted | others)
        known = scope.tenant_id, orders, self._step, scope.now
        if others <= noted:
            return scope.connection.ask(self._lock, *known)
        return scope.connection.ask(self._lock_if_there, *known, [order in noted for order in orders])
