"""People who act on a platform in trouble, at random: shops that accept or decline, clients that cancel, operators with their verbs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from contracts.messages import Event
from contracts.values import SagaId, TenantId
from infra.transaction import Transactions
from sagas.engine.verbs import Verb
from sagas.operating import Act, Operating
from services.orders.order import IllegalTransition, NotAwaitingAcceptance, Order
from services.orders.repository import lock_orders, save_orders
from services.orders.use_cases import accept_order, cancel_order, decline_order
from tests.integration.network import Crash

# A skip needs somebody who knows what is true; an operator who guesses can break any promise.
_VERBS = (Verb.RETRY, Verb.CANCEL, Verb.PAUSE, Verb.RESUME)


@dataclass
class People:
    """Everybody who acts on the run's tenants."""

    random: Random
    transactions: Mapping[str, Transactions]
    operating: Operating
    tenants: Sequence[TenantId]

    async def decide_acceptance(self) -> None:
        """Somebody in a shop accepts or declines an order, if one waits for that."""
        await self._move(self.random.choice((accept_order, accept_order, decline_order)))

    async def cancel(self) -> None:
        """Some client does not want its order any more."""
        await self._move(lambda order: cancel_order(order, "changed my mind"))

    async def operate(self) -> None:
        """An operator tries a verb on some saga, whether or not it is legal."""
        tenant_id = self.random.choice(self.tenants)
        revisions = await self._revisions(tenant_id)
        if revisions:
            id = self.random.choice(list(revisions))
            with suppress(Crash):
                await self.operating.act(tenant_id, {id: revisions[id]}, Act(self.random.choice(_VERBS), "ada", "at random"))

    async def resume_all(self) -> None:
        """Nobody leaves a saga paused for ever."""
        for tenant_id in self.tenants:
            if revisions := await self._revisions(tenant_id, "PAUSED"):
                with suppress(Crash):
                    await self.operating.act(tenant_id, revisions, Act(Verb.RESUME, "ada", "the day ends"))

    async def _move(self, move: Callable[[Order], Event | None]) -> None:
        tenant_id = self.random.choice(self.tenants)
        with suppress(Crash, IllegalTransition, NotAwaitingAcceptance):
            async with self.transactions["orders"](tenant_id) as scope:
                query = "SELECT order_id FROM orders.customer_order WHERE tenant_id = $1 ORDER BY order_id"
                rows = await scope.connection.fetch(query, tenant_id)
                if not rows:
                    return
                book = await lock_orders(scope, [row["order_id"] for row in rows])
                order = self.random.choice([order for _, order in sorted(book.orders.items())])
                event = move(order)
                await save_orders(scope, book)
                if event is not None:
                    scope.send(event, subject=str(order.order_id), sequence=order.revision)

    async def _revisions(self, tenant_id: TenantId, state: str | None = None) -> dict[SagaId, int]:
        query = "SELECT id, revision FROM sagas.saga WHERE tenant_id = $1 AND ($2::text IS NULL OR state = $2) ORDER BY subject, name"
        async with self.transactions["sagas"](tenant_id) as scope:
            return {SagaId(row["id"]): row["revision"] for row in await scope.connection.fetch(query, tenant_id, state)}
