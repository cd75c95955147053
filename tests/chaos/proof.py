"""Whether the promises were kept, once all is over: nothing lost, nothing doubled, nothing waits for people, and every book balances.

What clients saw over HTTP is compared with what every service has in its tables and with the books of the payment provider.
"""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import aio_pika
import asyncpg

from contracts.addresses import PARTICIPANTS, dead_letter_queue, work_queues
from contracts.values import Rejection, TenantId
from infra import clock
from infra.database import open_pool
from infra.dev.demo_client import Retailer
from infra.dev.up import Platform
from infra.outbox import Outbox
from infra.settings import ENVIRONMENT, Settings
from infra.transaction import Transactions
from tests.chaos.crowd import Journey, Shopper
from tests.chaos.purse import Ledger, read
from tests.chaos.wishes import PLENTY, TENANTS, as_confirmed, ends
from tests.integration.troubled import Shopkeeper
from tests.integration.verdict import verdict

_SERVICES: Final = (*PARTICIPANTS, "sagas")
_NEVER: Final = {Rejection.NO_ANSWER.value, Rejection.FAULT.value}
_TOLD_MAX: Final = 12
_TWICE_CHARGED: Final = """
    SELECT DISTINCT order_id FROM tenants.financial_transactions WHERE tenant_id = ANY($1)
    GROUP BY tenant_id, order_id, kind, vat_rate HAVING count(*) > 1"""
_PAID_WITH: Final = "SELECT order_id FROM payments.payment WHERE payment_id = ANY($1)"
_FOR_PEOPLE: Final = """
    SELECT name, state, count(*) AS number FROM sagas.saga
    WHERE tenant_id = ANY($1) AND state IN ('PARKED', 'NEEDS_ATTENTION', 'PAUSED') GROUP BY 1, 2"""
_GOES_ON: Final = """
    SELECT count(*) FROM sagas.saga WHERE tenant_id = ANY($1)
    AND state NOT IN ('COMPLETED', 'ABANDONED', 'PARKED', 'NEEDS_ATTENTION', 'PAUSED')"""
_LETTERS: Final = """
    SELECT queue, type, left(error, 200) AS error, count(*) AS number FROM ops.letter WHERE tenant_id = ANY($1) GROUP BY 1, 2, 3"""


@dataclass
class Findings:
    """`broken` names every promise that was broken; empty if all were kept."""

    lost: list[Journey] = field(default_factory=list)
    doubled: list[Journey] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Baseline:
    """What was there before the run, and is not its own."""

    letters: Mapping[str, int]
    violations: Counter[str]
    doubled: frozenset[UUID]


@dataclass(frozen=True)
class _Judged:
    tenants: Sequence[Shopkeeper]
    transactions: Mapping[str, Transactions]
    purse: Ledger


async def baseline(running: Platform) -> Baseline:
    """Look before the run."""
    ledger = read(running.environment["OAAS_PAYMENT_URL"])
    return Baseline(await dead_letters(running), ledger.violations, ledger.doubled)


async def judge(
    running: Platform,
    before: Baseline,
    retailers: Mapping[str, Retailer],
    shoppers: Mapping[str, Shopper],
    journeys: Sequence[Journey],
    room: int,
) -> Findings:
    """Everything is at rest. `room`: how many orders a scarce tenant has stock or quota for."""
    found = Findings()
    _as_seen(found, journeys)
    found.broken += _ends_right(journeys, room)
    found.broken += [line async for line in _over_http(shoppers, journeys)]
    purse = read(running.environment["OAAS_PAYMENT_URL"])
    found.broken += [f"the acquirer notes: {what}" for what in (purse.violations - before.violations)]
    twice = list(purse.doubled - before.doubled)
    found.broken += [f"{len(twice)} payments were begun twice at the acquirer, such as {min(twice)}"] if twice else []
    tenants = [retailer.tenant_id for retailer in retailers.values()]
    connection = await asyncpg.connect(running.servers.postgres_url)
    try:
        doubled = {row["order_id"] for row in await connection.fetch(_TWICE_CHARGED, tenants)}
        doubled |= {row["order_id"] for row in await connection.fetch(_PAID_WITH, twice)}
        found.doubled += [journey for journey in journeys if journey.ids & doubled and journey not in found.doubled]
        found.broken += [
            f"{row['number']} {row['name']} wait for people: {row['state']}" for row in await connection.fetch(_FOR_PEOPLE, tenants)
        ]
        found.broken += [f"{row['number']} dead letters: {tuple(row)[:3]}" for row in await connection.fetch(_LETTERS, tenants)]
    finally:
        await connection.close()
    for queue, count in (await dead_letters(running)).items():
        if count > before.letters.get(queue, 0):
            found.broken.append(f"{count - before.letters.get(queue, 0)} dead letters in {queue}")
    found.broken += await _books(running, retailers.values(), purse)
    if found.lost:
        found.broken.append(f"{len(found.lost)} orders are lost, such as {[_told(one) for one in found.lost[:3]]}")
    if found.doubled:
        found.broken.append(f"{len(found.doubled)} orders are doubled, such as {[_told(one) for one in found.doubled[:3]]}")
    return found


