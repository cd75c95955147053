"""Whatever goes wrong in a flight, everybody in it hears of it, nothing is kept, and the connection serves the next tenant or nobody."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import asyncpg
import psycopg
import pytest

from contracts.values import TenantId
from infra import clock
from infra.database import open_pool
from infra.outbox import Outbox
from infra.retry import Ending, ending_of
from infra.settings import Settings
from infra.together import together
from infra.transaction import Scope, Transactions

TENANT: Final = TenantId(uuid4())
WAIT_S: Final = 10.0
_ADD: Final = "INSERT INTO inventory.suspect (tenant_id, message_id, deaths, marked_at) VALUES ($1, $2, 0, $3)"
_COUNT: Final = "SELECT count(*) FROM inventory.suspect"
_SLEEP: Final = "SELECT pg_sleep(60)"
_LOCK: Final = "SELECT pg_advisory_xact_lock($1)"
_BACKEND: Final = "SELECT pg_backend_pid()"
_END: Final = "SELECT pg_terminate_backend($1)"


@asynccontextmanager
async def connected(settings: Settings, connections: int) -> AsyncIterator[Transactions]:
    pool = open_pool(settings, "inventory", "app", connections)
    yield Transactions("inventory", pool, Outbox("inventory", settings.resend_after_s), lambda _: None, clock.now)
    await pool.dispose()


@pytest.fixture
async def transaction(settings: Settings) -> AsyncIterator[Transactions]:
    """On one connection: what becomes of it, the next user sees."""
    async with connected(settings, 1) as transaction:
        yield transaction


async def until(is_so: Callable[[], Awaitable[object]]) -> None:
    """Poll until it is so: the server has no event for what it is doing."""
    async with asyncio.timeout(WAIT_S):
        while not await is_so():  # noqa: ASYNC110 - it is the server's, see above
            await asyncio.sleep(0.01)


async def asked(transaction: Transactions, statement: str, tenant_id: TenantId = TENANT) -> Any:
    async with transaction(tenant_id) as scope:
        return await scope.connection.fetchval(statement)


async def is_doing(administrator: asyncpg.Connection, backend: int, query: str, event: str) -> bool:
    found = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND query = $2 AND state = 'active' AND wait_event = $3)"
    return bool(await administrator.fetchval(found, backend, query, event))


async def sleeping(transaction: Transactions, administrator: asyncpg.Connection, work: Awaitable[Any]) -> asyncio.Future[Any]:
    """The work, once the server sleeps for it; the pool's connection is the one that asks."""
    backend = await asked(transaction, _BACKEND)
    begun = asyncio.ensure_future(work)
    await until(lambda: is_doing(administrator, backend, _SLEEP, "PgSleep"))
    return begun


async def serves_the_next(transaction: Transactions, backend: int) -> bool:
    """The same connection, in nobody's scope, and then in that of another tenant."""
    opened = await transaction.begun()
    [tenant] = opened.wire.rows(await opened.wire.ask(None, "SELECT current_setting('oaas.tenant_id', true)"))
    await opened.close(is_committed=False)
    next_tenant = TenantId(uuid4())
    entered = await asked(transaction, "SELECT current_setting('oaas.tenant_id')", next_tenant)
    return not tenant[0] and entered == str(next_tenant) and await asked(transaction, _BACKEND) == backend


async def test_one_failure_fails_all_that_was_asked_after_it_in_the_flight(transaction: Transactions) -> None:
    ours, backend = TenantId(uuid4()), await asked(transaction, _BACKEND)
    outcomes: list[object] = []
    with pytest.raises(psycopg.errors.DivisionByZero):  # noqa: PT012 - the flight is what is tried
        async with transaction(ours) as scope:
            flight = [
                scope.connection.ask(_ADD, ours, uuid4(), scope.now),
                scope.connection.ask("SELECT 1 / 0"),
                # It would fail by itself; what is told is why all of it failed.
                scope.connection.ask("SELECT 'x'::integer"),
                scope.connection.ask("SELECT 'first seen in a flight that failed'"),
            ]
            outcomes += await asyncio.gather(*flight, return_exceptions=True)
            await flight[-1]
    assert [type(outcome) for outcome in outcomes[1:]] == [psycopg.errors.DivisionByZero] * 3
    # What was passed over was not prepared; what came before the failure was.
    assert await asked(transaction, "SELECT 'first seen in a flight that failed'") == "first seen in a flight that failed"
    assert await asked(transaction, _COUNT, ours) == 0
    async with transaction(ours) as scope:
        assert await scope.connection.execute(_ADD, ours, uuid4(), scope.now) == "INSERT 0 1"
    assert await serves_the_next(transaction, backend)


