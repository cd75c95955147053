"""The retry ladder: an envelope that failed in passing waits in a queue of the broker, and comes back to its own by itself.

It is posted there in a transaction of its tenant, through the outbox as every message is, and only then acked where it failed: dies the
process in between, there are two of it, of which the inbox lets one have an effect. Each wait is longer than the one before. A command
never waits past its `expires`, because from then on nobody but its saga decides what happens; what the operators' desk sends again has
expired long since, and is theirs to decide.
"""

import logging
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid5

from prometheus_client import Counter

from contracts import headers
from contracts.addresses import RETRY_AFTER_MS, RETRY_LANES, retry_address, retry_wait_ms
from contracts.messages import Envelope
from infra.deliveries import Arrival
from infra.letters import fingerprint
from infra.retry import until_committed
from infra.settings import Settings
from infra.suspects import Suspects
from infra.telemetry import trace_id_of
from infra.transaction import Transactions

_log: Final = logging.getLogger(__name__)
_retried: Final = Counter("oaas_envelopes_retried_total", "Envelopes that failed in passing and wait for another try", ["queue"])
_LAST_MS: Final = max(retry_wait_ms(len(RETRY_AFTER_MS) - 1, lane) for lane in range(len(RETRY_LANES)))

Rung = tuple[int, int]
"""Rung and lane."""


def rung_for(envelope: Envelope, tries: int, at: datetime, retries_max: int, *, is_replay: bool = False) -> Rung | None:
    """Where an envelope waits that has failed in passing `tries` times, the last one `at`; None if it is to be given up.

    The longest wait that is due and ends before the envelope expires. `retries_max` bounds what does not expire soon: what does is
    bounded by that, and giving it up early would only halt its saga.
    """
    left_ms = _LAST_MS + 1 if envelope.expires is None or is_replay else (envelope.expires - at) / timedelta(milliseconds=1)
    if tries > retries_max and left_ms > _LAST_MS:
        return None
    due = min(tries, len(RETRY_AFTER_MS)) - 1
    # The lane is told by the id: what failed together comes back in parts, and each of it in another lane the next time.
    lane = (envelope.id.int + tries) % len(RETRY_LANES)
    lanes = (lane, *(other for other in range(len(RETRY_LANES)) if other != lane))
    fitting = ((rung, lane) for rung in range(due, -1, -1) for lane in lanes if retry_wait_ms(rung, lane) < left_ms)
    return next(fitting, None)


class Ladder:
    """The ladder as one queue's consumer uses it."""

    def __init__(self, queue: str, transaction: Transactions, settings: Settings) -> None:
        self._queue = queue
        self._transaction = transaction
        self._settings = settings
        self._suspects = Suspects(transaction.service)

    async def takes(self, arrival: Arrival[Envelope], error: Exception) -> bool:
        """Have it tried again later, and commit that; False, and nothing is done, if it is to be given up. Waits for an absent database."""
        envelope, tries = arrival.envelope, arrival.tries + 1
        told = {headers.ATTEMPT: tries} | ({headers.REPLAY: str(arrival.replay)} if arrival.replay else {})
        # The same for the same failure, so that it is posted once however often its commit is tried.
        id = str(uuid5(envelope.id, f"{self._queue} {tries} {arrival.replay}"))
        rung: Rung | None = None
        async for trial in until_committed(self._settings):
            with trial:
                async with self._transaction(envelope.tenantid) as scope:
                    rung = rung_for(envelope, tries, scope.now, self._settings.retries_max, is_replay=arrival.replay is not None)
                    if rung is not None:
                        scope.post(id, retry_address(self._queue, *rung), arrival.text, told)
                        await self._suspects.clear(scope.connection, envelope.tenantid, [envelope.id])
        if rung is not None:
            self._tell(envelope, error, tries, rung)
        return rung is not None

    def _tell(self, envelope: Envelope, error: Exception, tries: int, rung: Rung) -> None:
        _retried.labels(self._queue).inc()
        story = {
            "queue": self._queue,
            "tenant": envelope.tenantid,
            "saga": envelope.sagaid,
            "message_id": envelope.id,
            "trace": trace_id_of(envelope.traceparent),
            "attempt": tries,
            "error": repr(error)[:200],
            "fingerprint": fingerprint(error),
        }
        _log.warning("%s failed in passing, tried again in %d ms", envelope.type, retry_wait_ms(*rung), extra=story)