async def open_sagas(running: Platform, tenants: Collection[UUID]) -> int:
    """How many sagas go on by themselves: a card may be charged a while after its order is final."""
    connection = await asyncpg.connect(running.servers.postgres_url)
    try:
        return int(await connection.fetchval(_GOES_ON, list(tenants)))
    finally:
        await connection.close()


async def dead_letters(running: Platform) -> dict[str, int]:
    """How many letters lie in each dead-letter queue."""
    found = {}
    async with await aio_pika.connect(running.servers.rabbitmq_url) as connection:
        channel = await connection.channel()
        for queue in map(dead_letter_queue, work_queues()):
            found[queue] = (await channel.declare_queue(queue, passive=True)).declaration_result.message_count or 0
    return found


def _as_seen(found: Findings, journeys: Sequence[Journey]) -> None:
    for journey in journeys:
        if journey.trouble:
            found.broken.append(f"a client gave up: {journey.trouble} {journey.wish}")
        if not journey.is_accepted:
            continue
        found.outcomes[journey.outcome or "not final"] += 1
        wanted = journey.wish.outcome
        if journey.outcome is None or journey.outcome in _NEVER or (wanted is not None and journey.outcome != wanted):
            found.lost.append(journey)
        if len(journey.ids) > 1:
            found.doubled.append(journey)
    del found.broken[_TOLD_MAX:]


def _ends_right(journeys: Sequence[Journey], room: int) -> Iterator[str]:
    """Of those who came too late it is known how many, not who."""
    for tenant, sort in TENANTS.items():
        of = [journey.outcome for journey in journeys if journey.wish.tenant == tenant and journey.outcome is not None]
        if sort != PLENTY and (seen := as_confirmed(of)) != (wanted := ends(sort, len(of), room)):
            yield f"{tenant}: {dict(seen)}, and not {dict(wanted)}"


async def _over_http(shoppers: Mapping[str, Shopper], journeys: Sequence[Journey]) -> AsyncIterator[str]:
    """Every accepted order is there as its client saw it, and none is there that nobody placed."""
    for tenant, shopper in shoppers.items():
        there = await shopper.orders()
        seen = {id: journey.outcome for journey in journeys if journey.wish.tenant == tenant for id in journey.ids}
        if missing := seen.keys() - there.keys():
            yield f"{tenant}: {len(missing)} accepted orders are not there, such as {min(missing)}"
        if strange := there.keys() - seen.keys():
            yield f"{tenant}: {len(strange)} orders are there that nobody knows to have placed, such as {min(strange)}"
        for id in seen.keys() & there.keys():
            if seen[id] is not None and seen[id] != there[id]:
                yield f"{tenant}: order {id} was {seen[id]} and is {there[id]}"


async def _books(running: Platform, retailers: Iterable[Retailer], purse: Ledger) -> list[str]:
    async with _transactions(running) as transactions:
        tenants = [Shopkeeper(TenantId(one.tenant_id), dict(one.received)) for one in retailers]
        wrong = Counter((await verdict(_Judged(tenants, transactions, purse))).wrong)
    told = [f"{number} x {what}" for what, number in wrong.most_common(_TOLD_MAX)]
    return told + [f"and {len(wrong) - len(told)} more of the kind"] * (len(wrong) > len(told))


@asynccontextmanager
async def _transactions(running: Platform) -> AsyncIterator[dict[str, Transactions]]:
    settings = Settings(_env_file=running.home / ENVIRONMENT)
    async with AsyncExitStack() as stack:
        made = {}
        for service in _SERVICES:
            pool = open_pool(settings, service, "app", 2)
            stack.push_async_callback(pool.dispose)
            made[service] = Transactions(service, pool, Outbox(service, settings.resend_after_s), lambda _: None, clock.now)
        yield made


def _told(journey: Journey) -> str:
    return f"{sorted(map(str, journey.ids))} of {journey.wish}: {journey.outcome}"
