"""One suite for everything that holds places for orders: stock, quota and ledger, in memory and on PostgreSQL."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final
from uuid import uuid4

import pytest

from contracts.messages import Message, Reply
from contracts.values import OrderId, TenantId
from infra.settings import Settings
from services.inventory.model import IllegalHold as IllegalStockHold
from services.tenants.model import IllegalHold as IllegalQuotaHold
from tests.conformance.places import (
    Enter,
    LedgerInMemory,
    LedgerOf,
    Participant,
    QuotaInMemory,
    QuotaOf,
    StockInMemory,
    StockOf,
    Tally,
    answers,
    completed,
    opened,
)

PLACES = 3


USED_BY_COMPLETION: Final = ("stock in memory", "quota in memory", "stock on PostgreSQL", "quota on PostgreSQL")
KINDS: Final = (*USED_BY_COMPLETION, "ledger in memory", "ledger on PostgreSQL")
IN_MEMORY: Final[Mapping[str, Callable[[], Participant]]] = {"stock": StockInMemory, "quota": QuotaInMemory, "ledger": LedgerInMemory}
ON_POSTGRESQL: Final[Mapping[str, Callable[[Enter], Participant]]] = {"stock": StockOf, "quota": QuotaOf, "ledger": LedgerOf}

about_completion = pytest.mark.parametrize("kind", USED_BY_COMPLETION, indirect=True)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[str, Settings | None]:
    # Not async, so that servers are started outside the event loop, and only if a database is asked for.
    return request.param.split()[0], None if "memory" in request.param else request.getfixturevalue("settings")


@pytest.fixture
async def participant(kind: tuple[str, Settings | None]) -> AsyncIterator[Participant]:
    name, settings = kind
    if settings is None:
        yield IN_MEMORY[name]()
    else:
        async with opened(settings, "inventory" if name == "stock" else "tenants") as transaction:
            yield ON_POSTGRESQL[name](transaction)


class Dialogue:
    """One tenant with three places, and what was said to the participant about its orders."""

    def __init__(self, participant: Participant) -> None:
        self.participant = participant
        self.tenant_id = TenantId(uuid4())

    def ask(self, order_id: OrderId) -> Message:
        return self.participant.ask(self.tenant_id, order_id)

    def undo(self, order_id: OrderId) -> Message:
        return self.participant.undo(order_id)

    async def say(self, *messages: Message) -> list[Reply | None]:
        """All in one group."""
        return await answers(self.participant, self.tenant_id, messages)

    async def say_one_by_one(self, *messages: Message) -> list[Reply | None]:
        return [reply for message in messages for reply in await self.say(message)]

    async def tally(self) -> Tally:
        return await self.participant.tally(self.tenant_id)


@pytest.fixture
async def talk(participant: Participant) -> Dialogue:
    dialogue = Dialogue(participant)
    await participant.stage(dialogue.tenant_id, PLACES)
    return dialogue


def an_order() -> OrderId:
    return OrderId(uuid4())


async def test_an_ask_holds_a_place(talk: Dialogue) -> None:
    [reply] = await talk.say(talk.ask(an_order()))
    assert isinstance(reply, talk.participant.granted)
    assert await talk.tally() == Tally(free=2, held=1, used=0)


async def test_an_undo_gives_the_place_back(talk: Dialogue) -> None:
    order = an_order()
    await talk.say_one_by_one(talk.ask(order), talk.undo(order))
    assert await talk.tally() == Tally(free=3, held=0, used=0)


async def test_asked_twice_it_holds_once_and_answers_alike(talk: Dialogue) -> None:
    order = an_order()
    first, second = await talk.say_one_by_one(talk.ask(order), talk.ask(order))
    assert first == second
    assert await talk.tally() == Tally(free=2, held=1, used=0)


async def test_asked_twice_in_one_group_it_holds_once(talk: Dialogue) -> None:
    order = an_order()
    first, second = await talk.say(talk.ask(order), talk.ask(order))
    assert first == second
    assert await talk.tally() == Tally(free=2, held=1, used=0)


async def test_undone_twice_it_gives_back_once(talk: Dialogue) -> None:
    order = an_order()
    await talk.say(talk.ask(an_order()), talk.ask(order))
    await talk.say_one_by_one(talk.undo(order), talk.undo(order))
    await talk.say(talk.undo(order), talk.undo(order))
    assert await talk.tally() == Tally(free=2, held=1, used=0)


async def test_a_release_that_overtook_its_reserve_wins(talk: Dialogue) -> None:
    order = an_order()
    _, reply = await talk.say_one_by_one(talk.undo(order), talk.ask(order))
    assert isinstance(reply, talk.participant.refused)
    assert await talk.tally() == Tally(free=3, held=0, used=0)


async def test_a_release_that_overtook_its_reserve_wins_in_one_group_as_well(talk: Dialogue) -> None:
    order = an_order()
    _, reply = await talk.say(talk.undo(order), talk.ask(order))
    assert isinstance(reply, talk.participant.refused)
    assert await talk.tally() == Tally(free=3, held=0, used=0)


async def test_ask_and_undo_in_one_group_leave_no_hold_and_a_tombstone(talk: Dialogue) -> None:
    order = an_order()
    await talk.say(talk.ask(order), talk.undo(order))
    [reply] = await talk.say(talk.ask(order))
    assert isinstance(reply, talk.participant.refused)
    assert await talk.tally() == Tally(free=3, held=0, used=0)


async def test_an_order_undone_after_it_was_held_cannot_be_held_again(talk: Dialogue) -> None:
    order = an_order()
    *_, reply = await talk.say_one_by_one(talk.ask(order), talk.undo(order), talk.ask(order))
    assert isinstance(reply, talk.participant.refused)


async def test_a_group_larger_than_the_places_gets_exactly_the_places(talk: Dialogue) -> None:
    replies = await talk.say(*(talk.ask(an_order()) for _ in range(50)))
    assert sum(isinstance(reply, talk.participant.granted) for reply in replies) == PLACES
    assert await talk.tally() == Tally(free=0, held=3, used=0)


async def test_a_place_given_back_in_a_group_serves_the_next_order_of_that_group(talk: Dialogue) -> None:
    held = [an_order() for _ in range(PLACES)]
    await talk.say(*(talk.ask(order) for order in held))
    refused, _, granted = await talk.say(talk.ask(an_order()), talk.undo(held[0]), talk.ask(an_order()))
    assert isinstance(refused, talk.participant.refused)
    assert isinstance(granted, talk.participant.granted)
    assert await talk.tally() == Tally(free=0, held=3, used=0)


async def test_a_refused_order_may_be_asked_for_again(talk: Dialogue) -> None:
    held = [an_order() for _ in range(PLACES)]
    late = an_order()
    await talk.say(*(talk.ask(order) for order in held))
    refused, _, granted = await talk.say_one_by_one(talk.ask(late), talk.undo(held[0]), talk.ask(late))
    assert isinstance(refused, talk.participant.refused)
    assert isinstance(granted, talk.participant.granted)


async def test_the_undo_of_a_refused_order_changes_nothing(talk: Dialogue) -> None:
    await talk.say(*(talk.ask(an_order()) for _ in range(PLACES)))
    late = an_order()
    await talk.say_one_by_one(talk.ask(late), talk.undo(late))
    assert await talk.tally() == Tally(free=0, held=3, used=0)


@about_completion
async def test_a_completed_order_uses_its_place_once(talk: Dialogue) -> None:
    order = an_order()
    await talk.say_one_by_one(talk.ask(order), completed(order), completed(order))
    await talk.say(completed(order), completed(order))
    assert await talk.tally() == Tally(free=2, held=0, used=1)


@about_completion
async def test_asked_again_after_its_completion_an_order_is_answered_as_before(talk: Dialogue) -> None:
    order = an_order()
    first, _, again = await talk.say_one_by_one(talk.ask(order), completed(order), talk.ask(order))
    assert first == again
    assert await talk.tally() == Tally(free=2, held=0, used=1)


@about_completion
async def test_the_completion_of_an_order_that_holds_nothing_changes_nothing(talk: Dialogue) -> None:
    undone = an_order()
    await talk.say_one_by_one(talk.ask(undone), talk.undo(undone), completed(undone), completed(an_order()))
    assert await talk.tally() == Tally(free=3, held=0, used=0)


@about_completion
async def test_a_completed_order_cannot_be_undone(talk: Dialogue) -> None:
    order = an_order()
    await talk.say_one_by_one(talk.ask(order), completed(order))
    with pytest.raises((IllegalStockHold, IllegalQuotaHold), match="cannot become WITHDRAWN"):
        await talk.say(talk.undo(order))
    assert await talk.tally() == Tally(free=2, held=0, used=1)


@about_completion
async def test_a_used_place_is_not_free_again(talk: Dialogue) -> None:
    orders = [an_order() for _ in range(PLACES)]
    await talk.say(*(talk.ask(order) for order in orders))
    await talk.say(*(completed(order) for order in orders))
    [reply] = await talk.say(talk.ask(an_order()))
    assert isinstance(reply, talk.participant.refused)
    assert await talk.tally() == Tally(free=0, held=0, used=3)
