"""Two workers about the same orders, on PostgreSQL: the second one waits for the first one's locks and sees what it did."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final
from uuid import uuid4

import pytest

from contracts.messages import Message
from contracts.values import OrderId, TenantId
from infra.settings import Settings
from tests.conformance.places import Enter, LedgerOf, Participant, QuotaOf, StockOf, Tally, answers, completed, decide, envelope, opened
from tests.conformance.racing import race
from tests.hearing import flights, heard

PLACES = 1000

KINDS: Final[Mapping[str, Callable[[Enter], Participant]]] = {"stock": StockOf, "quota": QuotaOf, "ledger": LedgerOf}
about_completion = pytest.mark.parametrize("kind", ["stock", "quota"], indirect=True)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[str, Settings]:
    return request.param, request.getfixturevalue("settings")


@pytest.fixture
async def participant(kind: tuple[str, Settings]) -> AsyncIterator[Participant]:
    name, settings = kind
    async with opened(settings, "inventory" if name == "stock" else "tenants") as transaction:
        yield KINDS[name](transaction)


@pytest.fixture
async def tenant_id(participant: Participant) -> TenantId:
    tenant_id = TenantId(uuid4())
    await participant.stage(tenant_id, PLACES)
    return tenant_id


async def test_an_undo_waits_for_the_ask_it_meets_and_gives_its_place_back(participant: Participant, tenant_id: TenantId) -> None:
    order = OrderId(uuid4())
    granted, _ = await race(participant, tenant_id, participant.ask(tenant_id, order), participant.undo(order))
    assert isinstance(granted, participant.granted)
    assert await participant.tally(tenant_id) == Tally(PLACES, 0, 0)


async def test_an_ask_waits_for_the_undo_it_meets_and_is_refused(participant: Participant, tenant_id: TenantId) -> None:
    order = OrderId(uuid4())
    _, refused = await race(participant, tenant_id, participant.undo(order), participant.ask(tenant_id, order))
    assert isinstance(refused, participant.refused)
    assert await participant.tally(tenant_id) == Tally(PLACES, 0, 0)


@about_completion
async def test_the_completion_of_an_order_waits_for_another_order_of_the_same_tenant(participant: Participant, tenant_id: TenantId) -> None:
    held = OrderId(uuid4())
    await answers(participant, tenant_id, [participant.ask(tenant_id, held)])
    await race(participant, tenant_id, participant.ask(tenant_id, OrderId(uuid4())), completed(held))
    assert await participant.tally(tenant_id) == Tally(PLACES - 2, 1, 1)


async def test_asks_of_different_orders_wait_for_each_other_and_take_a_place_each(participant: Participant, tenant_id: TenantId) -> None:
    await answers(participant, tenant_id, [participant.ask(tenant_id, OrderId(uuid4()))])
    await race(participant, tenant_id, *(participant.ask(tenant_id, OrderId(uuid4())) for _ in range(2)))
    assert await participant.tally(tenant_id) == Tally(PLACES - 3, 3, 0)


async def test_workers_with_the_same_orders_in_opposite_order_do_not_deadlock(participant: Participant, tenant_id: TenantId) -> None:
    orders = [OrderId(uuid4()) for _ in range(40)]
    asks = [participant.ask(tenant_id, order) for order in orders]
    groups = [asks, asks[::-1], [participant.undo(order) for order in orders[::-2]], [*asks[20:], *asks[:20]]]
    await asyncio.gather(*(answers(participant, tenant_id, group) for group in groups))
    # Every second order was undone, before or after its asks: none of those may be left held.
    assert await participant.tally(tenant_id) == Tally(PLACES - 20, 20, 0)


@pytest.mark.parametrize("seed", range(5))
async def test_random_groups_of_four_workers_end_as_their_last_words_say(participant: Participant, tenant_id: TenantId, seed: int) -> None:
    chance = random.Random(seed)
    orders = [OrderId(uuid4()) for _ in range(30)]
    undone, kept = orders[:10], orders[10:]
    words = [participant.ask(tenant_id, order) for order in orders for _ in range(3)] + [participant.undo(order) for order in undone * 2]
    chance.shuffle(words)
    groups = [words[start : start + 10] for start in range(0, len(words), 10)]
    workers = [groups[worker::4] for worker in range(4)]

    async def work(share: list[list[Message]]) -> None:
        for group in share:
            await answers(participant, tenant_id, group)

    await asyncio.gather(*(work(share) for share in workers))
    assert await participant.tally(tenant_id) == Tally(PLACES - len(kept), len(kept), 0)


@about_completion
async def test_of_many_orders_those_that_are_completed_use_their_places(participant: Participant, tenant_id: TenantId) -> None:
    orders = [OrderId(uuid4()) for _ in range(20)]
    await answers(participant, tenant_id, [participant.ask(tenant_id, order) for order in orders])
    await answers(participant, tenant_id, [completed(order) for order in orders[:5]])
    assert await participant.tally(tenant_id) == Tally(PLACES - 20, 15, 5)


async def test_a_large_group_costs_as_many_statements_as_a_small_one(participant: Participant, tenant_id: TenantId) -> None:
    async def statements(messages: list[Message]) -> int:
        async with participant.enter(tenant_id) as scope:
            with heard(scope) as said:
                await decide(scope, participant.handles, [envelope(tenant_id, message) for message in messages])
        return len(said)

    async def asks_and_undos(places: int) -> tuple[int, int]:
        orders = [OrderId(uuid4()) for _ in range(places)]
        asks = [participant.ask(tenant_id, order) for order in orders]
        return await statements(asks), await statements([participant.undo(order) for order in orders])

    # The first time, a month is put there.
    await asks_and_undos(2)
    few, many = await asks_and_undos(1), await asks_and_undos(100)
    assert few == many
    assert max(many) <= 8


async def test_whatever_is_asked_of_it_it_locks_in_one_round_trip(participant: Participant, tenant_id: TenantId) -> None:
    # Tenants of a batch go side by side: a tenant whose rows were locked a round trip later than its neighbours' would lock out of turn.
    taken, given_back, fresh = ([OrderId(uuid4()) for _ in range(3)] for _ in range(3))
    await answers(participant, tenant_id, [participant.ask(tenant_id, order) for order in (*taken, *given_back)])
    asks, undos = [participant.ask(tenant_id, order) for order in fresh], [participant.undo(order) for order in given_back]
    ends: list[Message] = [completed(order) for order in taken]
    for group in (asks, undos, [*asks, *undos], [*asks, *undos, *ends]):
        async with participant.enter(tenant_id) as scope:
            with flights(scope.connection._wire) as round_trips:
                await participant.handles.repository.load(scope, [envelope(tenant_id, message) for message in group])
        assert len(round_trips) == 1, round_trips
