"""Each thing that can be wrong with the services' books: done by an administrator or by a lost message, found, mended by the command that
is printed, and gone. And nothing is found where nothing is wrong.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import pytest

from contracts.messages import Message
from contracts.orders import OrderCancelRequested, OrderCompleted, OrderPlaced
from contracts.values import OrderId
from services.orders.use_cases import prepare_order
from tests.integration.reconciled import after_a_while, oaas, order_gone, rejected_in_vain
from tests.integration.town import UNITS, Town

CARD: Final = "tok_visa"
ROUNDS_MAX: Final = 8


async def kinds(town: Town) -> set[str]:
    return {one["kind"] for one in await after_a_while(town)}


def losing(town: Town, message: type[Message]) -> Town:
    town.lost = lambda envelope: isinstance(envelope.data, message)
    return town


# What goes wrong. Each answers with its order, if it is about one.


async def lost_start(town: Town) -> OrderId:
    return await losing(town, OrderPlaced).place()


async def lost_start_of_a_card_order(town: Town) -> OrderId:
    return await losing(town, OrderPlaced).place(card=CARD)


async def lost_cancellation(town: Town) -> OrderId:
    order = await town.place()
    await losing(town, OrderCancelRequested).cancel(order)
    return order


async def lost_completion(town: Town) -> OrderId:
    order = await town.place()
    await losing(town, OrderCompleted).complete(order)
    return order


async def lost_approval(town: Town) -> OrderId:
    order = await town.place()
    await town.corrupt("UPDATE orders.customer_order SET status = 'PENDING' WHERE tenant_id = $1 AND order_id = $2", order)
    return order


async def lost_rejection(town: Town) -> OrderId:
    order = await town.place(quantity=UNITS + 1)
    await town.corrupt(
        "UPDATE orders.customer_order SET status = 'PENDING', rejection = NULL WHERE tenant_id = $1 AND order_id = $2", order
    )
    return order


async def held_for_nothing(town: Town) -> OrderId:
    order = await town.place()
    await order_gone(town, order)
    return order


async def paid_for_a_cancelled_order(town: Town) -> OrderId:
    order = await town.place(card=CARD)
    await town.corrupt("UPDATE orders.customer_order SET status = 'CANCELLED' WHERE tenant_id = $1 AND order_id = $2", order)
    return order


async def forgotten_before_it_was_begun(town: Town) -> OrderId:
    order = await town.place()
    await town.age(timedelta(days=40))
    return order


async def forgotten_in_the_kitchen(town: Town) -> OrderId:
    order = await town.place()
    await town.move(order, prepare_order)
    await town.age(timedelta(days=40))
    return order


async def hold_gone(town: Town) -> OrderId:
    order = await town.place()
    await town.corrupt("UPDATE inventory.stock_hold SET state = 'WITHDRAWN' WHERE tenant_id = $1 AND order_id = $2", order)
    return order


async def another_amount_held(town: Town) -> OrderId:
    order = await town.place()
    await town.corrupt("UPDATE tenants.quota_hold SET pence = pence + 1 WHERE tenant_id = $1 AND order_id = $2", order)
    return order


async def refunded_in_the_ledger(town: Town) -> OrderId:
    order = await town.place()
    await town.corrupt(
        """INSERT INTO tenants.financial_transactions
           SELECT tenant_id, gen_random_uuid(), order_id, 'REFUND', vat_rate, -amount_pence, -vat_pence, month, reference, entered_at
           FROM tenants.financial_transactions WHERE tenant_id = $1 AND order_id = $2""",
        order,
    )
    return order


async def card_given_back(town: Town) -> OrderId:
    order = await town.place(card=CARD)
    await town.corrupt("UPDATE payments.payment SET wanted = 'RETURNED', actual = 'REFUNDED' WHERE tenant_id = $1 AND order_id = $2", order)
    return order


async def never_captured(town: Town) -> OrderId:
    order = await town.place(card=CARD)
    await town.corrupt(
        "UPDATE payments.payment SET wanted = 'AUTHORISED', actual = 'AUTHORISED' WHERE tenant_id = $1 AND order_id = $2", order
    )
    return order


async def miscounted_stock(town: Town) -> None:
    await town.corrupt("UPDATE inventory.stock SET held = held + 2, available = available - 2 WHERE tenant_id = $1")


async def miscounted_month(town: Town) -> None:
    await town.place()
    await town.corrupt("UPDATE tenants.quota SET orders_held = orders_held + 1, pence_charged = pence_charged + 5 WHERE tenant_id = $1")


async def forgotten_charge(town: Town) -> OrderId:
    order = await town.place()
    await town.corrupt("UPDATE tenants.quota_hold SET charge = 'NEW' WHERE tenant_id = $1 AND order_id = $2", order)
    return order


Seed = Callable[[Town], Awaitable[OrderId | None]]
ORPHANS: Final = {"orphan-stock", "orphan-quota", "orphan-charge"}
CASES: Final[tuple[tuple[Seed, set[str], str | None], ...]] = (
    (lost_start, {"order-without-saga"}, "CONFIRMED"),
    (lost_start_of_a_card_order, {"order-without-saga"}, "REJECTED"),
    (lost_cancellation, {"cancel-without-saga"}, "CANCELLED"),
    (lost_completion, {"unconsumed-stock", "unsettled-quota"}, "COMPLETED"),
    (lost_approval, {"order-left-behind"}, "CONFIRMED"),
    (lost_rejection, {"order-left-behind"}, "REJECTED"),
    (rejected_in_vain, ORPHANS, "REJECTED"),
    (held_for_nothing, ORPHANS, None),
    (paid_for_a_cancelled_order, {*ORPHANS, "orphan-payment"}, "CANCELLED"),
    (forgotten_before_it_was_begun, {"forgotten-order"}, "CANCELLED"),
    (forgotten_in_the_kitchen, {"forgotten-order"}, "COMPLETED"),
    (hold_gone, {"stock-differs", "stock-unbalanced"}, "CANCELLED"),
    (another_amount_held, {"quota-differs", "quota-unbalanced"}, "CANCELLED"),
    (refunded_in_the_ledger, {"charge-differs", "ledger-unbalanced", "quota-unbalanced"}, "CANCELLED"),
    (card_given_back, {"payment-differs"}, "CANCELLED"),
    (never_captured, {"payment-not-taken"}, "CONFIRMED"),
    (miscounted_stock, {"stock-unbalanced"}, None),
    (miscounted_month, {"quota-unbalanced"}, None),
    (forgotten_charge, {"ledger-unbalanced", "quota-unbalanced"}, "CONFIRMED"),
)


@pytest.mark.parametrize(("seed", "expected", "status"), CASES, ids=lambda value: getattr(value, "__name__", ""))
async def test_what_is_wrong_is_found_mended_by_the_printed_command_and_gone(
    town: Town, seed: Seed, expected: set[str], status: str | None
) -> None:
    order = await seed(town)
    assert await kinds(town) == expected
    town.lost = lambda _: False
    for _ in range(ROUNDS_MAX):
        wrong = await after_a_while(town)
        if not wrong:
            break
        command = wrong[0]["command"]
        assert command.startswith(f"oaas reconcile mend {wrong[0]['kind']} --tenant {town.tenant_id} ")
        mended = await oaas(f"{command} --yes")
        assert mended.exit_code == 0, f"{command}: {mended.output}"
        await town.sweep()
    assert await kinds(town) == set()
    if order is not None:
        assert await town.state("orders.customer_order", "status", order) == status
    audit = await town.administrator.fetch("SELECT verb, outcome FROM ops.audit WHERE tenant_id = $1", town.tenant_id)
    assert {(row["verb"], row["outcome"]) for row in audit} == {("reconcile mend", "DONE")}
