"""Letters whose message is handled without a replay: an operator asks the saga again, its command is handled, and the letter stays behind.

When a saga that has dead letters goes on or ends, whoever reads their queues is asked whether it has handled them; one that says yes
settles its letter (services/ops/replay/outcomes.py). Asked too early it says no: a saga's end asks again. Nobody waits for the answer.
"""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from contracts.addresses import is_work_queue
from infra.transaction import Scope
from services.ops.desk import questions
from services.ops.desk.auditing import Entry
from services.ops.desk.model import Letter, State
from services.ops.desk.questions import Asked

# A saga has a letter for each of its commands at most, and a batch is bounded: so is this.
_DEAD: Final = """
    SELECT id, message_id, type, queue FROM ops.letter
    WHERE tenant_id = $1 AND saga_id = ANY($2::uuid[]) AND state = 'DEAD' AND is_readable ORDER BY id"""
_GOING_ON: Final = """
    SELECT id FROM ops.saga WHERE tenant_id = $1 AND id = ANY($2::uuid[]) AND state NOT IN ('PARKED', 'NEEDS_ATTENTION', 'PAUSED')"""
# A letter that comes while its saga is heard of would be missed by both: so neither begins before the other is committed. What is heard of
# sagas, which is much, shares the lock. It comes before every lock of a letter.
_TAKING_IN: Final = "SELECT pg_advisory_xact_lock(hashtext('oaas.ops.letters'), hashtext($1))"
_HEARING: Final = "SELECT pg_advisory_xact_lock_shared(hashtext('oaas.ops.letters'), hashtext($1))"


async def before_taking_in(scope: Scope) -> None:
    """Wait until what is being heard of sagas is committed; to be called before letters are locked or added."""
    await scope.connection.execute(_TAKING_IN, str(scope.tenant_id))


async def before_hearing(scope: Scope) -> None:
    """Wait until letters that are being taken in are committed; to be called before anything is noted of sagas."""
    await scope.connection.execute(_HEARING, str(scope.tenant_id))


async def ask_of_letters(scope: Scope, taken_in: Collection[Letter]) -> None:
    """Ask about letters whose saga went on before they came here."""
    sagas = {letter.saga_id for letter in taken_in if letter.saga_id is not None}
    if sagas:
        await ask_of_sagas(scope, [row["id"] for row in await scope.connection.fetch(_GOING_ON, scope.tenant_id, list(sagas))])


async def ask_of_sagas(scope: Scope, saga_ids: Collection[UUID]) -> None:
    """Ask whether the dead letters of these sagas, which went on or ended, are handled by now."""
    dead = await scope.connection.fetch(_DEAD, scope.tenant_id, list(saga_ids)) if saga_ids else []
    asked = [Asked(scope.tenant_id, row["id"], row["message_id"], row["type"], row["queue"]) for row in dead if is_work_queue(row["queue"])]
    if asked:
        await questions.put(scope, asked, settles=True)


def settle_handled(letter: Letter, scope: Scope) -> Entry | None:
    """The letter's message is handled; None if that changes nothing. What a replay has sent is the replay's to settle."""
    if letter.state is not State.DEAD:
        return None
    letter.settled(scope.now)
    edited = f", as it died and not as it was edited (revision {letter.revision})" if letter.revision else ""
    return Entry(
        actor="the desk",
        verb="settle",
        reason="handled without a replay: its saga was retried or went on",
        outcome=State.SETTLED,
        detail=f"{letter.queue.partition('.')[0]} says that it has handled the message{edited}",
        letter_id=letter.id,
    )
