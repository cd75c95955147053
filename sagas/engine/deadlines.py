"""Durable timers: finds sagas whose deadline has passed and tells the machine that nobody answered.

The time is in the saga's row (`wake_at`), so a restart loses none. After a start, a reconnection or an outage the deadlines wait until
the replies that were queued meanwhile are handled, bounded by `settle_max_s`: an outage must not reject what was in flight.
"""

import asyncio
import logging
import time
from typing import Final

from contracts.addresses import work_queues
from contracts.values import SagaId, TenantId
from infra.clock import now
from infra.consumer import attempted
from infra.retry import Ending, ending_of, while_out_of_reach
from infra.service import Running
from infra.unscoped import DueSagas
from sagas.engine import instances, machine
from sagas.engine.coordinator import Coordinator, Group

_log: Final = logging.getLogger(__name__)
_LOOK_EVERY_S: Final = 0.25
_DUE_MAX: Final = 500
_SET_ASIDE_S: Final = 60.0
"""How long a saga that could not be moved is left alone: its definition may be another release's, or its row damaged."""
_QUIET_S: Final = 3.0
"""The queues have to be empty for this long before an interruption counts as over: longer than a participant takes to come back."""


class Deadlines:
    """The timers of all sagas; several processes may run them, each saga is moved by one of them at a time."""

    def __init__(self, coordinator: Coordinator, running: Running) -> None:
        self._coordinator = coordinator
        self._running = running
        self._due = DueSagas(running.transaction.service, running.sweeper_pool)
        self._interruptions_seen = -1
        self._set_aside: dict[SagaId, float] = {}

    async def run(self) -> None:
        """Look for what is overdue, for ever."""
        while True:
            async for attempt in while_out_of_reach(self._running.settings):
                with attempt:
                    if attempt.retry_state.attempt_number > 1:
                        self._interruptions_seen = -1
                    await self._settle()
                    await self.look()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def look(self) -> int:
        """Move every saga that is overdue now; returns how many there were."""
        due = await self._due.due(now(), _DUE_MAX, self._set_aside_now())
        for tenant_id, ids in due.items():
            await self._time_out(tenant_id, ids)
        return sum(len(ids) for ids in due.values())

    async def _time_out(self, tenant_id: TenantId, ids: list[SagaId]) -> None:
        error = await attempted(self._move(tenant_id, ids))
        if error is None:
            return
        if ending_of(error) is Ending.OUTAGE:
            raise error
        if len(ids) > 1:
            # One of them cannot be moved; it must not hold up the others.
            for one in ids:
                await self._time_out(tenant_id, [one])
        else:
            self._set_aside[ids[0]] = time.monotonic() + _SET_ASIDE_S
            _log.error("a deadline cannot be acted on", exc_info=error, extra={"tenant": tenant_id, "saga": ids[0]})

    async def _move(self, tenant_id: TenantId, ids: list[SagaId]) -> None:
        async with self._running.transaction(tenant_id) as scope:
            # Whoever has the row locked is moving the saga right now: if it is still overdue after that, the next look finds it.
            held = await instances.lock(scope.connection, tenant_id, sorted(ids), self._coordinator.sagas, skip_locked=True)
            for one in held.values():
                one.move(machine.timed_out(one.saga, one.instance, scope.now), None)
            await self._coordinator.save(scope, Group(tenant_id, scope.now, held))

    def _set_aside_now(self) -> list[SagaId]:
        self._set_aside = {id: until for id, until in self._set_aside.items() if until > time.monotonic()}
        return list(self._set_aside)

    async def _settle(self) -> None:
        interruptions = sum(consumer.interruptions for consumer in self._running.consumers)
        if interruptions == self._interruptions_seen:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + self._running.settings.settle_max_s
        quiet_since = loop.time()
        handled = -1
        while loop.time() < end and loop.time() - quiet_since < _QUIET_S:
            await asyncio.sleep(_LOOK_EVERY_S)
            # Raises as long as the database is away, so that the quiet is that of a platform that works.
            await self._due.due(now(), 1)
            # The participants' queues too: what waits there was asked before the interruption, and nobody could answer it.
            waiting = sum([await self._running.backlog(queue) for queue in work_queues()])
            if waiting or handled != (handled := sum(consumer.handled for consumer in self._running.consumers)):
                quiet_since = loop.time()
        _log.info("deadlines count again")
        self._interruptions_seen = interruptions
