"""Where the open sagas stand, as gauges: counted now and then by every process that runs their timers, so take the max over processes.

    oaas_sagas{saga,state}                           how many there are
    oaas_sagas_progress_age_seconds{saga,state}      how long the one that has waited longest has waited
    oaas_sagas_stuck{saga}                           how many have made no progress for longer than their deadline
    oaas_sagas_without_definition{saga,version}      how many only another release's process can move, if there is one

A process that cannot count shows none of them: no number is better than an old one.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from infra.clock import now
from infra.consumer import attempted
from infra.service import Running
from infra.unscoped.due import OpenSagas, Standing
from sagas.engine.instance import State

_log: Final = logging.getLogger(__name__)
_COUNT_EVERY_S: Final = 5.0
_OPEN: Final = tuple(state for state in State if not state.is_final)


class SagaGauges(Collector):
    """What was counted last. One per process, registered."""

    def __init__(self) -> None:
        self._counted: tuple[Sequence[Standing], Collection[tuple[str, int]], datetime] | None = None

    def show(self, standing: Sequence[Standing], definitions: Collection[tuple[str, int]], at: datetime) -> None:
        """From now on show this, counted at `at` by a process that has these definitions (name and version)."""
        self._counted = standing, definitions, at

    def show_nothing(self) -> None:
        self._counted = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, with a 0 for whatever could be and is not."""
        sagas = GaugeMetricFamily("oaas_sagas", "Open sagas", labels=["saga", "state"])
        ages = GaugeMetricFamily("oaas_sagas_progress_age_seconds", "Since the longest waiting one moved on", labels=["saga", "state"])
        stuck = GaugeMetricFamily("oaas_sagas_stuck", "Without progress for longer than their deadline", labels=["saga"])
        foreign = GaugeMetricFamily("oaas_sagas_without_definition", "Open sagas that this release cannot move", labels=["saga", "version"])
        if self._counted is not None:
            standing, definitions, at = self._counted
            for saga in sorted({name for name, _ in definitions} | {one.name for one in standing}):
                of_saga = [one for one in standing if one.name == saga]
                stuck.add_metric([saga], sum(one.stuck for one in of_saga))
                for state in _OPEN:
                    in_state = [one for one in of_saga if one.state == state]
                    sagas.add_metric([saga, state], sum(one.number for one in in_state))
                    oldest = min((one.progressed_at for one in in_state), default=at)
                    ages.add_metric([saga, state], max(0.0, (at - oldest).total_seconds()))
            for name, version in sorted({(one.name, one.version) for one in standing} | set(definitions)):
                number = sum(one.number for one in standing if (one.name, one.version) == (name, version))
                foreign.add_metric([name, str(version)], 0 if (name, version) in definitions else number)
        yield from (sagas, ages, stuck, foreign)


GAUGES: Final = SagaGauges()
REGISTRY.register(GAUGES)


async def count_sagas(running: Running, definitions: Collection[tuple[str, int]]) -> None:
    """Count every `_COUNT_EVERY_S` seconds, for ever."""
    counting = OpenSagas(running.transaction.service, running.sweeper_pool)

    async def count() -> None:
        at = now()
        GAUGES.show(await counting.count(at), definitions, at)

    while True:
        if (error := await attempted(count())) is not None:
            GAUGES.show_nothing()
            _log.warning("sagas cannot be counted now", extra={"error": repr(error)})
        await asyncio.sleep(_COUNT_EVERY_S)
