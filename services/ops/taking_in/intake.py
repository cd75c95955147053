"""Takes deaths in, inside one tenant: what is new becomes a letter or one more death of one; what is known changes nothing.

Lock order: the tenant's taking in, letters sorted by id, new ones by inserting them, then their deaths, then the items of the replays that
they died of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Final
from uuid import UUID

from infra.errors import Retryable
from infra.transaction import Scope
from services.ops.desk import letters
from services.ops.desk.handled import ask_of_letters, before_taking_in
from services.ops.desk.model import Death, Letter
from services.ops.replay.outcomes import note_deaths
from services.ops.taking_in.opening import Opened

_ADD: Final = """
    INSERT INTO ops.letter (tenant_id, id, queue, service, type, message_id, saga_id, subject, trace_id, state, fingerprint,
        exception_type, error, build, attempts, deaths, replays_in_vain, is_native, is_readable, sent_at, first_died_at, died_at,
        changed_at, revision, replay_id, form, body, stack, headers)
    SELECT $1, given.* FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::uuid[], $8::text[], $9::text[],
            $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::integer[], $16::integer[], $17::integer[],
            $18::boolean[], $19::boolean[], $20::timestamptz[], $21::timestamptz[], $22::timestamptz[], $23::timestamptz[],
            $24::integer[], $25::uuid[], $26::text[], $27::text[], $28::text[], $29::text[]) AS given
    ON CONFLICT DO NOTHING RETURNING id"""

_ADD_DEATHS: Final = """
    INSERT INTO ops.death (tenant_id, letter_id, id, at, attempts, fingerprint, error, build, replay_id)
    SELECT $1, given.* FROM unnest($2::uuid[], $3::uuid[], $4::timestamptz[], $5::integer[], $6::text[], $7::text[], $8::text[],
        $9::uuid[]) AS given
    ON CONFLICT DO NOTHING RETURNING id"""

_LETTER: Final = (
    *("id", "queue", "service", "type", "message_id", "saga_id", "subject", "trace_id", "state", "fingerprint", "exception_type", "error"),
    *("build", "attempts", "deaths", "replays_in_vain", "is_native", "is_readable", "sent_at", "first_died_at", "died_at", "changed_at"),
    *("revision", "replay_id"),
)
_DEATH: Final = ("letter_id", "id", "at", "attempts", "fingerprint", "error", "build", "replay_id")
"""Both in the order of their statements."""


class LetterVanished(Retryable):
    """A letter was deleted while one more death of it came in: the next try makes it anew."""


async def take_in(scope: Scope, opened: Sequence[Opened]) -> list[Death]:
    """Store what is not known yet; returns the deaths that are new. Raises LetterVanished."""
    await before_taking_in(scope)
    opened = await _known_again(scope, opened)
    first = {one.letter.id: one for one in reversed(opened)}
    created = await _add(scope, [first[id] for id in sorted(first)])
    # One that has just been made stands for its first death already.
    founding = {first[id].death.id for id in created}
    locked = await letters.lock(scope, {one.letter.id for one in opened if one.death.id not in founding})
    if missing := first.keys() - created - locked.keys():
        raise LetterVanished(f"{len(missing)} letters were deleted meanwhile")
    fresh = await _add_deaths(scope, {one.death.id: one.death for one in opened})
    again = [death for death in fresh if death.id not in founding]
    for death in again:
        locked[death.letter_id].died_again(death, scope.now)
    await letters.save(scope, locked.values())
    await note_deaths(scope, fresh)
    await ask_of_letters(scope, [first[death.letter_id].letter for death in fresh])
    return fresh


async def _known_again(scope: Scope, opened: Sequence[Opened]) -> list[Opened]:
    """What has no id of its own is the letter that its header names, if this tenant has that letter, of the same queue."""
    named = await letters.find(scope, {one.replay[1] for one in opened if one.replay is not None})
    return [_as_named(one, named) for one in opened]


def _as_named(one: Opened, named: Mapping[UUID, Letter]) -> Opened:
    if one.replay is None or one.replay[1] not in named or named[one.replay[1]].queue != one.letter.queue:
        return one
    replay_id, id = one.replay
    letter, death = replace(one.letter, id=id, replay_id=replay_id), replace(one.death, letter_id=id, replay_id=replay_id)
    return replace(one, letter=letter, death=death)


async def _add(scope: Scope, opened: Sequence[Opened]) -> set[UUID]:
    rows = await scope.connection.fetch(
        _ADD,
        scope.tenant_id,
        *([getattr(one.letter, name) for one in opened] for name in _LETTER),
        [one.form for one in opened],
        [one.body for one in opened],
        [one.death.stack for one in opened],
        [one.death.headers for one in opened],
    )
    return {row["id"] for row in rows}


async def _add_deaths(scope: Scope, deaths: dict[UUID, Death]) -> list[Death]:
    """The deaths that were not known, the earliest first."""
    given = sorted(deaths.values(), key=attrgetter("letter_id", "id"))
    rows = await scope.connection.fetch(_ADD_DEATHS, scope.tenant_id, *([getattr(one, name) for one in given] for name in _DEATH))
    return sorted((deaths[row["id"]] for row in rows), key=attrgetter("at", "id"))
