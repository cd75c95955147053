"""Executes replays, in the desk's workers: sends the letters of those that run at their rate, and stops those that fail.

Any number of workers may run it. A replay is executed by the one that holds its lease, which it renews at each step; when it dies,
another takes over as soon as the lease is over. Every step is one transaction, in which the replay's row is locked first: whoever
pauses or cancels waits for it, and nothing is sent after that. What was sent and has no outcome for long is looked after here as well.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from contracts.values import TenantId
from infra.clock import now
from infra.consumer import attempted
from infra.errors import Outage
from infra.retry import Ending, ending_of, while_out_of_reach
from infra.service import Running
from infra.transaction import Batch
from infra.unscoped.replays import FoundItem, FoundReplay, ReplaySearch
from services.ops.desk.auditing import Entry, Outcome, record
from services.ops.replay import parts, replays
from services.ops.replay.machine import WINDOW, Finish, Progress, Replay, Send, State, Stop, Trust
from services.ops.replay.sending import send, send_again_or_give_up

_log: Final = logging.getLogger(__name__)
_LOOK_EVERY_S: Final = 0.25
_STEP_S: Final = 0.1
"""Letters that are due within it go in one transaction."""
_BURST_S: Final = 1.0
"""So much of its rate a replay may catch up on after a pause, an outage or a slow step."""
_TOGETHER_MAX: Final = 8
"""Replays that one process executes at the same time."""
_CARE_EVERY_S: Final = 1.0
_CARE_MAX: Final = 500
_SET_ASIDE_S: Final = 60.0
_RULE: Final = "the replay's own rule"


class Bucket:
    """How many letters may go now, so that in the long run there are `rate` in a second."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._filled_at = time.monotonic()
        self._held = 0.0

    def __call__(self) -> int:
        """How many may go now."""
        at = time.monotonic()
        self._held = min(self._held + (at - self._filled_at) * self._rate, max(1.0, self._rate * _BURST_S))
        self._filled_at = at
        return int(self._held)

    def take(self, number: int) -> None:
        """So many have gone."""
        self._held -= number

    def wait_s(self) -> float:
        """Until the next step: for one letter at least."""
        return max(_STEP_S, (1 - self._held) / self._rate)


async def execute_replays(running: Running) -> None:
    """Run for ever."""
    await Replaying(running).run()


