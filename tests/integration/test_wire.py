"""What travels by the wire arrives as it was: values, results however large, each tenant's own rows; in one flight, in its order."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import settings as property_settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import TenantId
from infra import clock, wire
from infra.database import open_pool
from infra.outbox import Outbox
from infra.rows import LockedRowMissing
from infra.settings import Settings
from infra.together import together
from infra.transaction import Batch, NotCommitted, Scope, Transactions
from infra.wire import Wire
from infra.wire_values import Row

TENANT: Final = TenantId(uuid4())
MANY: Final = 50
MEGABYTE: Final = 1_000_000
Flights = list[list[str]]
# None names a tenant where it looks or changes: only row-level security keeps them apart.
_ADD: Final = "INSERT INTO inventory.suspect (tenant_id, message_id, deaths, marked_at) VALUES ($1, $2, $3, $4)"
_MORE: Final = "UPDATE inventory.suspect SET deaths = deaths + $1"
_SEEN: Final = "SELECT tenant_id, deaths FROM inventory.suspect ORDER BY deaths"
_WHOSE: Final = "SELECT DISTINCT tenant_id FROM inventory.suspect"
_TEXT: Final = st.text(
    st.sampled_from("\\\"'{},;()\n\r\t NULnul\u2028é😀") | st.characters(exclude_categories=["Cs"], exclude_characters="\0")
)
_ZONE: Final = st.timedeltas(timedelta(hours=-15), timedelta(hours=15)).map(
    lambda span: timezone(timedelta(seconds=int(span.total_seconds())))
)
_KINDS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "uuid": st.uuids(),
    "text": _TEXT | st.sampled_from(["NULL", "", "{}", '"', "\\", "$1"]),
    "boolean": st.booleans(),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "float8": st.floats(allow_nan=False),
    "numeric": st.decimals(-(10**30), 10**30, allow_nan=False),
    # PostgreSQL gives it back in UTC, which may be in another year: not in one that Python has no number for.
    "timestamptz": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=_ZONE),  # noqa: DTZ001 - the zones are beside it
    "date": st.dates(),
    "interval": st.timedeltas(),
    "bytea": st.binary(max_size=20),
}


@pytest.fixture(scope="module")
async def pool(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """One connection: whatever a test leaves behind on it, the next one finds."""
    pool = open_pool(settings, "inventory", "app", 1)
    yield pool
    await pool.dispose()


@pytest.fixture(scope="module")
def transaction(settings: Settings, pool: AsyncEngine) -> Transactions:
    return Transactions("inventory", pool, Outbox("inventory", settings.resend_after_s), lambda _: None, clock.now)


@pytest.fixture
def flights(monkeypatch: pytest.MonkeyPatch) -> Flights:
    """What has left together, flight by flight, without what the wire adds."""
    seen: Flights = []
    depart = Wire._depart

    def watched(self: Wire) -> None:
        if self._waiting:
            seen.append([statement for _, statement, _, _ in self._waiting])
        depart(self)

    monkeypatch.setattr(Wire, "_depart", watched)
    return seen


async def tenants(transaction: Transactions, count: int) -> list[TenantId]:
    """New ones, each with one row, in which the number is its place here."""
    made = [TenantId(uuid4()) for _ in range(count)]
    async with transaction.batch() as batch:
        for place, tenant_id in enumerate(made):
            async with batch.scope(tenant_id) as scope:
                scope.write(_ADD, tenant_id, uuid4(), place, scope.now, rows=1)
    return made


async def numbers(transaction: Transactions, *asking: TenantId) -> list[list[int]]:
    """Of each tenant's rows; each asks in a transaction of its own, and all at the same time."""

    async def seen(tenant_id: TenantId) -> list[int]:
        async with transaction(tenant_id) as scope:
            return [row["deaths"] for row in await scope.connection.fetch(_SEEN)]

    return await asyncio.gather(*map(seen, asking))


@property_settings(max_examples=25, deadline=None)
@given(st.fixed_dictionaries({kind: st.tuples(st.none() | one, st.lists(one) | st.lists(st.none() | one)) for kind, one in _KINDS.items()}))
async def test_every_value_and_every_array_of_them_comes_back_as_it_went(
    transaction: Transactions, given: dict[str, tuple[object, list[object]]]
) -> None:
    casts = [f"{kind}{array}" for kind in given for array in ("", "[]")]
    statement = f"SELECT {', '.join(f'${place}::{cast}' for place, cast in enumerate(casts, start=1))}"
    went = [value for pair in given.values() for value in pair]
    async with transaction(TENANT) as scope:
        came = await scope.connection.fetchrow(statement, *went)
    assert came == tuple(went)
    assert list(map(type, came)) == list(map(type, went))


