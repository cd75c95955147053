"""What the routes take and answer that edit, export, import, archive and purge letters."""

import json
from datetime import datetime
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from infra.http import Timestamp
from services.ops.desk.model import State
from services.ops.desk.searching import LetterFilter
from services.ops.desk.views import WholeView
from services.ops.mend.archiving import FROM, Verb
from services.ops.mend.exchange import Imported
from services.ops.mend.mending import Change

NAMED_MAX: Final = 1_000
"""Letters that are named one by one in one call."""
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]


class Edit(BaseModel):
    """What a letter shall say, and the revision that was looked at."""

    model_config = ConfigDict(extra="forbid")

    data: dict[str, Any] = Field(description="all of the message's data; a hidden secret stays what it is")
    reason: Reason
    revision: int = Field(strict=True, ge=0, le=2**31 - 1)
    dry_run: bool = Field(False, description="only look what would change")


class ImportQuery(BaseModel):
    """How the lines are taken in."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason
    dry_run: bool = Field(False, description="only look what would change")
    line: int = Field(1, ge=1, le=10_000_000, description="number of the body's first line")


class ChangeView(BaseModel):
    """One value before and after."""

    path: str
    before: Any
    after: Any

    @classmethod
    def of(cls, change: Change) -> Self:
        return cls(path=change.path, before=change.before, after=change.after)


class EditedView(WholeView):
    """The letter as it stands now, and what the edit changed, or would change."""

    diff: list[ChangeView]


class Because(BaseModel):
    """Why."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason


class Many(BaseModel):
    """Which letters, and why."""

    model_config = ConfigDict(extra="forbid")

    filter: LetterFilter | None = None
    letters: list[UUID] | None = Field(None, min_length=1, max_length=NAMED_MAX)
    reason: Reason
    dry_run: bool = Field(False, description="only count")
    as_of: Timestamp | None = Field(None, description="the `as_of` of a dry run: what has died since is left alone")

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.filter is None) == (self.letters is None):
            raise ValueError("say which: either letters, or a filter")
        return self

    def fitting(self, verb: Verb) -> LetterFilter:
        """The filter within the state from which the verb leads; raises ValueError for another one, or for none at all."""
        assert self.filter is not None
        if self.filter.says_nothing:
            raise ValueError(f"must say at least one thing: to {verb} every letter there is would be a mistake")
        if self.filter.state not in (None, FROM[verb]):
            raise ValueError(f"must have the state {FROM[verb]}, or none: {verb} is for those")
        return self.filter.model_copy(update={"state": State(FROM[verb])})

    @property
    def said(self) -> str:
        """For the audit."""
        if self.filter is None:
            return json.dumps({"letters": [str(id) for id in self.letters or ()]})
        return self.filter.model_dump_json(exclude_none=True)


class RefusedLetter(BaseModel):
    """One that was left as it is."""

    id: UUID
    why: str


class ManyView(BaseModel):
    """What came of it, or what there would be to do. A caller goes on while `left` is not 0."""

    done: int
    refused: list[RefusedLetter]
    left: int = Field(0, description="fitting letters beyond what one call does: call again")
    as_of: datetime
    by_queue: dict[str, int]
    by_tenant: dict[str, int]
    by_type: dict[str, int]


class RefusedLine(BaseModel):
    """One line that was not taken."""

    line: int
    id: str | None
    error: str


class DifferenceView(BaseModel):
    """What one line changes."""

    line: int
    id: UUID
    diff: list[ChangeView]


class ImportedView(BaseModel):
    """What came of the lines, or would."""

    changed: int
    unchanged: int
    refused: list[RefusedLine]
    diffs: list[DifferenceView] = Field(description="the first of them")

    @classmethod
    def of(cls, imported: Imported) -> Self:
        return cls(
            changed=imported.changed,
            unchanged=imported.unchanged,
            refused=[RefusedLine(line=one.line, id=one.id, error=one.error) for one in imported.refused],
            diffs=[DifferenceView(line=one.line, id=one.id, diff=[ChangeView.of(each) for each in one.diff]) for one in imported.diffs],
        )
