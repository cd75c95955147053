"""One frame of five commands to inventory, one of which its worker cannot handle."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from contracts.inventory import ReserveStock
from contracts.messages import Envelope
from infra.dev.demo_client import Order, Retailer
from infra.dev.demo_stage import Stage, until
from infra.frames import encode
from tests.system import desk
from tests.system.desk import Letter, letters_of
from tests.system.wire import deliver, tap

QUEUE = "inventory.commands.0"


@dataclass(frozen=True)
class Company:
    """The orders of the frame: four good ones of two tenants around a bad one, which is the second tenant's."""

    sound: Retailer
    mixed: Retailer
    good: list[tuple[Retailer, UUID]]
    bad: UUID

    async def outcomes(self) -> list[str]:
        """Where the good orders have come to."""
        return [(await retailer.find(order_id)).outcome for retailer, order_id in self.good]


async def in_one_frame(stage: Stage, sku: str, fault: str, **overrides: str) -> Company:
    """Start inventory's worker with the fault and let it find the frame."""
    sound = await stage.retailer("Sound Stores", {"sourdough": (250, 10)})
    mixed = await stage.retailer("Mixed Goods", {"sourdough": (250, 10), sku: (100, 10)})
    await stage.kill("inventory")
    url = stage.running.servers.rabbitmq_url
    wishes = [(sound, "sourdough"), (mixed, "sourdough"), (mixed, sku), (sound, "sourdough"), (mixed, "sourdough")]
    async with tap(url) as seen:
        placed: list[Order] = [await retailer.order({wished: 1}) for retailer, wished in wishes]
        commands = [await _command(seen.sent_to, order.id) for order in placed]
    # As a sweeper might: an envelope does not know which frame it travels in.
    await deliver(url, QUEUE, encode([command.model_dump_json(exclude_none=True) for command in commands]), instead=True)
    await stage.run("inventory", "tests.system.faulty_worker", "inventory", fault, **overrides)
    good = [(retailer, order.id) for (retailer, wished), order in zip(wishes, placed, strict=True) if wished != sku]
    return Company(sound, mixed, good, placed[2].id)


async def expect_only_the_bad_one_parked(stage: Stage, company: Company, sku: str) -> Letter:
    """The four are confirmed; the bad one is a dead letter, which is returned, and its saga is parked."""
    await until(company.outcomes, lambda seen: seen == ["CONFIRMED"] * 4, "the good orders to be confirmed")
    await until(lambda: _kinds(company), lambda kinds: kinds[-1:] == ["PARKED"], "the saga of the bad order to be parked")
    assert (await company.mixed.find(company.bad)).outcome == "PENDING"
    assert (await company.mixed.stock(sku)).held == 0
    [letter] = await until(lambda: letters_of(stage, company.mixed.tenant_id), bool, "the dead letter")
    assert letter.headers["x-origin-queue"] == QUEUE
    assert letter.headers["x-message-type"] == "inventory.ReserveStock.v1"
    return letter


async def replay(stage: Stage, company: Company, letter: Letter) -> Order:
    """Mend inventory, send the letter again as an operator does, and follow the order to its end."""
    await stage.run("inventory")
    await desk.replay(stage, company.mixed.tenant_id, letter.id)
    return await stage.follow(company.mixed, company.bad)


async def _command(sent_to: Callable[[str], list[Envelope]], order_id: UUID) -> Envelope:
    async def look() -> list[Envelope]:
        return [one for one in sent_to(QUEUE) if isinstance(one.data, ReserveStock) and one.data.order_id == order_id]

    return (await until(look, bool, f"the command to hold stock for order {order_id}"))[0]


async def _kinds(company: Company) -> list[str]:
    return [one.kind for one in await company.mixed.timeline(company.bad)]