@property_settings(max_examples=25, deadline=None)
@given(st.dictionaries(_TEXT, _TEXT | st.integers() | st.booleans() | st.none() | st.lists(_TEXT)))
async def test_json_comes_back_as_text_that_says_the_same(transaction: Transactions, given: dict[str, object]) -> None:
    async with transaction(TENANT) as scope:
        went = json.dumps(given)
        [(as_it_was, parsed, listed)] = await scope.connection.fetch("SELECT $1::json, $1::jsonb, $2::jsonb[]", went, [went])
    assert as_it_was == went
    assert json.loads(parsed) == json.loads(listed[0]) == given


async def test_what_is_no_finite_number_comes_back_too(transaction: Transactions) -> None:
    went = [float("inf"), float("-inf"), float("nan")]
    async with transaction(TENANT) as scope:
        [(floats, decimals)] = await scope.connection.fetch("SELECT $1::float8[], $2::numeric[]", went, list(map(Decimal, went)))
    assert list(map(repr, floats)) == ["inf", "-inf", "nan"]
    assert list(map(str, decimals)) == ["Infinity", "-Infinity", "NaN"]


@pytest.mark.parametrize(
    ("value", "error"), [("a\0b", psycopg.DataError), (["a", "\0"], psycopg.DataError), ("\ud800", UnicodeEncodeError)]
)
@pytest.mark.parametrize("later", [True, False])
async def test_a_value_that_cannot_be_sent_changes_nothing(
    transaction: Transactions, value: object, error: type[Exception], later: bool
) -> None:
    [tenant_id] = await tenants(transaction, 1)
    with pytest.raises(error):  # noqa: PT012 - what is written is refused at the scope's end
        async with transaction(tenant_id) as scope:
            await scope.connection.execute(_MORE, 1)
            if later:
                scope.write(f"{_MORE} WHERE $2::text <> ''", 1, value)
            else:
                await scope.connection.fetch("SELECT $1::text", value)
    assert await numbers(transaction, tenant_id) == [[0]]


async def test_a_row_has_the_columns_of_its_statement(transaction: Transactions) -> None:
    async with transaction(TENANT) as scope:
        first = await scope.connection.fetchrow("SELECT 1 AS a, NULL AS b, '{}'::int[] AS c")
        nothing = await scope.connection.fetch("SELECT WHERE true")
        assert await scope.connection.fetchrow("SELECT 1 WHERE false") is None
    assert isinstance(first, Row)
    assert dict(first) == {"a": 1, "b": None, "c": []}
    assert nothing == [()]


async def test_what_several_tenants_ask_side_by_side_is_one_round_trip(transaction: Transactions, flights: Flights) -> None:
    asking = await tenants(transaction, 5)
    flights.clear()

    async def count(batch: Batch, scope: Scope) -> list[Row]:
        assert await scope.connection.execute(_MORE, 10) == "UPDATE 1"
        seen = await scope.connection.fetch(_SEEN)
        await batch.leave(scope)
        return seen

    async with transaction.batch() as batch:
        seen = await together([count(batch, await batch.enter(tenant_id)) for tenant_id in asking])
    assert seen == [[(tenant_id, 10 + place)] for place, tenant_id in enumerate(asking)]
    assert flights == [["BEGIN", *[_MORE] * 5], [_SEEN] * 5, ["COMMIT"]]


async def test_tenants_who_interleave_see_only_their_own(transaction: Transactions, flights: Flights) -> None:
    ones, others = await tenants(transaction, 2)
    flights.clear()
    async with transaction.batch() as batch:
        first, second = await batch.enter(ones), await batch.enter(others)
        asked = [(scope, scope.connection.ask(_WHOSE)) for scope in (first, second, first, first, second)]
        assert [scope.connection.rows(await answer) for scope, answer in asked] == [[(scope.tenant_id,)] for scope, _ in asked]
        # In the next flight, too, which begins where the last one ended.
        assert await second.connection.fetchval(_WHOSE) == others
        assert await first.connection.fetchval(_WHOSE) == ones
    assert list(map(len, flights)) == [6, 1, 1, 1]


async def test_what_is_asked_during_a_flight_leaves_with_the_next(transaction: Transactions, flights: Flights) -> None:
    async with transaction(TENANT) as scope:
        flights.clear()
        first = scope.connection.ask("SELECT pg_sleep(0.05)")
        await asyncio.sleep(0)
        later = [scope.connection.ask("SELECT 1"), scope.connection.ask("SELECT 2")]
        await asyncio.sleep(0)
        assert flights == [["SELECT pg_sleep(0.05)"]]
        assert [scope.connection.rows(await answer)[0][0] for answer in later] == [1, 2]
        assert first.done()
    assert flights == [["SELECT pg_sleep(0.05)"], ["SELECT 1", "SELECT 2"], ["COMMIT"]]


