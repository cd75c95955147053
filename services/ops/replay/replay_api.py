"""HTTP in for replays: plan, start, watch, pause, resume, cancel. An operator with a tenant plans that tenant's replays only, and sees
beside them its own part of those that operators of the platform have started.

Every verb locks the replay and is recorded with it, in one commit, whatever comes of it; a worker executes it
(services/ops/replay/replaying.py).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import TenantId
from infra.clock import now
from infra.http import FieldError, Problem, decode_cursor, encode_cursor
from infra.http.auth import Operator, operator_with
from infra.settings import Settings
from infra.transaction import Batch, Scope, Transactions
from infra.unscoped.letters import LetterSearch
from infra.unscoped.replays import FoundReplay, ReplaySearch
from services.ops.desk.auditing import Entry, Outcome, record
from services.ops.replay import parts, replays
from services.ops.replay.machine import IllegalReplay, ItemState, Replay
from services.ops.replay.parts import Part
from services.ops.replay.planning import Wish, plan
from services.ops.replay.replay_views import (
    Because,
    OutcomePage,
    OutcomeQuery,
    OutcomeView,
    PlanReplay,
    PlanView,
    ReplayPage,
    ReplayQuery,
    ReplayView,
    StartReplay,
)
from services.ops.replay.replays import Item

Asker = Annotated[Operator, Depends(operator_with("ops"))]
Act = Callable[[Replay, Batch], None]
_UNKNOWN_NAMED_MAX: Final = 10


def routes(transaction: Transactions, sweeper_pool: AsyncEngine, settings: Settings) -> APIRouter:
    """The routes of replays. To be included before any of the form `/dead-letters/{id}`."""
    own = APIRouter(prefix="/v1/ops/dead-letters/replays", tags=["dead letters"])
    desk = _Desk(transaction, sweeper_pool, settings)
    _looking(own, desk)
    _acting(own, desk)
    return own


def _looking(own: APIRouter, desk: "_Desk") -> None:
    @own.get("", summary="Replays, the newest first")
    async def list_replays(operator: Asker, query: Annotated[ReplayQuery, Query()]) -> ReplayPage:
        """With their counts as they are now; without plans that nobody started in time, unless their state is asked for."""
        after = None if query.cursor is None else decode_cursor(query.cursor)
        found = await desk.search.page(operator.tenant_id, query.state, after, query.limit, now())
        last = found[-1] if len(found) == query.limit else None
        return ReplayPage(replays=await desk.views(operator, found), next=last and encode_cursor(last.planned_at, last.id))

    @own.get("/{replay_id}", summary="One replay, and how far it has come")
    async def show_replay(operator: Asker, replay_id: UUID) -> ReplayView:
        """Cheap enough to be asked for every second."""
        [view] = await desk.views(operator, [await desk.found(operator, replay_id)])
        return view

    @own.get("/{replay_id}/outcomes", summary="What came of each letter")
    async def list_outcomes(operator: Asker, replay_id: UUID, query: Annotated[OutcomeQuery, Query()]) -> OutcomePage:
        """In the order of the plan."""
        return await desk.outcomes(operator, await desk.found(operator, replay_id), query.state, query.cursor, query.limit)


def _acting(own: APIRouter, desk: "_Desk") -> None:
    @own.post("", status_code=201, summary="Plan a replay: exactly the letters that fit now")
    async def plan_replay(operator: Asker, body: PlanReplay) -> PlanView:
        """Nothing is sent. What dies later is not in the plan. A plan of no letters is not kept: there is nothing to start."""
        return PlanView.of(await desk.plan(operator, body))

    @own.post("/{replay_id}/start", status_code=202, summary="Begin to send the letters of a plan")
    async def start(operator: Asker, replay_id: UUID, body: StartReplay) -> ReplayView:
        """A worker sends them at the rate that is asked for."""
        pace = body.pace
        return await desk.act(operator, replay_id, "start", body.reason, lambda replay, batch: replay.start(pace, batch.now))

    @own.post("/{replay_id}/pause", summary="Send nothing more for now")
    async def pause(operator: Asker, replay_id: UUID, body: Because) -> ReplayView:
        """Once this is answered, nothing more is sent; what was sent still gets its outcome."""
        return await desk.act(operator, replay_id, "pause", body.reason, lambda replay, _: replay.pause())

    @own.post("/{replay_id}/resume", summary="Go on with a replay that was paused, or that stopped itself")
    async def resume(operator: Asker, replay_id: UUID, body: Because) -> ReplayView:
        """One that stopped itself begins with a canary again, if it had any."""
        return await desk.act(operator, replay_id, "resume", body.reason, lambda replay, batch: replay.resume(batch.now))

    @own.post("/{replay_id}/cancel", summary="End a replay")
    async def cancel(operator: Asker, replay_id: UUID, body: Because) -> ReplayView:
        """What waits is left out; what was sent still gets its outcome."""
        why = f"cancelled by {operator.subject}: {body.reason}"
        return await desk.act(operator, replay_id, "cancel", body.reason, lambda replay, batch: replay.cancel(batch.now, why))


class _Desk:
    """What the routes share."""

    def __init__(self, transaction: Transactions, sweeper_pool: AsyncEngine, settings: Settings) -> None:
        self.search = ReplaySearch(sweeper_pool)
        self._letters = LetterSearch(sweeper_pool)
        self._transaction = transaction
        self._settings = settings

    async def plan(self, operator: Operator, body: PlanReplay) -> Replay:
        """A new plan; raises Problem for letters that there are not, or for more than one replay takes."""
        at = now()
        wish = Wish(
            actor=operator.subject,
            tenant_id=operator.tenant_id,
            reason=body.reason,
            filter=body.said,
            include_ended=body.include_ended,
            include_held_back=body.include_held_back,
            is_named=body.letters is not None,
        )
        return await plan(self._transaction, self._settings, wish, await self._meant(operator, body), at)

    async def _meant(self, operator: Operator, body: PlanReplay) -> Mapping[TenantId, Sequence[UUID]]:
        if body.letters is not None:
            return await self._named(operator, body.letters)
        assert body.filter is not None
        most = self._settings.replay_letters_max
        found = await self._letters.by_tenant(await body.filter.wanted(operator, self._letters, "filter."), most + 1)
        if sum(map(len, found.values())) > most:
            raise _wrong(
                "filter", f"must fit at most {most} letters: say from when until when they died, and replay one part after the other"
            )
        return found

    async def _named(self, operator: Operator, ids: Sequence[UUID]) -> Mapping[TenantId, Sequence[UUID]]:
        tenants = await self._letters.tenants_of(ids, operator.tenant_id)
        unknown = sorted({*ids} - {*tenants})
        if unknown:
            named = ", ".join(str(id) for id in unknown[:_UNKNOWN_NAMED_MAX])
            raise Problem(404, "Unknown letter", f"there is no such letter: {named}{' ...' if unknown[_UNKNOWN_NAMED_MAX:] else ''}")
        own: dict[TenantId, list[UUID]] = {}
        for id, tenant_id in tenants.items():
            own.setdefault(tenant_id, []).append(id)
        return own

    async def found(self, operator: Operator, id: UUID) -> FoundReplay:
        """Where the replay is; raises Problem(404) if there is none, or it is none of which the operator may know."""
        found = await self.search.one(id)
        if found is None or (operator.tenant_id is not None and not await self.search.is_seen_by(id, operator.tenant_id)):
            raise Problem(404, "Unknown replay", f"there is no replay {id}; `oaas dead-letters replays` lists them")
        return found

    async def views(self, operator: Operator, found: Sequence[FoundReplay]) -> list[ReplayView]:
        """These replays with their counts, in the same order; of another's replay what the operator's tenant may know."""
        own = operator.tenant_id
        known: dict[UUID, Part] = {}
        if own is not None and (others := [one.id for one in found if one.tenant_id != own]):
            async with self._transaction(own) as scope:
                known = await parts.read(scope, others)
        read, at = await self._read(found), now()
        views = []
        for one in found:
            if one.id in known:
                views.append(ReplayView.part(read[one.id], known[one.id], await self.search.tally(one.id, own), at))
            else:
                views.append(ReplayView.whole(read[one.id], await self.search.tally(one.id), at))
        return views

    async def _read(self, found: Sequence[FoundReplay]) -> dict[UUID, Replay]:
        by_tenant: dict[TenantId, list[UUID]] = {}
        for one in found:
            by_tenant.setdefault(one.tenant_id, []).append(one.id)
        read: dict[UUID, Replay] = {}
        async with self._transaction.batch() as batch:
            for tenant_id, ids in sorted(by_tenant.items()):
                async with batch.scope(tenant_id) as scope:
                    read |= {replay.id: replay for replay in await replays.read(scope, ids)}
        return read

    async def outcomes(self, operator: Operator, found: FoundReplay, state: ItemState | None, after: int, limit: int) -> OutcomePage:
        """A page of them; of another's replay those of the operator's tenant."""
        own = operator.tenant_id
        if own is None or own == found.tenant_id:
            items = await self.search.items(found.id, state, after, limit)
            following = items[-1].number if items else 0
        else:
            items = await self.search.items_of(own, found.id, state, after, limit)
            following = after + len(items)
        by_tenant: dict[TenantId, list[UUID]] = {}
        for item in items:
            by_tenant.setdefault(item.tenant_id, []).append(item.letter_id)
        read: dict[tuple[TenantId, UUID], Item] = {}
        async with self._transaction.batch() as batch:
            for tenant_id, ids in sorted(by_tenant.items()):
                async with batch.scope(tenant_id) as scope:
                    read |= {(tenant_id, item.letter_id): item for item in await replays.read_items(scope, found.id, ids)}
        outcomes = [OutcomeView.of(item, read[item.tenant_id, item.letter_id]) for item in items]
        return OutcomePage(outcomes=outcomes, next=str(following) if len(items) == limit else None)

    async def act(self, operator: Operator, id: UUID, verb: str, reason: str | None, act: Act) -> ReplayView:
        """Do it, and record it; raises Problem(409) if it is not possible now, which is recorded as well."""
        found = await self.found(operator, id)
        if not operator.may_see(found.tenant_id):
            why = f"replay {id} is the platform's operators': only they {verb} it, and `oaas dead-letters replays {id}` tells how it goes"
            raise Problem(403, "Not your replay", why)
        # Before anything is locked; a plan's tenants never change.
        tenants = await self.search.tenants(id)
        refused: IllegalReplay | None = None
        async with self._transaction.batch() as batch:
            async with batch.scope(found.tenant_id) as scope:
                replay = await replays.lock(scope, id)
                assert replay is not None
                before = replay.state
                try:
                    act(replay, batch)
                    await replays.save(scope, replay)
                except IllegalReplay as error:
                    refused = error
                outcome = Outcome.DONE if refused is None else Outcome.REFUSED
                detail = str(refused) if refused else f"{before} -> {replay.state}"
                said = Entry(
                    actor=operator.subject,
                    verb=f"{verb} replay",
                    reason=reason or replay.reason,
                    outcome=outcome,
                    detail=detail,
                    replay_id=id,
                )
                await record(scope, [said])
            for tenant_id in tenants if refused is None else ():
                async with batch.scope(tenant_id) as scope:
                    await _in_part(scope, replay, verb, said)
        if refused is not None:
            raise Problem(409, "Not possible now", str(refused))
        [view] = await self.views(operator, [found])
        return view


async def _in_part(scope: Scope, replay: Replay, verb: str, said: Entry) -> None:
    """What a verb means for the letters of one tenant, and what is told there of it."""
    if verb == "start":
        await parts.start(scope, replay.id, said.actor, said.reason)
    elif verb == "cancel":
        await parts.cancel_the_rest(scope, replay.id, replay.detail)
    if replay.started_at is not None:
        await parts.tell(scope, replay, actor=said.actor, verb=verb, reason=said.reason)


def _wrong(field: str, message: str) -> Problem:
    return Problem(422, "Not valid", f"Wrong: {field}", errors=[FieldError(field=field, message=message)])