@pytest.mark.parametrize(("wrong", "arguments"), [("SELEC 1", []), ("SELECT $1::colour", ["red"]), ("SELECT 1 / $1::int", [0])])
async def test_a_statement_that_failed_fails_in_the_same_way_again(transaction: Transactions, wrong: str, arguments: list[object]) -> None:
    said: set[str] = set()
    for _ in range(3):
        with pytest.raises(psycopg.Error):  # noqa: PT012 - the flight is what is tried
            async with transaction(TENANT) as scope:
                twice = [scope.connection.ask(wrong, *arguments) for _ in range(2)]
                said.update(str(outcome) for outcome in await asyncio.gather(*twice, return_exceptions=True))
                await twice[1]
    assert len(said) == 1


async def test_everybody_hears_that_one_tenants_statement_failed(transaction: Transactions) -> None:
    ours = [TenantId(uuid4()) for _ in range(3)]

    async def visit(scope: Scope, divisor: int) -> None:
        await scope.connection.execute(_ADD, scope.tenant_id, uuid4(), scope.now)
        await scope.connection.execute("SELECT 1 / $1::int", divisor)

    with pytest.raises(psycopg.errors.DivisionByZero):  # noqa: PT012 - the flight is what is tried
        async with transaction.batch() as batch:
            scopes = [await batch.enter(tenant_id) for tenant_id in ours]
            await together([visit(scope, place - 1) for place, scope in enumerate(scopes)])
    assert [await asked(transaction, _COUNT, tenant_id) for tenant_id in ours] == [0, 0, 0]


async def test_everybody_in_a_flight_hears_that_the_server_ended_it(transaction: Transactions, administrator: asyncpg.Connection) -> None:
    heard: list[object] = []

    async def fly() -> None:
        async with transaction.batch() as batch:
            scopes = [await batch.enter(TenantId(uuid4())) for _ in range(3)]
            asking = [scope.connection.ask(_SLEEP) for scope in scopes]
            await asyncio.sleep(0)
            waiting = scopes[0].connection.ask("SELECT 1")
            heard.extend(await asyncio.gather(*asking, waiting, return_exceptions=True))
            await waiting

    backend = await asked(transaction, _BACKEND)
    flying = await sleeping(transaction, administrator, fly())
    await administrator.execute(_END, backend)
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(psycopg.OperationalError):
            await flying
    assert [ending_of(outcome) for outcome in heard if isinstance(outcome, psycopg.Error)] == [Ending.OUTAGE] * 4
    assert await asked(transaction, _BACKEND) != backend


async def test_a_server_that_ends_an_open_transaction_keeps_nothing_of_it(
    transaction: Transactions, administrator: asyncpg.Connection
) -> None:
    ours = TenantId(uuid4())
    with pytest.raises(psycopg.OperationalError) as raised:  # noqa: PT012 - it is raised by the first statement after the end
        async with transaction(ours) as scope:
            await scope.connection.execute(_ADD, ours, uuid4(), scope.now)
            backend = await scope.connection.fetchval(_BACKEND)
            await administrator.execute(_END, backend)
            await until(lambda: administrator.fetchval("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", backend))
            scope.write(_ADD, ours, uuid4(), scope.now, rows=1)
    assert ending_of(raised.value) is Ending.OUTAGE
    assert await asked(transaction, _COUNT, ours) == 0


@pytest.mark.parametrize("in_batch", [True, False])
async def test_connections_that_the_server_ended_in_the_pool_cost_nobody_an_error(
    settings: Settings, administrator: asyncpg.Connection, in_batch: bool
) -> None:
    async with connected(settings, 2) as transaction:

        async def visit(opened: asyncio.Barrier) -> int:
            if not in_batch:
                async with transaction(TENANT) as scope:
                    await opened.wait()
                    return int(await scope.connection.fetchval(_BACKEND))
            async with transaction.batch() as batch, batch.scope(TENANT) as scope:
                await opened.wait()
                return int(await scope.connection.fetchval(_BACKEND))

        async def visited() -> set[int]:
            opened = asyncio.Barrier(2)
            return set(await asyncio.gather(visit(opened), visit(opened)))

        before = await visited()
        for backend in before:
            await administrator.execute(_END, backend)
        gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY($1))"
        await until(lambda: administrator.fetchval(gone, list(before)))
        after = await visited()
    assert len(before) == len(after) == 2
    assert not before & after


