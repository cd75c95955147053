"""How timers and healthy sagas get on with each other, measured on a real broker and database: used by the bench and by a test."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

import asyncpg

from contracts.messages import Envelope, Reply
from contracts.orders import ApproveOrder
from contracts.payments import AuthorisePayment, PaymentRefused
from contracts.values import SagaId, TenantId
from infra import clock
from sagas.engine.coordinator import saga_id
from sagas.engine.definition import Retry
from sagas.engine.instance import Phase, command_id
from sagas.engine.pauses import pause_before_retry
from tests.integration.answering import Participants, agree, begin, cancel_requested, eventually, order_placed

TENANTS: Final = tuple(TenantId(uuid4()) for _ in range(5))
Row = tuple[UUID, int, datetime]


def refuse_payments(envelope: Envelope) -> Reply | None:
    """Every payment is refused, all else succeeds."""
    return PaymentRefused(code="later") if isinstance(envelope.data, AuthorisePayment) else agree(envelope)


@dataclass
class Waiting:
    """Sagas in backoff: their payment is refused again and again."""

    ids: list[SagaId]
    others: Participants
    administrator: asyncpg.Connection
    retry: Retry

    @classmethod
    async def begun(
        cls, many: int, others: Participants, administrator: asyncpg.Connection, retry: Retry, within_s: float = 0
    ) -> "Waiting":
        """Start so many, spread over `within_s`, and wait until each was refused once."""
        events = [cancel_requested(TENANTS[number % len(TENANTS)]) for number in range(many)]
        ids = [saga_id("patient", event.tenantid, event.subject) for event in events]
        waiting = cls(ids, others, administrator, retry)
        firsts = [command_id(id, Phase.ASK, "pay", 1) for id in ids]
        for first in range(0, many, 50):
            await begin(others, events[first : first + 50])
            await asyncio.sleep(within_s * 50 / many)
        await eventually(
            lambda: all(id in others.came for id in firsts), lambda: f"{sum(id in others.came for id in firsts)} of {many} came"
        )
        return waiting

    async def errors_s(self, since: datetime, until: datetime) -> list[float]:
        """For each pause that ended in that time, how long after its end the participant was asked again."""
        rows: list[Row] = await self.administrator.fetch(
            "SELECT saga_id, attempt, at FROM sagas.saga_event WHERE kind = 'TRY_LATER' AND saga_id = ANY($1::uuid[])", self.ids
        )
        due: dict[UUID, datetime] = {}
        for saga, attempts, at in rows:
            command = command_id(SagaId(saga), Phase.ASK, "pay", attempts + 1)
            due[command] = at + pause_before_retry(self.retry, attempts, command)
        ended = [command for command, at in due.items() if since <= at < until]
        await eventually(lambda: all(command in self.others.came for command in ended), lambda: "a timer was lost")
        return [(self.others.came[command][0] - due[command]).total_seconds() for command in ended]

    async def forget(self) -> None:
        """As if they had never been. Locked first as the coordinator locks, which may be at one of them."""
        await self.administrator.execute(
            "WITH gone AS (SELECT tenant_id, id FROM sagas.saga WHERE id = ANY($1::uuid[]) ORDER BY tenant_id, id FOR UPDATE)"
            " DELETE FROM sagas.saga USING gone WHERE saga.tenant_id = gone.tenant_id AND saga.id = gone.id",
            self.ids,
        )


async def healthy_latencies_s(others: Participants, seconds: float, per_second: float) -> list[float]:
    """Orders at a steady rate: for each the time from its event to the asking of its pivot, two hops through the coordinator."""
    began: dict[str, datetime] = {}
    first = len(others.asked)
    tasks = []
    start, many = asyncio.get_running_loop().time(), int(seconds * per_second)
    for number in range(many):
        await asyncio.sleep(max(0, start + number / per_second - asyncio.get_running_loop().time()))
        event = order_placed(TENANTS[number % len(TENANTS)])
        began[event.subject] = clock.now()
        tasks.append(asyncio.create_task(others.send("orders", [event])))
    await asyncio.gather(*tasks)

    def ends() -> dict[str, datetime]:
        return {one.subject: others.came[one.id][0] for one in others.asked[first:] if isinstance(one.data, ApproveOrder)}

    await eventually(lambda: len(ends()) >= many, lambda: f"{len(ends())} of {many} healthy sagas came to their pivot")
    return [(at - began[subject]).total_seconds() for subject, at in ends().items()]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
