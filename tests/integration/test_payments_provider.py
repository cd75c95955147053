"""A payment through the acquirer's moods and deaths: done once, known in the end, and given back when nobody wants it any more."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from contracts.payments import (
    AuthorisePayment,
    CapturePayment,
    PaymentAuthorised,
    PaymentCaptured,
    PaymentRefused,
    PaymentReturned,
    ReturnPayment,
)
from contracts.values import OrderId
from infra.dev.processes import Supervisor
from infra.settings import Settings
from tests.integration.messaging import Stage
from tests.integration.paying import AMOUNT, Till, an_environment, start_acquirer

QUICKLY_KNOWN = {"tok_reset"}
NOTHING = (0, 0, 0, 0)
SECOND_WORKER = "payments-2"


Outside = tuple[Supervisor, dict[str, str], dict[str, dict[str, str]]]


@pytest.fixture(scope="module")
def outside(staged: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """The acquirer, and the environment of a worker that calls it."""
    home = tmp_path_factory.mktemp("paying") / Path("home")
    (home / "logs").mkdir(parents=True)
    environment = an_environment(staged, home)
    with Supervisor(home) as supervisor:
        start_acquirer(supervisor, environment, home)
        yield supervisor, environment, {}


@pytest.fixture
async def till(stage: Stage, outside: Outside) -> AsyncIterator[Till]:
    # What other tests have left to be called for is not this one's.
    await stage.administrator.execute("TRUNCATE payments.payment, payments.unanswered")
    made = Till(stage, *outside)
    await made.rise()
    await made.run()
    yield made
    await made.rise()
    assert await made.violations() == []


def an_authorisation(token: str) -> AuthorisePayment:
    return AuthorisePayment(order_id=OrderId(uuid4()), amount=AMOUNT, token=token)


async def test_however_the_provider_behaves_it_is_authorised_taken_and_given_back_once(till: Till) -> None:
    async def check(token: str) -> None:
        order_id = await till.captured(token)
        assert await till.money(order_id) == (0, AMOUNT), token
        assert await till.returned(order_id) == PaymentReturned(), token
        assert await till.counts(order_id) == (1, 1, 0, 1), token
        assert await till.money(order_id) == (0, 0), token

    refusals = ("tok_capture_refused_2", "tok_refund_refused_2")
    tokens = ("tok_ok", "tok_slow_0.7", "tok_late", "tok_charge_then_timeout", "tok_reset", "tok_down_2", "tok_down_7", *refusals)
    await asyncio.gather(*map(check, tokens))


async def test_what_is_held_is_let_go_once(till: Till) -> None:
    async def check(token: str) -> None:
        order_id = await till.authorised(token)
        assert await till.money(order_id) == (AMOUNT, 0), token
        assert await till.returned(order_id) == PaymentReturned(), token
        assert await till.counts(order_id) == (1, 0, 1, 0), token
        assert await till.tell(CapturePayment(order_id=order_id)) == PaymentReturned(), token

    tokens = ("tok_ok", "tok_late", "tok_charge_then_timeout", "tok_reset", "tok_down_2", "tok_void_refused_2")
    await asyncio.gather(*map(check, tokens))


async def test_a_refusal_holds_nothing_and_has_the_providers_reason(till: Till) -> None:
    async def check(token: str) -> None:
        command = an_authorisation(token)
        assert await till.tell(command) == PaymentRefused(code="insufficient_funds"), token
        assert await till.returned(command.order_id) == PaymentReturned(), token
        assert await till.counts(command.order_id) == NOTHING, token

    await asyncio.gather(check("tok_refused"), check("tok_late_refused"))


async def test_what_the_provider_refuses_to_do_is_told_once_and_answered_when_it_comes_round(till: Till) -> None:
    taken, held = await asyncio.gather(till.captured("tok_refund_refused_5"), till.authorised("tok_capture_refused_5"))
    orders = {"refund": taken, "capture": held}
    asked = await till.ask(ReturnPayment(order_id=taken), CapturePayment(order_id=held))
    prints = {(await till.fault(command)).fingerprint for command in asked}
    assert len(prints) == 2, "refusals of two kinds look the same"
    assert [await till.answer(command) for command in asked] == [PaymentReturned(), PaymentCaptured()]
    for operation, command in zip(orders, asked, strict=True):
        assert [one.error for one in till.faults[command.id]] == [f"the payment provider refuses to {operation}: try_again_later"]
    assert await till.counts(taken) == (1, 1, 0, 1)
    assert await till.counts(held) == (1, 1, 0, 0)


async def test_a_return_that_overtook_its_authorisation_has_nothing_to_call_for(till: Till) -> None:
    command = an_authorisation("tok_ok")
    assert await till.returned(command.order_id) == PaymentReturned()
    assert await till.tell(command) == PaymentRefused(code="withdrawn")
    assert await till.books(command.order_id) == []


async def test_a_return_beside_a_call_in_doubt_is_answered_when_nothing_is_held(till: Till) -> None:
    async def check(token: str) -> None:
        command = an_authorisation(token)
        [asked] = await till.ask(command)
        await asyncio.sleep(0.15)
        assert await till.returned(command.order_id) == PaymentReturned(), token
        assert await till.money(command.order_id) == (0, 0), token
        # It may have been known before the return came, but not with every token.
        answered = await till.answer(asked)
        assert answered == PaymentRefused(code="withdrawn") or (isinstance(answered, PaymentAuthorised) and token in QUICKLY_KNOWN), token
        # Nothing comes of it afterwards either.
        await asyncio.sleep(1)
        assert await till.money(command.order_id) == (0, 0), token

    tokens = ("tok_charge_then_timeout", "tok_slow_0.7", "tok_reset", "tok_down_7", "tok_late_3", "tok_pending_forever")
    await asyncio.gather(*map(check, tokens))


async def test_while_the_provider_is_down_nobody_is_told_anything_and_the_return_wins_once_it_is_back(till: Till) -> None:
    taken = await till.captured()
    await till.die("acquirer")
    command = an_authorisation("tok_ok")
    asked, given_back = await till.ask(command, ReturnPayment(order_id=command.order_id))
    later = an_authorisation("tok_ok")
    [paid] = await till.ask(later)
    await asyncio.sleep(1.5)
    assert not await till.is_answered(paid)
    [undone] = await till.ask(ReturnPayment(order_id=later.order_id))
    await asyncio.sleep(0.5)
    # Nobody knows whether the call arrived.
    assert not await till.is_answered(undone)
    # Asked and undone in one go, it was never called for, and needs no provider.
    assert await till.answer(given_back) == PaymentReturned()
    assert await till.answer(asked) == PaymentRefused(code="withdrawn")
    await till.rise()
    assert await till.answer(undone) == PaymentReturned()
    assert await till.money(later.order_id) == (0, 0)
    assert await till.books(command.order_id) == []
    # Killed, it has forgotten nothing that it had answered.
    assert await till.counts(taken) == (1, 1, 0, 0)
    assert await till.returned(taken) == PaymentReturned()
    assert await till.money(taken) == (0, 0)


async def test_slow_payments_hold_up_nobody_else(till: Till) -> None:
    slow = await till.ask(*(an_authorisation("tok_slow_5") for _ in range(20)))
    await asyncio.sleep(0.2)
    began = time.monotonic()
    await till.authorised()
    assert time.monotonic() - began < 2
    assert not any([await till.is_answered(one) for one in slow])


async def test_a_callback_is_why_nobody_waits_for_the_next_time_we_ask(till: Till) -> None:
    await asyncio.gather(till.serve(), till.run(OAAS_PAYMENT_BACKOFF_S="600", OAAS_PAYMENT_BACKOFF_MAX_S="600"))
    assert await till.money(await till.authorised("tok_late")) == (AMOUNT, 0)


async def test_two_workers_share_the_payments_and_call_for_none_twice(till: Till) -> None:
    await till.run(SECOND_WORKER)
    try:
        asked = await till.ask(*(an_authorisation("tok_ok") for _ in range(60)))
        for one in asked:
            assert isinstance(await till.answer(one), PaymentAuthorised)
        books = [await till.books(one.data.order_id) for one in asked]  # type: ignore[attr-defined]  # they are all about orders
    finally:
        await till.die(SECOND_WORKER)
    assert [(len(book), book[0]["authorised"], book[0]["duplicates"]) for book in books] == [(1, 1, 0)] * 60


async def test_a_worker_that_dies_at_one_point_after_another_takes_nothing_twice_and_nothing_of_a_returned_order(till: Till) -> None:
    # Those of payments; those that every service dies at are in tests/system/test_worker_deaths.py.
    points = ("commit", "committed", "intent", "called")
    prepared = [await asyncio.gather(till.authorised(), till.authorised(), till.captured()) for _ in points]
    await till.die()
    asked, wanted, unwanted = [], [], []
    for point, (to_capture, to_void, to_refund) in zip(points, prepared, strict=True):
        # What is under way when it dies: one payment at each operation, one that is asked for and undone, and what the death before left.
        wanted.append(an_authorisation("tok_ok"))
        unwanted.append(an_authorisation("tok_charge_then_timeout"))
        moves = (CapturePayment(order_id=to_capture), ReturnPayment(order_id=to_void), ReturnPayment(order_id=to_refund))
        asked.append(await till.ask(wanted[-1], unwanted[-1], *moves))
        await till.run_until_dead(point)
    await till.run()
    undone = [await till.returned(one.order_id) for one in unwanted]
    for commands in asked:
        answers = [await till.answer(one) for one in commands]
        assert isinstance(answers[0], PaymentAuthorised)
        assert isinstance(answers[1], PaymentAuthorised | PaymentRefused)
        assert answers[2:] == [PaymentCaptured(), PaymentReturned(), PaymentReturned()]
    assert undone == [PaymentReturned()] * len(points)
    assert {await till.counts(one.order_id) for one in wanted} == {(1, 0, 0, 0)}
    assert {await till.money(one.order_id) for one in unwanted} == {(0, 0)}
    for number, counts in enumerate(((1, 1, 0, 0), (1, 0, 1, 0), (1, 1, 0, 1))):
        assert {await till.counts(orders[number]) for orders in prepared} == {counts}


async def test_a_worker_that_is_killed_whenever_it_may_be_takes_every_amount_once(till: Till) -> None:
    tokens = ["tok_ok", "tok_slow_0.3", "tok_charge_then_timeout", "tok_reset", "tok_late", "tok_down_2"] * 3
    commands = [an_authorisation(token) for token in tokens]
    asked = await till.ask(*commands)
    await asyncio.sleep(0.2)
    await till.die()
    await till.run()
    assert all([isinstance(await till.answer(one), PaymentAuthorised) for one in asked])
    captures = await till.ask(*(CapturePayment(order_id=one.order_id) for one in commands))
    await asyncio.sleep(0.1)
    await till.die()
    await till.run()
    assert all([await till.answer(one) == PaymentCaptured() for one in captures])
    assert [await till.counts(one.order_id) for one in commands] == [(1, 1, 0, 0)] * len(commands)
