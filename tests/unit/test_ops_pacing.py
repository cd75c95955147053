"""What the desk does regularly costs no more than a bounded share, and is cut, if it must be, where it hurts least."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from contracts.values import TenantId
from infra.reconcile import Subject
from infra.settings import Settings
from services.ops.books import comparing
from services.ops.books.comparing import Comparing
from services.ops.books.kinds import Kind
from services.ops.desk.metrics import pause_s

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Rows:
    """A connection that finds these orders wrong already."""

    def __init__(self, known: list[UUID]) -> None:
        self._known = known

    async def fetch(self, *_: object) -> list[dict[str, Any]]:
        times = dict.fromkeys(("since", "first_seen", "seen_at"), NOW)
        row = {"tenant_id": uuid4(), "kind": Kind.ORPHAN_STOCK.value, "what": "", "command": "", "mending": "", "confirm": None, **times}
        return [row | {"key": str(id), "accepted_at": None, "accepted_by": None} for id in self._known]


def comparing_of(books: list[list[Subject]], known: list[UUID]) -> Comparing:
    @asynccontextmanager
    async def transaction(tenant_id: TenantId) -> AsyncIterator[Any]:
        yield SimpleNamespace(tenant_id=tenant_id, connection=Rows(known))

    def keeper(subjects: list[Subject]) -> Any:
        async def told(*_: object) -> list[Subject]:
            return subjects

        return SimpleNamespace(transaction=transaction, books=SimpleNamespace(subjects=told))

    keepers: Any = {str(number): keeper(one) for number, one in enumerate(books)}
    own: Any = transaction
    return Comparing(keepers, own, Settings())


def subjects(number: int, *, is_at_rest: bool) -> list[Subject]:
    return [Subject(uuid4(), is_at_rest, NOW - timedelta(minutes=age)) for age in range(number)]


@pytest.mark.parametrize("known", [0, 40, 60, 150])
async def test_what_is_known_to_be_wrong_and_what_is_not_at_rest_is_compared_first(monkeypatch: pytest.MonkeyPatch, known: int) -> None:
    monkeypatch.setattr(comparing, "SUBJECTS_MAX", 100)
    open_, rest, other = subjects(40, is_at_rest=False), subjects(60, is_at_rest=True), subjects(100, is_at_rest=True)
    wrong = [uuid4() for _ in range(known)]
    looked = await comparing_of([other, open_ + rest], wrong)._subjects(TenantId(uuid4()), NOW)
    by_right = [*wrong, *(one.order_id for one in open_)]
    assert len(looked) == len(set(looked)) == 100
    assert set(by_right[:100]) <= set(looked)
    newest = max(0, (100 - len(by_right)) // 2)
    assert {one.order_id for one in (*rest[:newest], *other[:newest])} <= set(looked)


async def test_an_order_at_rest_in_one_book_only_is_not_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "SUBJECTS_MAX", 10)
    half = subjects(10, is_at_rest=False)
    rested = [one._replace(is_at_rest=True) for one in half]
    looked = await comparing_of([subjects(10, is_at_rest=True) + rested, half], [])._subjects(TenantId(uuid4()), NOW)
    assert set(looked) == {one.order_id for one in half}


def test_letters_are_counted_less_often_the_longer_it_takes() -> None:
    assert pause_s(0.001) == 10
    assert pause_s(0.28) == pytest.approx(28)
