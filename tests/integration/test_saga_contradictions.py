"""A participant that says two things at once: nobody but a person can say which is true, and everybody sees that one is asked."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from contracts.inventory import OutOfStock, ReserveStock, StockReserved
from contracts.messages import Envelope, Reply
from contracts.tenants import ReserveQuota
from contracts.values import SagaId, TenantId
from infra import clock
from infra.database import open_pool
from infra.unscoped.due import OpenSagas
from sagas.engine.coordinator import Coordinator, saga_id
from sagas.engine.verbs import Verb
from sagas.operating import Act, Operating, Result
from tests.conformance.places import opened
from tests.integration.answering import Participants, agree, begin, order_placed, participants, reply_to
from tests.integration.coordinators import ERRAND_1, service
from tests.integration.messaging import Stage, until, working

CONTRADICTIONS: Final = ("oaas_saga_contradictions_total", {"saga": "errand"})


def silent_about_quota(envelope: Envelope) -> Reply | None:
    return None if isinstance(envelope.data, ReserveQuota) else agree(envelope)


@dataclass
class Torn:
    """A saga whose stock is reserved and whose quota is not answered yet."""

    stage: Stage
    others: Participants
    tenant_id: TenantId
    id: SagaId

    async def is_in(self, state: str) -> None:
        seen = None

        async def so() -> bool:
            nonlocal seen
            rows = await self.stage.rows("SELECT state FROM sagas.saga WHERE id = $1", self.id)
            seen = rows[0]["state"] if rows else None
            return seen == state

        await until(so, lambda: f"it is {seen}, not {state}")

    async def history(self) -> list[tuple[str, str]]:
        rows = await self.stage.rows("SELECT kind, detail FROM sagas.saga_event WHERE saga_id = $1 ORDER BY number", self.id)
        return [(row["kind"], row["detail"]) for row in rows]

    async def contradict(self) -> None:
        """Inventory, which has reserved the stock, says that there is none; with an id of its own, as a bug would."""
        asked = next(one for one in self.others.asked if one.sagaid == self.id and isinstance(one.data, ReserveStock))
        await self.others.send("inventory", [reply_to(asked, OutOfStock())])

    async def act(self, verb: Verb) -> Result:
        """What an operator's verb comes to."""
        async with opened(self.stage.settings, "sagas") as transaction:
            revision = (await self.stage.rows("SELECT revision FROM sagas.saga WHERE id = $1", self.id))[0]["revision"]
            operating = Operating(transaction, Coordinator([ERRAND_1]))
            outcomes = await operating.act(self.tenant_id, {self.id: revision}, Act(verb, "ada", "the stock is there, I have looked"))
        return outcomes[0].result


@pytest.fixture
async def torn(stage: Stage, tmp_path: Path) -> AsyncIterator[Torn]:
    await stage.administrator.execute("TRUNCATE sagas.saga, sagas.saga_event")
    # What an operator asks again is in the outbox only, until it is swept.
    settings = stage.settings.model_copy(update={"resend_after_s": 0.5})
    async with participants(settings.rabbitmq_url, silent_about_quota) as others, working(service([ERRAND_1]), settings, tmp_path):
        tenant_id = TenantId(uuid4())
        placed = order_placed(tenant_id)
        await begin(others, [placed])
        torn = Torn(replace(stage, settings=settings), others, tenant_id, saga_id("errand", tenant_id, placed.subject))
        await torn.is_in("RUNNING")

        async def reserved() -> bool:
            return ("ANSWERED", StockReserved.__name__) in await torn.history()

        await until(reserved, lambda: "the stock is not reserved")
        yield torn


async def test_a_second_answer_that_differs_asks_for_attention_and_everybody_can_see_it(torn: Torn) -> None:
    before = REGISTRY.get_sample_value(*CONTRADICTIONS) or 0
    await torn.contradict()
    await torn.is_in("NEEDS_ATTENTION")
    assert (await torn.history())[-2:] == [("CONTRADICTED", OutOfStock.__name__), ("NEEDS_ATTENTION", "")]
    assert REGISTRY.get_sample_value(*CONTRADICTIONS) == before + 1
    pool = open_pool(torn.stage.settings, "sagas", "sweeper", 1)
    counted = await OpenSagas("sagas", pool).count(clock.now())
    await pool.dispose()
    assert [(one.name, one.version, one.state, one.number) for one in counted] == [("errand", 1, "NEEDS_ATTENTION", 1)]


async def test_a_contradicted_saga_goes_on_with_the_first_answer_when_somebody_retries_it(torn: Torn) -> None:
    await torn.contradict()
    await torn.is_in("NEEDS_ATTENTION")
    torn.others.decide = agree
    assert await torn.act(Verb.RETRY) is Result.DONE
    await torn.is_in("COMPLETED")


async def test_a_contradicted_saga_undoes_both_steps_when_somebody_cancels_it(torn: Torn) -> None:
    await torn.contradict()
    await torn.is_in("NEEDS_ATTENTION")
    assert await torn.act(Verb.CANCEL) is Result.DONE
    await torn.is_in("ABANDONED")
    kinds = [one.type for one in torn.others.asked if one.sagaid == torn.id]
    # Whether the stock is held is what nobody knows: it is released in any case.
    assert {"inventory.ReleaseStock.v1", "tenants.ReleaseQuota.v1"} <= set(kinds)


async def test_the_same_answer_again_is_no_contradiction(torn: Torn) -> None:
    asked = next(one for one in torn.others.asked if isinstance(one.data, ReserveStock))
    await torn.others.send("inventory", [reply_to(asked, agree(asked) or OutOfStock())])
    torn.others.decide = agree
    assert await torn.act(Verb.RETRY) is Result.DONE
    await torn.is_in("COMPLETED")
    assert "CONTRADICTED" not in [kind for kind, _ in await torn.history()]
