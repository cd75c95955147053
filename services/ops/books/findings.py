"""The table `ops.finding`: what is wrong with a tenant's books, since when it is known, and whether somebody has accepted it.

Whoever compares writes what there is; what is not there any more is gone. Accepted is what nobody can mend: it is shown, and counts no
more until it changes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from infra.transaction import Scope
from services.ops.books.consequences import Consequence
from services.ops.books.kinds import TOTALS, Kind
from services.ops.books.reconciling import Finding

_KEEP: Final = """
    INSERT INTO ops.finding AS known (tenant_id, id, kind, key, what, command, mending, confirm, since, first_seen, seen_at)
    SELECT $1, given.*, $2, $2
    FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::timestamptz[])
        AS given (id, kind, key, what, command, mending, confirm, since)
    ORDER BY id
    ON CONFLICT (tenant_id, id) DO UPDATE SET what = excluded.what, command = excluded.command, mending = excluded.mending,
        confirm = excluded.confirm, since = excluded.since, seen_at = excluded.seen_at, gone_at = NULL,
        first_seen = CASE WHEN known.gone_at IS NULL THEN known.first_seen ELSE excluded.first_seen END,
        accepted_at = CASE WHEN known.gone_at IS NULL AND known.what = excluded.what THEN known.accepted_at END,
        accepted_by = CASE WHEN known.gone_at IS NULL AND known.what = excluded.what THEN known.accepted_by END"""
# Totals have keys of their own, or those of orders.
_IN_PART: Final = """CASE WHEN kind = ANY($2::text[]) THEN $3::boolean AND ($4::text IS NULL OR key = $4)
        ELSE $5::text[] IS NULL OR key = ANY($5) END"""
_GONE: Final = f"""
    UPDATE ops.finding SET gone_at = $6 WHERE tenant_id = $1 AND gone_at IS NULL AND NOT id = ANY($7::uuid[])
        AND NOT key = ANY($8::text[]) AND {_IN_PART}"""  # noqa: S608 - all of it is in this file
_MENDED: Final = "UPDATE ops.finding SET gone_at = $3 WHERE tenant_id = $1 AND id = $2 AND gone_at IS NULL"
_ACCEPT: Final = """
    UPDATE ops.finding SET accepted_at = $3, accepted_by = $4 WHERE tenant_id = $1 AND id = $2 AND gone_at IS NULL"""
_OPEN: Final = f"""
    SELECT tenant_id, kind, key, what, since, command, mending, confirm, first_seen, seen_at, accepted_at, accepted_by FROM ops.finding
    WHERE tenant_id = $1 AND gone_at IS NULL AND {_IN_PART}
    ORDER BY NOT kind = ANY($2::text[]), first_seen, id"""  # noqa: S608 - as above


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept(Finding):
    """A finding as it is kept."""

    first_seen: datetime
    seen_at: datetime
    accepted_at: datetime | None
    accepted_by: str | None


@dataclass(frozen=True)
class Part:
    """Some of a tenant's findings: those of these orders, or of all, and those of totals, if any, or of one."""

    orders: Sequence[str] | None = None
    totals: bool = True
    key: str | None = None
    """The only total."""

    @classmethod
    def of(cls, key: str) -> "Part":
        """What is wrong with one order or total."""
        return cls([key], key=key)

    @property
    def words(self) -> tuple[object, ...]:
        """For _IN_PART, from $2 on."""
        return list(TOTALS), self.totals, self.key, None if self.orders is None else list(self.orders)


async def keep(scope: Scope, found: Sequence[Finding], part: Part, moving: Collection[str] = ()) -> None:
    """These are there now; what else is known of the part that was looked at is gone.

    Of those that are `moving` nothing is said: what was wrong with them stays until they have come to rest.
    """
    await scope.connection.execute(
        _KEEP,
        scope.tenant_id,
        scope.now,
        [one.id for one in found],
        [one.kind.value for one in found],
        [one.key for one in found],
        [one.what for one in found],
        [one.command for one in found],
        [one.mending for one in found],
        [one.confirm and one.confirm.value for one in found],
        [one.since for one in found],
    )
    await scope.connection.execute(_GONE, scope.tenant_id, *part.words, scope.now, [one.id for one in found], list(moving))


async def mended(scope: Scope, id: UUID) -> None:
    """It is gone until it is found again."""
    await scope.connection.execute(_MENDED, scope.tenant_id, id, scope.now)


async def accept(scope: Scope, id: UUID, actor: str) -> None:
    """It counts no more until it changes."""
    await scope.connection.execute(_ACCEPT, scope.tenant_id, id, scope.now, actor)


async def open_in(scope: Scope, part: Part) -> list[Kept]:
    """What is wrong in this part of the tenant as far as is known: what is to be mended first, then the oldest."""
    rows = await scope.connection.fetch(_OPEN, scope.tenant_id, *part.words)
    return [Kept(**{**dict(row), "kind": Kind(row["kind"]), "confirm": row["confirm"] and Consequence(row["confirm"])}) for row in rows]
