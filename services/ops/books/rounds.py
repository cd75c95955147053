"""Compares the services' books regularly, once after a start, and once after an outage; counts what is wrong, for those who watch.

Read-only but for the findings, so two workers that do it at once do the same.
"""

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Final

from prometheus_client import Gauge

from contracts.values import TenantId
from infra.clock import now
from infra.consumer import attempted
from infra.reconcile import Keepers, known_tenants, open_keepers
from infra.retry import Ending, ending_of
from infra.service import Running
from infra.settings import Settings
from infra.transaction import Transactions
from infra.unscoped.findings import OpenFindings
from services.ops.books import findings
from services.ops.books.comparing import Compared, Comparing
from services.ops.books.kinds import Kind

_log: Final = logging.getLogger(__name__)
_found: Final = Gauge("oaas_reconcile_findings", "Things wrong with the services' books that nobody has accepted", ["kind"])
_compared_at: Final = Gauge("oaas_reconcile_compared_timestamp_seconds", "When all books were compared last")
_LOOK_EVERY_S: Final = 5.0
"""How often it is looked whether there is an outage, and what is wrong is counted."""
_TENANTS_TOGETHER: Final = 100
"""Tenants that are looked at a second time after one pause, so that a round takes no longer the more of them have something wrong."""


async def keep(transaction: Transactions, compared: Compared) -> None:
    """Write down what there is, in the desk's own transaction."""
    async with transaction(compared.look.tenant_id) as scope:
        await findings.keep(scope, compared.findings, compared.look.part, compared.moving)


class Rounds:
    """When to compare: `reconcile_every_s` after the last time, and a grace after a start or the end of an outage."""

    def __init__(self, settings: Settings, now_s: float) -> None:
        self._every_s = settings.reconcile_every_s
        # Before that, whatever an outage has held up is still on its way, and nothing would be said of it.
        self._grace_s = settings.reconcile_grace_s
        self._due_s = now_s + self._every_s
        self._after_recovery_s = now_s + self._grace_s
        self._is_out = False
        self._interruptions = 0

    def is_due(self, now_s: float, *, is_out: bool, interruptions: int) -> bool:
        """Whether to compare now; `interruptions` counts the connections to the broker that were lost."""
        if is_out or self._is_out or interruptions != self._interruptions:
            self._after_recovery_s = now_s + self._grace_s
        self._is_out, self._interruptions = is_out, interruptions
        return not is_out and now_s >= min(self._due_s, self._after_recovery_s)

    def compared(self, now_s: float) -> None:
        """Everything was compared at this time."""
        self._due_s = now_s + self._every_s
        if now_s >= self._after_recovery_s:
            self._after_recovery_s = math.inf


async def reconcile_regularly(running: Running) -> None:
    """Run for ever."""
    loop = asyncio.get_running_loop()
    rounds = Rounds(running.settings, loop.time())
    known = OpenFindings(running.sweeper_pool)
    while True:
        await asyncio.sleep(min(_LOOK_EVERY_S, running.settings.reconcile_every_s))
        error = await attempted(_count(known))
        is_out = error is not None and ending_of(error) is Ending.OUTAGE
        interruptions = sum(consumer.interruptions for consumer in running.consumers)
        if not rounds.is_due(loop.time(), is_out=is_out, interruptions=interruptions):
            continue
        error = await attempted(_go_round(running))
        if error is not None:
            _log.warning("the services' books could not be compared; it is tried again", exc_info=error)
            continue
        rounds.compared(loop.time())
        await attempted(_count(known))


async def _go_round(running: Running) -> None:
    async with open_keepers(running.settings) as keepers:
        tenants = await known_tenants(keepers)
        number = await _compare_each(running, keepers, tenants)
    _compared_at.set(now().timestamp())
    level = logging.WARNING if number else logging.INFO
    _log.log(level, "the books of %s tenants are compared: %s things are wrong", len(tenants), number)


async def _compare_each(running: Running, keepers: Keepers, tenants: Sequence[TenantId]) -> int:
    comparing = Comparing(keepers, running.transaction, running.settings)
    number = 0
    for first in range(0, len(tenants), _TENANTS_TOGETHER):
        looks = [await comparing.look(tenant_id, now()) for tenant_id in tenants[first : first + _TENANTS_TOGETHER]]
        for compared in await comparing.settle(looks):
            await keep(running.transaction, compared)
            number += len(compared.findings)
    return number


async def _count(known: OpenFindings) -> None:
    counted = await known.count()
    for kind in Kind:
        _found.labels(kind.value).set(counted.get(kind.value, 0))
