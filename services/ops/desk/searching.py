"""What operators may search dead letters by, the same for every route, and whose letters they may see at all."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from contracts.values import TenantId
from infra.http import Timestamp
from infra.http.auth import Operator
from infra.unscoped.letters import WantedLetters
from services.ops.desk.model import State

Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]


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
    attempts_min: int | None = Field(None, ge=0, le=2**31 - 1, description="tried so often at least before it died")
    native: bool | None = Field(None, description="given up by the broker itself, because processes died of it; or not")

    @property
    def says_nothing(self) -> bool:
        """Whether every open letter fits."""
        return self == LetterFilter()

    def wanted(self, operator: Operator) -> WantedLetters:
        """The same for the search, within what the operator may see; raises Problem(403) for another tenant than a tenant's operator's."""
        return WantedLetters(
            state=self.state,
            tenant_id=operator.tenant_for(self.tenant),
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
        )


class LetterQuery(LetterFilter):
    """A page of the list."""

    cursor: str | None = None
    limit: int = Field(50, ge=1, le=200, description="how many items at most")
