"""An operator's verb on all sagas that fit a filter: counted first, then done a bounded number at a time.

What ended is never acted on. A saga that moved since it was counted is left out, so nobody acts on what nobody has seen.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from contracts.values import SagaId, TenantId
from infra.unscoped.sagas import Counts, FoundSaga, SagaSearch
from sagas.operating import Act, Operating, Outcome, Result
from sagas.search import SagaFilter

ACT_MAX: Final = 500
"""Sagas in one call; the next call goes on after them."""
_TOGETHER_MAX: Final = 50
"""Sagas of one tenant in one transaction."""
_SAMPLE: Final = 10


@dataclass(frozen=True)
class DryRun:
    """What there would be to act on at `as_of`."""

    as_of: datetime
    counts: Counts
    sample: list[SagaId]


@dataclass(frozen=True)
class ActedOn:
    """What came of one call, by result; `following` goes on after it, None if nothing is left."""

    outcomes: list[Outcome] = field(default_factory=list)
    following: UUID | None = None

    def of(self, *results: Result) -> list[Outcome]:
        """Those that came to one of these results."""
        return [outcome for outcome in self.outcomes if outcome.result in results]


async def count_first(search: SagaSearch, asked: SagaFilter, now: datetime) -> DryRun:
    """Touches nothing."""
    wanted = asked.wanted(now)
    sample = await search.open(wanted, now, None, _SAMPLE)
    return DryRun(now, await search.count(wanted, now), [found.id for found in sample])


async def act_on_many(
    search: SagaSearch, operating: Operating, asked: SagaFilter, as_of: datetime, after: UUID | None, act: Act
) -> ActedOn:
    """Act on at most ACT_MAX of those that fit and have not moved since `as_of`, one tenant after the other."""
    found = await search.open(asked.wanted(as_of), as_of, after, ACT_MAX + 1)
    now, later = found[:ACT_MAX], found[ACT_MAX:]
    outcomes = [Outcome(one.id, Result.MOVED, "it has moved since the dry run", one.revision) for one in now if one.changed_at > as_of]
    for tenant_id, revisions in _groups([one for one in now if one.changed_at <= as_of]):
        outcomes += await operating.act(tenant_id, revisions, act)
    return ActedOn(outcomes, now[-1].id if later else None)


def _groups(found: list[FoundSaga]) -> Iterator[tuple[TenantId, Mapping[SagaId, int]]]:
    by_tenant: dict[TenantId, list[FoundSaga]] = {}
    for one in found:
        by_tenant.setdefault(one.tenant_id, []).append(one)
    for tenant_id, own in sorted(by_tenant.items()):
        for first in range(0, len(own), _TOGETHER_MAX):
            yield tenant_id, {one.id: one.revision for one in own[first : first + _TOGETHER_MAX]}
