"""A worker of the platform with a fault built in, run as a process: `python -m tests.system.faulty_worker SERVICE FAULT`.

    poison      inventory: reserving the SKU `poison` raises
    killer      inventory: reserving the SKU `killer` kills the process
    passing     inventory: reserving the SKU `passing` fails in passing twice in a process, and then no more
    published   any service: dies when everything it caused is published and confirmed, before it acknowledges

The production code has no such points; here they are put around it, and all the rest is the real worker.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import uvloop

from contracts.inventory import ReserveStock
from contracts.messages import Envelope, Later, Reply
from infra.consumer import Consumer
from infra.deliveries import Arrival, Delivery
from infra.errors import Retryable
from infra.handling import Decide, Handles
from infra.service import Service
from infra.services import load
from infra.settings import Settings
from infra.telemetry import configure
from infra.worker import Worker

POISON: Final = "poison"
KILLER: Final = "killer"
PASSING: Final = "passing"
PUBLISHED: Final = "published"


class Poisoned(Exception):
    """No code can handle this SKU."""


def main(name: str, fault: str) -> None:
    """Run the service's worker with the fault."""
    service = load([name])[0]
    settings = Settings()
    configure(name, settings)
    uvloop.run(Worker([_FAULTS[fault](service)], settings).run())


def _poison() -> None:
    raise Poisoned(Poisoned.__doc__)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_failures_left: Final = iter(range(2))


def _fail_in_passing() -> None:
    if next(_failures_left, None) is not None:
        raise Retryable("in a moment it will work")


def _at_sku(sku: str, strike: Callable[[], None]) -> Callable[[Service], Service]:
    def around(decide: Decide) -> Decide:
        def decide_or_strike(envelope: Envelope, state: Any) -> Reply | Later | None:
            assert isinstance(envelope.data, ReserveStock)
            if any(line.sku == sku for line in envelope.data.lines):
                strike()
            return decide(envelope, state)

        return decide_or_strike

    def struck(table: Sequence[Handles]) -> Sequence[Handles]:
        return [replace(one, decide={**one.decide, ReserveStock: around(one.decide[ReserveStock])}) for one in table]

    return lambda service: replace(service, handles=lambda settings: struck(service.handles(settings)))


def _before_the_ack(service: Service) -> Service:
    async def publish_then_die(consumer: Consumer, _delivery: Delivery, _handled: Sequence[Arrival[Envelope]]) -> None:
        await consumer._relay.drain(60)
        _die()

    Consumer._ack = publish_then_die  # type: ignore[method-assign, assignment]
    return service


_FAULTS: Final[Mapping[str, Callable[[Service], Service]]] = {
    POISON: _at_sku(POISON, _poison),
    KILLER: _at_sku(KILLER, _die),
    PASSING: _at_sku(PASSING, _fail_in_passing),
    PUBLISHED: _before_the_ack,
}


if __name__ == "__main__":
    main(*sys.argv[1:])
