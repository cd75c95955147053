"""Calls the payment provider for every payment that is due, each call between two commits and outside any transaction.

    begin    the row is locked, the intent committed; the lease in `due_at` keeps others away            one commit
    call     the provider is called, or asked what came of an earlier call with the same key
    end      the outcome and the answers to whoever waits for it; guarded by the row's revision          one commit

Money that is held or taken and that the provider refuses to move is called for again, under a new key, after a pause that grows. Whoever
waits is told once that it is refused, so that it is seen, and is answered when the provider has come round.

A process that dies anywhere in between leaves an intent behind; when its lease is over, somebody asks the provider about the same key
and goes on from there. What cannot be found out now is asked again after a pause that grows: meanwhile nobody gets an answer.
"""

import asyncio
import logging
import random
import time
from contextlib import suppress
from datetime import timedelta
from typing import Final

from prometheus_client import Counter
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from contracts.values import OrderId, TenantId
from infra.clock import now
from infra.consumer import attempted
from infra.crash import crash_point
from infra.retry import Ending, ending_of, while_out_of_reach
from infra.service import Running
from infra.unscoped.due import DuePayments
from services.payments import repository
from services.payments.answering import answer_whoever_waits, tell_whoever_waits
from services.payments.http_provider import HttpProvider
from services.payments.model import Payment
from services.payments.provider import Call, InDoubt, Operation, Outcome, PaymentProvider, Refused

_log: Final = logging.getLogger(__name__)
_refusals: Final = Counter(
    "oaas_payment_refusals_total", "Captures, voids and refunds that the payment provider has refused", ["operation"]
)
_LOOK_EVERY_S: Final = 0.25
"""A commit in this process wakes at once; this finds what others left behind, and what a pause was for."""
_SET_ASIDE_S: Final = 60.0
"""How long a payment that met a bug is left alone."""
_RETRY_PAUSE_MAX_S: Final = 0.5
_LEASE_SHARE: Final = 0.8
"""The part of its lease that a call may take: what is left is for committing its outcome."""


async def call_the_provider(running: Running) -> None:
    """Run until the process is about to end; without a provider, payments wait."""
    settings = running.settings
    if not settings.payment_url:
        _log.warning("OAAS_PAYMENT_URL is not set: payments wait")
        await running.stopping.wait()
        return
    async with HttpProvider(settings.payment_url, settings.payment_timeout_s, settings.payment_calls_max) as provider:
        await Calls(running, provider).run()


