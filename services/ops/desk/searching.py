"""What operators may search dead letters by, the same for every route, and whose letters they may see at all."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from contracts.addresses import COORDINATOR, DESK, PARTICIPANTS, is_work_queue, work_queues
from contracts.catalog import CATALOG
from contracts.values import TenantId
from infra.http import FieldError, Problem, Timestamp
from infra.http.auth import Operator
from infra.unscoped.letters import LetterSearch, NamedBy, WantedLetters
from services.ops.desk.model import State

Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_KNOWN: Final[Mapping[NamedBy, Sequence[str]]] = {
    "queue": work_queues(),
    "service": (*PARTICIPANTS, COORDINATOR, DESK),
    "type": tuple(CATALOG),
}
"""What this release knows. Letters of an earlier one, or of strangers, may have others."""
_NAMED_MAX: Final = 12


class LetterFilter(BaseModel):
    """Which letters: those that fit everything that is given. Without a state, those that somebody has to see to: DEAD and REPLAYING."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: State | None = None
    tenant: TenantId | None = None
    queue: Word | None = Field(None, description="the work queue that it died on, such as inventory.commands.0")
    service: Word | None = Field(None, description="the service that gave it up")
    type: Word | None = Field(None, description="the message's name, such as inventory.ReserveStock.v1")
    saga: UUID | None = None
    message: UUID | None = Field(None, description="id of the message")
    fingerprint: Word | None = Field(None, description="of its cause, as the groups have it")
    since: Timestamp | None = Field(None, description="died then or later")
    until: Timestamp | None = Field(None, description="died before that")
    attempts_min: int | None = Field(None, ge=1, le=2**31 - 1, description="tried so often at least before it died")
    native: bool | None = Field(None, description="given up by the broker itself, because processes died of it; or not")
    readable: bool | None = Field(None, description="a message that can be read; or something else")

    @field_validator("until")
    @classmethod
    def _comes_after_since(cls, until: datetime | None, others: ValidationInfo) -> datetime | None:
        since = others.data.get("since")
        if until is not None and since is not None and since >= until:
            raise ValueError("must be after since: nothing dies in a time that is over before it begins")
        return until

    @property
    def says_nothing(self) -> bool:
        """Whether every open letter fits."""
        return self == LetterFilter()

    async def wanted(self, operator: Operator, search: LetterSearch, within: str = "") -> WantedLetters:
        """The same for the search, within what the operator may see; `within`: where in the request the filter is.

        Raises Problem(403) for another tenant than a tenant's operator's, Problem(422) for a name that neither this release nor any
        letter has: it is mistyped, and would find nothing as if all were well.
        """
        tenant_id = operator.tenant_for(self.tenant)
        wrong = [
            FieldError(field=f"{within}{name}", message=_meant(name, value))
            for name, known in _KNOWN.items()
            if (value := getattr(self, name)) is not None
            and value not in known
            # One of another shard may not have letters yet.
            and not (name == "queue" and is_work_queue(value))
            # Only within what the operator may see: what others' letters say is none of theirs.
            and not await search.has(name, value, operator.tenant_id)
        ]
        if wrong:
            named = ", ".join(error["field"] for error in wrong)
            raise Problem(422, "Not valid", f"Wrong: {named}", errors=wrong)
        return WantedLetters(
            state=self.state,
            tenant_id=tenant_id,
            queue=self.queue,
            service=self.service,
            type=self.type,
            saga_id=self.saga,
            message_id=self.message,
            fingerprint=self.fingerprint,
            since=self.since,
            until=self.until,
            attempts_min=self.attempts_min,
            native=self.native,
            readable=self.readable,
        )


class LetterQuery(LetterFilter):
    """A page of the list."""

    cursor: str | None = None
    limit: int = Field(50, ge=1, le=200, description="how many items at most")


def _meant(name: NamedBy, value: str) -> str:
    """How to mend a name that nobody has."""
    known = _KNOWN[name]
    close = [one for one in known if value.lower() in one.lower()] or get_close_matches(value, known, n=1)
    if close:
        return f"is none that any letter has: did you mean {' or '.join(close[:_NAMED_MAX])}?"
    return f"is none that any letter has: there are {', '.join(known[:_NAMED_MAX])}" + (" ..." if known[_NAMED_MAX:] else "")
