"""What is due in all tenants: confirmed, overdue and old rows, sagas and payments whose time has come.

Importers are listed in the import contracts: the relay, the sweeper, the sagas' timers and metrics, and the calls to the payment provider.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import OrderId, SagaId, TenantId

_RESEND_AFTER_AT_MOST: Final = timedelta(minutes=5)
OutboxRow = tuple[TenantId, str, datetime]
"""A row of an outbox, as it was written at this time: written anew under the same id it is another."""


class ConfirmedRows:
    """The relay's view of an outbox: it deletes what the broker has confirmed."""

    def __init__(self, schema: str, pool: AsyncEngine) -> None:
        """`pool` has connections in autocommit, as `open_pool` opens it for the role relay."""
        self._pool = pool
        self._delete = (
            f"DELETE FROM {schema}.outbox AS row"
            " USING unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS given (tenant_id, id, created_at)"
            # Whoever renews a row just now holds it: the delete waits, looks again, and leaves it to whoever publishes it anew.
            " WHERE row.tenant_id = given.tenant_id AND row.id = given.id AND row.created_at = given.created_at"
        )

    async def delete(self, confirmed: Sequence[OutboxRow]) -> None:
        """Delete these rows; those that are gone already, or were renewed since, do not matter."""
        # Sorted: two relays that delete the same rows in opposite order would deadlock. By number, which compares a hundred times faster.
        rows = sorted(confirmed, key=_number)
        async with self._pool.connect() as bind:
            connection = (await bind.get_raw_connection()).driver_connection
            assert connection is not None
            try:
                await connection.execute(self._delete, *([row[column] for row in rows] for column in range(3)))
            except BaseException:
                # The pool does not hear of what happens on the driver's connection: a broken one would be given out for ever.
                await bind.invalidate()
                raise


def _number(row: OutboxRow) -> tuple[int, str]:
    return row[0].int, row[1]


class OverdueRows:
    """The sweeper's view of an outbox."""

    def __init__(self, schema: str, pool: AsyncEngine, resend_after_s: float) -> None:
        self._pool = pool
        self._resend_after = timedelta(seconds=resend_after_s)
        # SKIP LOCKED and a new due time: each row is claimed by one sweeper at a time, without waiting for the others. The pauses grow with
        # the row's age: what a full queue refuses for hours must not keep the database busy for as long.
        self._claim = text(
            f"""UPDATE {schema}.outbox AS row SET due_at = CAST(:now AS timestamptz)
                + greatest(CAST(:at_least AS interval), least((:now - row.created_at) / 2, CAST(:at_most AS interval)))
            FROM (SELECT tenant_id, id FROM {schema}.outbox WHERE due_at <= :now ORDER BY due_at LIMIT :most FOR UPDATE SKIP LOCKED) AS due
            WHERE row.tenant_id = due.tenant_id AND row.id = due.id
            RETURNING row.tenant_id, row.id, row.created_at"""
        )
        self._oldest = text(f"SELECT min(created_at) FROM {schema}.outbox")
        self._longest_due = text(f"SELECT min(due_at) FROM {schema}.outbox")

    async def claim(self, now: datetime, most: int) -> dict[TenantId, dict[str, datetime]]:
        """Ids of at most `most` due rows, and when each was written, by tenant; nobody else claims them before they are due again."""
        async with self._pool.begin() as connection:
            given = {"now": now, "at_least": self._resend_after, "at_most": _RESEND_AFTER_AT_MOST, "most": most}
            rows = await connection.execute(self._claim, given)
            found: dict[TenantId, dict[str, datetime]] = {}
            for tenant_id, id, created_at in rows:
                found.setdefault(TenantId(tenant_id), {})[str(id)] = created_at
            return dict(sorted(found.items()))

    async def oldest(self) -> datetime | None:
        """When the oldest row was written; None if nothing waits."""
        async with self._pool.connect() as connection:
            return (await connection.execute(self._oldest)).scalar()

    async def longest_due(self) -> datetime | None:
        """Since when a row has been due that no sweeper has claimed, or the next is; None if nothing waits."""
        async with self._pool.connect() as connection:
            return (await connection.execute(self._longest_due)).scalar()