class Calls:
    """The calls of one process; several may run, each payment is worked on by one of them at a time."""

    def __init__(self, running: Running, provider: PaymentProvider) -> None:
        self._transaction = running.transaction
        self._settings = running.settings
        self._provider = provider
        self._due = DuePayments(running.transaction.service, running.sweeper_pool)
        self._lease = timedelta(seconds=running.settings.payment_lease_s)
        self._busy: set[OrderId] = set()
        self._set_aside: dict[OrderId, float] = {}
        self._wake = asyncio.Event()
        self._stopping = running.stopping

    async def run(self) -> None:
        """Look for what is due until the process is to end, and finish what was begun: a call that is cut waits for its lease to end.

        One slow payment holds up no other, as long as there are fewer than `payment_calls_max`.
        """
        self._transaction.after_commit(self._wake.set)
        async with asyncio.TaskGroup() as group:
            while not self._stopping.is_set():
                # Before the look: whatever is committed during it wakes the next one.
                self._wake.clear()
                async for attempt in while_out_of_reach(self._settings):
                    with attempt:
                        await self._look(group)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_EVERY_S):
                        await self._wake.wait()

    async def _look(self, group: asyncio.TaskGroup) -> None:
        free = self._settings.payment_calls_max - len(self._busy)
        if free <= 0:
            return
        self._set_aside = {id: until for id, until in self._set_aside.items() if until > time.monotonic()}
        for tenant_id, order_id in await self._due.due(now(), free, self._busy | self._set_aside.keys()):
            self._busy.add(order_id)
            group.create_task(self._see_to(tenant_id, order_id))

    async def _see_to(self, tenant_id: TenantId, order_id: OrderId) -> None:
        error = await attempted(self._bring_about(tenant_id, order_id))
        self._busy.discard(order_id)
        if error is None:
            # There is room for one more.
            self._wake.set()
        elif ending_of(error) is Ending.BUG:
            self._set_aside[order_id] = time.monotonic() + _SET_ASIDE_S
            _log.error("a payment cannot be worked on", exc_info=error, extra={"tenant": tenant_id, "order": order_id})
        else:
            _log.warning("a payment is left for later", extra={"tenant": tenant_id, "order": order_id, "error": repr(error)})

    async def _bring_about(self, tenant_id: TenantId, order_id: OrderId) -> None:
        while (call := await self._begin(tenant_id, order_id)) is not None:
            crash_point(self._transaction.service, "intent")
            outcome = await self._outcome_of(call, {"tenant_id": str(tenant_id), "order_id": str(order_id)})
            crash_point(self._transaction.service, "called")
            await self._end(tenant_id, order_id, call, outcome)

    async def _begin(self, tenant_id: TenantId, order_id: OrderId) -> Call | None:
        async with self._transaction(tenant_id) as scope:
            payment = await repository.claim(scope, order_id)
            if payment is None:
                return None
            call = payment.intend(scope.now, self._lease)
            await repository.save(scope, [payment])
            return call

    async def _end(self, tenant_id: TenantId, order_id: OrderId, call: Call, outcome: Outcome | None) -> None:
        async with self._transaction(tenant_id) as scope:
            payment = await repository.lock(scope, order_id)
            # Another worker has taken it over, because we were slower than our lease: its outcome counts.
            if payment is None or not payment.learn(call, outcome, scope.now, self._pause_after(payment, outcome)):
                return
            await repository.save(scope, [payment])
            await answer_whoever_waits(scope, [payment])
            if isinstance(outcome, Refused) and payment.refusals == self._settings.payment_refusals_max:
                await tell_whoever_waits(scope, payment, call.operation, outcome.code)
        if isinstance(outcome, Refused) and call.operation is not Operation.AUTHORISE:
            _note_refusal(tenant_id, payment, call, outcome)

    async def _outcome_of(self, call: Call, metadata: dict[str, str]) -> Outcome | None:
        """What came of the call; None if nobody can say now."""
        try:
            async with asyncio.timeout(self._settings.payment_lease_s * _LEASE_SHARE):
                async for attempt in self._briefly():
                    with attempt:
                        may_be_known = call.is_in_doubt or attempt.retry_state.attempt_number > 1
                        known = await self._provider.ask(call.key) if may_be_known else None
                        return known or await self._provider.call(call, metadata)
        except (InDoubt, TimeoutError) as error:
            _log.warning("what came of a call to the payment provider is not known yet", extra={"key": call.key, "error": repr(error)})
        return None

    def _briefly(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type(InDoubt),
            stop=stop_after_attempt(self._settings.payment_tries_max),
            wait=wait_random_exponential(multiplier=self._settings.backoff_s, max=_RETRY_PAUSE_MAX_S),
            reraise=True,
        )

    def _pause_after(self, payment: Payment, outcome: Outcome | None) -> timedelta:
        # Nobody waits at the provider for what it refuses; what is in doubt or pending may be known any moment.
        if isinstance(outcome, Refused):
            times, bound = payment.refusals, self._settings.payment_refused_backoff_max_s
        else:
            times, bound = payment.attempts - 1, self._settings.payment_backoff_max_s
        # Random: many payments that failed together should not all ask again together. Bounded before the power grows beyond a float.
        longest = min(self._settings.payment_backoff_s * 2 ** min(times, 30), bound)
        return timedelta(seconds=longest * random.uniform(0.5, 1))  # noqa: S311 - no secret


def _note_refusal(tenant_id: TenantId, payment: Payment, call: Call, outcome: Refused) -> None:
    _refusals.labels(call.operation.value).inc()
    story = {"tenant": tenant_id, "order": payment.order_id, "key": call.key, "code": outcome.code, "refusals": payment.refusals}
    _log.error("the payment provider refuses to %s", call.operation.value.lower(), extra=story)
