"""Letters that died, a service that failed them and is mended, and an operator who replays them: real broker, database and workers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import aio_pika
import httpx
from prometheus_client import CollectorRegistry

from contracts.addresses import dead_letter_address
from contracts.inventory import ReserveStock
from contracts.messages import Envelope, Later, Message, Reply
from contracts.values import TenantId
from infra.clock import now
from infra.database import open_pool
from infra.frames import CONTENT_TYPE, encode
from infra.handling import Decide
from infra.http import create_app
from infra.http.verifier import Verifier
from infra.letters import headers_of
from infra.service import Service
from infra.settings import Settings
from infra.token import ensure_development_key
from infra.transaction import Transactions
from services.inventory.main import SERVICE as INVENTORY
from services.ops import ops_api
from services.ops.desk.model import letter_id
from tests.integration.messaging import Stage, parts, reserve, until
from tests.integration.serving import Api

QUEUE: Final = "inventory.commands.0"
OLD_BUILD: Final = "the build before"


class Broken(Exception):
    """The bug of the test."""


@dataclass
class Bug:
    """Fails some of the orders for stock, until it is mended; remembers how often each message was tried."""

    is_mended: bool = False
    only: frozenset[UUID] | None = None
    """The messages that it fails; all of them if there is nothing here."""
    tried: Counter[UUID] = field(default_factory=Counter)

    def may_strike(self, envelope: Envelope) -> None:
        """Raises Broken."""
        self.tried[envelope.id] += 1
        if not self.is_mended and (self.only is None or envelope.id in self.only):
            raise Broken(f"no shelf for {envelope.subject}")


def inventory_with(bug: Bug) -> Service:
    """The real service with this bug in the use case for ReserveStock."""

    def around(decide: Decide) -> Decide:
        def decide_or_fail(envelope: Envelope, state: Any) -> Reply | Later | None:
            bug.may_strike(envelope)
            return decide(envelope, state)

        return decide_or_fail

    def struck(kind: type[Message], decide: Decide) -> Decide:
        return around(decide) if kind is ReserveStock else decide

    def table(settings: Settings) -> Sequence[Any]:
        return [
            replace(one, decide={kind: struck(kind, decide) for kind, decide in one.decide.items()}) for one in INVENTORY.handles(settings)
        ]

    return replace(INVENTORY, handles=table)


@dataclass
class ReplayDesk:
    """An operator's client, and the stage on which everything plays."""

    stage: Stage
    api: Api
    transaction: Transactions
    """The desk's own."""

    async def call(self, verb: str, path: str, body: Any = None, tenant: TenantId | None = None, **params: Any) -> httpx.Response:
        who = self.api.token("ops", tenant_id=tenant)
        return await self.api.client.request(verb, f"/v1/ops/dead-letters{path}", headers=who, json=body, params=params)

    async def done(self, verb: str, path: str, body: Any = None, tenant: TenantId | None = None, **params: Any) -> dict[str, Any]:
        """The same, if it succeeds."""
        answer = await self.call(verb, path, body, tenant, **params)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def plan(self, by: TenantId | None = None, *, letters: Sequence[UUID] = (), **more: Any) -> dict[str, Any]:
        """A plan for the letters of the filter, or those that are named; `by` an operator of that tenant."""
        said: dict[str, Any] = {"reason": "a test"}
        said |= {name: more.pop(name) for name in ("include_ended", "include_held_back") if name in more}
        said |= {"letters": [str(id) for id in letters]} if letters else {"filter": {key: str(value) for key, value in more.items()}}
        return await self.done("POST", "/replays", said, by)

    async def start(self, plan: dict[str, Any], **pace: Any) -> dict[str, Any]:
        return await self.done("POST", f"/replays/{plan['id']}/start", pace)

    async def verb(self, verb: str, plan: dict[str, Any]) -> dict[str, Any]:
        return await self.done("POST", f"/replays/{plan['id']}/{verb}", {"reason": "a test"})

    async def show(self, plan: dict[str, Any]) -> dict[str, Any]:
        return await self.done("GET", f"/replays/{plan['id']}")

    async def ends(self, plan: dict[str, Any], *states: str) -> dict[str, Any]:
        """The replay, once it is in one of these states; DONE if none is given."""
        return await self.comes_to(plan, lambda seen: seen["state"] in (states or ("DONE",)))

    async def comes_to(self, plan: dict[str, Any], is_so: Any, patience_s: float = 60) -> dict[str, Any]:
        """The replay, once that is so; fails with what was seen last."""
        end = asyncio.get_running_loop().time() + patience_s
        while not is_so(seen := await self.show(plan)):
            assert asyncio.get_running_loop().time() < end, seen
            await asyncio.sleep(0.05)
        return seen

    async def outcomes(self, plan: dict[str, Any], **params: Any) -> list[dict[str, Any]]:
        """All of them."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, Any] = {}
        while True:
            page = await self.done("GET", f"/replays/{plan['id']}/outcomes", limit=1000, **cursor, **params)
            found += page["outcomes"]
            if page["next"] is None:
                return found
            cursor = {"cursor": page["next"]}

    async def letters(self, tenant: TenantId) -> dict[UUID, Any]:
        """The tenant's letters by the message in them, whatever their state."""
        rows = await self.stage.rows("SELECT * FROM ops.letter WHERE tenant_id = $1", tenant)
        return {row["message_id"]: row for row in rows}

    async def states(self, tenant: TenantId) -> Counter[str]:
        return Counter(letter["state"] for letter in (await self.letters(tenant)).values())

    async def dead(self, tenant: TenantId, count: int, **more: Any) -> list[Envelope]:
        """So many orders for stock that died of the bug before this test, and are letters now."""
        envelopes = [reserve(tenant, **more) for _ in range(count)]
        await self.die(envelopes)
        return envelopes

    async def die(self, envelopes: Sequence[Envelope], build: str = OLD_BUILD) -> None:
        """They are in the dead-letter queue, once more if they were; returns when the desk has taken them in."""
        before = await self._deaths(envelopes)
        exchange = await self.stage.client.get_exchange(dead_letter_address(QUEUE).exchange, ensure=False)
        for envelope in envelopes:
            headers: dict[str, Any] = {**headers_of(envelope, _error(), QUEUE, "inventory", 1, uuid4()), "x-build": build}
            body = encode([envelope.model_dump_json(exclude_none=True)])
            message = aio_pika.Message(body, headers=headers, content_type=CONTENT_TYPE, message_id=str(uuid4()))
            await exchange.publish(message, QUEUE)

        async def taken_in() -> bool:
            return await self._deaths(envelopes) == before + len(envelopes)

        await until(taken_in, lambda: f"the {len(envelopes)} letters were not taken in")

    async def _deaths(self, envelopes: Sequence[Envelope]) -> int:
        rows = await self.stage.rows(
            "SELECT coalesce(sum(deaths), 0) AS deaths FROM ops.letter WHERE message_id = ANY($1)", [one.id for one in envelopes]
        )
        return int(rows[0]["deaths"])

    async def handled(self, tenant: TenantId) -> dict[UUID, int]:
        """How often inventory took each message in, as its inbox says: once, or not at all."""
        rows = await self.stage.rows("SELECT message_id, count(*) FROM inventory.inbox WHERE tenant_id = $1 GROUP BY 1", tenant)
        return {row["message_id"]: row["count"] for row in rows}

    async def held(self, tenant: TenantId) -> int:
        """Units of stock that are held: one for each order that was handled."""
        rows = await self.stage.rows("SELECT coalesce(sum(held), 0) AS held FROM inventory.stock WHERE tenant_id = $1", tenant)
        return int(rows[0]["held"])


