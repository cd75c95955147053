"""Archiving letters that nobody wants handled, taking them out again, and deleting them for good, which is only done from the archive.

Each group is one transaction of one tenant, with an entry in the audit for every letter, whatever came of it. The audit
outlives the letter.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from contracts.values import TenantId
from infra.transaction import Scope, Transactions
from services.ops.desk import letters
from services.ops.desk.auditing import Entry, Outcome, record
from services.ops.desk.model import IllegalTransition, Letter, State


class Verb(StrEnum):
    """What an operator types."""

    ARCHIVE = "archive"
    RESTORE = "restore"
    PURGE = "purge"


FROM: Final[Mapping[Verb, State]] = {Verb.ARCHIVE: State.DEAD, Verb.RESTORE: State.ARCHIVED, Verb.PURGE: State.ARCHIVED}
"""The state in which a letter has to be."""
_DO: Final[Mapping[Verb, Callable[[Letter, datetime], None]]] = {Verb.ARCHIVE: Letter.archived, Verb.RESTORE: Letter.restored}


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What an operator wants done, and why; `filter` is what was said to find the letters, as JSON."""

    verb: Verb
    actor: str
    reason: str
    filter: str | None = None


async def act(transaction: Transactions, tenant_id: TenantId, ids: Collection[UUID], asked: Act) -> dict[UUID, str | None]:
    """Do it to each of these letters of the tenant: None if it is done, else why not."""
    async with transaction(tenant_id) as scope:
        held = await letters.lock(scope, ids)
        refused = await (_purge if asked.verb is Verb.PURGE else _move)(scope, held, asked.verb)
        outcomes = {id: refused.get(id) if id in held else f"there is no letter {id}" for id in sorted(ids)}
        await record(scope, [_entry(id if id in held else None, why, asked) for id, why in outcomes.items()])
    return outcomes


async def _move(scope: Scope, held: Mapping[UUID, Letter], verb: Verb) -> dict[UUID, str]:
    refused = {}
    for letter in held.values():
        try:
            _DO[verb](letter, scope.now)
        except IllegalTransition as error:
            refused[letter.id] = str(error)
    await letters.save(scope, held.values())
    return refused


async def _purge(scope: Scope, held: Mapping[UUID, Letter], _verb: Verb) -> dict[UUID, str]:
    gone = await letters.delete(scope, held, State.ARCHIVED)
    why = "letter {id} is {state}: only what is in the archive can be purged, so archive it first"
    return {id: why.format(id=id, state=letter.state) for id, letter in held.items() if id not in gone}


def _entry(letter_id: UUID | None, why_not: str | None, asked: Act) -> Entry:
    outcome = Outcome.DONE if why_not is None else Outcome.REFUSED
    return Entry(
        actor=asked.actor,
        verb=asked.verb.value,
        reason=asked.reason,
        filter=asked.filter,
        outcome=outcome,
        detail=why_not or "",
        letter_id=letter_id,
    )
