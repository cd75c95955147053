"""Answers that come later: to everybody who waits, once, and the same when asked again."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.catalog import name_of
from contracts.messages import Envelope, StepFaulted
from contracts.payments import AuthorisePayment, PaymentAuthorised, PaymentRefused, ReturnPayment
from contracts.values import OrderId, TenantId
from infra.deferred import Deferred
from infra.service import Running
from infra.transaction import Transactions
from services.payments.main import SERVICE
from tests.integration.messaging import REPLIES, Stage, items, parts, until, working
from tests.integration.paying import COMMANDS, a_command

DEFERRED = Deferred("payments")
AUTHORISED = PaymentAuthorised(payment_id=UUID(int=5))


@pytest.fixture
async def transaction(stage: Stage, tmp_path: Path) -> AsyncIterator[Transactions]:
    """The transactions of a process beside a worker that takes commands in and calls no provider."""

    async def call_nobody(running: Running) -> None:
        await running.stopping.wait()

    async with working(replace(SERVICE, background=call_nobody), stage.settings, tmp_path), parts(stage.settings, "payments") as own:
        yield own.transaction


def an_authorisation(tenant_id: TenantId, order_id: OrderId) -> Envelope:
    return a_command(tenant_id, AuthorisePayment(order_id=order_id, amount=100, token="tok_ok"))


async def waits(stage: Stage, count: int, order_id: OrderId) -> None:
    """So many commands about the order wait for their answer."""

    async def is_so() -> bool:
        [row] = await stage.rows("SELECT count(*) FROM payments.unanswered WHERE subject = $1", str(order_id))
        return bool(row[0] == count)

    await until(is_so, lambda: f"not {count} commands wait")


async def answers(stage: Stage, count: int) -> list[dict[str, Any]]:
    return items(await stage.read(REPLIES, count))


async def test_a_later_answer_goes_to_everybody_who_asked_about_that_subject(stage: Stage, transaction: Transactions) -> None:
    tenant_id, order_id, other = TenantId(uuid4()), OrderId(uuid4()), OrderId(uuid4())
    asked = [an_authorisation(tenant_id, order_id), an_authorisation(tenant_id, order_id)]
    await stage.publish(COMMANDS, *asked, an_authorisation(tenant_id, other))
    await waits(stage, 2, order_id)
    async with transaction(tenant_id) as scope:
        assert await DEFERRED.answer(scope, AuthorisePayment, str(order_id), AUTHORISED) == 2
    found = await answers(stage, 2)
    assert {one["commandid"] for one in found} == {str(one.id) for one in asked}
    assert {one["sagaid"] for one in found} == {str(one.sagaid) for one in asked}
    assert {one["data"]["payment_id"] for one in found} == {str(AUTHORISED.payment_id)}
    await waits(stage, 0, order_id)
    await waits(stage, 1, other)


async def test_it_is_answered_once_and_nobody_waits_twice(stage: Stage, transaction: Transactions) -> None:
    tenant_id, order_id = TenantId(uuid4()), OrderId(uuid4())
    await stage.publish(COMMANDS, an_authorisation(tenant_id, order_id))
    await waits(stage, 1, order_id)

    async def answer(code: str) -> int:
        async with transaction(tenant_id) as scope:
            return await DEFERRED.answer(scope, AuthorisePayment, str(order_id), PaymentRefused(code=code))

    assert sorted(await asyncio.gather(*(answer(str(number)) for number in range(4)))) == [0, 0, 0, 1]


async def test_asked_again_meanwhile_it_is_not_noted_twice_and_asked_again_afterwards_the_answer_is_the_same(
    stage: Stage, transaction: Transactions
) -> None:
    tenant_id, order_id = TenantId(uuid4()), OrderId(uuid4())
    asked = an_authorisation(tenant_id, order_id)
    for _ in range(3):
        await stage.publish(COMMANDS, asked)
    await waits(stage, 1, order_id)
    async with transaction(tenant_id) as scope:
        await DEFERRED.answer(scope, AuthorisePayment, str(order_id), AUTHORISED)
    [first] = await answers(stage, 1)
    await stage.publish(COMMANDS, asked)
    [again] = await answers(stage, 1)
    assert again == first


async def test_an_answer_that_is_rolled_back_was_never_given(stage: Stage, transaction: Transactions) -> None:
    tenant_id, order_id = TenantId(uuid4()), OrderId(uuid4())
    await stage.publish(COMMANDS, an_authorisation(tenant_id, order_id))
    await waits(stage, 1, order_id)

    async def answer_and_fail() -> None:
        async with transaction(tenant_id) as scope:
            await DEFERRED.answer(scope, AuthorisePayment, str(order_id), AUTHORISED)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await answer_and_fail()
    await waits(stage, 1, order_id)
    async with transaction(tenant_id) as scope:
        assert await DEFERRED.answer(scope, AuthorisePayment, str(order_id), AUTHORISED) == 1
    assert len(await answers(stage, 1)) == 1


async def test_another_tenants_and_another_commands_askers_are_left_alone(stage: Stage, transaction: Transactions) -> None:
    tenant_id, order_id = TenantId(uuid4()), OrderId(uuid4())
    await stage.publish(COMMANDS, an_authorisation(tenant_id, order_id))
    await waits(stage, 1, order_id)
    async with transaction(TenantId(uuid4())) as scope:
        assert await DEFERRED.answer(scope, AuthorisePayment, str(order_id), AUTHORISED) == 0
    await stage.publish(COMMANDS, a_command(tenant_id, ReturnPayment(order_id=order_id)))
    # Nothing was held for it, so the return was answered at once, and with it whoever waited for the authorisation.
    assert {one["type"] for one in await answers(stage, 2)} == {"payments.PaymentReturned.v1", "payments.PaymentRefused.v1"}
    await waits(stage, 0, order_id)


async def test_whoever_waits_is_told_of_trouble_and_waits_on_for_the_answer(stage: Stage, transaction: Transactions) -> None:
    tenant_id, order_id = TenantId(uuid4()), OrderId(uuid4())
    asked = an_authorisation(tenant_id, order_id)
    await stage.publish(COMMANDS, asked, an_authorisation(tenant_id, OrderId(uuid4())))
    await waits(stage, 1, order_id)
    async with transaction(tenant_id) as scope:
        assert await DEFERRED.fault(scope, AuthorisePayment, str(order_id), "no " * 200, "print") == 1
        assert await DEFERRED.fault(scope, ReturnPayment, str(order_id), "no", "print") == 0
    [told] = await answers(stage, 1)
    assert told["type"] == name_of(StepFaulted)
    assert (told["commandid"], told["causationid"], told["sagaid"]) == (str(asked.id), str(asked.id), str(asked.sagaid))
    assert (told["subject"], told["data"]) == (str(order_id), {"error": ("no " * 200)[:300], "fingerprint": "print"})
    # Asked again it has no answer yet, neither is the trouble one.
    await stage.publish(COMMANDS, asked)
    await waits(stage, 1, order_id)
    async with transaction(tenant_id) as scope:
        assert await DEFERRED.answer(scope, AuthorisePayment, str(order_id), AUTHORISED) == 1
    # What was told may be sent a second time when the machine is slow.
    answer = told
    while answer["id"] == told["id"]:
        answer = (await answers(stage, 1))[-1]
    assert answer["data"]["payment_id"] == str(AUTHORISED.payment_id)
