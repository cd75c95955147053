"""What is known here of the sagas: where one stands that halted, and how one ended. Told by events; their own schema is not read.

An event that is older than what is known changes nothing: a saga's events carry its revision. One that goes on or has ended may have had
its dead letters handled meanwhile: whoever reads their queues is asked.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from contracts.messages import Envelope
from contracts.sagas import SagaEnded, SagaHalted, SagaResumed
from infra.handling import Handles
from infra.transaction import Scope
from services.ops.desk.handled import ask_of_sagas, before_hearing

_WRITE: Final = """
    INSERT INTO ops.saga AS known (tenant_id, id, name, version, subject, state, step, fingerprint, why, sequence, at)
    SELECT $1, given.*, $11 FROM unnest($2::uuid[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::bigint[]) AS given (id, name, version, subject, state, step, fingerprint, why, sequence)
    ORDER BY id
    ON CONFLICT (tenant_id, id) DO UPDATE SET state = excluded.state, step = excluded.step, fingerprint = excluded.fingerprint,
        why = excluded.why, sequence = excluded.sequence, at = excluded.at
    WHERE known.sequence < excluded.sequence"""

Told = dict[object, Envelope]
"""The newest event of each saga in the group."""


class SagasSeen:
    """The table `ops.saga`."""

    async def load(self, _scope: Scope, _received: Sequence[Envelope]) -> Told:
        """Nothing: the statement that writes compares."""
        return {}

    async def save(self, scope: Scope, state: Told) -> None:
        """Write the newest of each saga, in one statement, and ask about the letters of those that do not wait any more."""
        if state:
            await before_hearing(scope)
            await scope.connection.execute(_WRITE, scope.tenant_id, *_columns(list(state.values())), _at(scope))
            await ask_of_sagas(scope, [one.sagaid for one in state.values() if one.sagaid and not isinstance(one.data, SagaHalted)])


def note(envelope: Envelope, told: Told) -> None:
    """Keep the newest event of each saga."""
    before = told.get(envelope.sagaid)
    if before is None or (before.sequence or 0) < (envelope.sequence or 0):
        told[envelope.sagaid] = envelope


def _at(scope: Scope) -> datetime:
    return scope.now


def _columns(told: Sequence[Envelope]) -> tuple[list[object], ...]:
    events = [one.data for one in told]
    return (
        [one.sagaid for one in told],
        [getattr(event, "saga", "") for event in events],
        [getattr(event, "version", 1) for event in events],
        [one.subject for one in told],
        [getattr(event, "state", "") for event in events],
        [getattr(event, "step", None) for event in events],
        [getattr(event, "fingerprint", None) for event in events],
        [getattr(event, "why", None) for event in events],
        [one.sequence or 0 for one in told],
    )


SAGAS_SEEN: Final = Handles(SagasSeen(), dict.fromkeys((SagaHalted, SagaResumed, SagaEnded), note))