class OldRows:
    """Rows of one table that are to be forgotten, found by walking through its pages: whoever writes has no index to keep for it."""

    def __init__(self, table: str, column: str, pool: AsyncEngine, only: str = "true") -> None:
        """`only` is a condition in SQL that a row must fulfil as well."""
        self._pool = pool
        self._pages = text(f"SELECT pg_relation_size('{table}') / current_setting('block_size')::bigint")
        # One walker at a time; and whoever holds a row keeps it, the next walk finds it again.
        self._alone = text(
            f"SELECT pg_try_advisory_xact_lock(hashtext('oaas.retention'), hashtext('{table}')), set_config('lock_timeout', '100ms', true)"
        )
        self._delete = text(
            f"DELETE FROM {table} WHERE ctid >= CAST(:first AS tid) AND ctid < CAST(:beyond AS tid) AND {column} < :before AND {only}"
        )

    async def pages(self) -> int:
        """How many there are now."""
        async with self._pool.connect() as connection:
            return int((await connection.execute(self._pages)).scalar_one())

    async def delete(self, before: datetime, first: int, beyond: int) -> int | None:
        """Delete what is older in the pages first <= page < beyond; returns how many rows, None if somebody else is walking."""
        async with self._pool.begin() as connection:
            if not (await connection.execute(self._alone)).scalar_one():
                return None
            given = {"first": (first, 0), "beyond": (beyond, 0), "before": before}
            return (await connection.execute(self._delete, given)).rowcount


@dataclass(frozen=True, slots=True)
class DueSaga:
    """A saga whose time has come, or is about to; or one to which a reply has come that nobody has heard yet."""

    tenant_id: TenantId
    id: SagaId
    wake_at: datetime
    is_unheard: bool = False


class DueSagas:
    """The timers' view of the sagas: of those whose definition (name and version) this process has."""

    def __init__(self, schema: str, pool: AsyncEngine, definitions: Collection[tuple[str, int]]) -> None:
        self._pool = pool
        self._known = {"names": [name for name, _ in definitions], "versions": [version for _, version in definitions]}
        known = "(name, version) IN (SELECT * FROM unnest(CAST(:names AS text[]), CAST(:versions AS integer[])))"
        self._due = text(
            f"(SELECT tenant_id, id, wake_at, false FROM {schema}.saga"
            f" WHERE wake_at <= :until AND NOT id = ANY(:leaving_out) AND {known} ORDER BY wake_at LIMIT :most)"
            # OFFSET keeps the inner part a look-up by key for each unheard reply, of which there are hardly ever any.
            f" UNION ALL (SELECT tenant_id, id, kept_at, true FROM {schema}.unheard CROSS JOIN LATERAL (SELECT id FROM {schema}.saga"
            f" WHERE saga.tenant_id = unheard.tenant_id AND id = saga_id AND NOT id = ANY(:leaving_out) AND {known} OFFSET 0) AS saga"
            " LIMIT :most)"
        )

    async def due(self, until: datetime, most: int, leaving_out: Collection[SagaId] = ()) -> list[DueSaga]:
        """At most `most` sagas whose time is `until` or earlier, the earliest first, and as many with an unheard reply."""
        async with self._pool.connect() as connection:
            given = {"until": until, "most": most, "leaving_out": list(leaving_out)} | self._known
            rows = await connection.execute(self._due, given)
            return [DueSaga(TenantId(tenant_id), SagaId(id), wake_at, unheard) for tenant_id, id, wake_at, unheard in rows]


@dataclass(frozen=True, slots=True)
class Standing:
    """How many open sagas of one definition are in one state."""

    name: str
    version: int
    state: str
    number: int
    progressed_at: datetime
    """When the one that has waited longest moved on last."""
    stuck: int
    """Those of them without progress for longer than their deadline."""


class OpenSagas:
    """The metrics' view of the sagas."""

    def __init__(self, schema: str, pool: AsyncEngine) -> None:
        self._pool = pool
        # Each part is what an index holds, together all that have not ended: what waits for no person has something to wake for.
        for_people = "state IN ('NEEDS_ATTENTION', 'PARKED', 'PAUSED')"
        counted = "SELECT name, version, state, count(*), min(progressed_at), count(*) FILTER (WHERE stuck_at < :now)"
        parts = (for_people, f"wake_at IS NOT NULL AND NOT {for_people}")
        self._count = text(" UNION ALL ".join(f"{counted} FROM {schema}.saga WHERE {part} GROUP BY 1, 2, 3" for part in parts))

    async def count(self, now: datetime) -> list[Standing]:
        """By definition and state; those that have none are left out."""
        async with self._pool.connect() as connection:
            return [Standing(*row) for row in await connection.execute(self._count, {"now": now})]


class DuePayments:
    """The view of the payments that those have who call the provider."""

    def __init__(self, schema: str, pool: AsyncEngine) -> None:
        self._pool = pool
        self._due = text(
            f"SELECT tenant_id, order_id FROM {schema}.payment WHERE due_at <= :now AND NOT order_id = ANY(:leaving_out)"
            " ORDER BY due_at LIMIT :most"
        )

    async def due(self, now: datetime, most: int, leaving_out: Collection[OrderId] = ()) -> list[tuple[TenantId, OrderId]]:
        """At most `most` payments for which the provider is to be called or asked, longest due first, but for those left out."""
        async with self._pool.connect() as connection:
            rows = await connection.execute(self._due, {"now": now, "most": most, "leaving_out": list(leaving_out)})
            return [(TenantId(tenant_id), OrderId(order_id)) for tenant_id, order_id in rows]
