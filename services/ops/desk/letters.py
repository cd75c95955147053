"""All SQL of letters inside one tenant: taking deaths in, locking letters for whoever changes them, reading one as a whole.

Lock order inside a tenant: letters sorted by id, then their deaths, then whatever hangs on them (replay items, revisions).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from infra.rows import require_updated
from infra.transaction import Scope
from infra.wire_values import Row
from services.ops.desk.model import Letter, State

_FIND: Final = """
    SELECT tenant_id, id, queue, service, type, message_id, saga_id, subject, trace_id, state, fingerprint, exception_type, error,
        build, attempts, deaths, replays_in_vain, is_native, is_readable, sent_at, first_died_at, died_at, changed_at, revision, replay_id
    FROM ops.letter WHERE tenant_id = $1 AND id = ANY($2::uuid[]) ORDER BY id"""

_SAVE: Final = """
    UPDATE ops.letter AS letter SET state = given.state, fingerprint = given.fingerprint, exception_type = given.exception_type,
        error = given.error, build = given.build, attempts = given.attempts, deaths = given.deaths,
        replays_in_vain = given.replays_in_vain, is_native = given.is_native, first_died_at = given.first_died_at,
        died_at = given.died_at, changed_at = given.changed_at, revision = given.revision, replay_id = given.replay_id,
        stack = coalesce(given.stack, letter.stack), headers = coalesce(given.headers, letter.headers)
    FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::integer[], $9::integer[], $10::integer[],
            $11::boolean[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[], $15::integer[], $16::uuid[], $17::text[],
            $18::text[])
        AS given (id, state, fingerprint, exception_type, error, build, attempts, deaths, replays_in_vain, is_native, first_died_at,
            died_at, changed_at, revision, replay_id, stack, headers)
    WHERE letter.tenant_id = $1 AND letter.id = given.id"""

_CHANGING: Final = (
    *("id", "state", "fingerprint", "exception_type", "error", "build", "attempts", "deaths", "replays_in_vain"),
    *("is_native", "first_died_at", "died_at", "changed_at", "revision", "replay_id"),
)
"""In the order of _SAVE."""

_BODIES: Final = """
    SELECT letter.id, coalesce(newest.body, letter.body) AS body FROM ops.letter
    LEFT JOIN ops.letter_revision AS newest
        ON newest.tenant_id = letter.tenant_id AND newest.letter_id = letter.id AND newest.revision = letter.revision
    WHERE letter.tenant_id = $1 AND letter.id = ANY($2::uuid[])"""

_WHOLE: Final = "SELECT form, body, stack, headers FROM ops.letter WHERE tenant_id = $1 AND id = $2"
_DEATHS: Final = """
    SELECT id, at, attempts, fingerprint, error, build, replay_id FROM ops.death
    WHERE tenant_id = $1 AND letter_id = $2 ORDER BY at DESC, id DESC LIMIT $3"""
_REVISIONS: Final = """
    SELECT revision, actor, reason, at, diff FROM ops.letter_revision
    WHERE tenant_id = $1 AND letter_id = $2 ORDER BY revision DESC LIMIT $3"""
_REVISE: Final = """
    INSERT INTO ops.letter_revision (tenant_id, letter_id, revision, body, actor, reason, at, diff)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"""
_DELETE: Final = "DELETE FROM ops.letter WHERE tenant_id = $1 AND id = ANY($2::uuid[]) AND state = $3 RETURNING id"
_FORGET: Final = """
    DELETE FROM ops.letter WHERE tenant_id = $1 AND id = ANY($2::uuid[]) AND state IN ('SETTLED', 'ARCHIVED') AND changed_at < $3"""
_DEATHS_MAX: Final = 50
_REVISIONS_MAX: Final = 50


@dataclass(frozen=True)
class Whole:
    """What there is of a letter beside what is known of it: its payload, its story, its deaths and its revisions, the newest first."""

    letter: Letter
    form: str
    original_body: str
    body: str
    stack: str
    headers: str
    deaths: Sequence[Row]
    revisions: Sequence[Row]


async def find(scope: Scope, ids: Collection[UUID]) -> dict[UUID, Letter]:
    """Those of these letters that are the scope's tenant's, not locked."""
    return await _read(scope, _FIND, ids)


async def lock(scope: Scope, ids: Collection[UUID], *, skip_locked: bool = False) -> dict[UUID, Letter]:
    """The same, locked in the order of their ids; those that somebody else holds may be left out."""
    return await _read(scope, f"{_FIND} FOR UPDATE{' SKIP LOCKED' if skip_locked else ''}", ids)


async def save(scope: Scope, letters: Collection[Letter]) -> None:
    """Write those of them that have changed, whose rows are locked; raises LockedRowMissing."""
    changed = sorted((letter for letter in letters if letter.changed), key=lambda letter: letter.id)
    if not changed:
        return
    done = await scope.connection.execute(_SAVE, scope.tenant_id, *_columns(changed))
    require_updated(done, len(changed))
    for letter in changed:
        letter.changed, letter.newest = False, None


async def current_bodies(scope: Scope, ids: Collection[UUID]) -> dict[UUID, str]:
    """The payload of each as it stands now: the envelope's JSON of the newest revision, or as it died."""
    return {row["id"]: row["body"] for row in await scope.connection.fetch(_BODIES, scope.tenant_id, list(ids))}


