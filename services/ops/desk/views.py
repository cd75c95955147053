"""What operators see of dead letters, as JSON."""

import base64
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field
from pydantic_core import from_json

from contracts.catalog import UnknownMessage, class_of
from contracts.messages import Command
from contracts.values import SagaId, TenantId
from infra.http import Timestamp
from infra.unscoped.letters import FoundLetter, Group, Groups
from infra.wire_values import Row
from services.ops.desk.letters import Whole
from services.ops.desk.masking import masked, masked_diff, masked_text, masked_words
from services.ops.desk.model import NOBODY, REPLAYS_IN_VAIN_MAX, Letter, State
from services.ops.taking_in.epitaph import plain


class LetterView(BaseModel):
    """One dead letter as it is listed."""

    id: UUID
    tenant: TenantId = Field(description="all zeros: it does not tell whose it is")
    state: State
    queue: str
    service: str
    type: str
    message_id: UUID | None
    saga_id: SagaId | None
    subject: str
    trace_id: str | None
    fingerprint: str
    exception_type: str
    attempts: int
    deaths: int
    replays_in_vain: int
    is_native: bool = Field(description="given up by the broker, not by the service: nobody noted why")
    is_readable: bool = Field(description="it is a message that can be mended and sent again")
    build: str = Field(description="of the service that gave it up")
    sent_at: Timestamp | None
    first_died_at: Timestamp
    died_at: Timestamp
    revision: int
    replay_id: UUID | None

    @classmethod
    def of(cls, found: FoundLetter | Letter) -> Self:
        return cls(**_listed(found))


class LetterPage(BaseModel):
    """Letters, those that died last first; `next` is the cursor of those after them."""

    letters: list[LetterView]
    next: str | None


class GroupView(BaseModel):
    """The letters of one cause: the same kind of failure at the same place in our code."""

    fingerprint: str
    exception_type: str
    error: str = Field(description="of the newest of them")
    count: int
    first_seen: Timestamp
    last_seen: Timestamp
    tenants: int = Field(description="how many")
    queues: dict[str, int]
    types: dict[str, int]
    services: dict[str, int]
    builds: dict[str, int]
    sample: UUID = Field(description="the newest of them")

    @classmethod
    def of(cls, group: Group, error: str) -> Self:
        return cls(
            fingerprint=group.fingerprint,
            exception_type=group.exception_type,
            error=error,
            count=group.count,
            first_seen=group.first_seen,
            last_seen=group.last_seen,
            tenants=group.tenants,
            queues=_ordered(group.queues),
            types=_ordered(group.types),
            services=_ordered(group.services),
            builds=_ordered(group.builds),
            sample=group.sample[1],
        )


class GroupsView(BaseModel):
    """The largest groups, how many letters fit, and how many causes they have."""

    groups: list[GroupView]
    total: int
    causes: int

    @classmethod
    def of(cls, groups: Groups, errors: Mapping[UUID, str]) -> Self:
        # One that was purged in this moment has no error any more.
        views = [GroupView.of(group, errors.get(group.sample[1], "")) for group in groups.groups]
        return cls(groups=views, total=groups.total, causes=groups.causes)


class DeathView(BaseModel):
    """One time that it died."""

    id: UUID
    at: Timestamp
    attempts: int
    fingerprint: str
    error: str
    build: str
    replay_id: UUID | None = Field(description="the replay that it died of")


class RevisionView(BaseModel):
    """One edit of its payload."""

    revision: int
    actor: str
    at: Timestamp
    reason: str
    diff: Any


class SagaView(BaseModel):
    """Its saga, as the coordinator told the desk last."""

    id: SagaId
    name: str
    version: int
    state: str
    step: str | None
    fingerprint: str | None
    why: str | None
    at: Timestamp


class WholeView(LetterView):
    """One dead letter with everything that is known of it. Secrets in its payload are hidden."""

    error: str
    stack: str
    headers: dict[str, Any]
    x_death: Any = Field(description="the broker's own record, if it gave the message up or it was on the retry ladder")
    body: Any = Field(description="the payload as it stands now: JSON, or text if it is none")
    original_body: Any = Field(None, description="as it died, if it was edited since")
    deaths_history: list[DeathView]
    revisions: list[RevisionView]
    saga: SagaView | None = Field(description="null if it has none, or nothing was told of it: it has never stopped and not ended")
    flags: list[str] = Field(description="what to know before anything is done with it, in words")

    @classmethod
    def whole(cls, whole: Whole, saga: Row | None, now: datetime, keep: timedelta) -> Self:
        """`keep`: for how long a letter may be replayed."""
        headers = masked_words(json.loads(whole.headers))
        return cls(
            **_listed(whole.letter),
            error=masked_text(whole.letter.error),
            stack=masked_text(whole.stack),
            headers=headers,
            x_death=headers.get("x-death") if isinstance(headers, dict) else None,
            body=_shown(whole.form, whole.body),
            original_body=_shown(whole.form, whole.original_body) if whole.letter.revision else None,
            deaths_history=[DeathView(**{**dict(death), "error": masked_text(death["error"])}) for death in whole.deaths],
            revisions=[RevisionView(**{**dict(one), "diff": masked_diff(json.loads(one["diff"]))}) for one in whole.revisions],
            saga=SagaView(**dict(saga)) if saga is not None else None,
            flags=list(flags_of(whole.letter, saga["state"] if saga is not None else None, now, keep)),
        )


def flags_of(letter: Letter, saga_state: str | None, now: datetime, keep: timedelta) -> Iterator[str]:
    """What an operator should know before anything is done with the letter, in words."""
    if saga_state in ("COMPLETED", "ABANDONED"):
        yield f"its saga has ended ({saga_state}): a replay leaves it out unless it is asked for"
    if letter.is_held_back:
        yield f"held back: it was replayed in vain {letter.replays_in_vain} times; {REPLAYS_IN_VAIN_MAX} are enough to mend it first"
    if letter.is_too_old(now, keep):
        yield f"too old to be replayed: after {keep.days} days its service may not know any more whether it has handled it"
    if not letter.is_readable:
        yield "it is no message that can be read: it can be archived, not mended"
    if letter.tenant_id == NOBODY:
        yield "it does not tell whose it is"
    if letter.is_native:
        yield "the broker gave it up, not the service: processes may have died of it"
        if letter.saga_id is not None and _is_command(letter.type):
            yield "its saga was not told: it waits for an answer until its deadline"


def _is_command(type: str) -> bool:
    try:
        return issubclass(class_of(type), Command)
    except UnknownMessage:
        return False


def _listed(found: FoundLetter | Letter) -> dict[str, Any]:
    return {"tenant": found.tenant_id} | {name: getattr(found, name) for name in LetterView.model_fields if name != "tenant"}


def _shown(form: str, body: str) -> Any:
    if form == "BASE64":
        return masked_text(base64.b64decode(body).decode(errors="backslashreplace"))
    if form == "TEXT":
        return masked_text(body)
    return masked(plain(from_json(body)))


def _ordered(counter: Counter[str]) -> dict[str, int]:
    return dict(counter.most_common())
