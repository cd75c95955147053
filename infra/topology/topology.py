"""Makes a broker what contracts/addresses.py says, and refuses to work with one that is something else.

A node of ours loads the definitions when it boots; on servers of one's own `oaas topology apply` does the same, and `oaas migrate` does
it too. In code only a queue's type is declared: any other argument could never be changed again without deleting the queue. Limits
and dead lettering are policies, which go through the management API. Without its policy a queue loses what it dead-letters, so
services refuse to start on a mismatch.
"""

import asyncio
import logging
from typing import Final

from faststream.rabbit import ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue

from contracts import addresses
from contracts.policies import policies
from infra.errors import Misconfigured
from infra.settings import Settings
from infra.topology.definitions import exchange, queue
from infra.topology.live import MEND, Difference, Live, differences, former, late, look, obsolete
from infra.topology.management import Management, management

_log: Final = logging.getLogger(__name__)
_SAYS_ANEW_S: Final = 12.0
"""Queues say what they obey every five seconds; one that still obeys something else after two of those is not only late."""
_TOLD_MAX: Final = 10
_LOOK_EVERY_S: Final = 0.5


async def prepare(broker: RabbitBroker, settings: Settings) -> None:
    """What a process does with the topology when it starts; raises Misconfigured if it is not that of this release and these settings."""
    # Nothing is declared before its policies are there: else others would find and read shards whose queues lose what dies in them.
    await refuse_a_mismatch(settings)
    await declare(broker, settings.shards)


async def declare(broker: RabbitBroker, shards: int = addresses.SHARDS) -> None:
    """Exchanges, queues and bindings of so many shards. Safe to repeat; nothing is published to an exchange that does not exist yet."""
    exchanges = {
        name: await broker.declare_exchange(RabbitExchange(name, type=ExchangeType(kind), durable=True))
        for name, kind in addresses.exchanges().items()
    }
    queues = {name: await broker.declare_queue(work_queue(name)) for name in addresses.queues(shards)}
    for binding in addresses.bindings(shards):
        await queues[binding.queue].bind(exchanges[binding.exchange], routing_key=binding.routing_key)


def work_queue(name: str) -> RabbitQueue:
    """The queue as every process declares it."""
    return RabbitQueue(name, durable=True, queue_type=QueueType.QUORUM)


async def mismatches(settings: Settings, *, also_former: bool = True) -> list[Difference]:
    """What is not as it should be, once queues have said what they obey; empty if all is well.

    Shards that are on the broker and not written to any more count too, unless `also_former` is False.
    """
    async with management(settings) as found:
        until = asyncio.get_running_loop().time() + _SAYS_ANEW_S
        while True:
            live = await look(found)
            shards = max(settings.shards, live.shards if also_former else 0)
            if wrong := differences(live, shards):
                return wrong
            if not (wrong := late(live, shards)) or asyncio.get_running_loop().time() > until:
                return wrong
            await asyncio.sleep(_LOOK_EVERY_S)


async def refuse_a_mismatch(settings: Settings) -> None:
    """Raises Misconfigured naming everything that differs. Without a management URL it can only trust."""
    if not settings.rabbitmq_management_url:
        return
    async with management(settings) as starting:
        await starting.until_it_answers()
    # While `apply` adds shards, processes with fewer are not to be in its way.
    if wrong := await mismatches(settings, also_former=False):
        told = "; ".join(f"{one}. Mend it: {one.mend}" if one.mend != MEND else str(one) for one in wrong[:_TOLD_MAX])
        told += f"; and {len(wrong) - _TOLD_MAX} others" if len(wrong) > _TOLD_MAX else ""
        raise Misconfigured(f"RabbitMQ's topology is not that of this release: {told}. Run `{MEND}`; `oaas check topology` says more.")


async def apply(settings: Settings, *, dry_run: bool = False) -> tuple[list[str], list[Difference]]:
    """Add what is missing, change policies that differ, remove those of ours that this release does not have; never strangers'.

    Returns what was done, or would be, in words, and what people must mend. Waits for a broker that is starting; raises Misconfigured
    if it refuses or stays silent.
    """
    async with management(settings) as broker:
        await broker.until_it_answers()
        live = await look(broker)
        shards = max(settings.shards, live.shards)
        wrong = differences(live, shards)
        mendable = [one for one in wrong if one.mend == MEND]
        done = [f"{one.what} {one.name}: {one.found}, set to {one.wanted}" for one in mendable]
        done += [f"policy {name}: no release of ours has it any more, removed" for name in obsolete(live)]
        if not dry_run:
            await _mend(broker, mendable, live, shards)
        return done, [one for one in wrong if one.mend != MEND]


async def former_shards(settings: Settings) -> dict[str, int]:
    """The queues of shards that are read and no longer written to, and how many messages each has, its letters included."""
    async with management(settings) as broker:
        return former(await look(broker), settings.shards)


async def _mend(broker: Management, wrong: list[Difference], live: Live, shards: int) -> None:
    missing = {(one.what, one.name) for one in wrong}
    for name, kind in addresses.exchanges().items():
        if ("exchange", name) in missing:
            await broker.put("exchanges", name, exchange(kind))
    # Policies before queues: no queue is ever without its own.
    for name, body in policies().items():
        if ("policy", name) in missing:
            await broker.put("policies", name, body)
    for name in addresses.queues(shards):
        if ("queue", name) in missing:
            await broker.put("queues", name, queue())
    for binding in addresses.bindings(shards):
        if binding not in live.bindings:
            await broker.bind(binding.exchange, binding.routing_key, binding.queue)
    for name in obsolete(live):
        await broker.delete("policies", name)
    if wrong:
        _log.info("topology mended", extra={"count": len(wrong)})
