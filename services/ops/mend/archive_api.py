"""HTTP in for operators who archive, restore and purge letters: one, named ones, or all that fit a filter. No decisions."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from contracts.values import TenantId
from infra.clock import now
from infra.http import FieldError, Problem
from infra.http.auth import Operator, operator_with
from infra.settings import Settings
from infra.transaction import Transactions
from infra.unscoped.letters import LetterSearch, WantedLetters
from services.ops.desk import letters
from services.ops.desk.model import Letter
from services.ops.desk.reading_api import look, unknown
from services.ops.desk.views import WholeView
from services.ops.mend.archiving import FROM, Act, Verb, act
from services.ops.mend.exchange import TOGETHER, by_tenant
from services.ops.mend.mend_views import Because, Many, ManyView, Reason, RefusedLetter

Ops = Annotated[Operator, Depends(operator_with("ops"))]
ACT_MAX: Final = 5_000
"""Letters of a filter in one call."""
_REFUSED_MAX: Final = 100
"""Refused letters that are told one by one."""


def add_archive(routes: APIRouter, transaction: Transactions, search: LetterSearch, settings: Settings) -> None:
    """The routes."""
    desk = _Desk(transaction, search, settings)
    for verb in Verb:
        many = desk.acting_on_many(verb)
        routes.add_api_route(f"/{verb}", many, methods=["POST"], name=f"{verb}_letters", summary=f"{verb} named letters, or a filter's")
    for verb in (Verb.ARCHIVE, Verb.RESTORE):
        one = desk.acting_on_one(verb)
        routes.add_api_route(f"/{{letter_id}}/{verb}", one, methods=["POST"], name=f"{verb}_letter", summary=f"{verb} one letter")

    @routes.delete("/{letter_id}", status_code=204, summary="Delete one letter of the archive for good")
    async def purge_letter(operator: Ops, letter_id: UUID, reason: Annotated[Reason, Query()]) -> Response:
        """Its deaths and revisions go with it; what was done to it stays in the audit."""
        await desk.act_on_one(operator, Verb.PURGE, letter_id, reason)
        return Response(status_code=204)


class _Desk:
    """What the routes share."""

    def __init__(self, transaction: Transactions, search: LetterSearch, settings: Settings) -> None:
        self._transaction = transaction
        self._search = search
        self._settings = settings

    def acting_on_one(self, verb: Verb) -> Callable[..., Awaitable[WholeView]]:
        async def act_on_letter(letter_id: UUID, operator: Ops, body: Because) -> WholeView:
            tenant_id = await self.act_on_one(operator, verb, letter_id, body.reason)
            return await look(self._transaction, tenant_id, letter_id, self._settings)

        return act_on_letter

    async def act_on_one(self, operator: Operator, verb: Verb, letter_id: UUID, reason: str) -> TenantId:
        """Its tenant, once it is done; raises Problem 404 or 409."""
        tenant_id = await self._search.tenant_of(letter_id, operator.tenant_id)
        if tenant_id is None:
            raise unknown(letter_id)
        [why_not] = (await act(self._transaction, tenant_id, [letter_id], Act(verb=verb, actor=operator.subject, reason=reason))).values()
        if why_not is not None:
            raise Problem(409, "Not possible now", why_not)
        return tenant_id

    def acting_on_many(self, verb: Verb) -> Callable[..., Awaitable[ManyView]]:
        async def act_on_letters(operator: Ops, body: Many) -> ManyView:
            at = now()
            as_of = min(body.as_of or at, at)
            asked = Act(verb=verb, actor=operator.subject, reason=body.reason, filter=body.said)
            if body.letters is not None:
                return await self._named(operator, body.letters, asked, as_of, dry_run=body.dry_run)
            try:
                fitting = body.fitting(verb)
            except ValueError as error:
                raise Problem(422, "Not valid", "Wrong: filter", errors=[FieldError(field="filter", message=str(error))]) from error
            wanted = await fitting.wanted(operator, self._search, "filter.")
            return await self._fitting(wanted, asked, as_of, dry_run=body.dry_run)

        return act_on_letters

    async def _named(self, operator: Operator, ids: Sequence[UUID], asked: Act, as_of: datetime, *, dry_run: bool) -> ManyView:
        whose = await self._search.tenants_of(ids, operator.tenant_id)
        own = [(tenant_id, id) for id, tenant_id in whose.items()]
        view = _empty(as_of)
        view.refused = [RefusedLetter(id=id, why=f"there is no letter {id}") for id in sorted({*ids} - {id for _, id in own})]
        await self._act(by_tenant(own), asked, view, dry_run=dry_run)
        return view

    async def _fitting(self, wanted: WantedLetters, asked: Act, as_of: datetime, *, dry_run: bool) -> ManyView:
        until = as_of if wanted.until is None else min(wanted.until, as_of)
        wanted = replace(wanted, until=until)
        if dry_run:
            counts = await self._search.count(wanted)
            tallies = {"by_queue": dict(counts.queue), "by_tenant": dict(counts.tenant), "by_type": dict(counts.type)}
            return ManyView(done=counts.total, refused=[], as_of=as_of, **tallies)
        view = _empty(as_of)
        found = await self._search.ids(wanted, None, ACT_MAX + 1)
        await self._act(by_tenant(found[:ACT_MAX]), asked, view, dry_run=False)
        if found[ACT_MAX:]:
            view.left = (await self._search.count(wanted)).total
        return view

    async def _act(self, groups: Mapping[TenantId, Sequence[UUID]], asked: Act, view: ManyView, *, dry_run: bool) -> None:
        for tenant_id, ids in groups.items():
            for first in range(0, len(ids), TOGETHER):
                some = ids[first : first + TOGETHER]
                async with self._transaction(tenant_id) as scope:
                    found = await letters.find(scope, some)
                outcomes = _foreseen(found, asked.verb) if dry_run else await act(self._transaction, tenant_id, some, asked)
                _count(view, found, outcomes)


def _empty(as_of: datetime) -> ManyView:
    return ManyView(done=0, refused=[], as_of=as_of, by_queue={}, by_tenant={}, by_type={})


def _foreseen(found: Mapping[UUID, Letter], verb: Verb) -> dict[UUID, str | None]:
    return {id: None if letter.state is FROM[verb] else f"it is {letter.state}, not {FROM[verb]}" for id, letter in found.items()}


def _count(view: ManyView, found: Mapping[UUID, Letter], outcomes: Mapping[UUID, str | None]) -> None:
    done = [found[id] for id, why_not in outcomes.items() if why_not is None and id in found]
    view.done += len(done)
    for counts, values in (
        (view.by_queue, [letter.queue for letter in done]),
        (view.by_tenant, [str(letter.tenant_id) for letter in done]),
        (view.by_type, [letter.type for letter in done]),
    ):
        for name, number in Counter(values).items():
            counts[name] = counts.get(name, 0) + number
    refused = [RefusedLetter(id=id, why=why) for id, why in outcomes.items() if why is not None]
    view.refused += refused[: _REFUSED_MAX - len(view.refused)]
