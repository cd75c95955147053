"""What operators may search by, and the pages of what is found: what waits for people first, then what is stuck, then the newest."""

import base64
import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

from contracts.values import TenantId
from infra.http.problems import Problem
from infra.unscoped.sagas import FoundSaga, Position, SagaSearch, Wanted
from sagas.engine.instance import State

_AGE: Final = re.compile("(?P<number>[1-9][0-9]{0,4})(?P<unit>[smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_CURSOR: Final = struct.Struct(">Bqq16s")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def age(words: str) -> timedelta:
    """`15m` as a time span; raises ValueError for anything but a number of s, m, h or d."""
    found = _AGE.fullmatch(words)
    if found is None:
        raise ValueError("must be how long ago: write 30s, 15m, 2h or 7d")
    return timedelta(**{_UNITS[found["unit"]]: int(found["number"])})


def _an_age(words: str) -> str:
    age(words)
    return words


Age = Annotated[str, AfterValidator(_an_age), WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,4}[smhd]$"})]
Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class SagaFilter(BaseModel):
    """Which sagas: those that fit everything that is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: State | None = None
    tenant: TenantId | None = None
    saga: Word | None = Field(None, description="name of its definition, such as place-order")
    order: Word | None = Field(None, description="what it is about: the id of its order")
    step: Word | None = Field(None, description="a step that it waits for, such as reserve-stock or `undo of reserve-stock`")
    fingerprint: Word | None = Field(None, description="of the fault that stopped it")
    older_than: Age | None = Field(None, description="started at least so long ago: 30s, 15m, 2h or 7d")
    stuck: bool = Field(False, description="only those without progress for longer than their deadline")

    @property
    def says_nothing(self) -> bool:
        """Whether every saga fits."""
        return self == SagaFilter()

    def wanted(self, at: datetime) -> Wanted:
        """The same for the search, ages counted from `at`."""
        return Wanted(
            state=self.state,
            tenant_id=self.tenant,
            saga=self.saga,
            subject=self.order,
            step=self.step,
            fingerprint=self.fingerprint,
            started_before=None if self.older_than is None else at - age(self.older_than),
            stuck=self.stuck,
        )


@dataclass(frozen=True)
class Page:
    """Found sagas, and the cursor for those after them; `at` is the time at which the first page said what is stuck."""

    found: list[FoundSaga]
    following: str | None
    at: datetime


async def find_page(search: SagaSearch, asked: SagaFilter, now: datetime, cursor: str | None, limit: int) -> Page:
    """One page; raises Problem(400) for a cursor that was not given out here.

    New sagas never shift what is still to come. One that changes its rank meanwhile may be met twice or not at all.
    """
    after = None if cursor is None else _position(cursor)
    at = now if after is None else after.at
    found = await search.page(asked.wanted(at), at, after, limit)
    last = found[-1] if len(found) == limit else None
    return Page(found, None if last is None else _cursor(Position(at, last.rank, last.started_at, last.id)), at)


def _cursor(position: Position) -> str:
    packed = _CURSOR.pack(position.rank, _microseconds(position.at), _microseconds(position.started_at), position.id.bytes)
    return base64.urlsafe_b64encode(packed).decode("ascii")


def _position(cursor: str) -> Position:
    try:
        rank, at, started_at, id = _CURSOR.unpack(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
        position = Position(_time(at), rank, _time(started_at), UUID(bytes=id))
        # One spelling only, as infra/http/cursors.py has it.
        if rank in range(3) and _cursor(position) == cursor:
            return position
    except (ValueError, struct.error, OverflowError):
        pass
    raise Problem(400, "Unknown cursor", "The cursor was not given out by this list: ask without one to begin at its start")


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _time(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
