"""Durable timers: finds sagas whose time has come and tells the machine that nobody answered, or that a pause is over.

The time is in the saga's row (`wake_at`), so a restart loses none, and an answer cancels it. Between two looks it sleeps until the next
time that any saga has; one that is set meanwhile for sooner is late by `_LOOK_EVERY_S` at most. After a start, a reconnection or an
outage the deadlines wait until the replies that were queued meanwhile are handled, bounded by `settle_max_s`: an outage must not
reject what was in flight. A broker under an alarm, which takes no messages, is an outage too.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from prometheus_client import Histogram

from contracts.addresses import DESK, queues_of, work_queues
from contracts.values import SagaId, TenantId
from infra.clock import now
from infra.consumer import attempted
from infra.retry import Ending, ending_of, while_out_of_reach
from infra.service import Running
from infra.unscoped.due import DueSaga, DueSagas
from sagas.engine import instances, machine
from sagas.engine.coordinator import Coordinator, Group

_log: Final = logging.getLogger(__name__)
_late: Final = Histogram(
    "oaas_saga_timer_late_seconds", "How long after its time a saga was moved by its timer", buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
)
_LOOK_EVERY_S: Final = 0.4
_REST_S: Final = 0.2
"""Shortest pause between two looks: what is due at nearly the same time is moved together."""
_DUE_MAX: Final = 1_000
_TOGETHER_MAX: Final = 50
"""Sagas in one transaction: few enough that the replies of others, which the same process handles, need not wait for them."""
_SET_ASIDE_S: Final = 60.0
"""How long a saga that could not be moved is left alone: its row may be damaged."""
_QUIET_S: Final = 3.0
"""The queues have to be empty for this long before an interruption counts as over: longer than a participant takes to come back."""
_SETTLE_LOOK_S: Final = 0.25
_ASK_EVERY_S: Final = 2.0
"""How often the broker is asked whether it takes messages. An alarm that is shorter costs nobody a deadline."""


class Deadlines:
    """The timers of all sagas; several processes may run them, each saga is moved by one of them at a time."""

    def __init__(self, coordinator: Coordinator, running: Running) -> None:
        self._coordinator = coordinator
        self._running = running
        self._due = DueSagas(running.transaction.service, running.sweeper_pool, coordinator.sagas)
        self._interruptions_seen = -1
        self._set_aside: dict[SagaId, float] = {}
        self._asked_at = -_ASK_EVERY_S

    async def run(self) -> None:
        """Look for what is due, for ever."""
        while True:
            rest_s = _LOOK_EVERY_S
            async for attempt in while_out_of_reach(self._running.settings):
                with attempt:
                    if attempt.retry_state.attempt_number > 1:
                        self._interruptions_seen = -1
                    if time.monotonic() - self._asked_at > _ASK_EVERY_S:
                        await self._ask_the_broker()
                    await self._settle()
                    rest_s = await self.look()
            await asyncio.sleep(rest_s)

    async def look(self) -> float:
        """Move every saga that is due now; returns for how long no other will be, seconds, as far as can be said."""
        at = now()
        ahead = await self._due.due(at + timedelta(seconds=_LOOK_EVERY_S), _DUE_MAX, self._set_aside_now())
        # Those of a tenant together: a transaction costs what it costs for each tenant in it.
        due = sorted((saga for saga in ahead if saga.wake_at <= at), key=lambda saga: saga.tenant_id)
        if due:
            await self._ask_the_broker()
        for first in range(0, len(due), _TOGETHER_MAX):
            began = time.monotonic()
            await self.time_out(due[first : first + _TOGETHER_MAX])
            # However many are due at once, sagas that are being answered get half of the time.
            await asyncio.sleep(min(time.monotonic() - began, _REST_S))
        if due:
            # What somebody else had locked is due still, and there may be more than one look takes.
            return 0 if len(due) >= _DUE_MAX else _REST_S
        return max(_REST_S, (ahead[0].wake_at - now()).total_seconds()) if ahead else _LOOK_EVERY_S

    async def time_out(self, due: Sequence[DueSaga]) -> None:
        """Tell the machine that the time of these has come; one that cannot be moved is set aside and holds up no other."""
        error = await attempted(self._move(due))
        if error is None:
            return
        if ending_of(error) is Ending.OUTAGE:
            raise error
        if len(due) > 1:
            await self.time_out(due[: len(due) // 2])
            await self.time_out(due[len(due) // 2 :])
        else:
            self._set_aside[due[0].id] = time.monotonic() + _SET_ASIDE_S
            _log.error("a deadline cannot be acted on", exc_info=error, extra={"tenant": due[0].tenant_id, "saga": due[0].id})

    async def _move(self, due: Sequence[DueSaga]) -> None:
        by_tenant: dict[TenantId, list[SagaId]] = {}
        for saga in due:
            by_tenant.setdefault(saga.tenant_id, []).append(saga.id)
        async with self._running.transaction.batch() as batch:
            for tenant_id, ids in sorted(by_tenant.items()):
                async with batch.scope(tenant_id) as scope:
                    # Whoever has the row locked is moving the saga right now: if it is due after that still, the next look finds it.
                    held = await instances.lock(scope.connection, tenant_id, sorted(ids), self._coordinator.sagas, skip_locked=True)
                    group = Group(tenant_id, scope.now, held)
                    if any(saga.is_unheard for saga in due):
                        await self._coordinator.hear_what_was_kept(scope, group)
                    for one in held.values():
                        if one.instance.wake_at is not None and one.instance.wake_at <= scope.now:
                            _late.observe((scope.now - one.instance.wake_at).total_seconds())
                        one.move(machine.timed_out(one.saga, one.instance, scope.now), None)
                    await self._coordinator.save(scope, group)

    def _set_aside_now(self) -> list[SagaId]:
        self._set_aside = {id: until for id, until in self._set_aside.items() if until > time.monotonic()}
        return list(self._set_aside)

    async def _ask_the_broker(self) -> None:
        # Under an alarm nobody's answer gets through, while every connection looks well: that is no silence either.
        await self._running.expect_it_takes_messages()
        self._asked_at = time.monotonic()

    async def _settle(self) -> None:
        interruptions = sum(consumer.interruptions for consumer in self._running.consumers)
        if interruptions == self._interruptions_seen:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + self._running.settings.settle_max_s
        quiet_since = loop.time()
        handled = -1
        while loop.time() < end and loop.time() - quiet_since < _QUIET_S:
            await asyncio.sleep(_SETTLE_LOOK_S)
            # Raises as long as the database is away, so that the quiet is that of a platform that works.
            await self._due.due(now(), 1)
            # The participants' queues too: what waits there was asked before the interruption, and nobody could answer it.
            # The desk answers no saga.
            shards = self._running.shards.count
            asked = [queue for queue in work_queues(shards) if queue not in queues_of(DESK, shards)]
            waiting = sum([await self._running.backlog(queue) for queue in asked])
            if waiting or handled != (handled := sum(consumer.handled for consumer in self._running.consumers)):
                quiet_since = loop.time()
        _log.info("deadlines count again")
        self._interruptions_seen = interruptions
