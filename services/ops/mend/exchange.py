"""Many letters at once as NDJSON: out for people to edit with their own tools, and in again, line by line.

A line stands alone: it is taken or refused by itself. What is sent in again changes nothing, because a line whose data is as it stands is
no change, whatever its revision.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final
from uuid import UUID

from pydantic_core import from_json

from contracts.values import TenantId
from infra.transaction import Transactions
from infra.unscoped.letters import LetterSearch, WantedLetters
from services.ops.desk import letters
from services.ops.desk.masking import masked, masked_text
from services.ops.desk.model import Letter
from services.ops.mend.mending import Change, NotMendable, data_of
from services.ops.mend.revisions import By, NotEdited, Revised, Revising, Wanted
from services.ops.taking_in.epitaph import cut

TOGETHER: Final = 200
"""Letters that are read or edited in one transaction."""
EXPORT_MAX: Final = 100_000
"""Letters in one export."""
LINES_MAX: Final = 2_000
"""Lines of one call; the caller goes on with the next."""
DIFFS_MAX: Final = 20
"""Differences that are told."""
_ECHO_CHARACTERS_MAX: Final = 100
_ERROR_CHARACTERS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Refused:
    """One line that was not taken; `id` is what it says, if it says one."""

    line: int
    id: str | None
    error: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What a line changes."""

    line: int
    id: UUID
    diff: tuple[Change, ...]


@dataclass
class Imported:
    """What came of a call; `changed` and `diffs` are what would be, in a preview."""

    changed: int = 0
    unchanged: int = 0
    refused: list[Refused] = field(default_factory=list)
    diffs: list[Difference] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Line:
    """One line that can be read."""

    number: int
    id: UUID
    wanted: Wanted


async def export(transaction: Transactions, search: LetterSearch, wanted: WantedLetters) -> AsyncIterator[bytes]:
    """A line for each letter that can be edited, in the order of tenants and ids, in pieces; secrets are masked."""
    after: tuple[TenantId, UUID] | None = None
    left = EXPORT_MAX
    while left > 0:
        page = await search.ids(wanted, after, min(TOGETHER, left))
        for tenant_id, ids in by_tenant(page).items():
            async with transaction(tenant_id) as scope:
                found = await letters.find(scope, ids)
                bodies = await letters.current_bodies(scope, found)
            yield b"".join(_lines(found, bodies))
        if len(page) < TOGETHER:
            return
        after, left = page[-1], left - len(page)


async def take_in(
    search: LetterSearch, revising: Revising, tenant_id: TenantId | None, lines: Sequence[str], first: int, by: By | None
) -> Imported:
    """Edit what the lines say, numbered from `first`, or only look what would come of it if nobody is said to do it.

    `tenant_id`: letters of other tenants are not there.
    """
    imported = Imported()
    read = list(_read(lines, first, imported))
    whose = await search.tenants_of([line.id for line in read], tenant_id)
    known = [line for line in read if line.id in whose]
    imported.refused += [_refused(line, f"there is no letter {line.id}") for line in read if line not in known]
    for tenant, own in _grouped(known, whose):
        await _take_in(revising, tenant, own, by, imported)
    imported.refused.sort(key=lambda one: one.line)
    return imported


def by_tenant(found: Sequence[tuple[TenantId, UUID]]) -> dict[TenantId, list[UUID]]:
    """The ids of each tenant, tenants sorted."""
    groups: dict[TenantId, list[UUID]] = {}
    for tenant_id, id in sorted(found):
        groups.setdefault(tenant_id, []).append(id)
    return groups


def _lines(found: Mapping[UUID, Letter], bodies: Mapping[UUID, str]) -> Iterator[bytes]:
    for id, letter in sorted(found.items()):
        try:
            data = data_of(bodies[id])
        except (KeyError, NotMendable):
            continue
        if letter.is_readable:
            told = {"type": letter.type, "tenant": str(letter.tenant_id), "queue": letter.queue, "error": masked_text(letter.error)}
            line = {"id": str(id), "revision": letter.revision, **told, "data": masked(data)}
            yield json.dumps(line, ensure_ascii=False).encode() + b"\n"


def _read(lines: Sequence[str], first: int, imported: Imported) -> Iterator[Line]:
    """The lines that can be read; the others are refused. An empty line says nothing."""
    seen: set[UUID] = set()
    for number, text in enumerate(lines, start=first):
        if not text.strip():
            continue
        said: Any = None
        try:
            said = _parsed(text)
            line = _line(number, said)
            if line.id in seen:
                raise ValueError("an earlier line is about the same letter: keep one of them")
            seen.add(line.id)
            yield line
        except ValueError as error:
            id = said.get("id") if isinstance(said, dict) else None
            imported.refused.append(Refused(number, None if id is None else cut(str(id), _ECHO_CHARACTERS_MAX), str(error)))


def _line(number: int, said: Any) -> Line:
    if not isinstance(said, dict):
        raise ValueError("must be a JSON object with id, revision and data, as the export has it")
    id, revision, data = said.get("id"), said.get("revision"), said.get("data")
    if not isinstance(id, str):
        raise ValueError("id must be the letter's, as the export has it")
    if not isinstance(revision, int) or isinstance(revision, bool):
        raise ValueError("revision must be the letter's, as the export has it")
    if not isinstance(data, dict):
        raise ValueError("data must be an object")
    try:
        return Line(number, UUID(id), Wanted(data, revision))
    except ValueError:
        raise ValueError("id must be the letter's, as the export has it") from None


def _parsed(text: str) -> Any:
    # Unlike json.loads it has a bound for how deep it goes, and takes no half surrogate pairs, which no answer could repeat.
    try:
        return from_json(text)
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from error


def _grouped(known: Sequence[Line], whose: Mapping[UUID, TenantId]) -> Iterator[tuple[TenantId, list[Line]]]:
    for tenant_id in sorted({whose[line.id] for line in known}):
        own = iter(line for line in known if whose[line.id] == tenant_id)
        while group := list(islice(own, TOGETHER)):
            yield tenant_id, group


async def _take_in(revising: Revising, tenant_id: TenantId, own: Sequence[Line], by: By | None, imported: Imported) -> None:
    wanted = {line.id: line.wanted for line in own}
    results = await (revising.preview(tenant_id, wanted) if by is None else revising.edit(tenant_id, wanted, by))
    for line in own:
        result = results[line.id]
        if isinstance(result, NotEdited):
            imported.refused.append(_refused(line, str(result)))
            continue
        _count(imported, line, result)


def _count(imported: Imported, line: Line, result: Revised) -> None:
    if not result.diff:
        imported.unchanged += 1
        return
    imported.changed += 1
    if len(imported.diffs) < DIFFS_MAX:
        imported.diffs.append(Difference(line.number, line.id, result.diff))


def _refused(line: Line, error: str) -> Refused:
    return Refused(line.number, str(line.id), cut(error, _ERROR_CHARACTERS_MAX))