async def test_statements_are_executed_in_the_order_in_which_they_were_asked(transaction: Transactions) -> None:
    noted = "SELECT set_config('oaas.noted', coalesce(current_setting('oaas.noted', true), '') || $1, true)"
    async with transaction.batch() as batch:
        scopes = [await batch.enter(TenantId(uuid4())) for _ in range(3)]

        async def note(place: int) -> None:
            await scopes[place].connection.execute(noted, f"{place}")
            await scopes[place].connection.execute(noted, f"{place}")

        await together([note(place) for place in range(3)])
        assert await scopes[0].connection.fetchval("SELECT current_setting('oaas.noted')") == "012012"


async def test_more_statements_than_a_connection_prepares_are_answered_all_the_same(transaction: Transactions) -> None:
    places = range(wire._PREPARED_MAX + 20)
    async with transaction(TENANT) as scope:
        for _ in range(2):
            asked = [scope.connection.ask(f"SELECT {place} + $1::int", 1) for place in places]
            assert [scope.connection.rows(await answer)[0][0] - 1 for answer in asked] == [*places]
        kept = await scope.connection.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'oaas%'")
    assert kept == wire._PREPARED_MAX


async def test_a_flight_of_many_megabytes_both_ways_neither_blocks_nor_is_cut(transaction: Transactions, flights: Flights) -> None:
    # The server answers the first while the last is being sent: whoever sends on without reading waits for ever.
    went = [chr(ord("a") + number) * MEGABYTE for number in range(20)]
    async with transaction(TENANT) as scope, asyncio.timeout(20):
        flights.clear()
        asked = [scope.connection.ask("SELECT $1::text", one) for one in went]
        assert [scope.connection.rows(await answer)[0][0] for answer in asked] == went
    assert len(flights) == 2


async def test_one_value_and_one_array_of_many_megabytes_come_back_whole(transaction: Transactions) -> None:
    value, array = "é" * 10 * MEGABYTE, [f"{number:09}" for number in range(50_000)]
    async with transaction(TENANT) as scope:
        assert await scope.connection.fetchval("SELECT $1::text", value) == value
        rows = await scope.connection.fetch("SELECT * FROM unnest($1::text[])", array)
    assert [row[0] for row in rows] == array


async def test_many_transactions_share_one_connection(transaction: Transactions) -> None:
    asking = await tenants(transaction, MANY)
    assert await numbers(transaction, *asking) == [[place] for place in range(MANY)]


async def test_a_session_and_the_wire_see_each_others_changes(transaction: Transactions) -> None:
    [tenant_id] = await tenants(transaction, 1)
    async with transaction(tenant_id) as scope:
        await scope.connection.execute(_MORE, 1)
        session = await scope.session.connection()
        assert (await session.execute(text(_SEEN))).all() == [(tenant_id, 1)]
        await session.execute(text("UPDATE inventory.suspect SET deaths = deaths + 10"))
        assert await scope.connection.fetch(_SEEN) == [(tenant_id, 11)]
        scope.write(f"{_MORE} WHERE deaths = $2", 100, 11, rows=1)
    assert await numbers(transaction, tenant_id) == [[111]]


async def test_there_is_no_session_among_other_tenants(transaction: Transactions) -> None:
    async with transaction.batch() as batch, batch.scope(TENANT) as scope:
        with pytest.raises(AssertionError, match="one tenant"):
            scope.session  # noqa: B018 - to look is enough


async def test_a_wrong_count_undoes_every_tenants_writes_although_commit_travels_with_it(
    transaction: Transactions, flights: Flights
) -> None:
    asking = await tenants(transaction, 3)
    flights.clear()
    with pytest.raises(LockedRowMissing) as raised:  # noqa: PT012 - it is raised at the end
        async with transaction.batch() as batch:
            for tenant_id in asking:
                async with batch.scope(tenant_id) as scope:
                    scope.write(f"{_MORE} WHERE deaths = $2", 10, 0, rows=1)
    assert raised.value.expected == 1
    assert [Counter(statement == "COMMIT" for statement in flight) for flight in flights] == [{False: 4, True: 1}, {False: 1}]
    assert await numbers(transaction, *asking) == [[0], [1], [2]]


async def test_what_failed_in_a_session_unnoticed_is_not_committed(transaction: Transactions) -> None:
    [tenant_id] = await tenants(transaction, 1)
    with pytest.raises(NotCommitted):  # noqa: PT012 - it is raised at the end
        async with transaction(tenant_id) as scope:
            await scope.connection.execute(_MORE, 1)
            with suppress(IntegrityError):
                await (await scope.session.connection()).execute(text("UPDATE inventory.suspect SET deaths = -1"))
    assert await numbers(transaction, tenant_id) == [[0]]
