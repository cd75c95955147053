"""Concurrent requests share a commit: while one transaction is under way, those that arrive gather, and the next takes all of them.

Nobody ever waits for a group to fill: a request that finds nothing under way goes at once, by itself. The tenants of a group are
visited side by side in their order, each in a scope of its own, so that a group makes two round trips. Whoever asked is told after the
commit, and only what became of its own request: if the shared transaction fails for a reason that may be one of them, each is tried by
itself. What is out of reach, or takes too long, is so for all: nothing is tried twice of which nobody knows whether it was committed.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, Generic, TypeVar

from prometheus_client import Histogram

from contracts.values import TenantId
from infra.retry import Ending, ending_of
from infra.rows import LockedRowMissing
from infra.together import together
from infra.transaction import Batch, Scope, Transactions

_sizes: Final = Histogram("oaas_commit_requests", "Requests that shared a commit", ["service"], buckets=(1, 2, 5, 10, 20, 50, 100, 200))
_TRIED_ALONE: Final = (Ending.CONFLICT, Ending.BUG)
_CONFLICTS_MAX: Final = 5
"""Tries of one request by itself that somebody else's transaction overtakes."""
AT_ONCE: Final = 2
"""Transactions under way at the same time: while one waits for the database, the requests of the other are worked on."""

Asked = TypeVar("Asked")
Told = TypeVar("Told")


@dataclass(eq=False)
class _Waiting(Generic[Asked, Told]):
    tenant_id: TenantId
    asked: Asked
    told: "asyncio.Future[Told]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def tell(self, answer: Told) -> None:
        # Its client may have gone meanwhile; what is committed stays committed.
        if not self.told.done():
            self.told.set_result(answer)

    def fail(self, error: BaseException) -> None:
        if not self.told.done():
            self.told.set_exception(error)


class Gathering(Generic[Asked, Told]):
    """Requests of one kind. `serve` serves those of one tenant inside its scope, and answers in their order."""

    def __init__(
        self, transaction: Transactions, serve: Callable[[Scope, Sequence[Asked]], Awaitable[Sequence[Told]]], requests_max: int
    ) -> None:
        self._transaction = transaction
        self._serve = serve
        self._requests_max = requests_max
        self._waiting: deque[_Waiting[Asked, Told]] = deque()
        self._runners: set[asyncio.Task[None]] = set()
        self._under_way = 0

    async def ask(self, tenant_id: TenantId, asked: Asked) -> Told:
        """The answer, once it is committed. Whoever is cancelled before its turn is not served."""
        waiting: _Waiting[Asked, Told] = _Waiting(tenant_id, asked)
        self._waiting.append(waiting)
        if self._under_way < AT_ONCE:
            self._under_way += 1
            # In a context of its own: a group belongs to no journey, its requests do.
            runner = asyncio.get_running_loop().create_task(self._run(), context=Context(), name="requests gathered")
            self._runners.add(runner)
            runner.add_done_callback(self._runners.discard)
        return await waiting.told

    async def _run(self) -> None:
        try:
            while group := self._next_group():
                # What goes wrong is the requests' to tell, so nothing is raised here.
                (failed,) = await asyncio.gather(self._commit(group), return_exceptions=True)
                if failed is not None:
                    await self._each_alone(group, failed)
        finally:
            # At once, not when the task is seen to have ended: who comes in between would find nobody.
            self._under_way -= 1

    def _next_group(self) -> list[_Waiting[Asked, Told]]:
        group: list[_Waiting[Asked, Told]] = []
        while self._waiting and len(group) < self._requests_max:
            waiting = self._waiting.popleft()
            if not waiting.told.done():
                group.append(waiting)
        return group

    async def _commit(self, group: Sequence[_Waiting[Asked, Told]]) -> None:
        tenants: dict[TenantId, list[_Waiting[Asked, Told]]] = {}
        for waiting in group:
            tenants.setdefault(waiting.tenant_id, []).append(waiting)
        async with self._transaction.batch() as batch:
            # Sorted, as everybody who visits several tenants: two groups never wait for each other in a circle.
            scopes = [(await batch.enter(tenant_id), tenants[tenant_id]) for tenant_id in sorted(tenants)]
            answers = await together([self._visit(batch, scope, waiting) for scope, waiting in scopes])
        _sizes.labels(self._transaction.service).observe(len(group))
        for waiting, answer in chain.from_iterable(answers):
            waiting.tell(answer)

    async def _visit(self, batch: Batch, scope: Scope, group: Sequence[_Waiting[Asked, Told]]) -> list[tuple[_Waiting[Asked, Told], Told]]:
        told = await self._serve(scope, [waiting.asked for waiting in group])
        await batch.leave(scope)
        return list(zip(group, told, strict=True))

    async def _each_alone(self, group: Sequence[_Waiting[Asked, Told]], failed: BaseException) -> None:
        for waiting in group:
            if ending_of(failed) in _TRIED_ALONE:
                failed = await self._alone(waiting) or failed
            else:
                waiting.fail(failed)

    async def _alone(self, waiting: _Waiting[Asked, Told]) -> BaseException | None:
        """Why it failed by itself as well, which it is told."""
        for _ in range(_CONFLICTS_MAX):
            (failed,) = await asyncio.gather(self._commit([waiting]), return_exceptions=True)
            if not _is_overtaken(failed):
                break
        if failed is not None:
            waiting.fail(failed)
        return failed


def _is_overtaken(failed: BaseException | None) -> bool:
    """Somebody else has just committed what this was about to write, or waits for it in a circle: next time it will be seen."""
    return failed is not None and (isinstance(failed, LockedRowMissing) or ending_of(failed) is Ending.CONFLICT)