class Replaying:
    """The executor of one process."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._settings = running.settings
        self._transaction = running.transaction
        self._search = ReplaySearch(running.sweeper_pool)
        self._holder = uuid4()
        self._lease = timedelta(seconds=running.settings.replay_lease_s)
        self._keep = timedelta(days=running.settings.dead_letter_keep_days)
        self._executing: set[UUID] = set()
        self._set_aside: dict[UUID, float] = {}
        self._cares_at = 0.0

    async def run(self) -> None:
        """Look for replays that nobody executes, for ever; one that cannot be executed holds up no other, and no failure ends it."""
        async with asyncio.TaskGroup() as group:
            while True:
                # Each by itself: whatever is wrong with old plans and lost outcomes, the others still go.
                if not self._running.stopping.is_set():
                    await self._tried(lambda: self._look(group))
                if not self._running.stopping.is_set() and time.monotonic() >= self._cares_at:
                    self._cares_at = time.monotonic() + (_CARE_EVERY_S if await self._tried(self._care) else _SET_ASIDE_S)
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _tried(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether it is done; outages are waited out, and any other failure is told and left for the next time."""

        async def when_in_reach() -> None:
            async for attempt in while_out_of_reach(self._settings):
                with attempt:
                    await work()

        error = await attempted(when_in_reach())
        if error is not None:
            level = logging.ERROR if ending_of(error) is Ending.BUG else logging.WARNING
            _log.log(level, "replays could not be looked after", exc_info=error)
            await asyncio.sleep(self._settings.backoff_s)
        return error is None

    async def _look(self, group: asyncio.TaskGroup) -> None:
        self._set_aside = {id: until for id, until in self._set_aside.items() if until > time.monotonic()}
        for found in await self._search.running(self._holder, now(), _TOGETHER_MAX):
            if found.id not in self._executing | self._set_aside.keys() and len(self._executing) < _TOGETHER_MAX:
                self._executing.add(found.id)
                group.create_task(self._see_to(found))

    async def _see_to(self, found: FoundReplay) -> None:
        await self._apart(found.tenant_id, found.id, self._execute(found))
        self._executing.discard(found.id)

    async def _apart(self, tenant_id: TenantId, id: UUID, work: Awaitable[None]) -> None:
        """What is wrong with this replay holds up no other."""
        error = await attempted(work)
        if error is None:
            return
        if ending_of(error) is Ending.BUG:
            self._set_aside[id] = time.monotonic() + _SET_ASIDE_S
            _log.error("a replay could not be looked after", exc_info=error, extra={"replay": id, "tenant": tenant_id})
        else:
            _log.warning("a replay is left for later", extra={"replay": id, "error": repr(error)})

    async def _execute(self, found: FoundReplay) -> None:
        """Step after step, until it no longer runs or another holds it."""
        bucket: Bucket | None = None
        while (replay := await self._step(found, bucket)) is not None and replay.state is State.RUNNING:
            if self._running.stopping.is_set():
                return
            bucket = bucket or Bucket(replay.pace.rate)
            await asyncio.sleep(min(bucket.wait_s(), _LOOK_EVERY_S))

    async def _step(self, found: FoundReplay, bucket: Bucket | None) -> Replay | None:
        """One transaction: hold it, decide, do it. None if it is not ours or does not run."""
        async with self._transaction.batch() as batch:
            async with batch.scope(found.tenant_id) as scope:
                replay = await replays.lease(scope, found.id, self._holder, scope.now + self._lease)
                if replay is None or bucket is None:
                    return replay
                step = replay.next_step(await self._progress(replay), self._settings.replay_on_the_way_max)
                if isinstance(step, Trust | Stop | Finish):
                    replay.take(step, scope.now)
                    await replays.save(scope, replay)
                    if isinstance(step, Stop):
                        stopped = Entry(actor=_RULE, verb="stop replay", reason=replay.detail, outcome=Outcome.DONE, replay_id=replay.id)
                        await record(scope, [stopped])
                    _log.info("replay %s %s", replay.id, replay.state, extra={"replay": replay.id, "detail": replay.detail})
            if isinstance(step, Stop):
                await self._tell_stopped(batch, replay)
            if isinstance(step, Send) and (free := min(bucket(), step.at_most)) > 0:
                items = await self._search.next_items(replay.id, free)
                bucket.take(await self._send(batch, replay, items))
        return replay

    async def _tell_stopped(self, batch: Batch, replay: Replay) -> None:
        for tenant_id in await self._search.tenants(replay.id):
            async with batch.scope(tenant_id) as scope:
                # Not how many: others' letters are counted as well.
                await parts.tell(scope, replay, actor=_RULE, verb="stop", reason="too many letters failed again")

    async def _send(self, batch: Batch, replay: Replay, items: Collection[FoundItem]) -> int:
        sent = 0
        for tenant_id, ids in _by_tenant(items).items():
            async with batch.scope(tenant_id) as scope:
                sent += await send(scope, replay, ids, self._search.actors, self._keep)
        return sent

    async def _progress(self, replay: Replay) -> Progress:
        assert replay.counted_since is not None
        window = max(WINDOW, replay.pace.canary or 0)
        begun_max = 0 if replay.is_trusted else replay.pace.canary or 0
        recent = await self._search.recent(replay.id, replay.counted_since, begun_max, window)
        return Progress(recent.is_more_waiting, recent.on_the_way, recent.begun, recent.outcomes, recent.failures)

    async def _care(self) -> None:
        """Forget plans that are too old, and look after letters that have been on their way for long."""
        for plan in await self._search.expired(now(), _TOGETHER_MAX):
            if plan.id in self._set_aside:
                continue
            await self._apart(plan.tenant_id, plan.id, self._expire(plan))
        before = now() - timedelta(seconds=self._settings.replay_resend_s)
        overdue = await self._search.overdue(before, _CARE_MAX)
        empty = {queue for queue in {item.queue for item, _ in overdue} if await self._is_empty(queue)}
        by_replay: dict[tuple[TenantId, UUID], list[FoundItem]] = {}
        for item, owner in overdue:
            if item.queue in empty:
                by_replay.setdefault((owner, item.replay_id), []).append(item)
        for (owner, replay_id), items in by_replay.items():
            if replay_id not in self._set_aside:
                await self._apart(owner, replay_id, self._see_after(owner, replay_id, items, before))

    async def _see_after(self, owner: TenantId, replay_id: UUID, items: Collection[FoundItem], before: datetime) -> None:
        async with self._transaction.batch() as batch:
            async with batch.scope(owner) as scope:
                # Locked, as in every step: once a pause or a cancel is answered, nothing is sent again either.
                replay = await replays.lock(scope, replay_id)
            may_send = replay is not None and replay.state is State.RUNNING
            for tenant_id, ids in _by_tenant(items).items():
                async with batch.scope(tenant_id) as scope:
                    await send_again_or_give_up(scope, replay_id, ids, before, self._keep, may_send=may_send)

    async def _expire(self, plan: FoundReplay) -> None:
        tenants = await self._search.tenants(plan.id)
        async with self._transaction.batch() as batch:
            async with batch.scope(plan.tenant_id) as scope:
                replay = await replays.lock(scope, plan.id)
                # Another worker was here before, or somebody has started it just now.
                if replay is None or replay.state is not State.PLANNED:
                    return
                replay.expire(scope.now)
                await replays.save(scope, replay)
            for tenant_id in tenants:
                async with batch.scope(tenant_id) as scope:
                    await parts.forget(scope, plan.id)

    async def _is_empty(self, queue: str) -> bool:
        try:
            return await self._running.backlog(queue) == 0
        except Outage:
            # Without a broker nobody can tell, and nothing could be sent.
            return False


def _by_tenant(items: Collection[FoundItem]) -> dict[TenantId, list[UUID]]:
    """Tenants in their order, the letters of each in theirs."""
    found: dict[TenantId, list[UUID]] = {}
    for item in items:
        found.setdefault(item.tenant_id, []).append(item.letter_id)
    return {tenant_id: sorted(ids) for tenant_id, ids in sorted(found.items())}