async def current_body(scope: Scope, letter: Letter) -> str:
    """The same for one; raises KeyError if it is gone."""
    return (await current_bodies(scope, [letter.id]))[letter.id]


async def revise(scope: Scope, letter: Letter, body: str, *, actor: str, reason: str, diff: str) -> int:
    """Keep `body` as the newest revision of the locked letter and save it; `diff` is JSON. Raises IllegalTransition unless it is DEAD."""
    revision = letter.revised(scope.now)
    await scope.connection.execute(_REVISE, scope.tenant_id, letter.id, revision, body, actor, reason, scope.now, diff)
    await save(scope, [letter])
    return revision


async def whole(scope: Scope, id: UUID) -> Whole | None:
    """Everything about one letter; None if the tenant has none of this id."""
    letter = (await find(scope, [id])).get(id)
    if letter is None:
        return None
    row = await scope.connection.fetchrow(_WHOLE, scope.tenant_id, id)
    if row is None:
        return None
    deaths = await scope.connection.fetch(_DEATHS, scope.tenant_id, id, _DEATHS_MAX)
    revisions = await scope.connection.fetch(_REVISIONS, scope.tenant_id, id, _REVISIONS_MAX)
    return Whole(letter, row["form"], row["body"], await current_body(scope, letter), row["stack"], row["headers"], deaths, revisions)


async def delete(scope: Scope, ids: Collection[UUID], state: State) -> set[UUID]:
    """Delete those that are in this state, with their deaths and revisions; returns which."""
    return {row["id"] for row in await scope.connection.fetch(_DELETE, scope.tenant_id, sorted(ids), state)}


def letter_from(row: Row | Mapping[str, Any]) -> Letter:
    """The letter of a row that has its columns."""
    return Letter(**{**dict(row), "state": State(row["state"])})


async def _read(scope: Scope, sql: str, ids: Collection[UUID]) -> dict[UUID, Letter]:
    rows = await scope.connection.fetch(sql, scope.tenant_id, list(ids)) if ids else []
    return {row["id"]: letter_from(row) for row in rows}


def _columns(letters: Sequence[Letter]) -> list[list[object]]:
    stories = [letter.newest for letter in letters]
    return [
        *([getattr(letter, name) for letter in letters] for name in _CHANGING),
        [story and story.stack for story in stories],
        [story and story.headers for story in stories],
    ]


async def forget(scope: Scope, ids: Collection[UUID], before: datetime) -> None:
    """Delete those of these letters that are settled or archived and were so before that; what hangs on a letter goes with it."""
    await scope.connection.execute(_FORGET, scope.tenant_id, list(ids), before)