@asynccontextmanager
async def replay_desk(stage: Stage, home: Path, **overrides: Any) -> AsyncIterator[ReplayDesk]:
    """The operators' routes in this process, with these settings; a worker of the desk is the test's to start."""
    settings = stage.settings.model_copy(update=overrides)
    verifier = Verifier(str(ensure_development_key(home)), settings.issuer, settings.audience)
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(parts(settings, "ops"))
        sweeper = open_pool(settings, "ops", "sweeper", 2)
        stack.push_async_callback(sweeper.dispose)
        router = ops_api.router(own.transaction, sweeper, settings)
        app = create_app("test", {"ops": router}, verifier=verifier, registry=CollectorRegistry())
        client = await stack.enter_async_context(httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test"))
        yield ReplayDesk(stage, Api(client, settings, own.transaction, [], home), own.transaction)


async def lay(stage: Stage, tenant: TenantId, count: int = 1, **more: Any) -> list[UUID]:
    """So many letters of orders for stock, straight in the table; their ids."""
    at: datetime = more.pop("at", now())
    row = {
        "queue": QUEUE,
        "service": "inventory",
        "type": "inventory.ReserveStock.v1",
        "subject": "test",
        "state": "DEAD",
        "fingerprint": "f" * 16,
        "exception_type": "Broken",
        "error": "no shelf",
        "stack": "",
        "build": OLD_BUILD,
        "attempts": 1,
        "deaths": 1,
        "is_native": False,
        "is_readable": True,
        "sent_at": at,
        "first_died_at": at,
        "died_at": at,
        "changed_at": at,
        "form": "ENVELOPE",
        "headers": "{}",
    } | more
    rows: list[tuple[Any, ...]] = []
    for _ in range(count):
        envelope = reserve(tenant)
        body = row.get("body") or envelope.model_dump_json(exclude_none=True)
        rows.append((tenant, letter_id(tenant, str(row["queue"]), envelope.id), envelope.id, *(row | {"body": body}).values()))
    columns = ("tenant_id", "id", "message_id", *(row | {"body": ""}))
    await stage.administrator.copy_records_to_table("letter", schema_name="ops", records=rows, columns=columns)
    return [one[1] for one in rows]


async def note_ended(stage: Stage, tenant: TenantId, saga: UUID) -> None:
    """The desk has heard that this saga has ended."""
    insert = (
        "INSERT INTO ops.saga (tenant_id, id, name, version, subject, state, sequence, at)"
        " VALUES ($1, $2, 'x', 1, 'x', 'ABANDONED', 1, now())"
    )
    await stage.administrator.execute(insert, tenant, saga)


def _error() -> Exception:
    try:
        raise Broken("no shelf")
    except Broken as error:
        return error
