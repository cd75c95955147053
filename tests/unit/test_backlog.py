"""No more is taken in than can be done: whose share is taken waits with 429, and all with 503 once everything is."""

import asyncio
from datetime import datetime
from uuid import UUID

import pytest

from contracts.values import TenantId
from infra import backlog as module
from infra import clock
from infra.backlog import RETRY_AFTER_MAX_S, Backlog, Bounds, TooMuch
from infra.unscoped.backlog import Counted

ONE, OTHER, THIRD = (TenantId(UUID(int=number)) for number in (1, 2, 3))


class Books:
    """What is under way, as somebody else counts it."""

    def __init__(self, **under_way: int) -> None:
        self.under_way = {TenantId(UUID(int=int(name[1:]))): number for name, number in under_way.items()}
        self.looks = 0
        self.failure: Exception | None = None

    async def count(self, now: datetime, since: datetime, most: int) -> Counted:  # noqa: ARG002 - the port's shape
        self.looks += 1
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return Counted(dict(self.under_way), 0)


def backlog(books: Books, most: int = 10, share: float = 0.5, least: int = 0, seconds: float = 5) -> Backlog:
    return Backlog(books, clock.now, Bounds(least or most, most, seconds, share))


async def take_in(backlog: Backlog, tenant_id: TenantId, times: int = 1) -> None:
    for _ in range(times):
        async with backlog.room(tenant_id) as taken_in:
            taken_in()


async def refused(backlog: Backlog, tenant_id: TenantId) -> TooMuch:
    with pytest.raises(TooMuch) as found:
        await take_in(backlog, tenant_id)
    return found.value


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look is a new one."""
    monkeypatch.setattr(module, "FRESH_S", -1)
    monkeypatch.setattr(module, "USABLE_S", 0)


async def test_a_tenant_over_its_share_waits_while_others_are_served() -> None:
    full = backlog(Books(t1=5, t2=1))
    assert (await refused(full, ONE)).tenant
    await take_in(full, OTHER)


async def test_all_wait_once_everything_is_taken() -> None:
    full = backlog(Books(t1=5, t2=5))
    assert not (await refused(full, THIRD)).tenant
    assert not (await refused(full, ONE)).tenant


async def test_what_is_taken_in_counts_before_anybody_has_counted_it() -> None:
    books = Books()
    own = backlog(books)
    await take_in(own, ONE, 5)
    assert (await refused(own, ONE)).tenant
    await take_in(own, OTHER, 5)
    assert not (await refused(own, THIRD)).tenant
    assert books.looks == 1


async def test_what_is_being_taken_in_counts_until_it_is_refused_itself() -> None:
    own = backlog(Books(), most=1, share=1)
    async with own.room(ONE):
        assert not (await refused(own, OTHER)).tenant
    await take_in(own, OTHER)


async def test_what_is_done_makes_room(no_wait: None) -> None:
    books = Books(t1=5)
    own = backlog(books)
    await refused(own, ONE)
    books.under_way = {ONE: 4}
    await take_in(own, ONE)


async def test_what_was_counted_long_ago_refuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    books = Books(t1=5)
    own = backlog(books)
    await refused(own, ONE)
    books.under_way = {}
    monkeypatch.setattr(module, "FRESH_S", -1)
    monkeypatch.setattr(module, "USABLE_S", -1)
    await take_in(own, ONE)


async def test_many_at_once_look_once() -> None:
    books = Books()
    own = backlog(books, most=100, share=1)
    await asyncio.gather(*(take_in(own, ONE) for _ in range(20)))
    assert books.looks == 1


async def test_if_nobody_can_count_nobody_is_refused(no_wait: None) -> None:
    books = Books(t1=5)
    own = backlog(books)
    await refused(own, ONE)
    books.failure = ConnectionError("the database is away")
    await take_in(own, ONE)


async def test_who_is_refused_is_told_when_there_will_be_room(no_wait: None, monkeypatch: pytest.MonkeyPatch) -> None:
    books = Books(t1=1000)
    own = backlog(books, most=1000, share=1)
    unknown = (await refused(own, ONE)).retry_after_s
    assert 1 <= unknown < RETRY_AFTER_MAX_S
    books.under_way = {ONE: 999}
    await asyncio.sleep(0.05)  # one in so long: at most 20 a second
    await take_in(own, ONE)
    books.under_way = {ONE: 100_000}
    assert (await refused(own, ONE)).retry_after_s == RETRY_AFTER_MAX_S


async def test_how_much_may_be_under_way_follows_from_how_fast_it_goes(no_wait: None) -> None:
    books = Books(t1=100)
    own = backlog(books, most=1000, share=1, least=10)
    assert not (await refused(own, OTHER)).tenant
    books.under_way = {ONE: 60}
    await asyncio.sleep(0.05)  # 40 in so long: hundreds a second
    await take_in(own, OTHER)
    for _ in range(12):
        await asyncio.sleep(0.02)
        await own._look_if_old()
    assert not (await refused(own, OTHER)).tenant


def test_the_bounds_hold_however_fast_or_slow_it_goes() -> None:
    bounds = Bounds(least=10, most=100, seconds=5, share=1)
    assert [bounds.at(speed) for speed in (0, 1, 4, 1_000)] == [10, 10, 20, 100]