@pytest.mark.parametrize("cancellations", [1, 2])
async def test_who_is_cancelled_ends_it_on_the_server_too(
    transaction: Transactions, administrator: asyncpg.Connection, cancellations: int
) -> None:
    ours, backend = TenantId(uuid4()), await asked(transaction, _BACKEND)

    async def work() -> None:
        async with transaction(ours) as scope:
            await scope.connection.execute(_ADD, ours, uuid4(), scope.now)
            await scope.connection.fetch(_SLEEP)

    working = await sleeping(transaction, administrator, work())
    for _ in range(cancellations):
        # The second comes while the first is being rolled back.
        working.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await working
    async with asyncio.timeout(WAIT_S):
        assert await asked(transaction, _COUNT, ours) == 0
    assert not await is_doing(administrator, backend, _SLEEP, "PgSleep")
    assert await serves_the_next(transaction, backend)


async def test_a_work_that_fails_does_not_wait_for_what_it_has_asked(transaction: Transactions, administrator: asyncpg.Connection) -> None:
    async def work() -> None:
        async with transaction(TENANT) as scope:
            scope.connection.ask(_SLEEP)
            await until(lambda: is_doing(administrator, backend, _SLEEP, "PgSleep"))
            raise KeyError("nothing to do with the database")

    backend = await asked(transaction, _BACKEND)
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(KeyError):
            await work()
        assert await serves_the_next(transaction, backend)


async def test_who_is_cancelled_in_a_shared_flight_takes_nobody_along(transaction: Transactions) -> None:
    async with transaction.batch() as batch:
        scopes = [await batch.enter(TenantId(uuid4())) for _ in range(3)]
        asking = [asyncio.ensure_future(scope.connection.fetchval("SELECT current_setting('oaas.tenant_id')")) for scope in scopes]
        slow = asyncio.ensure_future(scopes[0].connection.fetchval("SELECT pg_sleep(0.05)"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking[1].cancel()
        slow.cancel()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert [outcomes[0], outcomes[2]] == [str(scopes[0].tenant_id), str(scopes[2].tenant_id)]
        assert isinstance(outcomes[1], asyncio.CancelledError)
        assert await scopes[1].connection.fetchval("SELECT current_setting('oaas.tenant_id')") == str(scopes[1].tenant_id)


async def test_who_fails_in_the_moment_of_asking_leaves_nothing_behind(transaction: Transactions) -> None:
    backend = await asked(transaction, _BACKEND)

    async def work() -> None:
        async with transaction.batch() as batch:
            scope = await batch.enter(TENANT)
            scope.connection.ask(_SLEEP)
            raise KeyError("before the event loop comes round")

    async with asyncio.timeout(WAIT_S):
        for _ in range(3):
            with pytest.raises(KeyError):
                await work()
        assert await serves_the_next(transaction, backend)


async def test_a_deadlock_is_a_conflict_and_one_of_the_two_goes_on(settings: Settings, administrator: asyncpg.Connection) -> None:
    # The server looks for deadlocks after a second, by default: here at once.
    await administrator.execute("ALTER ROLE inventory_app SET deadlock_timeout = '10ms'")
    try:
        async with connected(settings, 2) as transaction:
            both = asyncio.Barrier(2)

            async def lock(first: int, then: int) -> None:
                async with transaction(TENANT) as scope:
                    await scope.connection.fetchval(_LOCK, first)
                    await both.wait()
                    await scope.connection.fetchval(_LOCK, then)

            outcomes = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)
    finally:
        await administrator.execute("ALTER ROLE inventory_app RESET deadlock_timeout")
    [lost] = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert ending_of(lost) is Ending.CONFLICT


async def test_a_statement_that_takes_too_long_passes_and_so_does_one_that_waits_for_a_lock(
    settings: Settings, transaction: Transactions
) -> None:
    async with transaction(TENANT) as holder, connected(settings.model_copy(update={"statement_timeout_s": 0.1}), 1) as impatient:
        await holder.connection.fetchval(_LOCK, 3)
        backend = await asked(impatient, _BACKEND)
        for statement, arguments in ((_SLEEP, ()), (_LOCK, (3,))):
            with pytest.raises(psycopg.errors.QueryCanceled) as raised:
                async with impatient(TENANT) as scope:
                    await scope.connection.fetchval(statement, *arguments)
            assert ending_of(raised.value) is Ending.PASSING
        assert await serves_the_next(impatient, backend)
