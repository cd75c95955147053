"""An operator at a terminal with dead letters: real broker, database and workers, the desk's routes on a port."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID, uuid4

import aio_pika
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from typer.testing import Result

from contracts.addresses import dead_letter_address
from contracts.messages import Envelope
from contracts.values import TenantId
from infra.database import open_pool
from infra.frames import CONTENT_TYPE, encode
from infra.http import create_app
from infra.http.verifier import Verifier
from infra.letters import headers_of
from infra.token import ensure_development_key
from services.ops import ops_api
from tests.integration.letters import raised
from tests.integration.messaging import Stage, a_tenant, parts, reserve, until
from tests.integration.replays import QUEUE, ReplayDesk, replay_desk
from tests.integration.terminal import oaas, on_a_port
from tests.integration.workers import oaas_worker, worker_process


@dataclass
class Terminal:
    """Where a person types `oaas dead-letters ...`; `tenant` is whose letters the test is about."""

    desk: ReplayDesk
    served: FastAPI
    """The desk's routes."""
    url: str
    home: Path
    tenant: TenantId

    async def type(self, *words: object, answering: str | None = None) -> Result:
        """`oaas dead-letters` and these words."""
        return await oaas("dead-letters", *words, answering=answering)

    async def letters(self, count: int = 1, error: Exception | None = None, said: Sequence[Envelope] = ()) -> list[UUID]:
        """Ids of so many new letters of this tenant that died of this error, or of these messages; the desk has taken them in."""
        # Raised once: each time it is raised the way to it grows, and the way is the cause.
        cause = raised(error or KeyError("shelf"))
        envelopes = [*said] or [reserve(self.tenant) for _ in range(count)]
        exchange = await self.desk.stage.client.get_exchange(dead_letter_address(QUEUE).exchange, ensure=False)
        for envelope in envelopes:
            headers = headers_of(envelope, cause, QUEUE, "inventory", 1, uuid4())
            body = encode([envelope.model_dump_json(exclude_none=True)])
            await exchange.publish(aio_pika.Message(body, headers=dict(headers), content_type=CONTENT_TYPE, message_id=str(uuid4())), QUEUE)
        wanted = {envelope.id for envelope in envelopes}

        async def are_there() -> bool:
            return wanted <= set(await self.desk.letters(self.tenant))

        await until(are_there, lambda: f"the {len(wanted)} letters were not taken in")
        found = await self.desk.letters(self.tenant)
        return [found[envelope.id]["id"] for envelope in envelopes]

    async def states(self) -> dict[str, int]:
        """How many letters of the tenant there are in each state."""
        return dict(await self.desk.states(self.tenant))


@asynccontextmanager
async def a_terminal(stage: Stage, home: Path) -> AsyncIterator[Terminal]:
    """With a worker of the desk as a process of its own. The tenant is nobody yet: `for_a_tenant` makes one."""
    verifier = Verifier(str(ensure_development_key(home)), stage.settings.issuer, stage.settings.audience)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(worker_process(oaas_worker("ops"), stage.settings, home))
        desk = await stack.enter_async_context(replay_desk(stage, home))
        sweeper = open_pool(stage.settings, "ops", "sweeper", 2)
        stack.push_async_callback(sweeper.dispose)
        router = ops_api.router(desk.transaction, sweeper, stage.settings)
        served = create_app("test", {"ops": router}, verifier=verifier, registry=CollectorRegistry())
        yield Terminal(desk, served, await stack.enter_async_context(on_a_port(served, home)), home, TenantId(UUID(int=0)))


async def for_a_tenant(terminal: Terminal) -> Terminal:
    """The same for a new tenant with stock."""
    async with parts(terminal.desk.stage.settings) as inventory:
        tenant = await a_tenant(inventory.transaction, APPLE=10_000)
    return replace(terminal, tenant=tenant)
