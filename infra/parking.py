"""Giving an envelope up: into the dead-letter queue with its story and, in the same commit, word to the saga that waits for it.

The inbox does not remember a parked envelope, so that replaying its letter tries it anew.
"""

import logging
from typing import Final
from uuid import UUID, uuid4, uuid5

from prometheus_client import Counter

from contracts.addresses import PARTICIPANTS, dead_letter_address
from contracts.messages import Command, Envelope
from infra.deliveries import Arrival
from infra.errors import Outage
from infra.frames import Unreadable, encode
from infra.letters import Headers, fault_of, fingerprint, headers_of
from infra.relay import Relay
from infra.retry import until_committed
from infra.settings import Settings
from infra.suspects import Suspects
from infra.telemetry import trace_id_of
from infra.transaction import Transactions

_log: Final = logging.getLogger(__name__)
_parked: Final = Counter("oaas_envelopes_parked_total", "Envelopes given up and dead-lettered", ["queue"])


class Parking:
    """Where the envelopes of one queue go that cannot be handled."""

    def __init__(self, queue: str, transaction: Transactions, relay: Relay, settings: Settings) -> None:
        self._queue = queue
        self._transaction = transaction
        self._relay = relay
        self._settings = settings
        self._suspects = Suspects(transaction.service)

    async def park(self, arrival: Arrival[Envelope | Unreadable], error: Exception, attempt: int) -> None:
        """Park it after `attempt` tries; waits for as long as database or broker are out of reach."""
        envelope, letter = arrival.envelope, uuid4()
        self._tell(envelope, error, attempt)
        headers = headers_of(envelope, error, self._queue, self._transaction.service, attempt, letter, arrival.replay)
        # The letter's id is made once, so that one death is one letter however often its commit is tried.
        async for trial in until_committed(self._settings):
            with trial:
                if isinstance(envelope, Unreadable) and (envelope.tenantid is None or envelope.id is None):
                    await self._without_a_tenant(envelope, headers)
                else:
                    await self._in_scope(arrival, error, letter, headers)

    async def _in_scope(self, arrival: Arrival[Envelope | Unreadable], error: Exception, letter: UUID, headers: Headers) -> None:
        envelope = arrival.envelope
        assert envelope.tenantid is not None
        assert envelope.id is not None
        async with self._transaction(envelope.tenantid) as scope:
            scope.post(str(letter), dead_letter_address(self._queue), arrival.text, headers)
            # Only a participant answers: a command that strayed to the coordinator or the desk has nobody to tell, nor an exchange for it.
            if envelope.sagaid is not None and _is_command(envelope) and self._transaction.service in PARTICIPANTS:
                scope.send(
                    fault_of(error),
                    id=uuid5(letter, "fault"),
                    subject=envelope.subject,
                    sagaid=envelope.sagaid,
                    causationid=envelope.id,
                    commandid=envelope.id,
                    traceparent=envelope.traceparent,
                )
            await self._suspects.clear(scope.connection, envelope.tenantid, [envelope.id])

    async def _without_a_tenant(self, envelope: Unreadable, headers: Headers) -> None:
        # Nobody knows whose it is, so there is neither a scope nor an outbox for it: confirmed by the broker before the ack.
        body = encode([envelope.body]) if envelope.in_frame else envelope.body.encode()
        try:
            await self._relay.publish_confirmed(dead_letter_address(self._queue), body, dict(headers))
        except Outage as error:
            # Until it is taken this queue stands still, as nothing may be lost; others go on.
            _log.warning("a letter cannot be put away, consuming pauses", extra={"queue": self._queue, "error": repr(error)})
            raise

    def _tell(self, envelope: Envelope | Unreadable, error: Exception, attempt: int) -> None:
        _parked.labels(self._queue).inc()
        story = {
            "queue": self._queue,
            "tenant": envelope.tenantid,
            "saga": envelope.sagaid,
            "message_id": envelope.id,
            "trace": trace_id_of(envelope.traceparent),
            "attempt": attempt,
            "error": type(error).__name__,
            "fingerprint": fingerprint(error),
        }
        _log.error("parked %s", envelope.type or "what is no message", exc_info=error, extra=story)


def _is_command(envelope: Envelope | Unreadable) -> bool:
    return envelope.is_command if isinstance(envelope, Unreadable) else isinstance(envelope.data, Command)
