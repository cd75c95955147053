"""Finds whatever an id may name, in all tenants, and tells its story: an order, a saga, a message or a trace."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from contracts.values import SagaId, TenantId
from infra.transaction import Transactions
from infra.unscoped.sagas import SagaSearch
from sagas.looking import Definitions, Looked, look, subjects_of
from sagas.why import Story, story_of

FOUND_MAX: Final = 20
"""Sagas that one message or trace may lead to; the rest is not told."""
_TRACE: Final = re.compile("(?:[0-9a-f]{2}-)?(?P<id>[0-9a-f]{32})(?:-[0-9a-f]{16}-[0-9a-f]{2})?")
"""A trace's id, by itself or inside a traceparent."""


@dataclass(frozen=True)
class _Found:
    what: str
    subjects: dict[TenantId, list[str]]


class Telling:
    """The stories of all tenants' sagas, each read inside its tenant."""

    def __init__(self, search: SagaSearch, transaction: Transactions, definitions: Definitions) -> None:
        self._search = search
        self._transaction = transaction
        self._definitions = definitions

    async def story(self, asked: str, now: datetime, within: TenantId | None = None) -> Story | None:
        """All sagas about the order that the id leads to, the oldest first; None if it leads nowhere, or out of the tenant `within`."""
        found = await self._find(asked.strip().lower()) or await self._about(asked.strip())
        subjects_by_tenant = {} if found is None else {one: found.subjects[one] for one in found.subjects if within in (None, one)}
        if found is None or not subjects_by_tenant:
            return None
        looked: list[Looked] = []
        for tenant_id, subjects in sorted(subjects_by_tenant.items()):
            looked += await look(self._transaction, self._definitions, tenant_id, subjects=subjects)
        return story_of(asked, found.what, sorted(looked, key=lambda one: one.found.started_at), now)

    def looked_for(self, asked: str) -> str:
        """What was looked for and where, when nothing is found."""
        looked = ["an order (what a saga is about)"]
        if _uuid(asked) is not None:
            looked += ["a saga", "a message (the event that started a saga, or a command that it sent)"]
        if _trace(asked) is not None:
            looked += ["a trace"]
        where = "in the sagas of all tenants and in their histories"
        hint = "" if _uuid(asked) else "; ids of sagas and messages are UUIDs, those of traces 32 hexadecimal digits"
        late = (
            f"An order that GET /v1/orders/{_uuid(asked) or 'ID'} knows but this does not has not reached the sagas' worker: is it running?"
        )
        return f"{asked!r} was looked for as {', '.join(looked)}, {where}: there is none{hint}. {late}"

    async def _find(self, asked: str) -> _Found | None:
        if (found := await self._about(asked)) is not None:
            return found
        if (id := _uuid(asked)) is not None:
            # People leave the dashes out, or a tool did.
            if (found := await self._about(str(id))) is not None:
                return found
            if (tenant_id := await self._search.tenant_of(SagaId(id))) is not None:
                return await self._of("saga", [(tenant_id, SagaId(id))])
            if sagas := await self._search.of_message(id, FOUND_MAX):
                return await self._of("message", sagas)
        trace = _trace(asked)
        if trace is not None and (sagas := await self._search.of_trace(trace, FOUND_MAX)):
            return await self._of("trace", sagas)
        return None

    async def _about(self, subject: str) -> _Found | None:
        found = await self._search.about(subject, FOUND_MAX)
        return _Found("order", {tenant_id: [subject] for tenant_id, subject in found}) if found else None

    async def _of(self, what: str, sagas: list[tuple[TenantId, SagaId]]) -> _Found:
        subjects = {}
        for tenant_id in sorted({tenant_id for tenant_id, _ in sagas}):
            async with self._transaction(tenant_id) as scope:
                subjects[tenant_id] = await subjects_of(scope, [id for tenant, id in sagas if tenant == tenant_id])
        return _Found(what, subjects)


def _trace(asked: str) -> str | None:
    found = _TRACE.fullmatch(asked.strip().lower())
    return found["id"] if found else None


def _uuid(asked: str) -> UUID | None:
    try:
        return UUID(asked)
    except ValueError:
        return None
