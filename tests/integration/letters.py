"""Dead letters as services and the broker leave them, and the desk's worker and routes around them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import httpx
from prometheus_client import CollectorRegistry

from contracts.addresses import DEAD_LETTERS, dead_letter_queue
from contracts.messages import Envelope
from contracts.values import TenantId
from infra.clock import now
from infra.database import open_pool
from infra.frames import CONTENT_TYPE, encode
from infra.http import create_app
from infra.http.verifier import Verifier
from infra.letters import headers_of
from infra.settings import Settings
from infra.token import ensure_development_key
from services.ops.main import SERVICE
from services.ops.taking_in.intake import take_in
from services.ops.taking_in.opening import Arrived, open_letters
from tests.conformance.places import opened
from tests.integration.messaging import Stage, reserve, until
from tests.integration.serving import Api

QUEUE: Final = "inventory.commands.0"
TABLES: Final = ("letter", "death", "letter_revision", "saga", "replay", "replay_item", "outbox", "inbox")


class Poison(ValueError):
    """A bug of a use case."""


def raised(error: Exception) -> Exception:
    """The same with a traceback."""
    try:
        raise error
    except type(error) as caught:
        return caught


@dataclass(frozen=True)
class Dying:
    """One envelope that died, with the headers that its consumer gave it. Publishing it again is the same death."""

    body: bytes
    headers: Mapping[str, Any]
    message_id: str

    @property
    def letter(self) -> UUID:
        return UUID(str(self.headers["x-letter"]))


def dying(envelope: Envelope, error: Exception | None = None, *, attempt: int = 1, more: Mapping[str, Any] | None = None) -> Dying:
    """It dies of this, for the first time or anew; `more` headers replace the consumer's own, None takes one away."""
    found: dict[str, Any] = dict(headers_of(envelope, raised(error or Poison("no shelf")), QUEUE, "inventory", attempt, uuid4()))
    found |= more or {}
    body = encode([envelope.model_dump_json(exclude_none=True)])
    return Dying(body, {name: value for name, value in found.items() if value is not None}, str(uuid4()))


async def publish(stage: Stage, *letters: Dying, queue: str = QUEUE) -> None:
    """Into the dead-letter queue."""
    exchange = await stage.client.get_exchange(DEAD_LETTERS, ensure=False)
    for one in letters:
        message = aio_pika.Message(one.body, headers=dict(one.headers), content_type=CONTENT_TYPE, message_id=one.message_id)
        await exchange.publish(message, queue)


async def forget_all(stage: Stage) -> None:
    """No letter, and nothing that hangs on one."""
    await stage.administrator.execute("TRUNCATE " + ", ".join(f"ops.{table}" for table in TABLES))


async def rows(stage: Stage) -> list[asyncpg.Record]:
    """Every letter there is."""
    return await stage.rows("SELECT * FROM ops.letter ORDER BY first_died_at, id")


async def taken_in(stage: Stage, *, letters: int, deaths: int | None = None, queue: str = QUEUE) -> list[asyncpg.Record]:
    """The letters, once there are so many letters and deaths and the queue has none that is not acked."""
    wanted = letters, letters if deaths is None else deaths
    seen: tuple[int, ...] = ()

    async def all_there() -> bool:
        nonlocal seen
        [row] = await stage.rows("SELECT (SELECT count(*) FROM ops.letter), (SELECT count(*) FROM ops.death)")
        seen = tuple(row)
        return seen == wanted and await stage.waiting(dead_letter_queue(queue)) == 0

    await until(all_there, lambda: f"there are {seen} letters and deaths, not {wanted}")
    return await rows(stage)


def a_letter(tenant_id: TenantId | None = None, error: Exception | None = None, more: Mapping[str, Any] | None = None) -> Dying:
    """One that died of a bug."""
    return dying(reserve(tenant_id or TenantId(uuid4())), error, more=more)


@dataclass(frozen=True)
class LetterDesk:
    """An operator's HTTP client."""

    api: Api

    def operator(self, tenant_id: TenantId | None = None) -> dict[str, str]:
        return self.api.token("ops", tenant_id=tenant_id)

    async def get(self, path: str = "", tenant_id: TenantId | None = None, /, **params: Any) -> httpx.Response:
        """GET /v1/ops/dead-letters..., as an operator of all tenants or of one."""
        return await self.api.client.get(f"/v1/ops/dead-letters{path}", params=params, headers=self.operator(tenant_id))

    async def ids(self, tenant_id: TenantId | None = None, /, **params: Any) -> list[str]:
        """Ids of the letters that fit, in the order of the list."""
        answer = await self.get("", tenant_id, **params)
        assert answer.status_code == 200, answer.text
        return [letter["id"] for letter in answer.json()["letters"]]


@asynccontextmanager
async def letter_desk(settings: Settings, home: Path) -> AsyncIterator[LetterDesk]:
    """The desk's routes behind the whole HTTP edge."""
    verifier = Verifier(str(ensure_development_key(home)), settings.issuer, settings.audience)
    async with AsyncExitStack() as stack:
        transaction = await stack.enter_async_context(opened(settings, SERVICE.name))
        sweeper = open_pool(settings, SERVICE.name, "sweeper", 2)
        stack.push_async_callback(sweeper.dispose)
        router = SERVICE.operators_router(transaction, sweeper, settings)
        assert router is not None
        app = create_app("test", {"ops": router}, verifier=verifier, registry=CollectorRegistry())
        client = await stack.enter_async_context(httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test"))
        yield LetterDesk(Api(client, settings, transaction, [], home))


def pairs(found: Sequence[asyncpg.Record], *names: str) -> list[tuple[Any, ...]]:
    """These columns of each row."""
    return [tuple(row[name] for name in names) for row in found]


async def keep(desk: LetterDesk, *died: Dying, queue: str = QUEUE, minutes_ago: float = 0) -> list[UUID]:
    """As if they had been taken in then; their ids."""
    at = now() - timedelta(minutes=minutes_ago)
    found = [letter for one in died for letter in open_letters(Arrived(queue, one.body, one.headers, one.message_id), at)]
    async with desk.api.transaction.batch() as batch:
        for tenant_id in sorted({one.letter.tenant_id for one in found}):
            async with batch.scope(tenant_id) as scope:
                await take_in(scope, [one for one in found if one.letter.tenant_id == tenant_id])
    return [one.letter.id for one in found]


def raised_elsewhere(text: str) -> Exception:
    """The same error from another place has another cause."""
    try:
        raise Poison(text)
    except Poison as error:
        return error
