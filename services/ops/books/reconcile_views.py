"""What the routes of reconciling take and answer."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from contracts.values import TenantId
from infra.http import Timestamp
from services.ops.books.consequences import Consequence
from services.ops.books.findings import Kept
from services.ops.books.kinds import Kind

Reason = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class FindingsQuery(BaseModel):
    """Whose books are looked at."""

    model_config = ConfigDict(extra="forbid")

    tenant: TenantId | None = Field(None, description="this tenant's only")


class Compare(BaseModel):
    """Which books to compare: one tenant's, or everybody's, piece by piece."""

    model_config = ConfigDict(extra="forbid")

    tenant: TenantId | None = Field(None, description="this tenant's only")
    order: Key | None = Field(None, description="only this order or total of the tenant")
    after: TenantId | None = Field(None, description="go on after this tenant: the `next` of the answer before")
    after_order: UUID | None = Field(None, description="go on within that tenant after this order: the `next_order` of the answer before")


class ActOnFinding(BaseModel):
    """One thing that is wrong, and why somebody acts on it."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    tenant: TenantId
    key: Key = Field(description="the order, or what does not balance, as the finding has it")
    reason: Reason


class Mend(ActOnFinding):
    """What is to be mended, and that its consequence is known."""

    confirm: Consequence | None = Field(None, description="the finding's `confirm`: what a customer will notice of it is wanted")
    dry_run: bool = Field(False, description="only say what it would do")


class FindingView(BaseModel):
    """One thing that is wrong. `command` mends it."""

    kind: Kind
    tenant: TenantId
    key: str
    what: str
    since: Timestamp = Field(description="nothing about it has moved since then")
    first_seen: Timestamp
    command: str
    mending: str = Field(description="what that command does")
    confirm: Consequence | None = Field(
        description="what a customer will notice of it: to be named in `confirm` to mend it; null if nothing"
    )
    accepting: str | None = Field(description="the command that notes it as known and right; null if it cannot be right")
    accepted_by: str | None = Field(description="who has accepted that it stays as it is")

    @classmethod
    def of(cls, kept: Kept) -> Self:
        return cls(
            kind=kept.kind,
            tenant=kept.tenant_id,
            key=kept.key,
            what=kept.what,
            since=kept.since,
            first_seen=kept.first_seen,
            command=kept.command,
            mending=kept.mending,
            confirm=kept.confirm,
            accepting=kept.accepting,
            accepted_by=kept.accepted_by,
        )


class Findings(BaseModel):
    """What is known to be wrong."""

    findings: list[FindingView]


class ComparedView(Findings):
    """What is wrong in a piece of the books, and how far it went."""

    orders: int = Field(description="orders that were looked at")
    tenants: int = Field(description="tenants of whose books nothing is left to compare since this call")
    left: int = Field(description="tenants that are left")
    next: TenantId | None = Field(description="`after` of the next call; null if nothing is left")
    next_order: UUID | None = Field(None, description="`after_order` of the next call; null if the tenant `next` is done")
    cut: list[TenantId] = Field(description="tenants with more orders than one run looks at: the newest were")


class Acted(BaseModel):
    """What was done."""

    done: str


class Mended(BaseModel):
    """What was done, or with `dry_run` would be."""

    done: str | None = Field(description="null if it was a dry run")
    mending: str | None = Field(None, description="what it would do")
    confirm: Consequence | None = Field(None, description="what has to be named in `confirm` for it; null if nothing")
