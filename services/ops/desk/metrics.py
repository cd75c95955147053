"""What dead letters there are, as gauges, and what becomes of them, as counters.

    oaas_dead_letters{queue,state}                  open letters; counted now and then by every worker of the desk, so take the max
    oaas_dead_letters_oldest_seconds{queue}         since the one that has waited longest died first
    oaas_dead_letter_fingerprints_new_total         causes of which there was no letter yet
    oaas_dead_letters_taken_in_total{queue}         deaths that were new
    oaas_replays_settled_total, oaas_replays_failed_total    replayed letters whose effect is committed, and those that died again

A process that cannot count shows no gauge: no number is better than an old one.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from prometheus_client import REGISTRY, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from contracts.addresses import work_queues
from infra.clock import now
from infra.consumer import attempted
from infra.service import Running
from infra.unscoped.letters import LetterSearch
from services.ops.desk.model import OPEN

_log: Final = logging.getLogger(__name__)
_COUNT_EVERY_S: Final = 10.0
_COUNT_SHARE: Final = 0.01
"""Of a connection's time, at most: with hundreds of thousands of letters it is counted less often."""
NEW_FINGERPRINTS: Final = Counter("oaas_dead_letter_fingerprints_new_total", "Causes of which there was no letter yet")
TAKEN_IN: Final = Counter("oaas_dead_letters_taken_in_total", "Deaths that were taken in for the first time", ["queue"])
REPLAYS_SETTLED: Final = Counter("oaas_replays_settled_total", "Replayed letters whose effect is committed")
REPLAYS_FAILED: Final = Counter("oaas_replays_failed_total", "Replayed letters that died again")


class LetterGauges(Collector):
    """What was counted last. One per process, registered."""

    def __init__(self) -> None:
        self._counted: tuple[Sequence[tuple[str, str, int, datetime]], datetime] | None = None

    def show(self, depth: Sequence[tuple[str, str, int, datetime]], at: datetime) -> None:
        """From now on show this, counted at `at`: queue, state, number, when the oldest died first."""
        self._counted = depth, at

    def show_nothing(self) -> None:
        self._counted = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, with a 0 for every queue that has none."""
        letters = GaugeMetricFamily("oaas_dead_letters", "Open dead letters", labels=["queue", "state"])
        oldest = GaugeMetricFamily("oaas_dead_letters_oldest_seconds", "Since the oldest open one died first", labels=["queue"])
        if self._counted is not None:
            depth, at = self._counted
            for queue in sorted({*work_queues(), *(queue for queue, *_ in depth)}):
                for state in OPEN:
                    letters.add_metric([queue, state], sum(number for of, in_state, number, _ in depth if (of, in_state) == (queue, state)))
                since = min((first for of, _, _, first in depth if of == queue), default=at)
                oldest.add_metric([queue], max(0.0, (at - since).total_seconds()))
        yield from (letters, oldest)


GAUGES: Final = LetterGauges()
REGISTRY.register(GAUGES)


def pause_s(took_s: float) -> float:
    """How long to wait after a count that took so long, both in seconds."""
    return max(_COUNT_EVERY_S, took_s / _COUNT_SHARE)


async def count_letters(running: Running) -> None:
    """Count every `_COUNT_EVERY_S` seconds, or less often if it takes long, for ever."""
    clock = asyncio.get_running_loop().time
    search = LetterSearch(running.sweeper_pool)

    async def count() -> None:
        at = now()
        GAUGES.show(await search.depth(), at)

    while True:
        began_s = clock()
        if (error := await attempted(count())) is not None:
            GAUGES.show_nothing()
            _log.warning("dead letters cannot be counted now", extra={"error": repr(error)})
        await asyncio.sleep(pause_s(clock() - began_s))
